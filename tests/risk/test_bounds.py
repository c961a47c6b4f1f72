"Events and exposures at their bounds: which markets cover an event, orders that move, and sums that follow each change"
from datetime import UTC, datetime
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.model.numbers import CONTRACT, DOLLAR, ONE, Count, Money, Price
from kalshi_mm.model.types import Market, Side, TickGrid
from kalshi_mm.risk.day import Day, drawdown_halt, loss_halt, new_york_day
from kalshi_mm.risk.events import Change, EventRisk, Leg, check_event, check_held, covers_all, overdrawn
from kalshi_mm.risk.exposure import Exposure, Exposures, mark_price
from kalshi_mm.risk.limits import Limits

GRID = TickGrid.of([(0, ONE, 100)])
Strike = tuple[str, float | None, float | None]


def market(kind: str, floor: float | None, cap: float | None) -> Market:
    return Market(f"{kind}{floor}{cap}", "E", "S", "", "active", 0, 1, GRID, kind, floor, cap)


def ladder(cuts: list[int]) -> list[Strike]:
    "Less than the first, what lies between two, greater than the last less one"
    between: list[Strike] = [("between", a, b - 1) for a, b in pairwise(cuts)]
    return [("less", None, cuts[0]), *between, ("greater", cuts[-1] - 1, None)]


cuts = st.lists(st.integers(1, 9), min_size=1, max_size=6).map(lambda steps: list(accumulate(steps)))


@given(cuts, st.randoms(use_true_random=False), st.data())
def test_markets_cover_an_event_exactly_if_each_begins_where_the_one_before_it_ends(cuts: list[int], rng, data: st.DataObject):
    strikes = ladder(cuts)
    rng.shuffle(strikes)
    assert covers_all([market(*s) for s in strikes])
    k = data.draw(st.integers(0, len(strikes) - 1))
    kind, floor, cap = strikes[k]
    by = data.draw(st.sampled_from([-1, 1]))
    if floor is not None and (cap is None or data.draw(st.booleans())): broken: Strike = (kind, floor + by, cap)
    else: broken = (kind, floor, None if cap is None else cap + by)
    for others in ([], [broken], [("", floor, cap)], [("between", floor, None)]):
        assert not covers_all([market(*s) for s in [*strikes[:k], *others, *strikes[k + 1 :]]])


def test_two_markets_may_cover_an_event_and_one_alone_never_does():
    assert covers_all([market("less", None, 62), market("greater", 61, None)])
    assert not covers_all([market("less", None, 62)]) and not covers_all([])
    assert not covers_all([market("less", None, None), market("greater", None, None)])


# ---- orders that move

LEGS = st.lists(st.builds(Leg, st.integers(-900, 900), st.integers(-10**7, 10**7), st.integers(0, 10**7), st.integers(0, 10**7),
                          st.integers(0, 900)), min_size=1, max_size=4)  # fmt: skip
sides = st.sampled_from(list(Side))


def event(legs: list[Leg], exclusive: bool, complete: bool) -> EventRisk:
    risk = EventRisk()
    risk.bound(exclusive, complete)
    for k, leg in enumerate(legs): risk.put(str(k), leg)
    return risk


@given(LEGS, st.booleans(), st.booleans(), sides, st.integers(1, ONE - 1), st.integers(1, 900), st.integers(0, 9 * DOLLAR),
       st.integers(0, 10**5))  # fmt: skip
def test_what_an_order_would_do_is_what_it_has_done_once_it_rests(
        legs: list[Leg], exclusive: bool, complete: bool, side: Side, price: Price, count: Count, locked: Money, fee: Money):
    "An order that moves adds only what it locks beyond what it locked before, and never frees anything"
    risk, order = event(legs, exclusive, complete), Change("0", side, price, count, fee, locked)
    assert order.cost == (price if side is Side.BID else ONE - price) * count + fee
    before, foreseen = risk.if_filled, risk.with_resting(order)
    risk.put("0", legs[0].plus(order))
    assert risk.if_filled == foreseen <= before
    assert risk.largest == max(count, *(leg.largest for leg in legs))
    spent = risk.legs["0"]
    more = max(order.cost - locked, 0)
    assert (spent.bids - legs[0].bids, spent.asks - legs[0].asks) == ((more, 0) if side is Side.BID else (0, more))
    assert (spent.net, spent.cash) == (legs[0].net, legs[0].cash)


@given(LEGS, st.booleans(), st.booleans())
def test_the_payoffs_are_of_each_listed_market_and_of_none_unless_one_of_them_must_pay(
        legs: list[Leg], exclusive: bool, complete: bool):
    risk, cash = event(legs, exclusive, complete), sum(leg.cash for leg in legs)
    each = {str(k): cash + ONE * leg.net for k, leg in enumerate(legs)}
    assert risk.payoffs() == (each if complete else each | {"": cash})
    if exclusive: assert risk.held == min(risk.payoffs().values())
    shorts = sorted(max(-leg.net, 0) * ONE for leg in legs)
    assert risk.netted == (sum(shorts[:-1]) if exclusive else 0)


def test_an_event_without_markets_pays_and_loses_nothing():
    for complete in (False, True):
        risk = event([], True, complete)
        assert (risk.payoffs(), risk.held, risk.if_filled, risk.largest, risk.netted) == ({"": 0}, 0, 0, 0, 0)


def test_the_figures_follow_each_change_of_a_market_and_of_what_the_markets_cover():
    risk = event([Leg(-100, 40 * 10_000)], True, False)  # one contract sold at 40 cents
    assert (risk.held, risk.if_filled) == (-600_000, -600_000)
    risk.put("0", Leg(-100, 40 * 10_000, 0, 250_000))
    assert (risk.held, risk.if_filled) == (-600_000, -850_000)
    risk.put("1", Leg(-100, 70 * 10_000))
    assert (risk.held, risk.if_filled) == (100_000, -150_000)  # one of them at most has to pay
    risk.bound(False, False)
    assert (risk.held, risk.if_filled) == (-900_000, -1_150_000)
    risk.put("0", Leg())
    assert (risk.held, risk.if_filled) == (-300_000, -300_000)


# ---- the limits of an event: two dollars held, and one more for each contract of the largest order

LIMITS = Limits(max_event_loss=2 * DOLLAR, max_event_resting_loss=DOLLAR)


@pytest.mark.parametrize(("count", "may"), [(5 * CONTRACT, True), (5 * CONTRACT + 1, False)])
def test_an_order_may_lose_as_much_alone_as_an_event_may_and_no_more(count: Count, may: bool):
    "Five contracts at 40 cents"
    order = Change("0", Side.BID, 4000, count)
    assert (check_held(LIMITS, event([Leg()], True, False), order) == "") == may
    assert (check_event(LIMITS, event([Leg()], True, False), order) is None) == may


@pytest.mark.parametrize(("bids", "may"), [(3 * DOLLAR, True), (3 * DOLLAR + 1, False)])
def test_all_that_rests_may_lose_more_by_the_largest_order_and_no_more_than_that(bids: Money, may: bool):
    "Two contracts at 50 cents are the largest order: two dollars and two more"
    order, risk = Change("0", Side.BID, 5000, 2 * CONTRACT), event([Leg(bids=bids, largest=CONTRACT)], True, False)
    assert (check_event(LIMITS, risk, order) is None) == may
    risk.put("0", risk.legs["0"].plus(order))
    assert (overdrawn(LIMITS, risk) == "") == may
    if not may: assert "lose $4.000001 if everything that rests filled, the limit is $4.00" in overdrawn(LIMITS, risk)
    moved = Change("0", Side.BID, 5100, 2 * CONTRACT, locked=order.cost)
    assert (check_event(LIMITS, event([Leg(bids=bids - 20_000, largest=CONTRACT)], True, False), moved) is None)
    away = Change("0", Side.BID, 4900, 2 * CONTRACT, locked=order.cost)
    assert check_event(LIMITS, risk, away) is None  # it risks no more than what rests


# ---- exposures

@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-50, 50), st.integers(0, 50), st.integers(0, 50),
                          st.none() | st.integers(0, 120)), max_size=12))  # fmt: skip
def test_the_total_is_the_sum_of_the_worst_cases_less_what_an_event_that_is_over_can_not_lose(changes):
    book, each, most = Exposures(), dict[str, Exposure](), None
    for k, net, buying, selling, most in changes:
        each[str(k)] = Exposure(net, buying, selling)
        book.put(str(k), each[str(k)])
        book.count_as("E", ["0", "1"], most)
        worst = {t: max(abs(e.net), e.net + e.buying, e.selling - e.net) for t, e in each.items()}
        over = sum(worst.get(t, 0) for t in "01")
        relieved = max(over - most, 0) if most is not None else 0
        assert (book.total, book.relieved) == (sum(worst.values()) - relieved, relieved)
        assert book.of(str(k)) == each[str(k)] and book.of("elsewhere") == Exposure()


# ---- the day

@pytest.mark.parametrize(("midnight", "before", "after"), [
    ((2026, 11, 28, 5), "2026-11-27", "2026-11-28"), ((2026, 7, 1, 4), "2026-06-30", "2026-07-01")])  # in winter, in summer
def test_a_day_begins_at_midnight_in_new_york_with_the_last_profit_of_the_day_before(
        midnight: tuple[int, int, int, int], before: str, after: str):
    ms = int(datetime(*midnight, tzinfo=UTC).timestamp()) * 1000
    assert (new_york_day(ms - 1), new_york_day(ms)) == (before, after)
    day = Day.begin(ms - 10, 7).at(ms - 9, 100).at(ms - 1, 40)
    assert (day.day, day.pnl, day.drawdown) == (before, 33, 60)
    day = day.at(ms, 30)
    assert (day.day, day.pnl, day.drawdown, day.peak) == (after, -10, 10, 40)
    assert day.at(ms - 1, 50) == Day(after, 40, 50, 50)  # a clock that goes back begins no day


@pytest.mark.parametrize(("beyond", "halts"), [(-1, False), (0, True), (1, True)])
def test_a_loss_and_a_fall_as_large_as_their_limits_are_reasons_to_halt(beyond: Money, halts: bool):
    limits = Limits(max_daily_loss=5 * DOLLAR, max_drawdown=8 * DOLLAR)
    lost, fell = 5 * DOLLAR + beyond, 8 * DOLLAR + beyond
    assert bool(loss_halt(limits, Day("d", 10 * DOLLAR, 10 * DOLLAR, 10 * DOLLAR - lost))) == halts
    assert bool(drawdown_halt(limits, Day("d", 0, 20 * DOLLAR, 20 * DOLLAR - fell))) == halts


# ---- marks

@pytest.mark.parametrize(("bid", "ask", "last", "net", "mark"), [
    (4200, 4800, 100, 0, 4500), (4200, 4801, None, 5, 4500), (4200, 4801, None, -5, 4501), (4200, 4801, None, 0, 4500),
    (4800, 4800, None, 5, 4800), (4800, 4200, 4500, 5, 4800), (4800, None, 4500, 5, 4800), (4200, None, 4500, 5, 4500),
    (None, 4800, 4500, 5, 4500), (None, 4200, 4500, -5, 4200), (None, None, 4500, 5, 4500),
    (4200, None, None, 5, 4200), (4200, None, None, 0, 4200), (4200, None, None, -5, ONE), (None, 4800, None, 5, 0),
    (None, 4800, None, -5, 4800), (None, None, None, 5, 0), (None, None, None, 0, 0), (None, None, None, -5, ONE)])
def test_a_mark_is_the_middle_or_the_last_one_within_the_book_or_the_worst_price_there_is(
        bid: Price | None, ask: Price | None, last: Price | None, net: Count, mark: Price):
    assert mark_price(bid, ask, last, net) == mark
