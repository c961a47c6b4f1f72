"The books and the exchange's balance: each line of the tie, to a millionth of a dollar"
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, ONE, Count, Money, Price, cost
from kalshi_mm.model.types import Fill, Order, OrderStatus, Side
from kalshi_mm.risk.tie_out import Paid, Statement, reserved, tie_out


def resting(side: Side, price: Price, count: Count, ticker: str = "X") -> Order:
    return Order("o", "", ticker, side, price, 0, count, OrderStatus.RESTING)


@pytest.mark.parametrize(("net", "orders", "cash"), [
    (0, [(Side.BID, 4000, 1000)], 4_000_000), (0, [(Side.ASK, 4000, 1000)], 6_000_000),
    (999, [(Side.ASK, 4000, 1000)], 6000), (1000, [(Side.ASK, 4000, 1000)], 0), (-1000, [(Side.ASK, 4000, 1000)], 6_000_000),
    (-1000, [(Side.BID, 4000, 1000)], 0), (-400, [(Side.BID, 4000, 300), (Side.BID, 3000, 300)], 600_000),
    (400, [(Side.ASK, 7000, 300), (Side.ASK, 6000, 300)], 600_000)])
def test_orders_reserve_what_they_cost_and_those_that_close_a_position_nothing_the_dearest_first(
        net: Count, orders: list[tuple[Side, Price, Count]], cash: Money):
    for rows in (orders, orders[::-1]): assert reserved([resting(*o) for o in rows], {"X": net}) == cash
    assert reserved([resting(*o, ticker="Y") for o in orders], {"X": net}) == reserved([resting(*o) for o in orders], {})


trades = st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from(list(Side)), st.integers(1, ONE - 1), st.integers(1, 900),
                            st.integers(0, 9999)), max_size=6)  # fmt: skip


@given(trades, st.dictionaries(st.sampled_from("AB"), st.integers(-900, 900)), st.integers(-10**6, 10**6),
       st.sampled_from([None, 0, 3333, ONE]), st.sampled_from([-1, 0, 1]))  # fmt: skip
def test_a_balance_ties_exactly_if_each_trade_fee_payment_and_transfer_is_in_it(
        trades: list[tuple[str, Side, Price, Count, Money]], held: dict[str, Count], moved: Money, value: Price | None,
        off: Money):
    "An exchange that locks a dollar for each short contract; A may be settled at the end"
    fills = [Fill(f"t{n}", "o", t, side, price, count, fee, False, 5) for n, (t, side, price, count, fee) in enumerate(trades)]
    nets, cash = dict(held), 100 * DOLLAR + moved
    for f in fills:
        before = max(-nets.get(f.ticker, 0), 0)
        nets[f.ticker] = nets.get(f.ticker, 0) + f.side.sign * f.count
        cash += f.cash - f.fee - cost(ONE, max(-nets[f.ticker], 0) - before)
    paid = []
    if value is not None and "A" in nets:
        net = nets.pop("A")
        won = cost(value, net) if net > 0 else cost(ONE - value, -net)
        paid, cash = [Paid("A", 9, won, short=max(-net, 0))], cash + won
    tie = tie_out(Statement(0, 100 * DOLLAR, held), Statement(10, cash + off, nets), fills, paid, transferred=moved)
    assert (tie.difference, tie.moved, tie.ties) == (off, (), not off)
    assert tie.closing - tie.difference == tie.expected


@pytest.mark.parametrize(("cents_only", "off", "ties"), [
    (0, 1, False), (1, CENT * CONTRACT, True), (1, CENT * CONTRACT + 1, False), (1, -CENT * CONTRACT, True), (2, 20_000, True),
    (2, -20_001, False)])
def test_settlements_that_are_listed_in_whole_cents_may_be_a_cent_off_each(cents_only: int, off: Money, ties: bool):
    paid = [Paid(f"M{n}", 5, DOLLAR, exact=n >= cents_only) for n in range(3)]
    tie = tie_out(Statement(0, 0, {}), Statement(9, 3 * DOLLAR + off, {}), [], paid)
    assert (tie.ties, tie.difference, tie.rounding) == (ties, 0 if ties else off, 10_000 * cents_only)


@pytest.mark.parametrize(("before", "after"), [(0, 3), (3, 0), (2, 5)])
def test_a_balance_ties_with_or_without_what_resting_orders_reserve_and_with_nothing_between(before: int, after: int):
    more = (after - before) * DOLLAR
    def tie(closing: Money) -> Money:
        opening = Statement(0, 100 * DOLLAR, {}, before * DOLLAR)
        return tie_out(opening, Statement(9, closing, {}, after * DOLLAR), [], []).difference

    assert (tie(100 * DOLLAR), tie(100 * DOLLAR - more)) == (0, 0)
    assert (tie(100 * DOLLAR + 1), tie(100 * DOLLAR - more - 1)) == (1, -1)
    assert abs(tie(100 * DOLLAR - more // 2)) == abs(more) // 2


def test_a_position_that_nothing_explains_is_named_and_one_that_was_paid_is_gone():
    fills = [Fill("t", "o", "A", Side.BID, 4300, 700, 0, False, 5)]
    def moved(now: dict[str, Count], *paid: Paid) -> tuple[str, ...]:
        return tie_out(Statement(0, 0, {"A": 100, "B": -50}), Statement(9, 0, now), fills, paid).moved

    assert moved({"A": 800, "B": -50}) == () == moved({"B": -50}, Paid("A", 8, 0))
    assert moved({"A": 801, "C": 1}) == (
        "A: 8 contracts by fills and settlements, 8.01 by the exchange's list",
        "B: -0.50 contracts by fills and settlements, 0 by the exchange's list",
        "C: 0 contracts by fills and settlements, 0.01 by the exchange's list")
    assert moved({"A": 5, "B": -50}, Paid("A", 8, 0)) == ("A: 0 contracts by fills and settlements, 0.05 by the exchange's list",)
