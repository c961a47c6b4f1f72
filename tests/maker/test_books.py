"The books of all markets: what is told, what is marked, whose the best prices are, and what makes a book wrong"
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from kalshi_mm.maker.audit import turned
from kalshi_mm.maker.books import Books
from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.market_state import MarketState
from kalshi_mm.maker.orders import Orders
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.fees import FeeSchedule
from kalshi_mm.model.messages import (
    AccountRead,
    Amend,
    BookDelta,
    BookRead,
    BookSnapshot,
    BookStale,
    Cancel,
    Command,
    Connection,
    Decide,
    MarketListed,
    OrderAmended,
    OrderCanceled,
    OrderPlaced,
    Place,
)
from kalshi_mm.model.numbers import CENT, ONE, Count, Price
from kalshi_mm.model.types import Market, Position, Side, TickGrid
from kalshi_mm.orderbook import OrderBook
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

T = 1_700_000_000_000
Levels = tuple[tuple[Price, Count], ...]
BIDS, ASKS = ((4200, 500), (4100, 700)), ((4800, 600), (4900, 800))


class Desk:
    "Books of X and Y, and what they tell"

    def __init__(self) -> None:
        self.orders, self.changed = Orders(), list[str]()
        self.said, self.halts = list[tuple[str, str]](), list[tuple[str, str, int]]()
        self.slots = {t: MarketState(Market(t, "E", "S", "", "active", 0, T + 10**9, TickGrid.of([(0, ONE, CENT)])),
                                     FeeSchedule.of("quadratic"), OrderBook(t), Position(t)) for t in "XY"}  # fmt: skip
        self.x = self.slots["X"]
        self.books = Books(self.slots, self.orders, self.changed.append, lambda level, text: self.said.append((level, text)),
                           lambda rule, why, ms: self.halts.append((rule, why, ms)))  # fmt: skip

    def whole(self, bids: Levels = BIDS, asks: Levels = ASKS) -> "Desk":
        self.books.snapshot(BookSnapshot(T, "X", bids, asks))
        return self

    def change(self, side: Side, price: Price, delta: Count, ours: str = "") -> None:
        self.books.delta(BookDelta(T + 1, "X", side, price, delta, T, ours))

    def rests(self, side: Side, price: Price, count: Count) -> str:
        n = len(self.orders.all) + 1
        w = self.orders.sent(Place("", f"kmm-s-{n}", "X", side, price, count, T // 1000 + 60), T)
        self.orders.placed(OrderPlaced(T, w.client_order_id, f"o{n}", 0, count))
        return w.client_order_id


def test_each_change_is_told_and_one_of_an_unknown_market_or_of_a_book_without_a_snapshot_is_not():
    desk = Desk()
    desk.change(Side.BID, 4200, 100)
    desk.books.snapshot(BookSnapshot(T, "Z", BIDS, ASKS))
    desk.books.delta(BookDelta(T, "Z", Side.BID, 4200, 100))
    desk.books.read(BookRead(T, T, "Z", BIDS, ASKS), 3000)
    assert desk.changed == []
    desk.whole()
    desk.change(Side.BID, 4300, 100)
    desk.books.stale(BookStale(T, ("X", "Z", "Y"), "a gap"))
    assert desk.changed == ["X", "X", "X", "Y"] and desk.x.book.why_stale == "a gap"
    desk.change(Side.BID, 4300, 100)
    assert desk.changed == ["X", "X", "X", "Y"] and desk.x.book.size(Side.BID, 4300) == 100 and not desk.said


def test_a_change_that_can_not_be_makes_a_book_wrong_and_people_are_told():
    desk = Desk().whole()
    desk.change(Side.BID, 4200, -501)
    assert not desk.x.book.live and [level for level, _ in desk.said] == ["error"] and desk.changed == ["X", "X", "X"]
    assert desk.said[0][1] == desk.x.book.why_stale == "X: bid 42c holds 5 contracts and changes by -5.01"


@pytest.mark.parametrize("tagged", [False, True])
def test_our_part_of_a_book_is_as_the_stream_marks_it_or_as_our_orders_tell_if_it_marks_none(tagged: bool):
    desk = Desk().whole()
    first = desk.rests(Side.BID, 4200, 300)
    assert desk.books.others(desk.x) == ((4200, 200), (4800, 600))
    if tagged: desk.change(Side.BID, 4200, 50, first)  # so five and a half contracts are there, half of one marked as ours
    assert desk.books.tagged == tagged and desk.x.own[Side.BID] == ({4200: 50} if tagged else {})
    assert desk.books.own(desk.x, Side.BID) == ({4200: 50} if tagged else {4200: 300})
    assert desk.books.others(desk.x)[0] == ((4200, 500) if tagged else (4200, 200))
    desk.rests(Side.ASK, 4800, 600)
    assert desk.books.others(desk.x)[1] == ((4800, 600) if tagged else (4900, 800))


def test_a_snapshot_counts_our_orders_that_rest_where_they_were_and_none_that_is_on_its_way():
    desk = Desk()
    moved, sent = desk.rests(Side.BID, 4200, 300), Place("", "kmm-s-9", "X", Side.BID, 4100, 200, T // 1000 + 60)
    desk.orders.sent(sent, T)
    desk.orders.own.amending(Amend("", moved, "o1", "X", Side.BID, 4100, 300, T // 1000 + 60), T)
    desk.books.tagged = True
    desk.whole()
    assert desk.x.own == {Side.BID: {4200: 300}, Side.ASK: {}} and desk.books.others(desk.x)[0] == (4200, 200)


# ---- prices of the other side

@pytest.mark.parametrize(("bid", "ask", "wrong"), [
    (5500, 4300, True), (5700, 4300, False), (5699, 4300, True), (4300, 4300, True), (4299, 4300, False), (8500, 1000, True),
    (9000, 1000, False)])
def test_a_book_that_is_crossed_and_would_not_be_if_its_asks_were_turned_round_has_them_the_wrong_way(
        bid: Price, ask: Price, wrong: bool):
    assert bool(turned({bid: 100}, {ask: 100}, {})) == wrong
    desk = Desk().whole(((bid, 100),), ((ask, 100),))
    assert [(rule, ms) for rule, _, ms in desk.halts] == ([("mirrored", T)] if wrong else [])
    if wrong: assert desk.halts[0][1].startswith("X: bid ")


def test_asks_that_rest_at_the_other_prices_by_rest_are_the_wrong_way_round_if_two_levels_say_so_and_none_denies_it():
    asks = {4800: 600, 4900: 800}
    assert turned({4200: 1}, asks, {5200: 600, 5100: 800}) and not turned({4200: 1}, asks, {5200: 600, 5100: 801})
    assert not turned({4200: 1}, asks, {5200: 600, 5100: 800, 4800: 600})
    assert not turned({4200: 1}, asks, {}) and not turned({}, {}, {})
    desk = Desk().whole()
    for live in (True, False):
        desk.halts.clear()
        if not live: desk.books.stale(BookStale(T, ("X",), "a gap"))
        desk.books.read(BookRead(T + 5, T + 4, "X", BIDS, ((5100, 800), (5200, 600))), 3000)
        assert [(rule, ms) for rule, _, ms in desk.halts] == ([("mirrored", T + 5)] if live else [])


def test_a_book_that_differs_from_rests_three_times_is_wrong():
    desk = Desk().whole()
    for n in range(3):
        assert desk.x.book.live
        desk.books.read(BookRead(T + n, T + n, "X", ((4200, 499), BIDS[1]), ASKS), 3000)
    assert not desk.x.book.live
    assert desk.said == [("error", "X: the book is not the exchange's: bid 42c holds 5 by the stream, 4.99 by REST")]


# ---- marks

def test_a_market_is_marked_by_the_others_book_while_it_can_be_trusted():
    desk = Desk().whole()
    desk.rests(Side.BID, 4400, 100)
    desk.change(Side.BID, 4400, 100)
    marks = []
    def value(ms: int) -> None:
        desk.books.value(desk.x, T + ms)
        marks.append((desk.x.mark, desk.x.marked_ms - T))

    value(1)
    desk.change(Side.BID, 4600, 200)
    value(2)
    for price in (4800, 4900): desk.change(Side.BID, price, 5)
    value(3)  # crossed: half of a burst
    desk.books.stale(BookStale(T, ("X",), "a gap"))
    value(4)
    desk.whole(((4000, 5),), ())
    value(5)
    desk.x.market = structs.replace(desk.x.market, status="finalized")
    desk.whole()
    value(6)
    assert marks == [(4500, 1), (4700, 2), (4700, 3), (4700, 3), (4700, 5), (4700, 5)]


@pytest.mark.parametrize(("net", "mark"), [(0, None), (100, 4000), (-100, ONE)])
def test_a_first_mark_from_one_side_is_made_only_for_what_is_held_and_the_worst_there_is(net: Count, mark: Price | None):
    desk = Desk().whole(((4000, 5),), ())
    desk.x.position = Position("X", net)
    desk.books.value(desk.x, T + 7)
    assert (desk.x.mark, desk.x.marked_ms) == (mark, T + 7)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.booleans())
def test_a_change_behind_the_best_prices_wakes_nobody_and_changes_no_action(data: st.DataObject, tagged: bool):
    "Two cores, of which one looks again at every change of a level, send the same orders"
    fields = Market("X", "E", "S", "", "active", 0, T + 10**9, TickGrid.of([(0, ONE, CENT)]))
    cores = [MarketMaker(SpreadCapture(Params()), Config("s")) for _ in range(2)]
    cores[1].books.deep = True
    levels = {(side, price): 500 for side, prices in ((Side.BID, (4000, 4100)), (Side.ASK, (4900, 5000))) for price in prices}
    bids, asks = (tuple((p, n) for (s, p), n in levels.items() if s is side) for side in Side)
    events = [Connection(T, True), MarketListed(T, fields), BookSnapshot(T, "X", bids, asks), Command(T, "start", "test"),
              AccountRead(T, T, 0, (), (), (), 10**10), Decide(T)]  # fmt: skip
    live: dict[str, tuple[Side, Price, Count]] = {}
    sent: list[Any] = []
    placed = 0

    def shows(now: int, order: str, delta: Count) -> None:
        if tagged and delta: both(BookDelta(now, "X", *live[order][:2], delta, now, order))

    def both(event: Any) -> None:
        one, other = (core.handle(event) for core in cores)
        assert one == other, event
        sent.extend(one)

    for event in events: both(event)
    for n in range(1, data.draw(st.integers(5, 30))):
        now = T + 40 * n
        side = data.draw(st.sampled_from([Side.BID, Side.ASK]))
        price = data.draw(st.sampled_from([3900, 4000, 4100, 4200] if side is Side.BID else [4800, 4900, 5000, 5100]))
        had = levels.get((side, price), 0)
        delta = data.draw(st.sampled_from([200, 500] + [-had] * (had > 0)))
        levels[side, price] = had + delta
        both(BookDelta(now, "X", side, price, delta, now))
        both(Decide(now))
        taken, sent[:] = [a for a in sent if isinstance(a, Place | Amend | Cancel)], []
        for a in taken:
            i = a.client_order_id
            if i in live: shows(now, i, -live[i][2])
            if isinstance(a, Cancel): both(OrderCanceled(now, i, a.order_id, live.pop(i)[2]))
            else:
                live[i] = a.side, a.price, a.count
                shows(now, i, a.count)
                if isinstance(a, Place): both(OrderPlaced(now, i, f"o-{i}", 0, a.count))
                else: both(OrderAmended(now, i, a.order_id, a.count))
                placed += 1
        both(Decide(now + 1))
    assert placed
