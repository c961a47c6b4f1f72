"What a beat does by itself: reads that are due, what is forgotten, what heals; each just before its time and at it"
import pytest

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import (
    AccountRead,
    BookDelta,
    BookSnapshot,
    BookStale,
    Command,
    Connection,
    Decide,
    FillSeen,
    MarketListed,
    MarketSettled,
    OrderCanceled,
    OrderPlaced,
    Place,
    ReadAccount,
    ReadBooks,
)
from kalshi_mm.model.numbers import CENT, ONE
from kalshi_mm.model.types import Fill, Market, Side, TickGrid
from kalshi_mm.risk.limits import Limits
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

T = 1_700_000_000_000
FREE = Limits(10**9, 10**9, 10**15, 10**15, 10**12, 0)


def quoting(*tickers: str, limits: Limits = FREE) -> MarketMaker:
    "A maker whose quotes rest in these markets since a moment ago"
    maker = MarketMaker(SpreadCapture(Params()), Config("s", limits, writes_in_flight=99))
    maker.handle(Connection(T, True))
    for t in tickers or ("X",):
        maker.handle(MarketListed(T, Market(t, "E", "S", t, "active", 0, T + 10**9, TickGrid.of([(0, ONE, CENT)]))))
        maker.handle(BookSnapshot(T, t, ((4200, 2500),), ((4800, 2500),)))
    maker.handle(AccountRead(T, T, 0, (), (), (), 10**10))
    maker.handle(Command(T, "start", "test"))
    for n, a in enumerate(a for a in maker.handle(Decide(T)) if isinstance(a, Place)):
        maker.handle(OrderPlaced(T, a.client_order_id, f"o{n}", 0, a.count))
    return maker


def asks(maker: MarketMaker, ms: int) -> bool:
    "Whether a decision asks for the account"
    return any(isinstance(a, ReadAccount) for a in maker.handle(Decide(T + ms)))


def test_a_beat_comes_a_quarter_of_a_second_after_the_last_one_or_with_what_concerns_all_markets():
    for ms, beats in ((249, False), (250, True)):
        maker = quoting()
        maker.reconciler.reads.soon()
        assert asks(maker, ms) == beats
    maker = quoting()
    maker.reconciler.reads.soon()
    maker.handle(Connection(T + 5, True))
    assert asks(maker, 5)


def test_a_stop_is_proved_by_a_read_that_is_asked_for_once_lists_have_had_their_time():
    for ms, reads in ((2999, False), (3000, True)):
        maker = quoting()
        maker.handle(Command(T, "stop", "test"))
        assert not asks(maker, 1)
        assert asks(maker, ms) == reads
        maker.handle(AccountRead(T + 4000, T + ms, 0, (), (), (), 10**10))
        if reads: assert not asks(maker, 5000)


@pytest.mark.parametrize(("ms", "known"), [(60_000, True), (60_001, False)])
def test_an_order_that_has_ended_is_forgotten_after_a_minute(ms: int, known: bool):
    maker = quoting()
    bid, _ = maker.orders.own.pending()
    maker.handle(OrderCanceled(T, bid.client_order_id, bid.order_id, 1000))
    maker.handle(Decide(T + ms))
    assert (bid.client_order_id in maker.orders.all) == known


@pytest.mark.parametrize(("ms", "kept"), [(3000, True), (3001, False)])
def test_our_part_of_a_book_in_which_nothing_of_ours_rests_heals_after_lists_have_had_their_time(ms: int, kept: bool):
    maker = quoting()
    maker.handle(BookDelta(T, "X", Side.BID, 4300, 1000, T, "kmm-s-1"))
    for w in maker.orders.own.pending(): maker.handle(OrderCanceled(T, w.client_order_id, w.order_id, 1000))
    maker.handle(Command(T, "pause", "test", "X"))
    maker.handle(Decide(T + ms))
    assert any(maker.slots["X"].own.values()) == kept


def test_a_book_is_compared_with_rest_by_its_place_in_the_round_and_only_while_it_is_live():
    maker = quoting("X", "Y")
    maker.handle(BookStale(T, ("Y",), "a gap"))
    found = [a.tickers for ms in (250, 60_000, 60_250) for a in maker.handle(Decide(T + ms)) if isinstance(a, ReadBooks)]
    assert found == [("X",)]  # each minute; the first look was with the first beat


def test_a_day_is_measured_once_the_account_is_known_and_its_limits_hold():
    maker = quoting(limits=Limits(10**9, 10**9, 500_000, 10**15, 10**12, 0))
    assert maker.day and maker.day.pnl == 0
    maker.handle(FillSeen(T + 10, Fill("t", "o0", "X", Side.BID, 4500, 1000, 0, False, T)))
    maker.handle(BookSnapshot(T + 20, "X", ((3700, 2500),), ((4302, 2500),)))
    maker.handle(Decide(T + 20))
    assert maker.day.pnl == -499_000 and not maker.halts
    maker.handle(BookSnapshot(T + 30, "X", ((3700, 2500),), ((4300, 2500),)))
    maker.handle(Decide(T + 30))
    assert list(maker.halts.active) == ["daily_loss"] and "lost $0.50 of $0.50" in maker.halts.why


def test_before_the_account_is_known_nothing_is_measured_and_losses_of_before_are_not_the_days():
    maker = MarketMaker(SpreadCapture(Params()), Config("s", FREE))
    maker.handle(FillSeen(T, Fill("t", "o", "Z", Side.BID, 4500, 1000, 0, False, T)))
    maker.handle(Decide(T))
    assert maker.day is None and maker.profit == -4_500_000
    maker.handle(AccountRead(T, T, 0, (), (), (), 10**10))
    maker.handle(Decide(T + 300))
    assert maker.day and (maker.day.pnl, maker.day.now) == (0, -4_500_000)
    maker.handle(MarketSettled(T, "Z", ONE))
    maker.handle(Decide(T + 600))
    assert maker.day.pnl == 10_000_000
