"Which market's orders leave first, and when a market has its next turn"
import pytest

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import (
    AccountRead,
    Amend,
    BookSnapshot,
    Cancel,
    Command,
    Connection,
    Decide,
    MarketListed,
    OrderSeen,
    Place,
    Restored,
    Verb,
    WriteRejected,
)
from kalshi_mm.model.types import Order, OrderStatus, Side
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture
from tests.maker.test_many_markets import WIDE, Desk, market, tickers

T = 1_700_000_000_000


def listed(*names: str, writes_in_flight: int = 1) -> MarketMaker:
    maker = MarketMaker(SpreadCapture(Params()), Config("s", WIDE, writes_in_flight=writes_in_flight))
    maker.handle(Connection(T, True))
    for t in names: maker.handle(MarketListed(T, market(t)))
    maker.handle(AccountRead(T, T, 0, (), (), (), 10**12))
    return maker


def widened(maker: MarketMaker, *names: str) -> None:
    for t in names: maker.handle(BookSnapshot(T, t, ((4200, 2500),), ((4800, 2500),)))


def first(maker: MarketMaker, ms: int) -> list[str]:
    "Where the orders of one decision leave"
    return [a.ticker for a in maker.handle(Decide(T + ms)) if isinstance(a, Place)]


def test_with_a_beat_the_market_that_was_listed_first_goes_first():
    "Only one write may be in flight; the books came in another order"
    maker = listed("Z", "A", "M")
    maker.handle(Decide(T + 1))
    widened(maker, "M", "A", "Z")
    maker.handle(Command(T + 2, "start", "test"))
    assert first(maker, 3) == ["Z"]


def test_between_beats_what_leaves_first_does_not_depend_on_the_order_of_messages():
    found = []
    for order in (("A", "M", "Z"), ("Z", "M", "A")):
        maker = listed("Z", "A", "M")
        maker.handle(Command(T, "start", "test"))
        maker.handle(Decide(T + 1))
        widened(maker, *order)
        found.append(first(maker, 2))
    assert found == [["A"], ["A"]]


@pytest.mark.parametrize("verb", [Verb.AMEND, Verb.CANCEL])
def test_a_write_that_was_refused_is_tried_again_after_the_time_of_the_setting_among_hundreds(verb: Verb):
    "A quarter of a second or the beat after it, though a round through three hundred markets takes five beats"
    desk = Desk(map(market, tickers(300)), 10).begin()
    bid, _ = (w for w in desk.maker.orders.own.pending() if w.ticker == "00-3")
    if verb is Verb.CANCEL: desk.maker.handle(Command(desk.now, "pause", "test", "00-3"))
    else: desk.maker.handle(BookSnapshot(desk.now, "00-3", ((4100, 2500),), ((4700, 2500),)))

    tries = []
    for ms in range(1, 2000, 10):
        written = [a for a in desk.maker.handle(Decide(desk.now + ms)) if isinstance(a, Amend | Cancel) and a.ticker == "00-3"]
        tries += [ms for a in written if a.client_order_id == bid.client_order_id]
        for a in written: desk.maker.handle(WriteRejected(desk.now + ms, a.client_order_id, verb, "exchange_says_no", ""))
    gaps = [after - before for before, after in zip(tries, tries[1:], strict=False)]
    assert len(gaps) >= 3 and min(gaps) >= 250 and max(gaps) <= 510  # with the first beat after that time


def test_a_maker_tells_whose_order_one_is():
    maker = listed("X")
    maker.handle(Restored(T, (), (), "", 0, 0, 0, (), (), sessions=("before",)))
    ids = ("kmm-s-1", "kmm-before-1", "kmm-probe1a2b3c-1", "by-hand", "", "kmm-other-1")
    orders = [Order("o", i, "X", Side.BID, 4100, 0, 100, OrderStatus.RESTING, None) for i in ids]
    assert [maker.unknown_session(o) for o in orders] == ["", "", "", "", "", "other"]
    assert maker.resting == 0
    for o in orders[1:2]: maker.handle(OrderSeen(T, o))
    maker.handle(AccountRead(T + 1, T + 1, 0, (orders[1],), (), (), 410_123))  # of which the order reserves 410,000
    assert (maker.resting, maker.balance, maker.killed, maker.quoting, maker.reduce_only) == (1, 123, False, False, False)
