"What a session does without any setting, just before and at each of its times and numbers"
import pytest

from kalshi_mm.maker.halting import Watch
from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.orders import Orders
from kalshi_mm.maker.parameters import Config
from kalshi_mm.maker.reconcile import ReadSchedule
from kalshi_mm.model.messages import (
    AccountRead,
    AccountUnread,
    Action,
    Amend,
    BookSnapshot,
    Command,
    Connection,
    Decide,
    MarketListed,
    OrderPlaced,
    OrderSeen,
    Place,
    ReadBooks,
    Restored,
    Verb,
    WriteRejected,
)
from kalshi_mm.model.numbers import CENT, ONE
from kalshi_mm.model.types import Market, Order, OrderStatus, Side, TickGrid
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

T = 1_700_000_000_000
CONFIG = Config("s")


def listening(*tickers: str, config: Config = CONFIG) -> MarketMaker:
    maker = MarketMaker(SpreadCapture(Params()), config)
    maker.handle(Connection(T, True))
    for t in tickers:
        maker.handle(MarketListed(T, Market(t, "E", "S", t, "active", 0, T + 10**9, TickGrid.of([(0, ONE, CENT)]))))
        maker.handle(BookSnapshot(T, t, ((4200, 2500),), ((4800, 2500),)))
    maker.handle(AccountRead(T, T, 0, (), (), (), 10**10))
    maker.handle(Command(T, "start", "test"))
    return maker


def of(kind: type[Action], maker: MarketMaker, ms: int) -> list[Action]:
    return [a for a in maker.handle(Decide(T + ms)) if isinstance(a, kind)]


def placed(maker: MarketMaker, ms: int = 10) -> list[Place]:
    found = [a for a in of(Place, maker, ms) if isinstance(a, Place)]
    for a in found: maker.handle(OrderPlaced(T + ms, a.client_order_id, f"o-{a.client_order_id}", 0, a.count))
    return found


def test_four_writes_are_in_flight():
    assert len(of(Place, listening("X", "Y", "Z"), 10)) == 4


def test_a_quote_of_ten_contracts_a_tick_inside_lives_for_a_minute_and_is_renewed_after_half_of_it():
    maker = listening("X")
    bid, ask = placed(maker)
    assert (bid.price, ask.price, bid.count, ask.count, bid.expiration_s) == (4300, 4700, 1000, 1000, T // 1000 + 60)
    assert [len(of(Amend, maker, ms)) for ms in (29_750, 30_000)] == [0, 2]


@pytest.mark.parametrize(("spread", "quotes"), [(499, 0), (500, 2)])
def test_it_pays_to_quote_from_five_cents_on(spread: int, quotes: int):
    maker = MarketMaker(SpreadCapture(Params()), CONFIG)
    grid = TickGrid.of([(0, ONE, 1)])
    for e in (Connection(T, True), MarketListed(T, Market("X", "E", "S", "", "active", 0, T + 10**9, grid)),
              BookSnapshot(T, "X", ((4200, 2500),), ((4200 + spread, 2500),)), AccountRead(T, T, 0, (), (), (), 10**10),
              Command(T, "start", "test")):  # fmt: skip
        maker.handle(e)
    assert len(of(Place, maker, 10)) == quotes


def test_after_not_now_nothing_leaves_for_a_second():
    maker = listening("X")
    for a in of(Place, maker, 10):
        assert isinstance(a, Place)
        maker.handle(WriteRejected(T + 20, a.client_order_id, Verb.PLACE, "too_many_requests", ""))
    assert [len(of(Place, maker, ms)) for ms in (21, 1019, 1270)] == [0, 0, 2]


def test_ten_refusals_are_a_storm():
    watch = Watch(lambda level, text: None)
    halted = []
    for n in range(10):
        watch.refused(WriteRejected(T + 1000 * n, f"o{n}", Verb.PLACE, "invalid_price", ""), CONFIG)
        halted.append(bool(watch.halts))
    assert halted == [False] * 9 + [True]


def test_the_account_is_read_each_half_minute_and_a_second_after_a_read_that_failed():
    reads, orders = ReadSchedule(), Orders()
    reads.arrived(AccountRead(T, T, 0, (), (), (), 0), CONFIG)
    assert [bool(reads.due(orders, CONFIG, T + ms)) for ms in (29_999, 30_000)] == [False, True]
    assert not reads.failed(AccountUnread(T + 30_000, "why"), CONFIG)
    assert [bool(reads.due(orders, CONFIG, T + ms)) for ms in (30_999, 31_000)] == [False, True]
    assert [reads.failed(AccountUnread(T + ms, "why"), CONFIG) for ms in (59_999, 60_000)] == [False, True]


def test_lists_may_lag_by_three_seconds():
    for asked_ms, confirmed in ((4999, False), (5000, True)):
        maker = listening("X")
        maker.handle(Command(T + 2000, "stop", "test"))
        maker.handle(AccountRead(T + asked_ms + 50, T + asked_ms, 0, (), (), (), 10**10))
        assert bool(maker.controls.stop_confirmed_ms) == confirmed
    for asked_ms, ready in ((2999, False), (3000, True)):  # after an end that was not clean
        maker = listening("X")
        maker.handle(Restored(T, (), (), "", 0, 0, 0, (), (), unclean=True))
        maker.handle(AccountRead(T + asked_ms + 50, T + asked_ms, 0, (), (), (), 10**10))
        assert maker.reconciler.reads.ready == ready


def test_a_book_is_compared_with_rest_each_minute():
    maker = listening("X")
    looks = [bool(of(ReadBooks, maker, ms)) for ms in (10, 260, 60_009, 60_259)]
    assert looks == [True, False, False, True]


@pytest.mark.parametrize(("ms", "leaves"), [(9999, False), (10_000, True)])
def test_quotes_leave_half_a_minute_before_the_close(ms: int, leaves: bool):
    maker = MarketMaker(SpreadCapture(Params()), CONFIG)
    closes = Market("X", "E", "S", "", "active", 0, T + 40_000, TickGrid.of([(0, ONE, CENT)]))
    for e in (Connection(T, True), MarketListed(T, closes), BookSnapshot(T, "X", ((4200, 2500),), ((4800, 2500),)),
              AccountRead(T, T, 0, (), (), (), 10**10), Command(T, "start", "test")):  # fmt: skip
        maker.handle(e)
    assert len(placed(maker)) == 2
    maker.handle(Decide(T + ms))
    assert (maker.slots["X"].quotes.bid.reason == "the market is about to close") == leaves


def test_half_of_a_quote_may_fill_before_it_is_refilled():
    for filled, refills in ((500, 0), (501, 1)):
        maker = listening("X")
        bid, _ = placed(maker)
        maker.handle(OrderSeen(T + 20, Order(f"o-{bid.client_order_id}", bid.client_order_id, "X", Side.BID, 4300, filled,
                                            1000 - filled, OrderStatus.RESTING, T + 60_000)))  # fmt: skip
        assert len(of(Amend, maker, 300)) == refills
