"Parts of the core alone, at their boundaries: audits, cancels by others, alarms, positions without a price, leaving, memory"
import pytest
from msgspec import structs

from kalshi_mm.maker.audit import Audit
from kalshi_mm.maker.controls import Flatten
from kalshi_mm.maker.external_cancels import ElsewhereCancels, unexplained
from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.market_state import MarketState
from kalshi_mm.maker.markets import Alarms, Turns, Unmarked
from kalshi_mm.maker.orders import Orders, State, Working
from kalshi_mm.maker.parameters import Config
from kalshi_mm.maker.target_quotes import leaving_quotes, taking
from kalshi_mm.maker.views import Views
from kalshi_mm.model.fees import FeeSchedule
from kalshi_mm.model.messages import (
    AccountRead,
    Amend,
    BookRead,
    BookSnapshot,
    Command,
    Connection,
    Decide,
    FillSeen,
    GroupSeen,
    MarketListed,
    OrderAmended,
    OrderCanceled,
    OrderPlaced,
    Place,
)
from kalshi_mm.model.numbers import CENT, ONE, Count, Price, contracts
from kalshi_mm.model.types import Fill, Market, Order, OrderStatus, Position, Quote, Side, TickGrid
from kalshi_mm.orderbook import OrderBook
from kalshi_mm.risk.day import Day
from kalshi_mm.risk.limits import Limits
from kalshi_mm.strategy.protocol import NoQuote, Quotes, Risk, View
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

T = 1_700_000_000_000
FREE = Limits(10**9, 10**9, 10**15, 10**15, 10**12, 0)


def market(ticker: str = "X") -> Market:
    return Market(ticker, "E", "S", "", "active", 0, T + 10**9, TickGrid.of([(0, ONE, CENT)]))


def state(ticker: str = "X", net: Count = 0, mark: Price | None = 4500, marked_ms: int = T) -> MarketState:
    return MarketState(market(ticker), FeeSchedule.of("quadratic"), OrderBook(ticker), Position(ticker, net), mark,
                       marked_ms=marked_ms)  # fmt: skip


def resting(orders: Orders, n: int = 1, at_ms: int = T, side: Side = Side.BID, price: Price = 4300) -> Working:
    w = orders.sent(Place("wide", f"kmm-s-{n}", "X", side, price, 1000, T // 1000 + 900), at_ms)
    orders.placed(OrderPlaced(at_ms, w.client_order_id, f"o{n}", 0, 1000))
    return w


# ---- audits: the patience is 3 s

def audited(orders: Orders, slot: MarketState, asked_ms: int, bids: dict[Price, Count], marked: bool = True) -> str:
    "What three comparisons in a row are certain of"
    audit = Audit()
    found = [audit.compare(BookRead(asked_ms + n, asked_ms, "X", tuple(bids.items()), ()), slot, orders, marked, 3000)
             for n in range(3)]
    assert found[:2] == ["", ""]
    return found[2]


def listed(bids: dict[Price, Count]) -> MarketState:
    slot = state()
    slot.book.apply_snapshot(tuple(bids.items()), (), T)
    return slot


@pytest.mark.parametrize(("late_ms", "doubted"), [(3000, False), (3001, True)])
@pytest.mark.parametrize("what", ["answer", "book"])
def test_an_order_that_the_book_does_not_have_is_in_doubt_once_nothing_has_changed_for_long_enough(
        what: str, late_ms: int, doubted: bool):
    orders, slot = Orders(), listed({4200: 500})
    w = resting(orders, at_ms=T if what == "answer" else T - 9000)
    if what == "book": slot.own_ms = T
    assert audited(orders, slot, T + late_ms, {4200: 500}, marked=False) == ""  # no fault of the book
    assert (w.state is State.UNKNOWN) == doubted
    if doubted: assert w.doubt == "not in the book: 0 at 43c by REST"


def test_an_order_that_is_being_changed_is_in_no_doubt():
    orders, slot = Orders(), listed({4200: 500})
    w, other = resting(orders, 1, T - 9000), resting(orders, 2, T - 9000, Side.ASK, 4700)
    orders.own.canceling(other, T - 9000)
    audited(orders, slot, T + 10_000, {4200: 500})
    assert (w.state, other.state) == (State.RESTING, State.CANCELING)


@pytest.mark.parametrize(("there", "doubted"), [(999, True), (1000, False), (1001, False)])
def test_a_level_that_holds_as_much_as_our_order_may_be_ours(there: Count, doubted: bool):
    orders, slot = Orders(), listed({4300: there})
    w = resting(orders, at_ms=T - 9000)
    audited(orders, slot, T, {4300: there}, marked=False)
    assert (w.state is State.UNKNOWN) == doubted


@pytest.mark.parametrize(("tagged", "said"), [(1000, ""), (900, "bid 43c: 9 are marked as ours, 10 should rest")])
def test_what_the_stream_marks_as_ours_is_what_should_rest(tagged: Count, said: str):
    orders, slot = Orders(), listed({4300: 2000})
    resting(orders, at_ms=T - 9000)
    slot.own[Side.BID] = {4300: tagged}
    assert audited(orders, slot, T, {4300: 2000}) == said
    assert audited(orders, slot, T, {4300: 2000}, marked=False) == ""


def test_a_difference_whose_figure_changes_is_lag_and_a_book_that_is_stale_is_not_compared():
    slot, orders, audit, found = listed({4200: 500}), Orders(), Audit(), []
    for stream in (500, 500, 600, 600, 600):
        slot.book.apply_snapshot(((4200, stream),), ((4800, 5),), T)
        found.append(audit.compare(BookRead(T, T, "X", ((4200, 700),), ((4800, 5),)), slot, orders, False, 3000))
    assert found == [""] * 4 + ["bid 42c holds 6 by the stream, 7 by REST"]
    slot.book.mark_stale("a gap")
    assert all(audit.compare(BookRead(T, T, "X", (), ()), slot, orders, False, 3000) == "" for _ in range(5))


# ---- orders that somebody else has cancelled

GONE = Order("o1", "kmm-s-1", "X", Side.BID, 4300, 0, 0, OrderStatus.CANCELED)


def test_an_end_before_its_time_that_the_exchange_does_not_explain_was_somebodys_doing():
    w = resting(Orders())
    ends_ms = 1000 * w.expiration_s
    assert [unexplained(GONE, w, ends_ms + ms) for ms in (-2501, -2500, 0)] == [True, False, False]
    assert not unexplained(structs.replace(GONE, status=OrderStatus.EXECUTED), w, T)
    assert not unexplained(structs.replace(GONE, reason="SelfTradeCancel"), w, T)
    assert unexplained(structs.replace(GONE, reason="anything else"), w, T)
    for later_s in (-100, 100):  # while it is being renewed, the earlier of both times may be the one
        w.amend = Amend("renewed", "kmm-s-1", "o1", "X", Side.BID, 4300, 1000, w.expiration_s + later_s)
        first_ms = ends_ms + 1000 * min(later_s, 0)
        assert [unexplained(GONE, w, first_ms + ms) for ms in (-2501, -2500)] == [True, False]


def test_an_unexplained_end_halts_its_market_after_six_seconds_and_two_within_a_minute_halt_all():
    for apart_ms, where in ((59_999, ""), (60_000, "X")):
        cancels = ElsewhereCancels()
        for n, ms in ((1, T), (2, T + apart_ms)):
            cancels.ended(resting(Orders(), n), ms)
            assert cancels.waits("X") and not cancels.waits("Y") and cancels.changed
            cancels.changed = False
            assert [*cancels.due(ms + 5999)] == [] and cancels.waits("X") and not cancels.changed
            ((ticker, text),) = cancels.due(ms + 6000)
            assert cancels.changed and not cancels.waits("X") and [*cancels.due(ms + 7000)] == []
            assert ticker == ("X" if n == 1 else where)
            assert text.count("bid 10 at 43c in X") == (2 if n == 2 and not where else 1)


def test_two_open_ends_hold_up_all_markets_until_one_is_explained():
    cancels = ElsewhereCancels()
    for n in (1, 2): cancels.ended(resting(Orders(), n), T)
    assert cancels.waits("Y")
    cancels.explained("Y")  # of another market
    assert cancels.waits("Y")
    cancels.changed = False
    cancels.explained("X")
    assert cancels.changed and not cancels.waits("X") and [*cancels.due(T + 10**6)] == []


# ---- alarms, turns, positions without a price

def test_an_alarm_rings_at_its_time_once_and_a_later_one_changes_nothing():
    alarms = Alarms()
    for ms in (200, 100, 100, 300): alarms.set("X", ms)
    alarms.set("Y", 100)
    assert [alarms.ring(ms) for ms in (99, 100)] == [False, True]
    assert [alarms.due(ms) for ms in (99, 100, 100, 400)] == [[], ["X", "Y"], [], []]
    alarms.set("X", 500)
    assert [alarms.due(ms) for ms in (499, 500)] == [[], ["X"]]


@pytest.mark.parametrize(("n", "rounds"), [(3, ["ABC", "ABC"]), (4, ["ABC", "ABC"]), (2, ["AB", "CA", "BC", "AB"])])
def test_a_round_goes_through_all_markets_in_the_order_listed(n: int, rounds: list[str]):
    turns = Turns({t: state(t) for t in "ABC"})
    assert ["".join(slot.market.ticker for slot in turns.in_turn(n)) for _ in rounds] == rounds


def test_a_decision_takes_all_there_is_room_for_and_the_urgent_ones_whatever_the_room():
    for room in (30, 29):
        turns = Turns({})
        turns.changed, turns.rest = dict.fromkeys(range(15)), dict.fromkeys(range(10, 30))
        taken = turns.take(room, {3, 29, 99})
        assert len(taken) == len(set(taken)) == room and {3, 29} <= set(taken)
        assert {*turns.changed, *turns.rest} == set(range(30)) - set(taken)


@pytest.mark.parametrize("late", [False, True])
def test_a_position_counts_as_unmarked_a_minute_after_its_last_price_also_if_it_came_in_between(late: bool):
    "The price of Y is half a minute older than that of X; it may become a position only after the first look"
    slots = {"X": state("X", 100), "Y": state("Y", 0 if late else 100, marked_ms=T - 30_000), "Z": state("Z", 0, None)}
    unmarked = Unmarked(slots)
    assert unmarked.at(T) == []
    slots["Y"].position = Position("Y", 100)
    unmarked.follow(slots["Y"])
    assert [unmarked.at(T + ms) for ms in (30_000, 30_001, 60_000, 60_001)] == [[], ["Y"], ["Y"], ["X", "Y"]]
    slots["Y"].marked_ms = T + 60_001
    assert [unmarked.at(T + ms) for ms in (60_002, 120_001, 120_002)] == [["X"], ["X"], ["X", "Y"]]
    slots["Z"].position = Position("Z", -1)
    unmarked.follow(slots["Z"])
    assert unmarked.at(T + 120_003) == ["X", "Y", "Z"]
    for t in "XYZ":
        slots[t].position = Position(t)
        unmarked.follow(slots[t])
    assert unmarked.at(T + 120_004) == []


# ---- leaving: ten contracts, one minute at the touch, then three cents

def view(net: Count, ms: int, bid: Price | None = 4200, ask: Price | None = 4800) -> View:
    bids, asks = (((p, 2500),) if p is not None else () for p in (bid, ask))
    return View(market(), bids, asks, Position("X", net), FeeSchedule.of("quadratic"), T + ms)


@pytest.mark.parametrize("net", [1000, -1000, 1, -1])
def test_a_position_is_left_at_the_touch_until_patience_is_over_and_then_by_taking(net: Count):
    flatten = Flatten(T)
    for ms, left in ((0, 60), (1, 60), (1000, 59), (58_999, 2), (59_000, 1), (59_999, 1)):
        quotes = leaving_quotes(view(net, ms), flatten)
        ours, other = (quotes.ask, quotes.bid) if net > 0 else (quotes.bid, quotes.ask)
        side, price = (Side.ASK, 4800) if net > 0 else (Side.BID, 4200)
        assert ours == Quote(side, price, abs(net), f"flattening {contracts(net)}: at the touch for {left} s more")
        assert other == NoQuote(side.opposite, "flattening") and taking(view(net, ms), flatten, 4500) is None
    over = leaving_quotes(view(net, 60_000), flatten)
    assert over == Quotes.none("flattening: what is left takes others' quotes")
    order = taking(view(net, 60_000), flatten, 4500)
    assert order and (order.side, order.price, order.count, order.takes) == (side, 4200 if net > 0 else 4800, abs(net), True)
    assert order.expiration_s == T // 1000 + 120  # a minute from then


def test_what_takes_costs_as_much_as_a_person_has_allowed_and_no_more():
    for net, theirs, most in ((1000, {"bid": 4200}, 300), (-1000, {"ask": 4800}, 300)):
        now = view(net, 60_000, **theirs)  # type: ignore[arg-type]
        near, far = (taking(now, Flatten(T, cost=cost), 4500) for cost in (most, most - 1))
        assert near and not far
        assert taking(view(net, 60_000, None, None), Flatten(T), 4500) is None


def test_without_others_on_its_own_side_a_position_is_left_a_tick_inside_and_without_any_not_at_all():
    found = [leaving_quotes(view(net, 0, bid, ask), Flatten(T)) for net, bid, ask in (
        (1000, 4200, None), (-1000, None, 4800), (1000, 9900, None), (1000, None, None), (0, 4200, 4800))]
    assert isinstance(found[0].ask, Quote) and found[0].ask.price == 4300
    assert isinstance(found[1].bid, Quote) and found[1].bid.price == 4700
    for quotes in found[2:4]: assert quotes == Quotes.none("flattening, and nobody else quotes here")
    assert found[4] == Quotes.none("flattening, and nothing is held here")


# ---- a whole maker

def quoting() -> MarketMaker:
    maker = MarketMaker(SpreadCapture(Params()), Config("s", FREE))
    for event in (Connection(T, True), MarketListed(T, market()), BookSnapshot(T, "X", ((4200, 2500),), ((4800, 2500),)),
                  AccountRead(T, T, 0, (), (), (), 10**10), Command(T, "start", "test")):
        maker.handle(event)
    return maker


def test_the_time_with_orders_resting_is_measured_from_the_beat_after_they_were_placed_to_the_last():
    maker, slot = (m := quoting()), m.slots["X"]
    figures = (slot.fills, slot.traded, slot.split.captured, slot.worst, slot.filled_ms, slot.quoting_ms)
    assert figures == (0,) * 6
    for n, a in enumerate(a for a in maker.handle(Decide(T)) if isinstance(a, Place)):
        maker.handle(OrderPlaced(T, a.client_order_id, f"o{n}", 0, a.count))
    for ms in (1000, 1100, 1250, 1500): maker.handle(Decide(T + ms))
    assert slot.quoting_ms == 1500
    maker.handle(Command(T + 1600, "stop", "test"))
    for a in maker.handle(Decide(T + 1600)): maker.handle(OrderCanceled(T + 1600, getattr(a, "client_order_id", ""), "", 1000))
    stopped = slot.quoting_ms
    for ms in (2000, 3000): maker.handle(Decide(T + ms))
    assert stopped == slot.quoting_ms == 1600
    maker.handle(FillSeen(T + 3000, Fill("t", "o0", "X", Side.BID, 4300, 300, 0, False, T)))
    assert (slot.fills, slot.traded, slot.worst, slot.filled_ms) == (1, 300, 300, T + 3000)


def test_what_is_over_is_forgotten_after_its_time_and_not_a_millisecond_sooner():
    orders = Orders()
    w = resting(orders)
    orders.canceled(OrderCanceled(T + 5, w.client_order_id, "o1", 1000))
    orders.fill(Fill("t", "by-hand", "X", Side.BID, 4300, 100, 0, False, T), T + 5)
    by_hand = Order("h1", "", "X", Side.ASK, 6000, 0, 700, OrderStatus.RESTING)
    orders.seen(by_hand, T + 5)
    orders.others.ended("h1", T + 5)
    orders.forget(T + 5)
    assert orders.own.id_of("", "o1") == "kmm-s-1" and orders.all
    orders.seen(by_hand, T + 9, settled_ms=T + 5)
    assert not orders.foreign  # the stream's word is as new
    orders.forget(T + 6)
    assert not orders.all and orders.own.id_of("", "o1") == "" and not any(orders.own.by_side.values())
    orders.seen(by_hand, T + 9, settled_ms=T + 5)
    assert orders.foreign and orders.trade_ids == {"t"}  # a fill is known for ever


def test_an_order_that_turns_out_to_be_ours_counts_once():
    orders = Orders()
    w = orders.sent(Place("wide", "kmm-s-1", "X", Side.BID, 4300, 1000, T // 1000 + 60), T)
    orders.seen(Order("o1", "", "X", Side.BID, 4300, 0, 1000, OrderStatus.RESTING), T + 1)  # before its answer has come
    assert orders.exposure("X") == (2000, 0)
    orders.placed(OrderPlaced(T + 2, "kmm-s-1", "o1", 0, 1000))
    assert (orders.exposure("X"), orders.foreign, w.order_id) == ((1000, 0), {}, "o1")


@pytest.mark.parametrize(("open_order", "later_ms", "kept"), [(True, 99, True), (False, 0, True), (False, 1, False)])
def test_a_fill_waits_for_its_order_as_long_as_one_may_be_unknown_to_us(open_order: bool, later_ms: int, kept: bool):
    orders = Orders()
    if open_order: orders.sent(Place("wide", "kmm-s-1", "X", Side.BID, 4300, 1000, T // 1000 + 60), T)
    else: resting(orders)
    orders.fill(Fill("t", "o9", "X", Side.BID, 4300, 300, 0, False, T), T)
    orders.forget(T + later_ms)
    w = orders.sent(Place("wide", "kmm-s-9", "X", Side.BID, 4300, 1000, T // 1000 + 60), T)
    orders.placed(OrderPlaced(T, "kmm-s-9", "o9", 0, 1000))
    assert w.filled == (300 if kept else 0)


def test_an_answer_that_names_an_order_for_the_first_time_brings_the_fills_that_waited_for_it():
    orders = Orders()
    w = orders.sent(Place("wide", "kmm-s-1", "X", Side.BID, 4300, 1000, T // 1000 + 60), T)
    orders.fill(Fill("t", "o1", "X", Side.BID, 4300, 300, 0, False, T), T)
    orders.own.moved.clear()
    orders.amended(OrderAmended(T, "kmm-s-1", "o1", None))  # though no amend is in flight
    assert (w.order_id, w.filled, orders.exposure("X"), orders.own.moved) == ("o1", 300, (700, 0), {"X"})


# ---- a kill settles what was cancelled before it

def test_a_group_that_a_kill_has_triggered_is_no_halt_of_its_own_and_a_rearm_ends_what_the_kill_has_settled():
    maker = quoting()
    maker.handle(GroupSeen(T, "g1", "adopted"))
    maker.watch.set("canceled_elsewhere", "why", T, "X")
    maker.watch.set("canceled_elsewhere", "why", T)
    maker.handle(GroupSeen(T + 1, "g2", "triggered"))  # not ours
    assert "group" not in maker.halts.active
    maker.handle(GroupSeen(T + 1, "g1", "deleted"))
    assert "group" in maker.halts.active
    maker.handle(Command(T + 2, "reset", "test", "group"))
    maker.handle(Command(T + 3, "kill", "test"))
    maker.handle(GroupSeen(T + 4, "g1", "triggered"))
    assert set(maker.halts.active) == {"canceled_elsewhere:X", "canceled_elsewhere", "kill"}
    maker.watch.set("group", "why", T)
    maker.watch.set("rejects", "why", T)
    maker.handle(Command(T + 5, "reset", "test", "kill"))  # only a rearm ends a kill
    assert maker.killed
    maker.handle(Command(T + 6, "rearm", "test"))
    assert (set(maker.halts.active), maker.quoting) == ({"rejects"}, False)


def test_a_strategy_is_never_told_of_less_than_no_room_and_of_no_profit_before_the_first_valuation():
    maker = quoting()
    views = Views(maker.live, maker.markets, maker.account, maker.books, maker.watch)
    def risk() -> Risk: return views.of(maker.slots["X"], T).risk

    assert (maker.day, risk().day_pnl, risk().room_in_all) == (None, 0, FREE.max_total)
    maker.handle(Decide(T))
    assert risk().room_in_all == FREE.max_total - 1000
    for most, room in ((1001, 1), (1000, 0), (999, 0)):
        maker.live.config = structs.replace(maker.config, limits=structs.replace(FREE, max_total=most))
        assert risk().room_in_all == room
    maker.watch.day = Day("d", 5, 20, 12)
    assert risk().day_pnl == 7
