"What a resting order scores: shares add up, more is never less, and nothing counts behind the walk"
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.model.incentives import FILING, HELP_PAGE, Accrual, Reading, one_more, scored, ticks_between
from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, ONE, Count, Price
from kalshi_mm.model.types import Programme, Side, TickGrid

CENTS = TickGrid.of([(0, ONE, CENT)])
FINE = TickGrid.of([(0, 1000, 10), (1000, 9000, CENT), (9000, ONE, 10)])
READINGS = [FILING, HELP_PAGE, Reading(True, False), Reading(False, True)]
Book = dict[Price, dict[str, Count]]  # price: account: contracts


@st.composite
def books(draw: st.DrawFn) -> tuple[Book, Programme, TickGrid, Side, Reading]:
    grid, side = draw(st.sampled_from([CENTS, FINE])), draw(st.sampled_from(list(Side)))
    prices = [p for p in range(10, ONE, 10) if grid.allows(p)]
    chosen = draw(st.lists(st.sampled_from(prices), min_size=1, max_size=12, unique=True))
    book = {p: draw(st.dictionaries(st.sampled_from("abc"), st.integers(1, 90_000), min_size=1)) for p in chosen}
    programme = Programme("p", "X", 0, 60_000, 20 * DOLLAR, draw(st.integers(10_001, 200_000)), draw(st.integers(0, 10_000)))
    return book, programme, grid, side, draw(st.sampled_from(READINGS))


def levels(book: Book, side: Side) -> list[tuple[Price, Count]]:
    return sorted(((p, sum(of.values())) for p, of in book.items()), key=lambda level: -side.sign * level[0])


def of(book: Book, who: str) -> dict[Price, Count]: return {p: n[who] for p, n in book.items() if who in n}


@given(books())
def test_the_shares_of_all_accounts_add_up_to_one_or_the_moment_is_excluded(drawn):  # type: ignore[no-untyped-def]
    book, programme, grid, side, reading = drawn
    found = [scored(levels(book, side), of(book, who), programme, grid, side, reading) for who in "abc"]
    stands = sum(n for _, n in levels(book, side))
    assert sum(s.share for s in found) == (1 if stands >= programme.target else 0)
    assert {(s.reference is None, s.short) for s in found} == {(stands < programme.target, max(programme.target - stands, 0))}


@given(books())
def test_a_score_is_what_a_walk_by_hand_gives(drawn):  # type: ignore[no-untyped-def]
    "Tick by tick down the grid, one contract's hundredth after the other being the same as all of them"
    book, programme, grid, side, reading = drawn
    found = scored(levels(book, side), of(book, "a"), programme, grid, side, reading)
    if found.reference is None: return
    walked, reference, want = 0, None, Fraction(0)
    kept = []
    for price, n in levels(book, side):
        kept.append(price)
        if reference is None and 5 * (walked + n) >= programme.target: reference = price
        walked += n
        if walked >= programme.target and reading.cut_off: break
    for price in kept:
        ticks, p = 0, price
        step = grid.up if side is Side.BID else grid.down
        while reference is not None and (reference - p) * side.sign > 0: p, ticks = step(p), ticks + 1
        if (price - (reference or 0)) * side.sign > 0 and reading.more_in_front:
            p = reference or 0
            while (price - p) * side.sign > 0: p, ticks = step(p), ticks - 1
        d = Fraction(programme.discount_bps, 10_000)
        want += book[price].get("a", 0) * (d**ticks if d or ticks >= 0 else 1)  # nothing is left of nothing: full credit in front
    assert (found.reference, found.ours) == (reference, want)


@given(books(), st.integers(1, 50_000))
def test_more_at_a_level_that_is_scored_never_lowers_a_share_while_the_walk_stays(drawn, extra):  # type: ignore[no-untyped-def]
    book, programme, grid, side, reading = drawn
    before = scored(levels(book, side), of(book, "a"), programme, grid, side, reading)
    for price in book:
        more = {**book, price: {**book[price], "a": book[price].get("a", 0) + extra}}
        after = scored(levels(more, side), of(more, "a"), programme, grid, side, reading)
        if after.reference != before.reference or before.reference is None: continue
        if reading.cut_off and after.total - before.total != (after.ours - before.ours): continue  # others fell behind the walk
        assert after.share >= before.share


@given(books(), st.integers(1, 50_000))
def test_nothing_counts_behind_the_level_that_reaches_the_target(drawn, extra):  # type: ignore[no-untyped-def]
    book, programme, grid, side, _ = drawn
    before = scored(levels(book, side), of(book, "a"), programme, grid, side, FILING)
    if before.reference is None: return
    worst = max(book) if side is Side.ASK else min(book)
    behind = worst + 10 if side is Side.ASK else worst - 10
    if not grid.allows(behind): return
    more = {**book, behind: {"a": extra}}
    assert scored(levels(more, side), of(more, "a"), programme, grid, side, FILING) == before


@given(books())
def test_one_contract_more_is_the_difference_of_two_shares(drawn):  # type: ignore[no-untyped-def]
    book, programme, grid, side, reading = drawn
    now = scored(levels(book, side), of(book, "a"), programme, grid, side, reading).share
    for price in book:
        more = {**book, price: {**book[price], "a": book[price].get("a", 0) + CONTRACT}}
        then = scored(levels(more, side), of(more, "a"), programme, grid, side, reading).share
        assert one_more(levels(book, side), of(book, "a"), price, programme, grid, side, reading) == then - now


@given(st.integers(1, 999), st.integers(1, 999), st.sampled_from([CENTS, FINE]))
def test_ticks_are_steps_of_the_market_s_own_grid(a, b, grid):  # type: ignore[no-untyped-def]
    low, high = sorted(grid.floor(10 * p) or 10 * CENT for p in (a, b))
    if not (grid.allows(low) and grid.allows(high)): return
    n, p = 0, low
    while p < high: p, n = grid.up(p), n + 1
    assert ticks_between(grid, low, high) == ticks_between(grid, high, low) == n


@given(st.lists(books(), min_size=1, max_size=5))
def test_what_all_accounts_are_paid_is_never_more_than_the_reward(drawn):  # type: ignore[no-untyped-def]
    paid = 0
    programme = Programme("p", "X", 0, 1000 * len(drawn), 20 * DOLLAR, 50_000, 5000)
    for who in "abc":
        accrual = Accrual()
        for book, _, grid, _, reading in drawn:
            both = [scored(levels(book, side), of(book, who), programme, grid, side, reading) for side in Side]
            accrual = accrual.add(both[0], both[1])
        assert accrual.looks == programme.seconds and 0 <= accrual.payment(programme) <= accrual.earned(programme)
        assert accrual.payment(programme) % (CENT * CONTRACT) == 0
        assert accrual.payment(programme) >= DOLLAR or accrual.payment(programme) == 0
        paid += accrual.payment(programme)
    assert paid <= programme.reward


def test_ninety_nine_cents_are_nothing_and_a_dollar_is_a_dollar():
    "Of $20: 99 and 100 of 2,000 half seconds"
    programme = Programme("p", "X", 0, 1_000_000, 20 * DOLLAR, 1000 * CONTRACT, 5000)
    for n, money in ((99, 0), (100, DOLLAR), (101, 1_010_000)):
        assert Accrual(looks=1000, counted=2000, shares=Fraction(n)).payment(programme) == money
