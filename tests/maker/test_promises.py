"""Promises of the core to the contract, the cent and the millisecond, each with the value on either side of its boundary.

Limits are tested at one hundredth of a contract, against sums that are made by trying everything.
"""
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.orders import State
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import (
    AccountRead,
    Action,
    Amend,
    BookDelta,
    BookSnapshot,
    BookStale,
    Cancel,
    Command,
    Connection,
    Decide,
    FillSeen,
    MarketListed,
    MarketSettled,
    Notify,
    OrderPlaced,
    OrderSeen,
    Place,
    ReadAccount,
    Restored,
    Verb,
    WriteRejected,
    WriteUnknown,
)
from kalshi_mm.model.numbers import CENT, CONTRACT, ONE, Count
from kalshi_mm.model.types import Fill, Market, Order, OrderStatus, Position, Quote, Side, TickGrid
from kalshi_mm.risk.exposure import Exposure, Exposures
from kalshi_mm.risk.limits import Limits, check_order
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

T = 1_700_000_000_000
CENTS = TickGrid.of([(0, ONE, CENT)])
FREE = Limits(10**9, 10**9, 10**15, 10**15, 10**12, 0)
BOOK = ((4200, 2500),), ((4800, 2500),)


def market(ticker: str = "X", close_ms: int = T + 10**9) -> Market:
    return Market(ticker, "E", "S", ticker, "active", T - 1000, close_ms, CENTS)


PLAIN = Config("s", FREE)


def listening(config: Config = PLAIN, *markets: Market) -> MarketMaker:
    "A maker that has read its account and was told to start"
    maker = MarketMaker(SpreadCapture(Params()), config)
    maker.handle(Connection(T, True))
    for m in markets or (market(),):
        maker.handle(MarketListed(T, m))
        maker.handle(BookSnapshot(T, m.ticker, *BOOK))
    maker.handle(AccountRead(T, T, 0, (), (), (), 10**10))
    maker.handle(Command(T, "start", "test"))
    return maker


def placed(maker: MarketMaker, now_ms: int) -> list[Place]:
    "What a decision places; the exchange takes all of it"
    found = [a for a in maker.handle(Decide(now_ms)) if isinstance(a, Place)]
    for a in found: maker.handle(OrderPlaced(now_ms, a.client_order_id, f"o-{a.client_order_id}", 0, a.count))
    return found


def of(kind: type[Action], actions: list[Action]) -> list[Action]: return [a for a in actions if isinstance(a, kind)]


# ---- before the close

@pytest.mark.parametrize("stop_s", [0, 1, 45, 600])
def test_quotes_leave_as_long_before_the_close_as_the_setting_says_and_not_a_millisecond_sooner(stop_s: int):
    close_ms = T + 1_000_000  # before the quotes are renewed
    stop_ms = close_ms - 1000 * stop_s
    for ms, leave in ((stop_ms - 1, 0), (stop_ms, 2)):
        maker = listening(Config("s", FREE, quote_lifetime_s=3600, stop_before_close_s=stop_s), market(close_ms=close_ms))
        assert len(placed(maker, T + 10)) == 2
        assert not of(Cancel, maker.handle(Decide(stop_ms - 5000)))
        assert len(of(Cancel, maker.handle(Decide(ms)))) == leave, ms - stop_ms
    assert maker.slots["X"].quotes.bid.reason == "the market is about to close"


def test_a_changed_setting_pulls_quotes_that_are_too_close_to_the_end_now():
    maker = listening(Config("s", FREE, quote_lifetime_s=3600), market(close_ms=T + 500_000))
    assert len(placed(maker, T + 10)) == 2
    assert not of(Cancel, maker.handle(Decide(T + 1000)))
    maker.handle(Command(T + 1100, "set", "test", '{"stop_before_close_s": "499"}'))
    assert len(of(Cancel, maker.handle(Decide(T + 1250)))) == 2


# ---- refusals

@pytest.mark.parametrize("code", ["too_many_requests", "unreachable", "exchange_closed"])
@pytest.mark.parametrize("retry_ms", [1000, 7000])
def test_after_a_refusal_that_says_not_now_nothing_leaves_for_the_time_of_the_setting(code: str, retry_ms: int):
    for ms, leaves in ((21, 0), (500, 0), (retry_ms + 19, 0), (retry_ms + 20, 2)):
        maker = listening(Config("s", FREE, retry_ms=retry_ms))
        first = of(Place, maker.handle(Decide(T + 10)))
        for a in first: maker.handle(WriteRejected(T + 20, a.client_order_id, Verb.PLACE, code, ""))
        assert len(first) == 2 and not maker.halts
        maker.handle(Decide(T + 21))  # they wait
        assert len(of(Place, maker.handle(Decide(T + ms)))) == leaves, ms


def test_in_that_time_no_order_moves_either_and_cancels_leave_still():
    maker = listening(Config("s", FREE, retry_ms=5000), market(), market("Y"))
    assert len(placed(maker, T + 10)) == 4
    maker.handle(BookSnapshot(T + 300, "X", ((4300, 2500),), ((4900, 2500),)))
    moved = of(Amend, maker.handle(Decide(T + 300)))
    for a in moved: maker.handle(WriteRejected(T + 310, a.client_order_id, Verb.AMEND, "too_many_requests", ""))
    assert len(moved) == 2
    maker.handle(BookSnapshot(T + 400, "Y", ((4300, 2500),), ((4900, 2500),)))
    for ms in (600, 2000, 5309): assert not of(Amend, maker.handle(Decide(T + ms))), ms
    assert len(of(Amend, maker.handle(Decide(T + 5309 + 250)))) == 4  # the next beat
    maker = listening(Config("s", FREE, retry_ms=5000))
    both = placed(maker, T + 10)
    maker.handle(BookSnapshot(T + 300, "X", ((4300, 2500),), ((4900, 2500),)))
    for a in of(Amend, maker.handle(Decide(T + 300))):
        maker.handle(WriteRejected(T + 310, a.client_order_id, Verb.AMEND, "too_many_requests", ""))
    maker.handle(Command(T + 311, "stop", "test"))
    assert len(of(Cancel, maker.handle(Decide(T + 600)))) == len(both)


def test_an_order_whose_id_exists_already_is_taken_for_one_that_may_rest_until_the_exchange_has_said():
    maker = listening()
    bid, ask = of(Place, maker.handle(Decide(T + 10)))
    maker.handle(OrderPlaced(T + 20, ask.client_order_id, "o2", 0, ask.count))
    maker.handle(WriteRejected(T + 20, bid.client_order_id, Verb.PLACE, "order_already_exists", ""))
    assert maker.resting == 2 and maker.orders.exposure("X") == (bid.count, ask.count)
    sent = maker.handle(Decide(T + 300)) + maker.handle(Decide(T + 1300))
    assert of(ReadAccount, sent) and not of(Place, sent)  # it is asked about, and no second one is placed
    here = Order("o1", bid.client_order_id, "X", bid.side, bid.price, 0, bid.count, OrderStatus.RESTING, T + 70_000)
    there = structs.replace(here, order_id="o2", client_order_id=ask.client_order_id, side=ask.side, price=ask.price)
    maker.handle(AccountRead(T + 9000, T + 8000, T, (here, there), (), (), 10**10))
    maker.handle(Command(T + 9001, "stop", "test"))
    assert {a.order_id for a in of(Cancel, maker.handle(Decide(T + 9300)))} == {"o1", "o2"}


@pytest.mark.parametrize("verb", [Verb.PLACE, Verb.AMEND, Verb.CANCEL])
def test_a_write_without_an_answer_leaves_the_order_in_doubt_until_a_list_tells(verb: Verb):
    "It may rest as it was and as it was to become; nothing is placed in its stead, and the account is read"
    maker = listening()
    bid, ask = of(Place, maker.handle(Decide(T + 10)))
    maker.handle(OrderPlaced(T + 20, ask.client_order_id, "o2", 0, ask.count))
    if verb is not Verb.PLACE: maker.handle(OrderPlaced(T + 20, bid.client_order_id, "o1", 0, bid.count))
    if verb is Verb.AMEND: maker.handle(BookSnapshot(T + 300, "X", ((4300, 2500),), ((4800, 2500),)))
    if verb is Verb.CANCEL: maker.handle(BookSnapshot(T + 300, "X", (), ((4800, 2500),)))
    sent = maker.handle(Decide(T + 300))
    if verb is not Verb.PLACE: assert [a.client_order_id for a in of(Amend if verb is Verb.AMEND else Cancel, sent)]
    maker.handle(WriteUnknown(T + 320, bid.client_order_id, verb, "it broke off"))
    w = maker.orders.all[bid.client_order_id]
    assert (w.state, w.doubt) == (State.UNKNOWN, f"no answer to {verb}: it broke off")
    assert maker.resting == 2 and maker.orders.exposure("X") == (bid.count, ask.count)
    later = maker.handle(Decide(T + 700)) + maker.handle(Decide(T + 1700))
    assert of(ReadAccount, later) and not [a for a in of(Place, later) if a.side is Side.BID]
    there = Order("o2", ask.client_order_id, "X", ask.side, ask.price, 0, ask.count, OrderStatus.RESTING, T + 70_000)
    gone = structs.replace(there, order_id="o1", client_order_id=bid.client_order_id, side=bid.side, price=bid.price,
                           remaining=0, status=OrderStatus.CANCELED)
    found = (there,) if verb is Verb.PLACE else (there, gone)
    maker.handle(AccountRead(T + 9000, T + 8000, T, found, (), (), 10**10))
    assert w.state is State.DONE and maker.resting == 1


# ---- what a position is worth

def test_a_position_whose_book_is_dark_halts_after_a_minute_though_it_has_a_mark():
    maker = listening()
    maker.handle(FillSeen(T, Fill("t", "o", "X", Side.BID, 4300, 500, 0, False, T)))
    maker.handle(Decide(T + 300))
    assert maker.slots["X"].mark == 4500 and maker.slots["X"].marked_ms == T + 300
    maker.handle(BookStale(T + 400, ("X",), "a gap"))
    for ms in (60_000, 60_300):
        maker.handle(Decide(T + ms))
        assert "unmarked" not in maker.halts.active
    maker.handle(Decide(T + 60_301))
    assert maker.halts.active["unmarked"].reason == "no price to value the position in X"
    maker.handle(BookSnapshot(T + 61_000, "X", *BOOK))
    maker.handle(Decide(T + 61_000))
    assert "unmarked" not in maker.halts.active


@pytest.mark.parametrize("bid", [4800, 4801, 9900])
def test_a_crossed_book_moves_no_mark(bid: int):
    maker = listening()
    maker.handle(FillSeen(T, Fill("t", "o", "X", Side.BID, 4300, 500, 0, False, T)))
    maker.handle(Decide(T + 10))
    before = maker.slots["X"].mark, maker.profit
    assert before == (4500, 200 * 500)
    maker.handle(BookSnapshot(T + 20, "X", ((bid, 2500),), ((4800, 2500),)))
    maker.handle(Decide(T + 30))
    assert (maker.slots["X"].mark, maker.profit) == before
    maker.handle(BookSnapshot(T + 40, "X", ((4700, 2500),), ((4800, 2500),)))
    maker.handle(Decide(T + 50))
    assert maker.slots["X"].mark == 4750


@pytest.mark.parametrize(("net", "worth"), [(300, 0), (-300, -300 * ONE)])
def test_a_position_in_a_market_that_is_not_listed_counts_at_its_worst(net: Count, worth: int):
    "Nothing for a long one, a dollar to pay for each contract of a short one; until it is paid, whatever it is paid"
    maker, paid = MarketMaker(SpreadCapture(Params()), Config("s")), -net * 4000
    maker.handle(Restored(T, (Position("Z", net, paid, 12),), (), "", 0, 0, 0, (("Z", 9900 if net > 0 else 100),), ()))
    assert maker.profit == paid - 12 + worth
    maker.handle(FillSeen(T, Fill("t", "o", "Z", Side.BID if net > 0 else Side.ASK, 4000, 100, 5, False, T)))
    assert maker.profit == paid * 4 // 3 - 17 + worth * 4 // 3
    maker.handle(MarketSettled(T, "Z", 6000))
    assert maker.profit == paid * 4 // 3 - 17 + net * 4 // 3 * 6000


# ---- the burst

def fills(count: Count, ts_ms: int, n: int = 2) -> tuple[Fill, ...]:
    return tuple(Fill(f"t{i}-{ts_ms}", f"o{i}", "X", (Side.ASK, Side.BID)[i % 2], 4300, count, 0, False, ts_ms)
                 for i in range(n))


@pytest.mark.parametrize(("count", "age_ms", "halts"), [
    (500, 0, True), (499, 0, False), (500, 14_999, True), (500, 15_000, False), (500, 60_000, False)])
def test_fills_that_only_the_lists_tell_count_for_the_burst_if_they_are_new(count: Count, age_ms: int, halts: bool):
    maker = listening(Config("s", structs.replace(FREE, max_burst=10 * CONTRACT)))
    asked_ms = T + 100_000
    maker.handle(AccountRead(asked_ms + 50, asked_ms, 0, (), (), fills(count, asked_ms - age_ms), 10**10))
    assert ("fill_burst" in maker.halts.active) == halts


@pytest.mark.parametrize(("apart_ms", "halts"), [(14_999, True), (15_000, False)])
def test_the_burst_is_what_fills_in_fifteen_seconds(apart_ms: int, halts: bool):
    maker = listening(Config("s", structs.replace(FREE, max_burst=10 * CONTRACT)))
    for f, ms in zip(fills(500, T), (T, T + apart_ms), strict=True): maker.handle(FillSeen(ms, f))
    assert ("fill_burst" in maker.halts.active) == halts
    assert not of(Place, maker.handle(Decide(T + apart_ms))) or not halts


# ---- limits, to one hundredth of a contract

Resting = tuple[Side, Count]


def worst(net: Count, orders: list[Resting]) -> Count:
    "The largest position, long or short, after any of the orders have filled: every combination is tried"
    ends = (net + sum(side.sign * count for (side, count), filled in zip(orders, which, strict=True) if filled)
            for which in product((False, True), repeat=len(orders)))
    return max(map(abs, ends))


nets, counts, sides = st.integers(-700, 700), st.integers(1, 400), st.sampled_from(list(Side))
resting = st.lists(st.tuples(sides, counts), max_size=4)


@given(markets=st.lists(st.tuples(nets, resting), min_size=1, max_size=3), side=sides, count=counts, data=st.data())
def test_an_order_may_leave_exactly_if_no_combination_of_fills_passes_a_limit(
        markets: list[tuple[Count, list[Resting]]], side: Side, count: Count, data: st.DataObject):
    "At the limit it leaves, one hundredth of a contract beyond it doesn't; one that adds nothing to the worst case always may"
    each = [worst(net, orders) for net, orders in markets]
    after = worst(markets[0][0], [*markets[0][1], (side, count)])
    total = after + sum(each[1:])
    limits = structs.replace(FREE, max_position=after + data.draw(st.sampled_from([-1, 0, 1, 10**6])),
                             max_total=total + data.draw(st.sampled_from([-1, 0, 1, 10**6])))
    sums = {s: [sum(n for t, n in orders if t is s) for _, orders in markets] for s in Side}
    held = Exposures({f"M{k}": Exposure(net, sums[Side.BID][k], sums[Side.ASK][k]) for k, (net, _) in enumerate(markets)})
    assert (held.total, [held.of(f"M{k}").worst for k in range(len(markets))]) == (sum(each), each)
    may = after <= each[0] or (after <= limits.max_position and total <= limits.max_total)
    assert (check_order(limits, held, "M0", side, count) is None) == may


orders_of_one_decision = st.lists(st.tuples(st.sampled_from("XYZ"), sides, st.integers(1, 300)), min_size=1, max_size=8)


@given(writes=orders_of_one_decision, held=st.tuples(nets, nets, nets), position=st.integers(0, 900), total=st.integers(0, 2000))
def test_orders_of_one_decision_share_the_room_that_the_limits_leave(
        writes: list[tuple[str, Side, Count]], held: tuple[Count, Count, Count], position: Count, total: Count):
    "Each is judged as if all before it that left could fill; compared with every combination of fills of what left"
    limits = structs.replace(FREE, max_position=position, max_total=total)
    maker = listening(Config("s", limits, writes_in_flight=100), *(market(t) for t in "XYZ"))
    net = dict(zip("XYZ", held, strict=True))
    for t, n in net.items():
        if n: maker.handle(FillSeen(T, Fill(f"f{t}", "o", t, Side.BID if n > 0 else Side.ASK, 4300, abs(n), 0, False, T)))
    left: dict[str, list[Resting]] = {t: [] for t in net}
    should = []
    for t, side, count in writes:
        was, now = worst(net[t], left[t]), worst(net[t], [*left[t], (side, count)])
        rest = sum(worst(net[o], left[o]) for o in net if o != t)
        if now <= was or (now <= position and now + rest <= total):
            left[t].append((side, count))
            should.append((t, side, count))
    maker.router._markets.expose(maker.orders)
    maker.outbox.take()
    gate = maker.router._routes[OrderPlaced].__self__  # type: ignore[attr-defined]
    gate.send([Place("why", "", t, side, 4300, count, T // 1000 + 60) for t, side, count in writes], T + 1)
    assert [(a.ticker, a.side, a.count) for a in maker.outbox.take() if isinstance(a, Place)] == should
    assert maker.markets.totals.exposures.total == sum(worst(net[t], left[t]) for t in net)


@pytest.mark.parametrize("beyond", [0, 1])
def test_an_order_by_hand_takes_its_room_too(beyond: Count):
    "Ten contracts bid by another, and a limit of twenty: ours of ten leaves, one of a hundredth more does not"
    maker = listening(Config("s", structs.replace(FREE, max_position=20 * CONTRACT)))
    by_hand = Order("h", "", "X", Side.BID, 4000, 0, 10 * CONTRACT + beyond, OrderStatus.RESTING, None)
    maker.handle(OrderSeen(T + 1, by_hand))
    assert {a.side for a in of(Place, maker.handle(Decide(T + 10)))} == ({Side.ASK} if beyond else set(Side))


def test_a_refused_order_shows_the_limit_on_its_own_side():
    maker = listening(Config("s", structs.replace(FREE, max_position=10 * CONTRACT)))
    maker.handle(OrderSeen(T + 1, Order("h", "", "X", Side.BID, 4000, 0, 500, OrderStatus.RESTING, None)))
    assert [a.side for a in of(Place, maker.handle(Decide(T + 10)))] == [Side.ASK]
    quotes = maker.slots["X"].quotes
    assert quotes.bid.reason == "would allow 15 contracts here, the limit is 10" and isinstance(quotes.ask, Quote)


def test_an_amend_as_large_as_before_takes_no_room_from_the_orders_after_it():
    maker = listening(Config("s", structs.replace(FREE, max_total=25 * CONTRACT), writes_in_flight=9), market(), market("Y"))
    bid, _ = placed(maker, T + 10)[:2]
    for w in maker.orders.own.pending():
        if w.ticker == "Y": maker.orders.drop(w)
    maker.router._markets.expose(maker.orders)
    assert maker.markets.totals.exposures.total == 10 * CONTRACT
    maker.outbox.take()
    gate = maker.router._routes[OrderPlaced].__self__  # type: ignore[attr-defined]
    moved = Amend("why", bid.client_order_id, "o", "X", Side.BID, 4400, bid.count, T // 1000 + 60)
    gate.send([moved, Place("why", "", "Y", Side.BID, 4300, 15 * CONTRACT, T // 1000 + 60)], T + 1000)
    assert [a.ticker for a in maker.outbox.take()] == ["X", "Y"]
    assert maker.markets.totals.exposures.total == 25 * CONTRACT


@given(filled=st.integers(0, 900), size=st.integers(1, 3000), back=st.integers(1, 42), later_ms=st.integers(0, 50_000),
       short=st.booleans(), crossed=st.booleans(), event=st.booleans(), total=st.booleans())
def test_a_move_away_from_the_others_always_leaves(filled: Count, size: Count, back: int, later_ms: int, short: bool,
                                                   crossed: bool, event: bool, total: bool):  # fmt: skip
    "Neither want of cash nor crosses in a row, an event at its limit nor a total that is used up keep a price that is too near"
    maker = listening(Config("s", FREE, quote_lifetime_s=3600))
    bid, ask = placed(maker, T + 10)
    part = Fill("f", f"o-{bid.client_order_id}", "X", Side.BID, bid.price, filled, 0, False, T)
    if filled: maker.handle(FillSeen(T + 20, part))
    gate = maker.router._routes[OrderPlaced].__self__  # type: ignore[attr-defined]
    def refused(code: str, text: str = "") -> None:  # the stream hasn't told of it yet: the book has moved
        nearer = Amend("why", bid.client_order_id, "o", "X", Side.BID, bid.price + CENT, bid.count + 1000, T // 1000 + 60)
        gate.send([nearer], T + 1000)
        gate.answered(WriteRejected(T + 1001, bid.client_order_id, Verb.AMEND, code, text))
        maker.orders.all[bid.client_order_id].refused_ms = 0
    for _ in range(3 if crossed else 0): refused("invalid_order", "post only cross")
    if short: refused("insufficient_balance")
    low = FREE if not event else structs.replace(FREE, max_event_loss=1, max_event_resting_loss=1)
    if total: low = structs.replace(low, max_position=1, max_total=1)
    maker.live.config = structs.replace(maker.live.config, limits=low)
    maker.outbox.take()
    away = Amend("why", bid.client_order_id, "o", "X", Side.BID, bid.price - back * CENT, filled + size, T // 1000 + 3600)
    gate.send([away], T + 1001 + later_ms)
    (left,) = of(Amend, maker.outbox.take())
    assert left.price == away.price and left.count <= max(away.count, bid.count), (left, away)


def test_leaving_positions_counts_for_no_burst_and_waits_when_the_exchange_asks_to():
    maker = listening(Config("s", structs.replace(FREE, max_burst=10 * CONTRACT)))
    held = Fill("f1", "by-hand", "X", Side.BID, 4300, 9 * CONTRACT, 0, False, T)
    maker.handle(FillSeen(T + 10, held))
    maker.handle(Command(T + 30_000, "flatten", "test", "[0, 500]"))
    assert not maker.halts.active
    (taking,) = of(Place, maker.handle(Decide(T + 30_250)))
    assert taking.takes and taking.count == 9 * CONTRACT
    maker.handle(WriteRejected(T + 30_300, taking.client_order_id, Verb.PLACE, "too_many_requests", ""))
    assert not of(Place, maker.handle(Decide(T + 31_290)))
    (again,) = of(Place, maker.handle(Decide(T + 31_550)))
    for n in range(2):
        part = Fill(f"t{n}", "o9", "X", Side.ASK, 4200, 450, 0, True, T + 31_600, again.client_order_id)
        maker.handle(FillSeen(T + 31_600 + n, part))
    more = Fill("f2", "by-hand", "X", Side.BID, 4300, 999, 0, False, T + 31_700)
    maker.handle(FillSeen(T + 31_700, more))  # what a person trades counts: a hundredth more makes ten
    assert (maker.slots["X"].position.net, list(maker.halts.active)) == (999, [])
    maker.handle(FillSeen(T + 31_800, structs.replace(more, trade_id="f3", count=1)))
    assert list(maker.halts.active) == ["fill_burst"]


def test_a_book_with_one_side_gives_no_first_mark_to_a_market_without_a_position():
    maker = MarketMaker(SpreadCapture(Params()), PLAIN)
    maker.handle(MarketListed(T, market()))
    maker.handle(BookSnapshot(T, "X", ((4200, 2500),), ()))
    maker.handle(Decide(T + 10))
    assert (maker.slots["X"].mark, maker.slots["X"].marked_ms) == (None, T + 10)
    maker.handle(BookSnapshot(T + 20, "X", *BOOK))
    maker.handle(Decide(T + 30))
    assert maker.slots["X"].mark == 4500


@pytest.mark.parametrize(("before_ms", "waits"), [(1, True), (0, False)])
def test_an_end_at_the_close_needs_no_explanation(before_ms: int, waits: bool):
    maker = listening(Config("s", FREE, stop_before_close_s=0, quote_lifetime_s=3600), market(close_ms=T + 100_000))
    bid, _ = placed(maker, T + 10)
    gone = Order(f"o-{bid.client_order_id}", bid.client_order_id, "X", bid.side, bid.price, 0, 0, OrderStatus.CANCELED)
    maker.handle(OrderSeen(T + 100_000 - before_ms, gone))
    assert maker.account.elsewhere_cancels.waits("X") == waits


# ---- at once, not with the next beat

def test_an_order_that_the_exchange_drops_is_replaced_with_the_next_decision_and_not_with_the_next_beat():
    maker = listening()
    bid, _ = placed(maker, T + 10)
    assert not maker.handle(Decide(T + 15))  # has taken note of the answers
    gone = Order(f"o-{bid.client_order_id}", bid.client_order_id, "X", bid.side, bid.price, 0, 0, OrderStatus.CANCELED,
                 reason="SelfTradeCancel")
    maker.handle(OrderSeen(T + 20, gone))
    assert [a.side for a in of(Place, maker.handle(Decide(T + 30)))] == [Side.BID]


def test_a_difference_that_a_list_shows_is_told():
    maker = listening()
    late = Fill("t", "o", "X", Side.BID, 4300, 100, 0, False, T + 1000)
    told = of(Notify, maker.handle(AccountRead(T + 90_000, T + 89_000, 0, (), (("X", 100),), (late,), 10**10)))
    assert [(a.level, a.reason) for a in told] == [
        ("warning", "missed_fill: bid 1 at 43c filled, which the stream had not told, t")]


levels = st.tuples(sides, st.integers(40, 60), st.integers(0, 3), st.booleans())


@given(changes=st.lists(levels, min_size=1, max_size=25))
def test_the_best_of_the_others_is_right_after_every_change_of_the_book(changes: list[tuple[Side, int, Count, bool]]):
    "It is kept between changes; each time it must be what a look through the whole book finds"
    maker = listening()
    slot, books = maker.slots["X"], maker.books
    books.others(slot)
    count = {(Side.BID, 42): 2500, (Side.ASK, 48): 2500}
    ours: dict[tuple[Side, int], Count] = {}
    for side, cents, contracts, mine in changes:
        level, new = (side, cents), contracts * CONTRACT
        if mine: new = max(new, count.get(level, 0))  # ours are placed only
        delta = new - count.get(level, 0)
        if not delta or (not mine and new < ours.get(level, 0)): continue
        count[level] = new
        if mine: ours[level] = ours.get(level, 0) + delta
        maker.handle(BookDelta(T + 1, "X", side, cents * CENT, delta, T, "kmm-s-9" if mine else ""))
        assert slot.book.live

        def best(of: Side, sign: int) -> tuple[int, Count] | None:
            left = {c: n - ours.get((s, c), 0) for (s, c), n in count.items() if s is of and n > ours.get((s, c), 0)}
            return max(((c * CENT, n) for c, n in left.items()), key=lambda row: sign * row[0], default=None)

        assert books.others(slot) == (best(Side.BID, 1), best(Side.ASK, -1))


# ---- few at a time

@pytest.mark.parametrize("most", [1, 2, 5])
def test_no_more_writes_are_in_flight_than_the_setting_says_and_each_answer_lets_another_go(most: int):
    "Eight are wanted; a cancel doesn't count and doesn't wait"
    maker = listening(Config("s", FREE, writes_in_flight=most), *(market(t) for t in "WXYZ"))
    sent = of(Place, maker.handle(Decide(T + 10)))
    assert len(sent) == most
    for n in range(8 - most):
        a = sent[n]
        maker.handle(OrderPlaced(T + 300 * n + 20, a.client_order_id, f"o{n}", 0, a.count))
        sent += of(Place, maker.handle(Decide(T + 300 * (n + 1))))
        assert len(sent) == min(8, most + n + 1)
    assert {(a.ticker, a.side) for a in sent} == {(t, s) for t in "WXYZ" for s in Side}
    maker.handle(Command(T + 9000, "stop", "test"))
    assert len(of(Cancel, maker.handle(Decide(T + 9001)))) == 8 - most  # those that rest, at once
