"What holds with hundreds of markets: nothing waits that must not, everything has its turn, and the totals are the sums"
from collections.abc import Iterable

import pytest
from msgspec import structs

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import (
    AccountRead,
    Action,
    Amend,
    BookDelta,
    BookSnapshot,
    BookStale,
    BudgetRead,
    Cancel,
    Command,
    Connection,
    Decide,
    Event,
    FillSeen,
    MarketListed,
    MarketUnclear,
    Notify,
    OrderAmended,
    OrderCanceled,
    OrderPlaced,
    Place,
    Restored,
)
from kalshi_mm.model.numbers import CENT, CONTRACT, ONE
from kalshi_mm.model.types import Fill, Market, Position, Side, TickGrid
from kalshi_mm.risk.limits import Limits
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture
from tests.maker.exchange_model import sums

T = 1_700_000_000_000
GRID = TickGrid.of([(0, ONE, CENT)])
WIDE = Limits(10**6, 10**9, 10**15, 10**15, 10**12, 0)


def market(ticker: str, open_ms: int = 0, close_ms: int = T + 10**9) -> Market:
    return Market(ticker, ticker[:2], "S", ticker, "active", open_ms, close_ms, GRID)


class Desk:
    "A core of many markets, of which some are quoted, and an exchange that takes every write at once"

    def __init__(self, markets: Iterable[Market], quoted: int, limits: Limits = WIDE):
        self.maker, self.now = MarketMaker(SpreadCapture(Params()), Config("s", limits)), T
        self.sent: list[Action] = []
        for n, m in enumerate(markets):
            self.tell(MarketListed(T, m, n < quoted))
            self.tell(BookSnapshot(T, m.ticker, ((4200, 2500),), ((4800, 2500),)))
        self.tell(Connection(T, True))
        self.tell(AccountRead(T, T, 0, (), (), (), 10**12))
        self.tell(Command(T, "start", "test"))

    def tell(self, event: Event) -> list[Action]:
        actions = self.maker.handle(event)
        self.sent += actions
        for a in actions:
            if isinstance(a, Place):
                self.maker.handle(OrderPlaced(self.now, a.client_order_id, a.client_order_id.replace("kmm-s-", "o"), 0, a.count))
            elif isinstance(a, Amend): self.maker.handle(OrderAmended(self.now, a.client_order_id, a.order_id, None))
            elif isinstance(a, Cancel): self.maker.handle(OrderCanceled(self.now, a.client_order_id, a.order_id, 0))
        return actions

    def wait(self, ms: int) -> list[Action]:
        "The actions of the decision some time later"
        self.now += ms
        return self.tell(Decide(self.now))

    def begin(self) -> "Desk":
        for _ in range(400): self.wait(50)
        return self

    @property
    def quoted(self) -> set[str]: return {w.ticker for w in self.maker.orders.own.pending()}


def tickers(n: int) -> list[str]: return [f"{k // 6:02}-{k % 6}" for k in range(n)]


def test_a_stop_and_a_global_halt_pull_all_quotes_with_one_decision_however_many_markets_there_are():
    at = T + 20_000
    for event in (Command(at, "stop", "test"), Connection(at, False, "reset"), Command(at, "halt", "test", "x")):
        desk = Desk(map(market, tickers(200)), 70).begin()
        assert len(desk.quoted) == 70
        desk.tell(event)
        assert len([a for a in desk.wait(1) if isinstance(a, Cancel)]) == 140 and not desk.quoted


def test_quotes_go_with_the_next_decision_where_many_books_become_stale_at_once():
    desk = Desk(map(market, tickers(200)), 70).begin()
    desk.tell(BookStale(desk.now, tuple(tickers(200)), "a gap"))
    desk.wait(1)
    assert not desk.quoted
    for _ in range(3): desk.wait(1)
    assert not desk.maker.markets.turns.changed


@pytest.mark.parametrize("halted", [False, True])
def test_a_halt_of_one_market_takes_effect_at_once_and_so_does_its_end(halted: bool):
    desk = Desk(map(market, tickers(200)), 70).begin()
    if halted: desk.tell(MarketUnclear(desk.now, "20-0", "a gap"))
    desk.tell(MarketUnclear(desk.now, "10-3", "a gap"))
    assert {a.ticker for a in desk.wait(1) if isinstance(a, Cancel)} == {"10-3"}
    desk.tell(MarketListed(desk.now, market("10-3")))
    assert {a.ticker for a in desk.wait(1) if isinstance(a, Place)} == {"10-3"}


@pytest.mark.parametrize(("stop_ms", "renewals"), [(130_000, 2), (141_000, 3)])  # with a renewal, and between two
def test_a_market_opens_closes_and_renews_its_quotes_in_time_among_hundreds(stop_ms: int, renewals: int):
    short = market("99-0", open_ms=T + 40_000, close_ms=T + stop_ms + 30_000)
    desk = Desk([*map(market, tickers(300)), short], 301)
    for t in tickers(300): desk.tell(Command(T, "pause", "test", t))
    while desk.now < T + 200_000:
        desk.wait(250)
        assert desk.quoted == ({"99-0"} if T + 40_000 <= desk.now < T + stop_ms else set()), desk.now - T
    renewed = [a for a in desk.sent if isinstance(a, Amend)]
    assert [a.reason for a in renewed] == ["renewed"] * 2 * renewals  # both sides, every 30 seconds after they were placed


@pytest.mark.parametrize(("refill", "lifetime_s", "markets"), [(100, 60, 120), (100, 5, 12), (300, 60, 150), (1, 5, 1)])
def test_no_more_quotes_rest_than_the_write_budget_keeps_alive(refill: int, lifetime_s: int, markets: int):
    desk = Desk(map(market, tickers(150)), 0)
    desk.maker.live.config = structs.replace(desk.maker.config, quote_lifetime_s=lifetime_s)
    desk.tell(BudgetRead(T, refill, 10))
    for t in tickers(150): desk.tell(MarketListed(T, market(t)))
    for _ in range(120):
        desk.wait(250)
        assert len(desk.quoted) <= markets
    assert len(desk.quoted) == markets
    without = [s.quotes for t, s in desk.maker.slots.items() if t not in desk.quoted]
    assert len(without) == 150 - markets
    assert all("write budget" in q.bid.reason and "write budget" in q.ask.reason for q in without)
    told = [a for a in desk.sent if isinstance(a, Notify) and "write budget" in a.reason]
    assert len(told) == (1 if without else 0)
    writes = [a for a in desk.sent if isinstance(a, Amend)]
    if markets > 1: assert 10 * len(writes) <= refill * 30  # the renewals of half a minute


def test_a_place_in_the_write_budget_that_becomes_free_is_used_and_a_position_can_always_be_reduced():
    desk = Desk(map(market, tickers(6)), 6)
    desk.tell(BudgetRead(T, 1, 10))  # for one market
    desk.begin()
    (first,) = desk.quoted
    last = next(t for t in reversed(tickers(6)) if t != first)
    desk.tell(FillSeen(desk.now, Fill("t1", "", last, Side.BID, 4300, 700, 0, False, desk.now)))
    for _ in range(4): desk.wait(250)
    assert {(w.ticker, w.side) for w in desk.maker.orders.own.pending()} == {(first, "bid"), (first, "ask"), (last, "ask")}
    desk.tell(Command(desk.now, "pause", "test", first))
    desk.tell(FillSeen(desk.now, Fill("t2", "", last, Side.ASK, 4700, 700, 0, False, desk.now)))
    for _ in range(40): desk.wait(250)
    assert len(desk.quoted) == 1 and first not in desk.quoted


def test_every_market_has_its_turn_and_no_decision_looks_at_more_than_some():
    desk, looked = Desk(map(market, tickers(600)), 0), set[str]()
    for _ in range(12):
        before = {t: s.quotes for t, s in desk.maker.slots.items()}
        desk.wait(250)
        now = {t for t, s in desk.maker.slots.items() if s.quotes is not before[t]}
        assert 0 < len(now) <= 110
        looked |= now
    assert looked == set(tickers(600))
    marked = [s.marked_ms for s in desk.maker.slots.values()]
    for _ in range(10): desk.wait(250)  # sixty in each
    assert all(s.marked_ms > before for s, before in zip(desk.maker.slots.values(), marked, strict=True))


def test_a_position_that_loses_its_book_halts_after_a_minute_and_no_later_among_hundreds():
    desk = Desk(map(market, tickers(300)), 10).begin()
    for t in tickers(300): desk.tell(FillSeen(desk.now, Fill(f"f-{t}", "h", t, Side.BID, 4300, 100, 0, False, desk.now)))
    for _ in range(10): desk.wait(250)
    desk.tell(BookStale(desk.now, ("33-0",), "a gap"))
    last = desk.maker.slots["33-0"].marked_ms
    while desk.now + 250 <= last + 60_000:
        desk.wait(250)
        assert "unmarked" not in desk.maker.halts.active
    desk.wait(250)
    assert desk.maker.halts.active["unmarked"].reason.endswith("33-0") and not desk.quoted
    desk.tell(BookSnapshot(desk.now, "33-0", ((4200, 2500),), ((4800, 2500),)))
    desk.wait(250)
    assert "unmarked" not in desk.maker.halts.active


def test_several_writes_of_one_decision_share_the_room_that_a_limit_leaves():
    limits = Limits(100 * CONTRACT, 305 * CONTRACT, 10**15, 10**15, 10**12, 0)
    desk = Desk(map(market, tickers(120)), 100, limits).begin()
    exposures = desk.maker.markets.totals.exposures
    assert exposures.total == 300 * CONTRACT and len(desk.quoted) == 30  # ten contracts on each side; five are left
    for w in desk.maker.orders.own.pending(): desk.maker.orders.drop(w)
    desk.wait(1)
    for _ in range(100): desk.wait(50)
    assert exposures.total == 300 * CONTRACT and len(desk.quoted) == 30


def test_a_write_that_waited_for_those_in_flight_leaves_with_the_next_beat_among_hundreds():
    "Twenty are wanted and four may be in flight: they leave within a round and five beats, not one for each look at its market"
    desk, beats = Desk(map(market, tickers(300)), 10), 0
    while len(desk.maker.orders.own.pending()) < 20:
        desk.wait(250)
        beats += 1
        assert beats <= 12, len(desk.maker.orders.own.pending())


def test_restored_positions_and_positions_elsewhere_are_in_the_totals():
    maker = MarketMaker(SpreadCapture(Params()), Config("s"))
    held = (Position("A", 1000, -4300 * 1000, 100), Position("B", -500, 3000 * 500))
    maker.handle(Restored(T, held, (), "", 0, 0, 0, (("A", 4500),), (), profit=7))
    assert maker.profit == sums(maker)[0] == 7 - 4300 * 1000 - 100 + 3000 * 500 - ONE * 500
    for t in ("A", "B"): maker.handle(MarketListed(T, market(t)))
    maker.handle(FillSeen(T, Fill("f", "h", "C", Side.BID, 4300, 100, 0, False, T)))
    maker.handle(BookSnapshot(T, "B", ((2000, 100),), ((2200, 100),)))
    maker.handle(BookDelta(T, "B", Side.BID, 2000, -100))
    maker.handle(Decide(T))
    assert maker.markets.events == {"A": ["A"], "B": ["B"]}
    profit, total, _ = sums(maker)
    assert (maker.profit, maker.markets.totals.exposures.total) == (profit, total) and total == 1500


def test_a_lowered_limit_halts_every_market_beyond_it_with_the_next_decision():
    desk = Desk(map(market, tickers(300)), 0).begin()
    for t in tickers(300): desk.tell(FillSeen(desk.now, Fill(f"f-{t}", "h", t, Side.BID, 4300, 1000, 0, False, desk.now)))
    for _ in range(20): desk.wait(250)
    desk.tell(Command(desk.now, "set", "test", '{"max_position_per_market": "9"}'))
    desk.wait(1)
    assert {h.market for h in desk.maker.halts.active.values() if h.rule == "exposure"} == set(tickers(300))
