"When the account is read, how far back, and from when on a list proves something: each to the millisecond"
import pytest

from kalshi_mm.maker.market_state import MarketState
from kalshi_mm.maker.orders import Orders, State, Working
from kalshi_mm.maker.parameters import Config
from kalshi_mm.maker.reconcile import Kind, ReadSchedule, Reconciler, Suspicions, compare_orders, owed
from kalshi_mm.model.fees import FeeSchedule
from kalshi_mm.model.messages import AccountRead, AccountUnread, OrderCanceled, OrderPlaced, Place, Verb, WriteUnknown
from kalshi_mm.model.numbers import CENT, ONE, Count
from kalshi_mm.model.types import Fill, Market, Order, OrderStatus, Position, Side, TickGrid
from kalshi_mm.orderbook import OrderBook

CONFIG = Config("s", patience_ms=3_000, read_every_ms=30_000, retry_ms=1_000)
SENT = 100_000


def read(asked_ms: int, *listed: Order, since: int = 0, positions: tuple[tuple[str, Count | None], ...] = (),
         fills: tuple[Fill, ...] = ()) -> AccountRead:  # fmt: skip
    return AccountRead(asked_ms + 50, asked_ms, since, listed, positions, fills, 7)


def sent(orders: Orders, at_ms: int = SENT, n: int = 1) -> Working:
    return orders.sent(Place("wide", f"kmm-s-{n}", "X", Side.BID, 4300, 1000, 160), at_ms)


def unanswered(at_ms: int = SENT, orders: Orders | None = None, n: int = 1) -> tuple[Orders, Working]:
    "An order without an answer after five seconds"
    orders = orders or Orders()
    w = sent(orders, at_ms, n)
    orders.unknown(WriteUnknown(at_ms + 5000, w.client_order_id, Verb.PLACE, "timed out"))
    return orders, w


def resting(at_ms: int = SENT) -> tuple[Orders, Working]:
    orders = Orders()
    w = sent(orders, at_ms)
    orders.placed(OrderPlaced(at_ms, w.client_order_id, "o1", 0, 1000))
    return orders, w


def slot(net: Count = 0, filled_ms: int = 0, status: str = "active", mark: int = 4500) -> MarketState:
    market = Market("X", "E", "S", "", status, 0, 10**12, TickGrid.of([(0, ONE, CENT)]))
    return MarketState(market, FeeSchedule.of("quadratic"), OrderBook("X"), Position("X", net), mark, filled_ms=filled_ms)


# ---- when

def test_pauses_between_reads_double_while_an_order_stays_in_doubt_up_to_those_of_the_timer():
    (orders, _), reads, pauses = unanswered(), ReadSchedule(), []
    now_ms = 200_000
    for _ in range(7):
        reads.arrived(read(now_ms - 50), CONFIG)
        reads.compared(bool(orders.own.doubtful))
        pause = next(ms for ms in range(1, 40_000) if reads.due(orders, CONFIG, now_ms + ms))
        pauses.append((pause, reads.due(orders, CONFIG, now_ms + pause)))
        now_ms += 100_000
    assert pauses == [(ms, "an order is in doubt") for ms in (2000, 4000, 8000, 16_000)] + [(30_000, "the timer")] * 3
    reads.compared(False)
    assert reads.due(orders, CONFIG, now_ms - 100_000 + 1000) and not reads.due(orders, CONFIG, now_ms - 100_000 + 999)
    assert not reads.due(Orders(), CONFIG, now_ms - 100_000 + 29_999)  # without a doubt the timer alone asks


def test_a_doubt_that_never_ends_makes_no_pause_shorter():
    "A shift by the number of reads alone would soon be a number of thousands of digits"
    (orders, _), reads = unanswered(), ReadSchedule()
    slow = Config("s", retry_ms=1, read_every_ms=10**9)
    reads.arrived(read(0), slow)
    for _ in range(9): reads.compared(True)
    found = []
    for _ in range(3):
        found.append(next(ms for ms in range(1, 5000) if reads.due(orders, slow, 50 + ms)))
        reads.compared(True)
    assert found == [512, 1024, 1024]


def test_a_read_that_fails_is_asked_for_again_after_the_pause_of_the_setting():
    reads = ReadSchedule()
    reads.ask(Orders(), "why", 1000)
    assert reads.failed(AccountUnread(2000, "the line is down"), CONFIG) and not reads.reading  # the account isn't known at all
    assert [bool(reads.due(Orders(), CONFIG, ms)) for ms in (2999, 3000)] == [False, True]
    reads.arrived(read(3000), CONFIG)
    assert reads.ready
    fails = [reads.failed(AccountUnread(ms, ""), CONFIG) for ms in (10_000, 39_999, 40_000)]
    reads.arrived(read(40_500), CONFIG)
    assert [*fails, reads.failed(AccountUnread(70_000, ""), CONFIG)] == [False, False, True, False]


@pytest.mark.parametrize(("asked_ms", "ready"), [(4999, False), (5000, True)])
def test_a_doubt_ends_with_a_read_that_was_not_asked_for_before_it(asked_ms: int, ready: bool):
    reads = ReadSchedule()
    reads.doubt(5000)
    reads.doubt(4000)  # an earlier one changes nothing
    assert [bool(reads.due(Orders(), CONFIG, ms)) for ms in (4999, 5000)] == [False, True]
    reads.arrived(read(asked_ms), CONFIG)
    assert reads.ready == ready
    assert bool(reads.due(Orders(), CONFIG, 5100)) != ready  # asked for again at once


# ---- how far back

def test_a_read_goes_back_to_ten_seconds_before_the_first_order_in_doubt():
    orders, _ = unanswered()
    unanswered(SENT + 7000, orders, 2)
    resting_one = sent(orders, SENT - 50_000, 3)
    orders.placed(OrderPlaced(SENT, resting_one.client_order_id, "o3", 0, 1000))
    reads = ReadSchedule()
    ask = reads.ask(orders, "why", 1)
    assert (ask.reason, ask.since_ms) == ("why", SENT - 10_000)
    assert reads.ask(orders, "why", 2, everything=True).since_ms == SENT - 60_000 and (reads.reading, reads.asked_ms) == (True, 2)
    assert reads.ask(Orders(), "why", 3).since_ms == 0  # the resting ones only
    assert [reads.ask(unanswered(ms)[0], "why", 4).since_ms for ms in (10_002, 10_001, 10_000, 1)] == [2, 1, 1, 1]


# ---- what a list proves: 100 s, the patience is 3 s

@pytest.mark.parametrize(("asked_ms", "since", "ended"), [
    (108_001, SENT, True), (108_000, SENT, False),  # the doubt is of 105 s
    (120_000, SENT + 1, False), (120_000, 1, True), (120_000, 0, False)])
def test_an_order_without_an_answer_ends_only_by_a_list_that_is_late_enough_and_goes_back_to_it(
        asked_ms: int, since: int, ended: bool):
    orders, w = unanswered()
    found = compare_orders(orders, read(asked_ms, since=since), 3000)
    assert (w.state is State.DONE, len(found)) == (ended, ended)
    if ended: assert found[0][:2] == (Kind.LATE, "X") and "the exchange has never had it" in found[0][2]


@pytest.mark.parametrize(("asked_ms", "doubted"), [(103_000, False), (103_001, True)])
@pytest.mark.parametrize("canceling", [False, True])
def test_an_order_that_is_missing_from_a_list_is_in_doubt_if_the_list_is_late_enough(
        asked_ms: int, doubted: bool, canceling: bool):
    orders, w = resting()
    if canceling: orders.own.canceling(w, SENT)
    assert compare_orders(orders, read(asked_ms), 3000) == []
    assert w.state is (State.UNKNOWN if doubted else State.CANCELING if canceling else State.RESTING)
    if doubted: assert w.doubt == "not among the resting orders"


@pytest.mark.parametrize(("asked_ms", "since", "listed", "is_owed"), [
    (120_000, SENT, False, True), (120_000, SENT + 1, False, False), (120_000, 0, False, False), (120_000, 1, False, True),
    (120_000, SENT, True, False), (108_000, SENT, False, False), (108_001, SENT, False, True)])
def test_an_acknowledged_order_that_no_list_has_is_owed_to_us(asked_ms: int, since: int, listed: bool, is_owed: bool):
    orders, w = resting()
    orders.own.doubt(w, "why", SENT + 5000)
    there = Order("o1", "kmm-s-1", "X", Side.BID, 4300, 0, 1000, OrderStatus.RESTING)
    found = owed(orders, read(asked_ms, *[there] * listed, since=since), 3000)
    assert found == ({"kmm-s-1": ("X", "kmm-s-1 was taken by the exchange and is in no list", True)} if is_owed else {})
    assert owed(unanswered()[0], read(asked_ms, since=since), 3000) == {}  # nobody has acknowledged that one


def test_fills_of_an_order_that_has_ended_are_owed_to_us():
    orders, w = resting()
    orders.canceled(OrderCanceled(SENT + 5000, w.client_order_id, "o1", 400))  # so six contracts have filled
    assert owed(orders, read(120_000, since=1), 3000) == {"kmm-s-1": ("X", "kmm-s-1 filled 6 more than we know of", True)}
    orders.fill(Fill("t", "o1", "X", Side.BID, 4300, 600, 0, False, SENT), SENT + 6000)
    assert owed(orders, read(120_000, since=1), 3000) == {}


# ---- positions

@pytest.mark.parametrize(("filled_ms", "counts"), [(17_000, True), (17_001, False)])
def test_a_position_is_compared_once_the_lists_have_had_time_since_the_last_fill(filled_ms: int, counts: bool):
    suspicions, held = Suspicions(), {"X": slot(700, filled_ms)}
    found = suspicions.positions(read(20_000, positions=(("X", 900),)), held, 3000)
    assert found == ({"X": ("X", "X: we count 7 contracts, the exchange 9", True)} if counts else {})
    assert suspicions.positions(read(20_000, positions=(("X", 700),)), held, 3000) == {}


def test_a_suspicion_that_stands_outlives_a_fill_but_is_not_counted_with_it():
    suspicions, times = Suspicions(), []
    for asked_ms, filled_ms in ((10_000, 0), (13_000, 0), (16_000, 15_000), (18_000, 15_000)):
        found = suspicions.positions(read(asked_ms, positions=(("X", 900),)), {"X": slot(700, filled_ms)}, 3000)
        times.append((suspicions.take(found, asked_ms, 3000), suspicions.certain("X")))
    assert times == [([], False), ([], False), ([], False), (["X"], True)]


@pytest.mark.parametrize(("status", "listed", "suspected"), [
    ("active", 0, True), ("closed", 0, False), ("closed", 900, True), ("determined", 0, False), ("disputed", 0, False),
    ("amended", 0, False), ("finalized", 0, False), ("finalized", 900, False), ("inactive", 0, True)])
def test_a_market_that_waits_for_its_payment_may_have_been_paid_already(status: str, listed: Count, suspected: bool):
    found = Suspicions().positions(read(20_000, positions=(("X", listed),)), {"X": slot(700, status=status)}, 3000)
    assert bool(found) == suspected


@pytest.mark.parametrize(("ours", "theirs"), [(700, 900), (700, 400), (-300, -301), (-300, 200), (0, -5)])
def test_accepting_the_exchanges_count_makes_it_ours_at_the_value_in_our_books(ours: Count, theirs: Count):
    account, held = Reconciler(), {"X": slot(ours)}
    for asked_ms in (10_000, 13_000, 16_000):
        assert account.corrections(held, 1) == []  # not certain yet
        account.compare(read(asked_ms, positions=(("X", theirs),)), Orders(), held, [], CONFIG)
    assert account.unexplained and account.clean_ms == 13_050
    before = held["X"].pnl
    (fill,) = account.corrections(held, 99)
    held["X"].take(fill)
    assert (held["X"].position.net, held["X"].pnl, fill.fee, fill.order_id, fill.ts_ms) == (theirs, before, 0, "", 99)
    assert account.corrections(held, 100) == []
    account.compare(read(19_000, positions=(("X", theirs),)), Orders(), held, [], CONFIG)
    assert (account.unexplained, account.clean_ms) == ((), 19_050)


def test_a_count_that_can_not_be_read_is_suspected_and_never_accepted():
    account, held = Reconciler(), {"X": slot(700)}
    for asked_ms in (10_000, 13_000, 16_000):
        account.compare(read(asked_ms, positions=(("X", None),)), Orders(), held, [], CONFIG)
    assert account.unexplained == ("X: we count 7 contracts, the exchange something unreadable",)
    assert account.corrections(held, 1) == []


# ---- fills that only the lists tell

@pytest.mark.parametrize(("ts_ms", "kind"), [(16_999, Kind.MISSED_FILL), (17_000, Kind.LATE)])
@pytest.mark.parametrize("n", [1, 10, 11])
def test_a_fill_that_the_stream_has_had_time_to_tell_was_missed(ts_ms: int, kind: Kind, n: int):
    fills = [Fill(f"t{k}", "o1", "X", Side.BID, 4300, 100, 0, False, ts_ms) for k in range(n)]
    found = Reconciler().compare(read(20_000), Orders(), {}, fills, CONFIG)
    assert [d.kind for d in found] == [kind] * (n if n <= 10 else 1)
    assert found[-1].text == ("bid 1 at 43c filled, which the stream had not told, " if n <= 10 else
                              "11 fills that the stream had not told, up to ") + f"t{n - 1}"
