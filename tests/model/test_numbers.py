"Numbers on the wire: exact in both directions, and refused if they are finer than what counts"
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.model.numbers import (
    ONE,
    cents,
    contracts,
    count_str,
    dollars,
    fixed_str,
    money_str,
    parse_count,
    parse_fixed,
    parse_money,
    parse_price,
    price_str,
)

KINDS: list[tuple[Callable[[str], int], Callable[[int], str], int]] = [
    (parse_price, price_str, 4), (parse_count, count_str, 2), (parse_money, money_str, 6)]


@pytest.mark.parametrize(("parse", "show", "places"), KINDS)
@given(st.data())
def test_a_number_is_read_as_it_is_written_and_one_decimal_more_is_refused(parse, show, places: int, data: st.DataObject):
    n = data.draw(st.integers(0, ONE) if parse is parse_price else st.integers(-10**12, 10**12))
    text = show(n)
    assert len(text.partition(".")[2]) == places and Decimal(text) == Decimal(n).scaleb(-places)
    assert parse(text) == n == parse(text + "000")  # zeros say nothing
    with pytest.raises(ValueError, match=f"more than {places} decimals"): parse(text + "1")


@given(st.integers(-10**12, 10**12), st.integers(0, 8))
def test_fixed_numbers_of_any_places(n: int, places: int):
    text = fixed_str(n, places)
    assert parse_fixed(text, places) == n and parse_fixed(text.rstrip("0"), places) == n


def test_a_price_lies_between_nothing_and_a_dollar_both_included():
    assert (parse_price("0"), parse_price("1.0000"), parse_price("0.0001"), parse_price("0.9999")) == (0, ONE, 1, ONE - 1)
    for text in ("-0.0001", "1.0001", "43"):
        with pytest.raises(ValueError, match="between 0 and 1 dollar"): parse_price(text)


@pytest.mark.parametrize("text", ["", "-", ".5", "1e3", " 1", "1,0", "--1", "+1", "0x1", "1.0.0", "٣x"])
def test_what_is_no_number_is_refused(text: str):
    for parse, _, _ in KINDS:
        with pytest.raises(ValueError, match="not a decimal number"): parse(text)


def test_people_read_what_there_is_and_no_zeros_beyond_it():
    assert [cents(p) for p in (0, 1, 10, 99, 100, 4350, -4305, ONE)] == [
        "0c", "0.01c", "0.1c", "0.99c", "1c", "43.5c", "-43.05c", "100c"]
    assert [dollars(m) for m in (0, 1, 10_000, 17_500, -17_500, 4_300_000)] == [
        "$0.00", "$0.000001", "$0.01", "$0.0175", "-$0.0175", "$4.30"]
    assert [contracts(n) for n in (0, 1, 10, 100, -841, 100_000)] == ["0", "0.01", "0.10", "1", "-8.41", "1000"]
