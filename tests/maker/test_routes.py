"For each message that stops quoting the one that ends it, and what a session takes over from the one before"
import pytest

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import (
    AccountRead,
    AccountUnread,
    BookSnapshot,
    ClockRead,
    Command,
    Connection,
    Decide,
    Event,
    ExchangeStatus,
    FeedHealth,
    FillSeen,
    MarketListed,
    MarketSpeed,
    MarketStatus,
    MarketUnclear,
    Notify,
    OrderPlaced,
    OrderSeen,
    Place,
    Restored,
)
from kalshi_mm.model.numbers import CENT, DOLLAR, ONE
from kalshi_mm.model.types import Fill, Market, Order, OrderStatus, Position, Side, TickGrid
from kalshi_mm.risk.limits import Limits
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

T = 1_700_000_000_000
FREE = Limits(10**9, 10**9, 10**15, 10**15, 10 * 100, 20 * DOLLAR)
X = Market("X", "E", "S", "", "active", 0, T + 10**9, TickGrid.of([(0, ONE, CENT)]))


def read(ms: int, balance: int = 10**10, *orders: Order) -> AccountRead:
    return AccountRead(T + ms, T + ms, 0, orders, (), (), balance)


def quoting() -> MarketMaker:
    maker = MarketMaker(SpreadCapture(Params()), Config("s", FREE))
    for e in (Connection(T, True), MarketListed(T, X), BookSnapshot(T, "X", ((4200, 2500),), ((4800, 2500),)), read(0),
              Command(T, "start", "test")):  # fmt: skip
        maker.handle(e)
    for n, a in enumerate(a for a in maker.handle(Decide(T)) if isinstance(a, Place)):
        maker.handle(OrderPlaced(T, a.client_order_id, f"o{n}", 0, a.count))
    return maker


PAIRS: list[tuple[str, str, list[Event], list[Event]]] = [
    ("paused", "the exchange is paused for trading", [ExchangeStatus(T, True, False)], [ExchangeStatus(T + 1, True, True)]),
    ("paused", "the exchange is closed", [ExchangeStatus(T, False, True)], [ExchangeStatus(T + 1, True, True)]),
    ("disconnected", "reset by peer", [Connection(T, False, "reset by peer")], [Connection(T + 1, True)]),
    ("disconnected", "the stream is down", [Connection(T, False)], [Connection(T + 1, True)]),
    ("account", "the account can't be read: no route", [AccountUnread(T, "no route"), AccountUnread(T + 30_000, "no route")],
     [read(30_001)]),
    ("balance", "$19.99 are free, the least is $20.00", [read(1, 20 * DOLLAR - 10_000)],
     [read(2, 25 * DOLLAR), read(2002, 25 * DOLLAR)]),
    ("terms:X", "its price grid has a gap", [MarketUnclear(T, "X", "its price grid has a gap")], [MarketListed(T + 1, X)]),
    ("stale", "nothing heard for 25001 ms", [FeedHealth(T, 25_001, 1)], [FeedHealth(T + 1, 0, 1), FeedHealth(T + 2001, 0, 1)]),
    ("clock_skew", "our clock is 2001 ms behind the exchange's", [ClockRead(T, 2001)],
     [ClockRead(T + 1, 0), ClockRead(T + 2001, 0)]),
]


@pytest.mark.parametrize(("key", "reason", "begin", "end"), PAIRS, ids=[f"{key}: {reason}" for key, reason, *_ in PAIRS])
def test_what_stops_quoting_has_an_end_and_people_are_told_of_both(
        key: str, reason: str, begin: list[Event], end: list[Event]):
    maker, told = quoting(), list[str]()
    def handle(*events: Event) -> None:
        notes = [a for e in events for a in maker.handle(e) if isinstance(a, Notify)]
        told.extend(f"{a.level}: {a.reason}" for a in notes if a.level != "warning")

    handle(*begin)
    assert [(h.key, h.reason) for h in maker.halts.active.values()] == [(key, reason)]
    assert told == [f"error: halted, {key}: {reason}"]
    handle(*end)
    assert not maker.halts and told[1:] == [f"info: {key.replace(':', ' of ')} has passed"]


def test_a_market_that_stops_trading_explains_the_end_of_its_orders_and_so_does_a_pause_of_the_exchange():
    for explains in (MarketStatus(T + 5, "X", "inactive"), ExchangeStatus(T + 5, True, False), None):
        maker = quoting()
        bid, _ = maker.orders.own.pending()
        gone = Order(bid.order_id, bid.client_order_id, "X", bid.side, bid.price, 0, 0, OrderStatus.CANCELED)
        maker.handle(OrderSeen(T + 4, gone))
        assert maker.account.elsewhere_cancels.waits("X")
        if explains: maker.handle(explains)
        assert maker.account.elsewhere_cancels.waits("X") == (explains is None)
    maker.handle(MarketStatus(T + 5, "X", "active"))
    assert maker.account.elsewhere_cancels.waits("X")


@pytest.mark.parametrize(("apart_ms", "halts"), [(4999, True), (5000, False)])
def test_fills_are_added_up_over_fifteen_seconds_of_the_market(apart_ms: int, halts: bool):
    maker = quoting()
    maker.handle(MarketSpeed(T, 3000))  # 15 s of the market are 5 s of the clock
    for n, ms in ((1, 0), (2, apart_ms)):
        maker.handle(FillSeen(T + ms, Fill(f"t{n}", "h", "X", Side.BID, 4300, 500, 0, False, T + ms)))
    assert ("fill_burst" in maker.halts.active) == halts


def test_a_session_takes_over_what_the_one_before_has_left():
    maker = MarketMaker(SpreadCapture(Params()), Config("s", FREE))
    maker.handle(MarketListed(T, X))
    halts = (("daily_loss", "lost", T - 5), ("canceled_elsewhere:X", "why", T - 4), ("of_another_version", "odd", T - 3))
    held = (Position("X", 700, -5), Position("Z", -100, 9))
    said = maker.handle(Restored(
        T, held, ("t1",), "2023-11-14", 1, 3, 2, (("X", 4400),), halts, paused=(("X", "alice"), ("Y", "bob")), reduce_only=True,
        profit=1000, parameters=(("min_spread", "7"), ("gone", "1"))))
    assert [(h.key, h.reason, h.since_ms) for h in maker.halts.active.values()] == [
        ("daily_loss", "lost", T - 5), ("canceled_elsewhere:X", "why", T - 4), ("error", "odd", T - 3)]
    assert [a.reason for a in said if isinstance(a, Notify)] == [
        "what was set in an earlier session can't be any more: gone: this strategy has no such parameter"]
    assert maker.day and (maker.day.day, maker.day.open, maker.day.peak, maker.day.now) == ("2023-11-14", 1, 3, 2)
    x = maker.slots["X"]
    assert (x.position, x.worst, x.mark, x.paused, maker.reduce_only) == (Position("X", 700, -5), 700, 4400, "alice", True)
    assert maker.live.values()["min_spread"] == "7" and maker.orders.trade_ids == {"t1"}
    assert maker.profit == 1000 + (700 * 4400 - 5) + (9 - 100 * ONE)
    maker.handle(MarketListed(T, Market("Y", "E", "S", "", "active", 0, T + 10**9, X.grid)))
    assert maker.slots["Y"].paused == "bob" and set(maker.elsewhere) == {"Z"}


def test_a_session_without_a_past_has_no_day_before_its_first_valuation():
    maker = MarketMaker(SpreadCapture(Params()), Config("s", FREE))
    maker.handle(Restored(T, (), (), "", 0, 0, 0, (), ()))
    assert maker.day is None and not maker.halts and not maker.reduce_only
