"Spread capture at its boundaries: a hundredth of a cent, of a contract and of a dollar to either side"
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.model.fees import FeeSchedule
from kalshi_mm.model.numbers import CENT, CONTRACT, ONE, Count, Price
from kalshi_mm.model.types import Market, Position, Quote, TickGrid
from kalshi_mm.strategy.protocol import NoQuote, Quotes, Risk, View
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

FINE, CENTS = TickGrid.of([(0, ONE, 1)]), TickGrid.of([(0, ONE, CENT)])
FREE = FeeSchedule(0, 0)


def seen(bid: Price | None, ask: Price | None, net: Count = 0, most: Count = 100 * CONTRACT, grid: TickGrid = CENTS,
         fees: FeeSchedule = FREE) -> View:  # fmt: skip
    m = Market("X", "E", "S", "", "active", 0, 10**12, grid)
    bids, asks = (((p, 2500),) if p is not None else () for p in (bid, ask))
    return View(m, bids, asks, Position("X", net), fees, 0, Risk(max_position=most))


def quoted(view: View, **params: int) -> Quotes: return SpreadCapture(Params(**params)).quote(view)  # type: ignore[arg-type]


def prices(quotes: Quotes) -> list[Price | None]:
    return [q.price if isinstance(q, Quote) else None for q in (quotes.bid, quotes.ask)]


def why(quotes: Quotes) -> str:
    assert isinstance(quotes.bid, NoQuote)
    return quotes.bid.reason


def test_a_spread_as_wide_as_the_setting_is_quoted_and_one_a_hundredth_of_a_cent_narrower_is_not():
    assert prices(quoted(seen(4000, 4500, grid=FINE), min_spread=500)) == [4001, 4499]
    assert why(quoted(seen(4000, 4499, grid=FINE), min_spread=500)) == "spread 4.99c is under the minimum of 5c"


def test_books_without_a_spread_say_so():
    assert why(quoted(seen(4500, 4500, grid=FINE))) == "the others' book is locked at 45c"
    assert why(quoted(seen(4501, 4500, grid=FINE))) == "the others' book is crossed at 45.01c"
    assert prices(quoted(seen(4500, 4501, grid=FINE), min_spread=1)) == [4500, 4501]  # as near as a book can be
    assert why(quoted(seen(None, 4500))) == why(quoted(seen(None, None))) == "nobody else bids: no spread to stand in"
    assert why(quoted(seen(4500, None))) == "nobody else offers: no spread to stand in"


def test_two_quotes_need_a_tick_between_them():
    assert prices(quoted(seen(4000, 4300), min_spread=1, improve_ticks=1)) == [4100, 4200]
    assert "no room for two quotes" in why(quoted(seen(4000, 4200), min_spread=1, improve_ticks=1))
    assert prices(quoted(seen(4000, 4200), min_spread=1, improve_ticks=0)) == [4000, 4200]


@pytest.mark.parametrize(("rate", "quotes"), [(99, True), (100, False), (101, False)])
def test_a_round_trip_has_to_earn_more_than_its_fees(rate: int, quotes: bool):
    "One contract, 45 and 55 cents: ten cents, and the fees are in hundredths of five cents on each side"
    class Fees(FeeSchedule):
        def estimate(self, price: Price, count: Count, is_taker: bool) -> int:
            assert not is_taker and count == CONTRACT
            return 500 * rate

    found = quoted(seen(4400, 5600, fees=Fees(0, 0)), default_order_size=CONTRACT)
    assert prices(found) == ([4500, 5500] if quotes else [None, None])
    if not quotes: assert why(found).endswith("fees take the 10c between 45c and 55c")


@pytest.mark.parametrize(("net", "ticks"), [(0, 0), (2499, 0), (2500, -1), (-2499, 0), (-2500, 1), (9999, -3), (10_000, -4),
                                            (-10_000, 4), (20_000, -4), (-20_000, 4)])  # fmt: skip
def test_both_quotes_move_against_the_position_by_whole_ticks(net: Count, ticks: int):
    "Four ticks for a hundred contracts"
    strategy = SpreadCapture(Params(skew_ticks=4, default_order_size=CONTRACT))
    found = strategy.quote(seen(3000, 7000, net, most=10_000))
    expected: list[Price | None] = [3100 + 100 * ticks, 6900 + 100 * ticks]
    if net >= 10_000: expected[0] = None
    if net <= -10_000: expected[1] = None
    assert prices(found) == expected
    shown = next(q for q in (found.bid, found.ask) if isinstance(q, Quote))
    assert (f"{abs(ticks)} ticks {'down' if ticks < 0 else 'up'} for the position" in shown.reason) == bool(ticks)


@pytest.mark.parametrize(("net", "bid", "ask"), [(9000, 1000, 1000), (9001, 999, 1000), (9999, 1, 1000), (10_000, 0, 1000),
                                                 (-9001, 1000, 999), (-10_000, 1000, 0)])  # fmt: skip
def test_a_quote_is_no_larger_than_what_may_still_be_held(net: Count, bid: Count, ask: Count):
    found = quoted(seen(3000, 7000, net, most=10_000), default_order_size=1000)
    assert [q.count if isinstance(q, Quote) else 0 for q in (found.bid, found.ask)] == [bid, ask]


@given(st.integers(1, ONE - 2), st.integers(2, 3000), st.integers(-10_000, 10_000), st.integers(0, 10), st.integers(0, 50))
def test_each_quote_stays_on_its_own_side_of_the_middle(bid: Price, spread: Price, net: Count, improve: int, skew: int):
    ask = min(bid + spread, ONE - 1)
    if ask <= bid: return
    found = quoted(seen(bid, ask, net, grid=FINE), min_spread=1, improve_ticks=improve, skew_ticks=skew)
    ours = prices(found)
    assert ours[0] is None or 2 * ours[0] <= bid + ask
    assert ours[1] is None or 2 * ours[1] >= bid + ask


def test_a_middle_between_two_prices_leaves_each_side_its_own():
    "41.5 cents: long, the ask comes down to 42 and no further; short, the bid comes up to 41 and no further"
    for net, side, price in ((10_000, "ask", 4200), (-10_000, "bid", 4100)):
        found = quoted(seen(3600, 4700, net, most=10_000), skew_ticks=50)
        assert getattr(found, side).price == price


# ---- a narrow spread

def test_in_a_narrow_spread_a_position_is_reduced_at_the_touch_and_nothing_else_is_quoted():
    for net, bid, ask in ((0, None, None), (1, None, 4200), (-1, 4000, None), (5000, None, 4200)):
        found = quoted(seen(4000, 4200, net), default_order_size=1000)
        assert prices(found) == [bid, ask]
        for q in (found.bid, found.ask):
            if isinstance(q, Quote): assert q.count == min(abs(net), 1000) and "joins to reduce the position" in q.reason
        assert prices(quoted(seen(4000, 4200, net), unwind=False)) == [None, None]


@pytest.mark.parametrize(("half", "leaves"), [(0, True), (100, True), (101, False)])
def test_leaving_earns_half_a_spread_at_least_if_so_set(half: Price, leaves: bool):
    found = quoted(seen(4000, 4200, 500), leave_half_spread=half)
    assert prices(found) == [None, 4200 if leaves else None]
    if not leaves: assert why(found).endswith("half of it is under 1.01c, so the position of 5 stays")


def test_an_answer_is_made_anew_for_each_thing_that_it_depends_on():
    strategy, first = SpreadCapture(Params()), seen(3000, 7000)
    answer = strategy.quote(first)
    assert strategy.quote(seen(3000, 7000)) is answer
    others = (seen(3100, 7000), seen(3000, 6900), seen(3000, 7000, 5000), seen(3000, 7000, most=500),
              seen(3000, 7000, grid=FINE), seen(3000, 7000, fees=FeeSchedule.of("quadratic_with_maker_fees")))
    for other in others: assert strategy.quote(other) != answer and strategy.quote(first) == answer
    strategy.params = Params(default_order_size=100)
    assert strategy.quote(first) != answer
