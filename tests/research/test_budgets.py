"A series never has more money at work than its budget, by the exchange's own lists; what makes a position smaller still leaves"
from datetime import date
from importlib.resources import files
from random import Random

import msgspec

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import Event
from kalshi_mm.model.numbers import DOLLAR, Money
from kalshi_mm.research.backtest import Backtest
from kalshi_mm.risk.capital import capital
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.simulated import SimulatedDay
from kalshi_mm.sandbox.traffic import Calibration
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

TEN = 1_765_378_800_000  # ten in the morning in New York on 10 December 2025
CALIBRATION = Calibration.of(msgspec.json.decode((files("kalshi_mm.sandbox") / "calibration.json").read_bytes()), "wide")


class Judged(Backtest):
    "A day that looks at the exchange's lists after each event"

    most: Money = 0  # at work at any time
    refusals: int = 0
    reduced: int = 0  # orders that rest while there is no room, and make a position smaller

    def _handle(self, event: Event) -> None:
        super()._handle(event)
        resting: dict[str, list] = {}
        for o in self.exchange.orders(self.account):
            if o.remaining: resting.setdefault(o.ticker, []).append((o.side, o.price, o.remaining))
        slots = self.maker.slots.values()
        at_work = sum(capital(s.position.net, s.profit.open_cash, resting.get(s.market.ticker, [])) for s in slots)
        self.most = max(self.most, at_work)
        for s in slots:
            reasons = (s.quotes.bid.reason, s.quotes.ask.reason)
            if any("its budget is" in why for why in reasons):
                self.refusals += 1
                self.reduced += any(side.sign * s.position.net < 0 for side, _, _ in resting.get(s.market.ticker, []))


def played(seed: int, budgets: dict[str, Money]) -> Judged:
    traffic, ids = SimulatedDay(CALIBRATION, date(2025, 12, 10), seed, start_ms=TEN), Random(seed)
    exchange = Exchange(traffic.markets, ids=lambda: f"{ids.getrandbits(64):016x}")
    maker = MarketMaker(SpreadCapture(Params()), Config("b", budgets=budgets))
    day = Judged(maker, exchange, traffic)
    day.run(TEN + 90 * 60_000)
    return day


def test_the_money_at_work_stays_within_the_budget_of_its_series_and_no_other():
    free, bound = played(2, {"KXHIGHCHI": DOLLAR}), played(2, {"KXHIGHNY": 15 * DOLLAR})
    assert free.most > 25 * DOLLAR and not free.refusals
    assert 12 * DOLLAR < bound.most <= 15 * DOLLAR
    assert bound.refusals and bound.reduced
