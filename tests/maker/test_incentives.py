"""Our own count of a programme bounds what the exchange can pay for it, and the guard ends with the programme"""
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.maker.incentives import Look, Meter, looked_at
from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.market_state import MarketState
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.fees import FeeSchedule
from kalshi_mm.model.incentives import FILING, HELP_PAGE, Accrual, payments, scored, worth
from kalshi_mm.model.messages import (
    AccountRead,
    Action,
    BookDelta,
    BookSnapshot,
    Cancel,
    Command,
    Connection,
    Decide,
    Event,
    IncentivePaid,
    MarketListed,
    OrderCanceled,
    OrderPlaced,
    Place,
    ProgrammesRead,
)
from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, ONE
from kalshi_mm.model.types import Earned, Market, Position, Programme, Side, TickGrid
from kalshi_mm.orderbook import OrderBook
from kalshi_mm.risk.limits import Limits
from kalshi_mm.strategy.incentive_guard import IncentiveGuard, IncentiveGuardParams
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

T = 1_700_000_000_000
GRID = TickGrid.of([(0, ONE, CENT)])
MARKET = Market("X", "E", "S", "", "active", 0, T + 10**9, GRID)
FREE = Limits(10**9, 10**9, 10**15, 10**15, 10**12, 0)


def programme(seconds: int = 60, reward: int = 20 * DOLLAR) -> Programme:
    return Programme("p", "X", T, T + 1000 * seconds, reward, 1000 * CONTRACT, 5000)


def book(p: Programme, ours: int, others: int, behind: int) -> Look:
    "Ours beside the others at the best price of each side, and others a tick behind"
    slot = MarketState(MARKET, FeeSchedule.of(""), OrderBook("X"), Position("X"))
    sides = [tuple((price, n * CONTRACT) for price, n in rows if n) for rows in
             (((4400, ours + others), (4300, behind)), ((4600, ours + others), (4700, behind)))]
    own = ({4400: ours * CONTRACT}, {4600: ours * CONTRACT}) if ours else ({}, {})
    return looked_at((sides[0], sides[1]), own, p, slot)


changes = st.lists(st.tuples(st.integers(1, 2500), st.sampled_from([0, 50, 100, 400]), st.sampled_from([0, 300, 900, 2000]),
                             st.sampled_from([0, 500])), min_size=1, max_size=40)  # fmt: skip


@given(changes, st.integers(0, 2**32), st.integers(0, 900), st.integers(0, 999))
def test_what_the_exchange_pays_lies_within_our_bounds_however_late_our_book_is_within_a_second(drawn, seed, late_ms, shift_ms):  # type: ignore[no-untyped-def]
    "The exchange looks at a random moment of each second; our looks come up to 0.9 s later, at any place in our seconds"
    p, at_ms, stands = programme(30), T - 5000 + shift_ms, [(T - 10_000, (100, 900, 0))]
    for wait_ms, *sizes in drawn: stands.append((at_ms := at_ms + wait_ms, (sizes[0], sizes[1], sizes[2])))
    looks = {sizes: book(p, *sizes) for _, sizes in stands}
    meter, rng = Meter(Earned(p), 1000), Random(seed)
    for ms, sizes in stands: meter.look(looks[sizes], ms + late_ms)
    for ms in range(at_ms + late_ms, p.end_ms + 2000, 500): meter.look(looks[stands[-1][1]], ms)
    exact = {FILING: Accrual(), HELP_PAGE: Accrual()}
    for second in range(30):
        moment = p.start_ms + 1000 * second + rng.randrange(1000)
        sizes = [s for ms, s in stands if ms <= moment][-1]
        for reading in exact:
            own = {4400: sizes[0] * CONTRACT} if sizes[0] else {}
            levels = [(price, n * CONTRACT) for price, n in ((4400, sizes[0] + sizes[1]), (4300, sizes[2])) if n]
            bid = scored(levels, own, p, GRID, Side.BID, reading)
            exact[reading] = exact[reading].add(bid, bid)  # the book is the same from the other side
    e = meter.earned
    assert e.looked_ms == 30_000
    for tally, reading in ((e.filing, FILING), (e.help_page, HELP_PAGE)):
        least, most = payments(tally, p)
        edge = int(worth(2 * 10**9 * 1000, p))  # the first and the last second have one neighbour only
        assert least - edge <= exact[reading].payment(p) + (DOLLAR if exact[reading].payment(p) == 0 else 0)
        assert exact[reading].payment(p) <= most + edge + (DOLLAR if most == 0 else 0)
        assert tally.least <= tally.shares <= tally.most


def test_a_book_that_stands_still_is_known_to_the_cent_by_both_readings():
    for others, behind in ((900, 0), (900, 500), (950, 0), (1700, 100)):
        p = programme()
        meter, look = Meter(Earned(p), 1000), book(p, 100, others, behind)
        for ms in range(T - 300, T + 61_000, 250): meter.look(look, ms)
        own = {4400: 100 * CONTRACT}
        levels = [(price, n * CONTRACT) for price, n in ((4400, 100 + others), (4300, behind)) if n]
        for tally, reading in ((meter.earned.filing, FILING), (meter.earned.help_page, HELP_PAGE)):
            share = scored(levels, own, p, GRID, Side.BID, reading).share
            exact = int(p.reward * share) // 10_000 * 10_000
            least, most = payments(tally, p)
            assert least <= exact <= most and most - least <= 10_000 and (least == most or (p.reward * share) % 10_000 == 0)


class Session:
    "A core with the guard, a wide market, and an exchange that accepts everything"

    def __init__(self, *programmes: Programme):
        guard, params = IncentiveGuard(IncentiveGuardParams(cost=0)), Params(default_order_size=100 * CONTRACT)
        self.maker = MarketMaker(SpreadCapture(params), Config("s", FREE), {"incentive": guard})
        self.resting: dict[str, Place] = {}
        for event in (Connection(T - 9000, True), MarketListed(T - 9000, MARKET),
                      BookSnapshot(T - 9000, "X", ((4000, 2000 * CONTRACT),), ((6000, 2000 * CONTRACT),)),
                      AccountRead(T - 9000, T - 9000, 0, (), (), (), 10**12), Command(T - 9000, "start", "test"),
                      *([ProgrammesRead(T - 9000, programmes)] if programmes else [])): self.take(event)  # fmt: skip

    def take(self, event: Event) -> list[Action]:
        actions = self.maker.handle(event)
        for a in actions:
            ms = event.ts_ms
            if isinstance(a, Place):
                self.resting[a.client_order_id] = a
                self.take(OrderPlaced(ms, a.client_order_id, f"o-{a.client_order_id}", 0, a.count))
                self.take(BookDelta(ms, "X", a.side, a.price, a.count, ms, a.client_order_id))
            elif isinstance(a, Cancel):
                gone = self.resting.pop(a.client_order_id)
                self.take(OrderCanceled(ms, a.client_order_id, a.order_id, gone.count))
                self.take(BookDelta(ms, "X", gone.side, gone.price, -gone.count, ms, a.client_order_id))
        return actions

    def until(self, end_ms: int, begin_ms: int = T - 8000) -> dict[int, int]:  # {time: orders that rest then}
        found = {}
        for ms in range(begin_ms, end_ms, 250):
            self.take(Decide(ms))
            found[ms] = len(self.resting)
        return found


def test_the_guard_quotes_while_the_programme_runs_and_ends_within_a_second_of_its_end():
    p = programme(20)
    session = Session(p)
    found = session.until(T + 25_000)
    assert not any(n for ms, n in found.items() if ms < p.start_ms)
    assert all(n == 2 for ms, n in found.items() if p.start_ms + 1000 <= ms < p.end_ms)
    assert not any(n for ms, n in found.items() if ms >= p.end_ms + 1000)
    assert session.maker.slots["X"].quotes.bid.reason == "incentive: no liquidity programme runs"
    [e] = session.maker.incentives.earned
    assert e.looked_ms >= 19_000 and e.quoted_ms >= 18_000 and e.filing.shares
    session.take(IncentivePaid(T + 30_000, DOLLAR, ("p",)))
    assert session.maker.incentives.earned == [] and session.maker.incentives.paid == DOLLAR
    assert session.maker.profit == 0


def test_a_programme_that_is_withdrawn_changed_or_comes_later_is_followed():
    first, other = programme(20), programme(40, 30 * DOLLAR)
    session = Session(first)
    session.until(T + 5_000)
    session.take(ProgrammesRead(T + 5_000, (other,)))  # new terms: what was counted stays
    [meter] = session.maker.incentives.meters.values()
    assert meter.programme == other and meter.earned.looked_ms >= 4_000
    session.until(T + 10_000, T + 5_000)
    session.take(ProgrammesRead(T + 10_000, ()))  # withdrawn
    assert not session.maker.incentives.meters and session.maker.incentives.over["p"].looked_ms >= 9_000
    session.until(T + 12_000, T + 10_000)
    assert not session.resting
    again = Session()
    assert not any(again.until(T + 5_000).values())


def test_without_a_programme_no_book_is_scored(monkeypatch):  # type: ignore[no-untyped-def]
    def never(*args: object) -> Look: raise AssertionError("a book was scored")

    monkeypatch.setattr("kalshi_mm.maker.incentives.looked_at", never)
    session = Session()
    session.until(T + 5_000)
    session.take(ProgrammesRead(T + 5_000, (Programme("q", "Y", T, T + 7_000, DOLLAR, CONTRACT, 0),)))  # a market of others
    session.until(T + 9_000, T + 5_000)
    assert not session.maker.incentives.meters and not session.maker.incentives.earned
