"An event's worst outcome: against brute force, and against a stranger who takes all that rests at once"
from collections.abc import Mapping
from datetime import date, timedelta
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import Place
from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, ONE, Money, Price
from kalshi_mm.model.temperature_markets import day_event
from kalshi_mm.model.types import Market, OrderStatus, Position, Side
from kalshi_mm.research.backtest import Backtest
from kalshi_mm.risk.events import Change, EventRisk, Leg, check_event
from kalshi_mm.risk.exposure import event_worst
from kalshi_mm.risk.limits import Limits
from kalshi_mm.sandbox.matching import Exchange, NewOrder
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

Held = tuple[int, int]  # (net, cash) of a market
Order = tuple[int, Side, int, int]  # (market, side, price, count)


def searched(exclusive: bool, complete: bool, held: list[Held], orders: list[Order], parts: int = 2) -> Money:
    "The worst profit over every outcome and every way in which orders can fill, by parts"
    n = len(held)
    outcomes = [{k} for k in range(n)] + ([] if complete else [set[int]()])
    if not exclusive: outcomes = [{k for k in range(n) if bits >> k & 1} for bits in range(2**n)]

    def profit(paying: set[int], filled: tuple[int, ...]) -> int:
        had = sum(cash + (ONE * net if k in paying else 0) for k, (net, cash) in enumerate(held))
        return had + sum(side.sign * (count * part // parts) * ((ONE if k in paying else 0) - price)
                         for (k, side, price, count), part in zip(orders, filled, strict=True))

    return min(profit(paying, filled) for paying in outcomes for filled in product(range(parts + 1), repeat=len(orders)))


def risk_of(exclusive: bool, complete: bool, held: list[Held], orders: list[Order]) -> EventRisk:
    risk = EventRisk()
    risk.bound(exclusive, complete)
    for k, (net, cash) in enumerate(held):
        spent = {s: sum(Change("", s, p, c).cost for m, side, p, c in orders if m == k and side is s) for s in Side}
        risk.put(str(k), Leg(net, cash, spent[Side.BID], spent[Side.ASK], max([c for m, _, _, c in orders if m == k], default=0)))
    return risk


HELD = st.lists(st.tuples(st.integers(-5_000, 5_000), st.integers(-10**8, 10**8)), min_size=1, max_size=4)
ORDERS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(Side), st.integers(1, ONE - 1), st.integers(1, 3_000)), max_size=4)


@given(HELD, ORDERS, st.booleans(), st.booleans())
def test_both_figures_are_those_of_a_search_through_all_outcomes_and_fills(
    held: list[Held], orders: list[Order], exclusive: bool, complete: bool,
):
    orders = [(k, side, price, 2 * count) for k, side, price, count in orders if k < len(held)]  # halves are whole numbers
    risk = risk_of(exclusive, complete, held, orders)
    assert risk.held == searched(exclusive, complete, held, [])
    assert risk.if_filled == searched(exclusive, complete, held, orders)
    for k, side, price, count in orders:
        alone, order = searched(exclusive, complete, held, [(k, side, price, count)]), Change(str(k), side, price, count)
        assert min(risk.after(order), risk.held) == alone  # no part of it is worse than all or none
        assert risk.with_resting(order) == searched(exclusive, complete, held, [*orders, (k, side, price, count)])


@given(HELD, ORDERS, st.integers(1, 100), st.integers(1, 20))
def test_what_passes_keeps_both_limits_and_what_is_refused_would_break_one(
    held: list[Held], orders: list[Order], most: int, each: int,
):
    orders = [o for o in orders if o[0] < len(held)]
    limits, resting = Limits(max_event_loss=most * DOLLAR, max_event_resting_loss=each * DOLLAR), list[Order]()
    for k, side, price, count in orders:
        risk, order = risk_of(True, True, held, resting), Change(str(k), side, price, count)
        why, worst = check_event(limits, risk, order), searched(True, True, held, [(k, side, price, count)], parts=1)
        every = searched(True, True, held, [*resting, (k, side, price, count)], parts=1)
        bound = limits.max_event_loss + limits.max_event_resting_loss * max([count, *(c for *_, c in resting)]) // CONTRACT
        worse = risk.after(order) < risk.held
        if why is None:
            assert not worse or (-worst <= limits.max_event_loss and -every <= bound)
            resting.append((k, side, price, count))
        else: assert worse and (-worst > limits.max_event_loss or -every > bound)


class Sweeper:
    "Rivals with wide spreads, and somebody who now and then takes all that rests of ours, in any order"

    def __init__(self, seed: int, bound: Money):
        self.rng, self.bound, self.due_ms = Random(seed), bound, 0
        self.markets = day_event("KXHIGHNY", date(2026, 1, 1) + timedelta(days=seed), 40)
        self.due_ms, self.fills, self.sweeps = self.markets[0].open_ms + 1_000, 0, 0
        self.quotes: dict[tuple[str, Side], str] = {}
        self.pays = self.rng.choice(self.markets)
        self.worst: Money = 0

    def next_ms(self) -> int: return self.due_ms

    def act(self, x: Exchange, day_ms: int, now_ms: int) -> None:
        if not self.quotes:
            for account in ("rival", "sweeper"): x.open_account(account, 0, unlimited=True)
        self.due_ms = day_ms + 300
        for m in self.markets: self.requote(x, m, now_ms)
        if self.rng.random() < 0.5: self.sweep(x, now_ms)

    def requote(self, x: Exchange, m: Market, now_ms: int) -> None:
        middle, half = self.rng.randrange(8, 93), self.rng.randrange(3, 7)
        if self.quotes.get((m.ticker, Side.BID)) and self.rng.random() < 0.8: return
        for side in Side:
            if order_id := self.quotes.pop((m.ticker, side), ""):
                mine = {o.order_id for o in x.orders("rival", ticker=m.ticker) if o.resting}
                if order_id in mine: x.cancel("rival", order_id, now_ms)
        for side in Side:
            price: Price = (middle - side.sign * half) * CENT
            best = x.top(m.ticker)[side is Side.BID]  # the other side's best
            if best and (price >= best[0] if side is Side.BID else price <= best[0]): continue
            self.quotes[m.ticker, side] = x.place(
                NewOrder(account="rival", ticker=m.ticker, side=side, price=price, count=500 * CONTRACT), now_ms).order_id

    def sweep(self, x: Exchange, now_ms: int) -> None:
        self.sweeps += 1
        resting = [o for o in x.orders("us") if o.status is OrderStatus.RESTING]
        if self.rng.random() < 0.8:  # he knows which one will pay
            resting = [o for o in resting if (o.side is Side.ASK) is (o.ticker == self.pays.ticker)]
        self.rng.shuffle(resting)
        for o in resting if self.rng.random() < 0.7 else resting[: len(resting) // 2]:
            if not o.resting: continue
            part = o.remaining if self.rng.random() < 0.8 else self.rng.randrange(1, o.remaining + 1)
            x.place(NewOrder(account="sweeper", ticker=o.ticker, side=o.side.opposite, price=o.price, count=part,
                             time_in_force="immediate_or_cancel"), now_ms)
            self.judge(x)

    def judge(self, x: Exchange) -> None:
        self.fills += 1
        held = x.ledger("us").positions
        positions = [Position(m.ticker, p.net, p.cash, p.fees) for m in self.markets if (p := held.get(m.ticker))]
        self.worst = min(self.worst, event_worst(positions, complete=len(positions) == len(self.markets)))
        assert -self.worst <= self.bound, (self.worst, self.bound)

    def result(self) -> Mapping[str, Price]:
        return {m.ticker: ONE if m is self.pays else 0 for m in self.markets}


@pytest.mark.parametrize("group", range(4))
def test_a_stranger_who_takes_all_that_rests_at_once_never_makes_an_event_lose_more_than_shown(group: int):
    limits = Limits(max_total=3_000 * CONTRACT, max_daily_loss=10_000 * DOLLAR, max_drawdown=10_000 * DOLLAR,
                    max_burst=10**8, max_event_loss=20 * DOLLAR, max_event_resting_loss=3 * DOLLAR)  # fmt: skip
    bound, fills, refused, near = 20 * DOLLAR + 3 * DOLLAR * 10, 0, 0, 0
    for seed in range(50 * group, 50 * group + 50):
        sweeper, ids = Sweeper(seed, bound), iter(range(10**9))
        exchange = Exchange(sweeper.markets, ids=lambda ids=ids: f"id{next(ids)}")  # type: ignore[misc]
        maker = MarketMaker(SpreadCapture(Params()), Config("s", limits))
        test = Backtest(maker, exchange, sweeper, pause_ms=300)  # type: ignore[arg-type]
        test.run(sweeper.markets[0].open_ms + 4_000)
        fills, near = fills + sweeper.fills, near + (-sweeper.worst > 20 * DOLLAR)
        refused += sum("would let the event lose" in q.reason for s in maker.slots.values() for q in (s.quotes.bid, s.quotes.ask))
        assert sum(isinstance(a, Place) for _, a in test.actions) > 5 and sweeper.sweeps > 1, seed
    assert fills > 1_000 and refused and near  # the limits did something, and fills went beyond the one on what is held
