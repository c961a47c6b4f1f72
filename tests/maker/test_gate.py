"What holds orders back, at its boundaries: crosses in a row, want of cash, other machines' orders, fills that can't be read"
import pytest

from kalshi_mm.maker.account import OtherSessions, UnreadFills
from kalshi_mm.maker.halting import Watch
from kalshi_mm.maker.markets import Markets
from kalshi_mm.maker.order_gate import Cash, Crosses, lockup
from kalshi_mm.maker.orders import CountedFills
from kalshi_mm.model.messages import MarketListed
from kalshi_mm.model.numbers import CENT, DOLLAR, ONE, Count, Money, Price
from kalshi_mm.model.types import Market, Order, OrderStatus, Side, TickGrid, UnreadFill

T = 1_700_000_000_000


def watching() -> Watch: return Watch(lambda level, text: None)


# ---- crosses

@pytest.mark.parametrize(("apart_ms", "in_a_row"), [(60_000, [1, 2, 3, 4]), (60_001, [1, 1, 1, 1])])
def test_crosses_are_in_a_row_if_no_more_than_a_minute_lies_between_them(apart_ms: int, in_a_row: list[int]):
    crosses = Crosses()
    assert [crosses.crossed("X", Side.BID, T + n * apart_ms) for n in range(4)] == in_a_row


def test_the_pause_after_the_third_cross_doubles_up_to_half_a_minute_and_an_order_that_rests_ends_it():
    crosses, pauses = Crosses(), []
    for n in range(20):
        crosses.crossed("X", Side.BID, T + n)
        pauses.append(max(crosses.until_ms("X", Side.BID) - T - n, 0))
    assert pauses == [0, 0, 1000, 2000, 4000, 8000, 16_000, *[30_000] * 13]
    assert crosses.until_ms("X", Side.ASK) == crosses.until_ms("Y", Side.BID) == 0
    crosses.rests("X", Side.ASK)
    assert crosses.until_ms("X", Side.BID) > T
    crosses.rests("X", Side.BID)
    assert crosses.until_ms("X", Side.BID) == 0 and crosses.crossed("X", Side.BID, T + 30) == 1


# ---- cash

@pytest.mark.parametrize(("side", "price", "count", "net", "locks"), [
    (Side.BID, 4300, 1000, 0, 4_300_000), (Side.ASK, 4300, 1000, 0, 5_700_000), (Side.BID, 4300, 1000, 500, 4_300_000),
    (Side.ASK, 4300, 1000, -500, 5_700_000), (Side.BID, 4300, 1000, -999, 4300), (Side.BID, 4300, 1000, -1000, 0),
    (Side.BID, 4300, 1000, -1001, 0), (Side.ASK, 4300, 1000, 999, 5700), (Side.ASK, 4300, 1000, 1000, 0)])
def test_an_order_locks_what_it_could_lose_beyond_what_it_closes(
        side: Side, price: Price, count: Count, net: Count, locks: Money):
    assert lockup(side, price, count, net) == locks


@pytest.mark.parametrize(("need", "balance", "room"), [
    (10, 3, 3), (10, 5, 5), (10, 6, 5), (11, None, 5), (10, -4, 0), (10, 0, 0)])
def test_after_a_refusal_the_room_is_half_of_what_was_wanted_or_what_is_free(need: Money, balance: Money | None, room: Money):
    cash = Cash()
    assert cash.room(T) is None
    assert cash.refused(need * DOLLAR, balance if balance is None else balance * DOLLAR, T)
    assert (cash.room(T), cash.again_ms) == (need * DOLLAR // 2 if room == 5 else room * DOLLAR, T + 1000)
    assert not cash.refused(100 * DOLLAR, 99 * DOLLAR, T + 1)  # it goes on, and is never wider than before
    assert (cash.room(T + 1), cash.again_ms) == (need * DOLLAR // 2 if room == 5 else room * DOLLAR, T + 1001)


def test_the_room_doubles_with_each_order_that_is_accepted_and_after_half_a_minute_until_the_first_size_fits():
    cash = Cash()
    cash.refused(10 * DOLLAR, 2 * DOLLAR, T)
    assert [cash.room(T + ms) for ms in (29_999, 30_000, 30_001, 59_999, 60_000)] == [n * DOLLAR for n in (2, 4, 4, 4, 8)]
    assert not cash.accepted(0, T + 60_001) and cash.room(T + 60_001) == 8 * DOLLAR  # one that locks nothing says nothing
    assert cash.accepted(1, T + 60_002) and cash.room(T + 60_003) is None
    assert not cash.accepted(1, T + 60_004) and cash.refused(10 * DOLLAR, 5 * DOLLAR, T + 60_005)
    assert cash.accepted(1, T + 60_006) and cash.room(T + 60_006) is None  # twice five is what was wanted


def test_from_nothing_the_room_begins_with_a_dollar():
    cash = Cash()
    cash.refused(10 * DOLLAR, 0, T)
    rooms = []
    for n in range(5):
        rooms.append(cash.room(T + n))
        cash.accepted(1, T + n)
    assert rooms == [0, DOLLAR, 2 * DOLLAR, 4 * DOLLAR, 8 * DOLLAR] and cash.room(T + 9) is None


# ---- orders of sessions that this machine doesn't know

def theirs(n: int, expires_ms: int | None) -> tuple[str, Order]:
    return "far", Order(f"o{n}", f"kmm-far-{n}", "X", Side.BID, 4300, 0, 100, OrderStatus.RESTING, expires_ms)


@pytest.mark.parametrize(("asked_ms", "rule"), [(T + 3000, "other_session"), (T + 3001, "other_engine")])
def test_orders_of_another_machine_that_come_up_while_lists_may_lag_are_waited_for_and_later_ones_are_an_engine(
        asked_ms: int, rule: str):
    watch = watching()
    others = OtherSessions(watch)
    assert others.listed([theirs(1, T + 60_000)], T, 3000, T) == T + 60_000
    assert list(watch.halts.active) == ["other_session"]
    until_ms = others.listed([theirs(1, T + 60_000), theirs(2, T + 70_000)], asked_ms, 3000, asked_ms)
    assert (list(watch.halts.active), until_ms) == ([rule], T + 70_000 if rule == "other_session" else 0)


@pytest.mark.parametrize("changed", [T + 60_001, None])
def test_an_order_of_another_machine_that_is_renewed_shows_an_engine(changed: int | None):
    for told in ("list", "stream"):
        watch = watching()
        others = OtherSessions(watch)
        others.listed([theirs(1, T + 60_000)], T, 3000, T)
        others.streamed(*theirs(1, T + 60_000), T + 1)  # a part of it has filled
        assert list(watch.halts.active) == ["other_session"]
        if told == "list": others.listed([theirs(1, changed)], T + 1, 3000, T + 1)
        else: others.streamed(*theirs(1, changed), T + 1)
        assert "other_engine" in watch.halts.active


def test_the_wait_for_another_machine_ends_with_its_last_order():
    watch = watching()
    others = OtherSessions(watch)
    others.listed([theirs(1, T + 60_000), theirs(2, T + 50_000)], T, 3000, T)
    assert watch.halts.why == ("other_session: 2 orders of another machine's session far rest until 22:14:20 UTC at the latest")
    assert others.listed([], T + 61_000, 3000, T + 61_000) == 0 and not watch.halts


# ---- fills that can't be read

def test_a_market_is_halted_until_the_last_of_its_fills_that_could_not_be_read_is_counted():
    watch, counted = watching(), CountedFills()
    markets = Markets(watch)
    markets.add(MarketListed(T, Market("X", "E", "S", "", "active", 0, 2 * T, TickGrid.of([(0, ONE, CENT)]))))
    fills = UnreadFills(counted, markets, watch)
    counted.count("t0")
    fills.add(UnreadFill("t0", "no count", "X"), T)  # counted already
    assert not watch.halts and fills.corrections(T) == []
    for n, ticker in ((1, "X"), (2, "X"), (3, "elsewhere"), (4, "")): fills.add(UnreadFill(f"t{n}", "no count", ticker), T)
    assert set(watch.halts.active) == {"unread_fill:X", "unread_fill"}
    assert [(f.trade_id, f.ticker, f.count, f.ts_ms) for f in fills.corrections(T + 5)] == [
        ("t1", "X", 0, T + 5), ("t2", "X", 0, T + 5), ("t3", "elsewhere", 0, T + 5), ("t4", "", 0, T + 5)]
    left = []
    for n in (1, 9, 3, 2, 4):
        fills.counted(f"t{n}")
        left.append(sorted(watch.halts.active))
    both = ["unread_fill", "unread_fill:X"]
    assert left == [both, both, both, ["unread_fill"], []]
