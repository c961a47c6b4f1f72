"Each guard at its boundaries: one millisecond, one hundredth of a cent or of a contract to either side"
import pytest

from kalshi_mm.model.fees import FeeSchedule
from kalshi_mm.model.numbers import CENT, ONE, Count, Price
from kalshi_mm.model.types import Market, Position, Quote, Side, TickGrid
from kalshi_mm.strategy.guards import (
    Alone,
    AloneParams,
    Edges,
    EdgesParams,
    Guard,
    Jump,
    JumpParams,
    Opening,
    OpeningParams,
    Regime,
    RegimeParams,
    Watching,
    Young,
    YoungParams,
    guarded,
)
from kalshi_mm.strategy.protocol import NoQuote, Quotes, View

GRID = TickGrid.of([(0, ONE, 1)])
SIZE = 1000
BID = Quote(Side.BID, 44 * CENT, SIZE, "joins")
NONE = NoQuote(Side.ASK, "not wanted")
MINUTE = 60_000


def seen(now_ms: int, bid: Price | None, ask: Price | None, ticker: str = "X", event: str = "E", net: Count = 0) -> View:
    "What the others quote"
    bids, asks = (((price, 2500),) if price is not None else () for price in (bid, ask))
    m = Market(ticker, event, "S", "", "active", 0, 10**12, GRID)
    return View(m, bids, asks, Position(ticker, net), FeeSchedule.of("quadratic"), now_ms)


def said(guard: Guard, *views: View, quote: Quote = BID) -> list[str]:
    "What a guard says to a quote at each view"
    found = []
    for v in views:
        if isinstance(guard, Watching): guard.watch(v)
        found.append(guard.objection(v, quote))
    return found


def objects(guard: Guard, *views: View, quote: Quote = BID) -> list[bool]:
    return [bool(text) for text in said(guard, *views, quote=quote)]


def strict() -> list[tuple[Guard, list[View]]]:
    "Each guard with views at the last of which it objects to a bid at one cent"
    jump, calm = seen(1000, 6000, 6100), seen(0, 4000, 4100)
    return [(Edges(EdgesParams()), [calm]), (Opening(OpeningParams()), [calm]), (Young(YoungParams()), [seen(0, 4000, 4500)]),
            (Alone(AloneParams()), [seen(0, 4000, 6000)]), (Jump(JumpParams()), [calm, jump]), (Regime(RegimeParams()), [calm])]


@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize(("side", "net", "stays"), [
    (Side.BID, 0, False), (Side.BID, -SIZE, True), (Side.BID, 1 - SIZE, False), (Side.BID, SIZE, False),
    (Side.ASK, 0, False), (Side.ASK, SIZE, True), (Side.ASK, SIZE - 1, False), (Side.ASK, -SIZE, False)])
def test_no_guard_keeps_a_position_from_being_reduced_and_a_hundredth_more_is_no_reduction(
        which: int, side: Side, net: Count, stays: bool):
    guard, views = strict()[which]
    said(guard, *views[:-1])
    v = views[-1]
    own = seen(v.now_ms, v.bid[0] if v.bid else None, v.ask[0] if v.ask else None, net=net)
    quote = Quote(side, CENT if side is Side.BID else ONE - CENT, SIZE, "joins")
    assert objects(guard, own, quote=quote) == [not stays]
    left = guarded(Quotes(quote, NONE), {"it": guard}, own)
    assert left.bid is quote if stays else left.bid.reason.startswith("it: ")
    assert left.ask is NONE


def test_a_guard_that_remembers_sees_what_is_not_quoted_too():
    "The spread has been wide for half a minute when the first quote is wanted"
    young = {"young": Young(YoungParams())}
    assert guarded(Quotes(NONE, NONE), young, seen(0, 4300, 4600)) == Quotes(NONE, NONE)
    assert isinstance(guarded(Quotes(BID, NONE), young, seen(29_999, 4300, 4600)).bid, NoQuote)
    assert guarded(Quotes(BID, NONE), young, seen(30_000, 4300, 4600)).bid is BID


def test_each_guard_as_it_comes_keeps_to_what_its_notebook_says():
    "Three cents, half a minute, twenty cents, 15 % of half an hour: each just before its boundary, and at it"
    assert objects(Young(YoungParams()), seen(0, 4300, 4599), seen(1, 4300, 4600)) == [False, True]
    stands = (seen(ms, 4300, 4600) for ms in (0, 29_999, 30_000))
    assert objects(Young(YoungParams()), *stands) == [True, True, False]
    assert objects(Alone(AloneParams()), seen(0, 4000, 5999), seen(0, 4000, 6000)) == [False, True]
    for moved, jumps in ((299, False), (300, True)):
        assert objects(Jump(JumpParams()), seen(0, 4350, 4450), seen(10, 4350 + moved, 4450 + moved))[1] == jumps
    jump = Jump(JumpParams())
    said(jump, seen(0, 4350, 4450), seen(10, 4650, 4750))
    assert [bool(jump.objection(seen(ms, 4650, 4750), BID)) for ms in (30_009, 30_010)] == [True, False]
    for ms, usual in ((269_999, False), (270_000, True)):  # four and a half minutes of thirty
        day = [*minutes(set(range(5)), 4), seen(ms, 4300, 4599), *minutes(set(), 30)[5:]]
        assert (not objects(Regime(RegimeParams()), *day)[-1]) == usual


@pytest.mark.parametrize("near", [1, 3 * CENT, 4899])
def test_a_price_as_near_to_an_end_as_the_setting_says_is_too_near(near: Price):
    guard = Edges(EdgesParams(near))
    prices = (near, near + 1, ONE - near - 1, ONE - near)
    found = [guard.objection(seen(0, None, None), Quote(side, p, SIZE, "")) for side in Side for p in prices]
    assert [bool(s) for s in found] == [True, False, False, True] * 2


@pytest.mark.parametrize("minutes", [1, 60])
def test_a_market_that_has_been_open_for_as_long_as_the_setting_says_is_quoted(minutes: int):
    before, then = said(Opening(OpeningParams(minutes)), seen(minutes * MINUTE - 1, 1, 2), seen(minutes * MINUTE, 1, 2))
    assert (before, then) == (f"open for {minutes - 1} minutes of {minutes}", "")


@pytest.mark.parametrize("seconds", [1, 30])
def test_a_spread_is_young_until_it_has_stood_for_as_long_as_the_setting_says(seconds: int):
    first, last, old = said(Young(YoungParams(300, seconds)), seen(7, 4300, 4600), seen(1000 * seconds + 6, 4300, 4600),
                            seen(1000 * seconds + 7, 4300, 4600))
    assert first and not old and last == f"the spread is {seconds - 1} s old, of {seconds}"


def test_a_spread_a_hundredth_of_a_cent_under_the_setting_is_not_wide_and_ends_one_that_was():
    young = YoungParams(300, 30)
    assert objects(Young(young), seen(0, 4300, 4599), seen(0, 4300, 4600)) == [False, True]
    for other in (seen(29_000, 4300, 4599), seen(29_000, 4300, None), seen(29_000, None, 4600)):
        assert objects(Young(young), seen(0, 4300, 4600), other, seen(30_000, 4300, 4600)) == [True, False, True]
    assert objects(Young(young), seen(0, 4300, 4600), seen(30_000, 4300, 4600, "Y")) == [True, True]  # each market by itself


def test_a_market_of_ones_own_is_one_as_wide_as_the_setting_says_or_with_a_side_missing():
    views = (seen(0, 4000, 5999), seen(0, 4000, 6000), seen(0, None, 6000), seen(0, 4000, None))
    assert objects(Alone(AloneParams(2000)), *views) == [False, True, True, True]


# ---- jumps: 44 cents, the setting is three cents in thirty seconds

@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("moved", "jumps"), [(299, False), (300, True)])
def test_a_jump_is_a_move_of_the_middle_as_large_as_the_setting_says_up_or_down(sign: int, moved: Price, jumps: bool):
    after = 4350 + sign * moved
    assert objects(Jump(JumpParams(300, 30)), seen(0, 4350, 4450), seen(10, after, after + 100)) == [False, jumps]


@pytest.mark.parametrize(("late_ms", "jumps"), [(-1, True), (0, False)])
def test_a_move_is_measured_from_the_middle_that_stood_as_long_ago_as_the_setting_says(late_ms: int, jumps: bool):
    "44, two cents more at once, and another one half a minute after that: only then are 46 cents what stood"
    path = (seen(0, 4350, 4450), seen(5000, 4550, 4650), seen(35_000 + late_ms, 4650, 4750))
    assert objects(Jump(JumpParams(300, 30)), *path) == [False, False, jumps]


def test_after_a_jump_nothing_is_quoted_for_as_long_as_the_setting_says():
    jump = Jump(JumpParams(300, 30))
    said(jump, seen(0, 4350, 4450), seen(1000, 4650, 4750))
    times = (1000, 1001, 29_999, 30_000, 30_999, 31_000)
    left = [jump.objection(seen(ms, 4650, 4750), BID).rpartition("for ")[2] for ms in times]
    assert left == ["30 s more", "30 s more", "2 s more", "1 s more", "1 s more", ""]


@pytest.mark.parametrize(("spread", "jumps"), [(1000, True), (1001, False)])
def test_the_middle_of_a_spread_of_more_than_ten_cents_says_nothing(spread: Price, jumps: bool):
    assert objects(Jump(JumpParams(300, 30)), seen(0, 4350, 4450), seen(10, 5000, 5000 + spread)) == [False, jumps]


@pytest.mark.parametrize("odd", [(4700, 4700), (4900, 4600), (4700, None), (None, 4700)])
def test_a_book_that_is_locked_crossed_or_one_sided_has_no_middle(odd: tuple[Price | None, Price | None]):
    jump = Jump(JumpParams(300, 30))
    assert objects(jump, seen(0, 4350, 4450), seen(10, *odd), seen(20, 4350, 4450), seen(30, 4649, 4749)) == [False] * 4
    assert objects(jump, seen(40, 4700, 4701)) == [True]  # as near as a book can be


def test_a_jump_is_over_once_its_middle_has_stood_for_as_long_as_the_setting_says():
    path = (seen(0, 4350, 4450), seen(10, 4650, 4750), seen(30_010, 4650, 4750))
    assert objects(Jump(JumpParams(300, 30)), *path) == [False, True, False]


@pytest.mark.parametrize("sisters", [False, True])
def test_a_jump_counts_in_its_market_and_if_so_set_in_its_event_but_nowhere_else(sisters: bool):
    jump = Jump(JumpParams(300, 30, sisters))
    said(jump, seen(0, 4350, 4450), seen(10, 4650, 4750))
    places = (seen(20, 1, 2), seen(20, 1, 2, "Y"), seen(20, 1, 2, "Z", "F"))
    assert [bool(jump.objection(v, BID)) for v in places] == [True, sisters, False]


# ---- the regime: five minutes, spreads of three cents in one minute of five

def minutes(wide: set[int], until: int, tight: Price = 4599, ticker: str = "X") -> list[View]:
    "A look at the beginning of each minute; in some the others are three cents apart"
    return [seen(m * MINUTE, 4300, 4600 if m in wide else tight, ticker) for m in range(until + 1)]


def test_wide_spreads_are_usual_from_exactly_the_setting_on_and_for_as_long_as_it_is_added_up():
    "The first minute is wide. At the end of the fifth it is one in five; then it is out of sight"
    usual = said(Regime(RegimeParams(300, 20, 5, 0)), *minutes({0}, 6))
    assert usual == [""] * 6 + ["spreads of 3c stood 0 % of 5 minutes, under 20 %"]
    assert said(Regime(RegimeParams(300, 21, 5, 0)), *minutes({0}, 5))[-1] == "spreads of 3c stood 20 % of 5 minutes, under 21 %"


def test_the_regime_is_watched_for_as_long_as_the_setting_says_before_anything_is_quoted():
    regime = Regime(RegimeParams(300, 20, 30, 10))
    views = [*minutes(set(range(10)), 9), seen(10 * MINUTE - 1, 4300, 4600), seen(10 * MINUTE, 4300, 4600)]
    assert said(regime, *views)[-3:] == ["watched for 9 of 10 minutes"] * 2 + [""]
    assert regime.objection(seen(20 * MINUTE, 1, 2, event="F"), BID) == "watched for 0 of 10 minutes"  # of another event


def test_time_without_a_look_counts_for_a_minute_at_most():
    "Ten minutes after a wide look: one minute of wide spreads, and then two of tight ones, is a third"
    for percent, text in ((33, ""), (34, "spreads of 3c stood 33 % of 30 minutes, under 34 %")):
        path = [seen(0, 4300, 4600), *(seen(m * MINUTE, 4300, 4400) for m in (10, 11, 12))]
        assert said(Regime(RegimeParams(300, percent, 30, 0)), *path)[-1] == text
    exactly_half = [seen(0, 4300, 4600), seen(MINUTE, 4300, 4400), seen(MINUTE * 3, 4300, 4400)]
    assert not objects(Regime(RegimeParams(300, 50, 30, 0)), *exactly_half)[-1]
    a_little_less = [seen(0, 4300, 4600), seen(MINUTE - 1, 4300, 4400), seen(3 * MINUTE, 4300, 4400)]
    assert objects(Regime(RegimeParams(300, 50, 30, 0)), *a_little_less)[-1]  # 59,999 ms of 119,999


def test_the_markets_of_an_event_are_added_up_and_a_missing_side_is_not_wide():
    regime = Regime(RegimeParams(300, 50, 30, 0))
    for v in minutes({0}, 1): regime.watch(v)
    for v in minutes(set(), 1, ticker="Y"): regime.watch(v)
    assert not regime.objection(seen(MINUTE, 1, 2, "Y"), BID)  # one minute of two
    regime.watch(seen(MINUTE, 4300, None, "X"))
    regime.watch(seen(2 * MINUTE, 4300, None, "X"))
    assert "33 % of 30 minutes" in regime.objection(seen(2 * MINUTE, 1, 2), BID)
