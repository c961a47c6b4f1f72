"The write that brings an order to its target, at each boundary, and how a person's wish to leave ends"
import pytest

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.orders import State, Working
from kalshi_mm.maker.parameters import Config
from kalshi_mm.maker.queue_bounds import QueueBounds
from kalshi_mm.maker.requoting import Churn, change, due, plan, reducing, renewable
from kalshi_mm.model.messages import (
    AccountRead,
    Amend,
    BookDelta,
    BookSnapshot,
    Cancel,
    Command,
    Connection,
    Decide,
    FillSeen,
    MarketListed,
    Notify,
    OrderAmended,
    OrderCanceled,
    OrderPlaced,
    Place,
    Trade,
)
from kalshi_mm.model.numbers import CENT, ONE, Count, Price
from kalshi_mm.model.types import Fill, Market, Quote, Side, TickGrid
from kalshi_mm.risk.limits import Limits
from kalshi_mm.strategy.protocol import NoQuote
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

T = 1_700_000_000_000
S = T // 1000
GRID = TickGrid.of([(0, 1000, 10), (1000, ONE, CENT)])
MARKET = Market("X", "E", "S", "", "active", 0, T + 10**9, GRID)
CHURN = Churn(lifetime_s=60, move_ticks=0, size_percent=50)


def resting(side: Side = Side.BID, price: Price = 4300, count: Count = 1000, left_s: int = 60, n: int = 1) -> Working:
    w = Working(f"kmm-s-{n}", "X", side, price, count, S + left_s, T, "wide", order_id=f"o{n}")
    w.rests()
    return w


def asked(w: Working, quote: Quote, churn: Churn = CHURN) -> str:
    "Why an order is changed, in a word; empty if it isn't"
    a = change(w, quote, GRID, churn, T)
    return a.reason.partition(":")[0] if a else ""


# ---- renewal

@pytest.mark.parametrize(("lifetime_s", "left_s", "is_due"), [(60, 31, False), (60, 30, True), (61, 31, False), (61, 30, True)])
def test_an_order_is_renewed_when_half_its_lifetime_has_passed(lifetime_s: int, left_s: int, is_due: bool):
    w = resting(left_s=left_s)
    for ms in (0, 999): assert due(w, lifetime_s, T + ms) == is_due
    assert asked(w, Quote(Side.BID, 4300, 1000, "wide"), Churn(lifetime_s)) == ("renewed" if is_due else "")


# ---- size

@pytest.mark.parametrize(("percent", "filled", "why"), [
    (50, 500, ""), (50, 501, "refilled"), (0, 0, ""), (0, 1, "refilled"), (99, 990, ""), (99, 991, "refilled")])
def test_an_order_is_refilled_once_more_of_it_has_filled_than_is_tolerated(percent: int, filled: Count, why: str):
    for told in ("fills", "reports"):
        w = resting()
        if told == "fills": w.traded(filled)
        else: w.reported = filled
        assert asked(w, Quote(Side.BID, 4300, 1000, "wide"), Churn(60, 0, percent)) == why
        a = change(w, Quote(Side.BID, 4300, 1000, "wide"), GRID, Churn(60, 0, percent), T)
        if a: assert (a.count, a.price, a.expiration_s) == (1000 + filled, 4300, S + 60)


def test_an_order_that_is_larger_than_its_target_shrinks_and_one_as_large_stays():
    assert asked(resting(count=1000), Quote(Side.BID, 4300, 1000, "wide")) == ""
    assert asked(resting(count=1001), Quote(Side.BID, 4300, 1000, "wide")) == "smaller"


# ---- price

@pytest.mark.parametrize(("price", "target", "ticks", "moves"), [
    (4300, 4300, 0, False), (4300, 4400, 0, True), (4300, 4200, 0, True), (4300, 4500, 2, False), (4300, 4600, 2, True),
    (4300, 4100, 2, False), (4300, 4000, 2, True), (990, 1100, 2, False), (980, 1100, 2, True), (4350, 4300, 1, True)])
def test_an_order_moves_once_its_target_is_further_away_than_is_tolerated(price: Price, target: Price, ticks: int, moves: bool):
    "In ticks of the market's grid; a price that is off the grid always moves"
    assert bool(asked(resting(price=price), Quote(Side.BID, target, 1000, "wide"), Churn(60, ticks))) == moves


# ---- urgency

def urgent(w: Working | None, target: Quote | NoQuote) -> list[tuple[int, str]]:
    return [(n, type(a).__name__) for n, a in plan(MARKET, target, [w] if w else [], CHURN, T)]


def test_cancels_go_first_then_the_longest_moves_away_then_new_orders_and_moves_nearer_and_renewals_last():
    near, far = Quote(Side.BID, 4400, 1000, "wide"), Quote(Side.BID, 4000, 1000, "wide")
    stays = Quote(Side.BID, 4300, 1000, "wide")
    assert urgent(resting(), NoQuote(Side.BID, "halted")) == [(-ONE, "Cancel")]
    assert urgent(resting(), far) == [(-300, "Amend")]
    assert urgent(resting(Side.ASK, 4300), Quote(Side.ASK, 4500, 1000, "wide")) == [(-200, "Amend")]
    assert urgent(None, stays) == [(0, "Place")]
    assert urgent(resting(), near) == urgent(resting(Side.ASK, 4300), Quote(Side.ASK, 4200, 1000, "wide")) == [(0, "Amend")]
    assert urgent(resting(left_s=30), stays) == [(1, "Amend")]
    assert urgent(None, NoQuote(Side.BID, "halted")) == urgent(resting(), stays) == []


def test_one_order_a_side_is_enough_and_none_is_touched_while_a_write_of_it_is_in_flight():
    first, second, third = (resting(n=n) for n in (1, 2, 3))
    third.canceling(T)
    stays = Quote(Side.BID, 4300, 1000, "wide")
    found = plan(MARKET, stays, [first, second, third], CHURN, T)
    assert [(n, type(a), getattr(a, "client_order_id", "")) for n, a in found] == [(-ONE, Cancel, "kmm-s-2")]
    first.amending(Amend("", "kmm-s-1", "o1", "X", Side.BID, 4400, 1000, S + 60), T)
    assert plan(MARKET, NoQuote(Side.BID, "halted"), [first], CHURN, T) == []


@pytest.mark.parametrize(("net", "side", "count"), [
    (0, Side.BID, None), (0, Side.ASK, None), (500, Side.BID, None), (500, Side.ASK, 500), (1500, Side.ASK, 1000),
    (-500, Side.ASK, None), (-500, Side.BID, 500), (-1, Side.BID, 1), (1, Side.ASK, 1)])
def test_what_only_reduces_is_no_larger_than_the_position(net: Count, side: Side, count: Count | None):
    found = reducing(Quote(side, 4300, 1000, "wide"), net, "reduce only")
    assert found == (NoQuote(side, "reduce only") if count is None else Quote(side, 4300, count, "wide; reduce only"))
    nothing = NoQuote(side, "no spread")
    assert reducing(nothing, net, "reduce only") is nothing


@pytest.mark.parametrize(("refill", "renewal", "lifetime_s", "most"), [
    (100, 10, 60, 240), (100, 10, 61, 248), (100, 10, 1, 8), (100, 10, 0, 8), (1, 10, 5, 2), (100, 0, 60, 2400), (0, 10, 60, 2)])
def test_the_quotes_that_a_budget_keeps_alive_are_renewed_with_four_fifths_of_it(
        refill: int, renewal: int, lifetime_s: int, most: int):
    assert renewable(refill, renewal, lifetime_s) == most


# ---- the queue

@pytest.mark.parametrize(("late_ms", "most"), [(3000, 700), (3001, 500)])
def test_a_trade_takes_from_before_an_order_if_it_can_not_have_been_before_the_order_came(late_ms: int, most: Count):
    bounds, w = QueueBounds(), resting()
    bounds.delta(BookDelta(T, "X", Side.BID, 4300, 1000, T, "kmm-s-1"), 700, [w])
    bounds.trade(Trade(T + late_ms, "t", "X", 4300, 200, Side.ASK), [w])
    bounds.trade(Trade(T + late_ms, "t", "X", 4200, 200, Side.ASK), [w])  # at another price
    assert bounds.of(w, 700, T) == (700, most)
    bounds.trade(Trade(T + late_ms, "t", "X", 4300, 9000, Side.ASK), [w])
    assert bounds.of(w, 700, T)[1] == (700 if late_ms == 3000 else 0)


def test_what_leaves_the_book_may_have_been_before_or_behind_us():
    bounds, w = QueueBounds(), resting()
    bounds.delta(BookDelta(T, "X", Side.BID, 4300, 1000, T, "kmm-s-1"), 700, [w])
    bounds.delta(BookDelta(T, "X", Side.BID, 4300, 400, T), 1100, [w])  # behind us, for certain
    assert bounds.of(w, 1100, T) == (700, 700)
    bounds.delta(BookDelta(T, "X", Side.BID, 4300, -300, T), 800, [w])
    assert bounds.of(w, 800, T) == (400, 700)
    bounds.delta(BookDelta(T, "X", Side.BID, 4300, -600, T), 200, [w])
    assert bounds.of(w, 200, T) == (0, 200)
    w.filled = 1
    assert bounds.of(w, 200, T) == (0, 0)  # first in line


def test_a_place_that_was_not_seen_is_unknown_until_the_order_rests_and_then_all_may_be_before_it():
    bounds, w = QueueBounds(), resting()
    w.state = State.SENT
    assert bounds.of(w, 700, T) == (0, None)
    w.state = State.RESTING
    assert bounds.of(w, 700, T) == (0, 700)
    bounds.delta(BookDelta(T, "X", Side.BID, 4300, -100, T), 600, [w])
    assert bounds.of(w, 600, T) == (0, 600)
    w.price = 4400  # it has moved
    assert bounds.of(w, 50, T) == (0, 50)
    bounds.forget({})
    assert bounds.of(w, 90, T) == (0, 90)
    bounds.lost([w])
    assert bounds.of(w, 80, T) == (0, 80)


# ---- leaving positions: a minute at the touch, then at most three cents

def leaving(bid: Price = 4200, net: Count = 1000) -> MarketMaker:
    "A maker with a position that a person wants to leave"
    maker = MarketMaker(SpreadCapture(Params()), Config("s", Limits(10**9, 10**9, 10**15, 10**15, 10**12, 0)))
    for event in (Connection(T, True), MarketListed(T, MARKET), BookSnapshot(T, "X", ((bid, 2500),), ((9000 - bid, 2500),)),
                  AccountRead(T, T, 0, (), (("X", net),), (), 10**10),
                  FillSeen(T, Fill("t", "by-hand", "X", Side.BID, 4300, net, 0, False, T)), Decide(T),
                  Command(T + 10, "flatten", "test", "[60, 300]")):  # fmt: skip
        maker.handle(event)
    return maker


def answered(maker: MarketMaker, ms: int) -> list[str]:
    "What a decision does; the exchange takes it, and nobody trades"
    actions = maker.handle(Decide(T + ms))
    for a in actions:
        rests = a.count if isinstance(a, Place) and not a.takes else 0
        if isinstance(a, Place): maker.handle(OrderPlaced(T + ms, a.client_order_id, f"o-{a.client_order_id}", 0, rests))
        elif isinstance(a, Amend): maker.handle(OrderAmended(T + ms, a.client_order_id, a.order_id, None))
        elif isinstance(a, Cancel): maker.handle(OrderCanceled(T + ms, a.client_order_id, a.order_id, 0))
    return [a.reason if isinstance(a, Notify) else type(a).__name__ for a in actions if isinstance(a, Notify | Place | Cancel)]


def test_what_costs_more_than_a_person_has_allowed_is_reported_five_seconds_after_patience_and_still_held():
    maker = leaving(bid=4100)
    assert answered(maker, 20) == ["Place"]
    assert "Cancel" in answered(maker, 60_010) and maker.controls.flatten
    assert answered(maker, 65_009) == [] and maker.controls.flatten
    (said,) = answered(maker, 65_010)
    assert said == "flattened; 10 X, 41c is more than 3c from the middle of 45c is still held"
    assert not maker.controls.flatten and not maker.quoting
    assert maker.controls.stop_due_ms == T + 65_010 + maker.config.patience_ms


def test_a_position_that_others_take_at_the_touch_is_left_at_once():
    maker = leaving()
    answered(maker, 20)
    (w,) = maker.orders.own.pending()
    assert (w.side, w.price, w.count) == (Side.ASK, 4800, 1000)
    maker.handle(FillSeen(T + 900, Fill("t2", w.order_id, "X", Side.ASK, 4800, 1000, 0, False, T + 900, w.client_order_id)))
    assert answered(maker, 1000) == ["flattened; nothing is still held"] and not maker.controls.flatten


def test_while_something_can_be_taken_at_the_cost_allowed_leaving_does_not_end():
    maker, tries = leaving(), 0
    for ms in range(20, 80_000, 250):
        said = answered(maker, ms)
        if ms >= 60_010: tries += said.count("Place")
    assert tries >= 15 and maker.controls.flatten  # each second one: its fill may still be on its way
