"What the account's lists say, read to the cent, the hundredth and the second"
from typing import Any

import pytest
from msgspec import json

from kalshi_mm.client.portfolio import (
    KeyList,
    odd_name,
    read_amended,
    read_canceled,
    read_canceled_batch,
    read_fills,
    read_groups,
    read_order,
    read_orders,
    read_placed,
    read_positions,
    read_settlements,
    read_transfers,
)
from kalshi_mm.model.numbers import DOLLAR
from kalshi_mm.model.types import Fill, Order, OrderStatus, Side, UnreadFill

DAY_S = 86_400
ORDER = {"order_id": "o1", "ticker": "X", "book_side": "ask", "status": "resting", "yes_price_dollars": "0.4350",
         "fill_count_fp": "1.50", "remaining_count_fp": "8.41"}  # fmt: skip
FILL = {"trade_id": "t1", "order_id": "o1", "ticker": "X", "book_side": "bid", "yes_price_dollars": "0.4300", "count_fp": "4.00",
        "fee_cost": "0.0175", "is_taker": True}  # fmt: skip


def page(name: str, *rows: Any, **more: Any) -> bytes: return json.encode({name: rows, **more})


def test_an_order_is_read_with_what_may_be_missing():
    (plain,), cursor = read_orders(page("orders", ORDER))
    assert plain == Order("o1", "", "X", Side.ASK, 4350, 150, 841, OrderStatus.RESTING) and cursor == ""
    times = {"created_time": "2026-11-26T22:00:00Z", "last_update_time": "2026-11-26T22:00:01.5Z",
             "expiration_time": "2026-11-26T23:00:00Z"}  # fmt: skip
    full = ORDER | times | {"client_order_id": "kmm-s-1", "order_group_id": "g1"}
    (read,), cursor = read_orders(page("orders", full, cursor="next"))
    assert (read.client_order_id, read.group_id, cursor) == ("kmm-s-1", "g1", "next")
    began_ms = 1_795_730_400_000
    assert (read.ts_ms, read.expiration_ms) == (began_ms + 1500, began_ms + 3_600_000)
    (older,), _ = read_orders(page("orders", full | {"last_update_time": None}))
    assert older.ts_ms == began_ms


@pytest.mark.parametrize(("left", "worst"), [("0.01", OrderStatus.RESTING), ("0.00", OrderStatus.EXECUTED)])
def test_an_order_with_an_unknown_status_rests_if_anything_of_it_may(left: str, worst: OrderStatus):
    (read,), _ = read_orders(page("orders", ORDER | {"status": "dreaming", "remaining_count_fp": left}))
    assert (read.status, odd_name(read)) == (worst, "order: status dreaming")
    with pytest.raises(ValueError, match="dreaming"): read_order(json.encode({"order": ORDER | {"status": "dreaming"}}))
    assert read_order(json.encode({"order": ORDER})).remaining == 841


@pytest.mark.parametrize(("status", "rests"), [("resting", True), ("canceled", False), ("executed", False), ("dreaming", True)])
def test_an_order_that_can_not_be_read_rests_unless_its_status_says_otherwise(status: str, rests: bool):
    (read,), _ = read_orders(page("orders", ORDER | {"status": status, "yes_price_dollars": "much"}))
    assert (read.order_id, read.ticker, read.remaining, read.status is OrderStatus.RESTING) == ("o1", "X", 0, rests)
    assert read.unread and odd_name(read).startswith("order: ")
    with pytest.raises(ValueError, match="whose order it is can't be told"):
        read_orders(page("orders", ORDER | {"order_id": 7}))


def test_a_fill_is_read_and_one_that_can_not_be_is_named():
    times = ({}, {"ts": 1_700_000_000}, {"ts": 5, "created_time": "2023-11-14T22:13:20.25Z"})
    found, _ = read_fills(page("fills", *(FILL | t for t in times), FILL | {"count_fp": "many"}))
    whole = [f for f in found if isinstance(f, Fill)]
    assert [f.ts_ms for f in whole] == [0, 1_700_000_000_000, 1_700_000_000_250]
    first = whole[0]
    assert (first.count, first.price, first.fee, first.is_taker, first.cash) == (400, 4300, 17_500, True, -1_720_000)
    assert isinstance(odd := found[3], UnreadFill) and (odd.trade_id, odd.ticker, odd.order_id) == ("t1", "X", "o1")
    assert [bool(odd_name(f)) for f in found] == [True, False, False, True]


def test_a_position_that_can_not_be_read_is_no_position_of_nothing():
    rows = [{"ticker": t, "position_fp": n} for t, n in (("X", "-7.25"), ("Y", "odd"), ("Z", "0.00"))]
    found, _ = read_positions(page("market_positions", *rows))
    assert found == [("X", -725), ("Y", None), ("Z", 0)] and [bool(odd_name(p)) for p in found] == [False, True, False]
    with pytest.raises(ValueError, match="whose position"): read_positions(page("market_positions", {"position_fp": "1.00"}))


@pytest.mark.parametrize(("result", "paid", "exact"), [("yes", 3, True), ("no", 4.5, True), ("scalar", 1.23, False)])
def test_a_settlement_pays_a_dollar_for_each_contract_of_the_side_that_won(result: str, paid: float, exact: bool):
    row = {"ticker": "X", "revenue": 123, "settled_time": "2023-11-14T22:13:20Z", "market_result": result, "yes_count_fp": "3.00",
           "no_count_fp": "4.50"}  # fmt: skip
    (read,), _ = read_settlements(page("settlements", row))
    assert (read.paid, read.short, read.exact, read.ts_ms) == (round(paid * DOLLAR), 450, exact, 1_700_000_000_000)


def test_deposits_and_withdrawals_count_once_they_are_applied_less_their_fee():
    rows = [{"status": "applied", "amount_cents": 5000, "fee_cents": 25, "created_ts": 10, "finalized_ts": 20},
            {"status": "applied", "amount_cents": 100, "created_ts": 10}, {"status": "pending", "amount_cents": 7}]  # fmt: skip
    came, cursor = read_transfers(page("deposits", *rows, cursor="c"), "deposits")
    assert ([(t.ts_ms, t.money) for t in came], cursor) == ([(20_000, 49_750_000), (10_000, DOLLAR)], "c")
    went, cursor = read_transfers(page("withdrawals", *rows), "withdrawals")
    assert ([t.money for t in went], cursor) == ([-50_250_000, -DOLLAR], "")
    with pytest.raises(ValueError, match="missing required field `deposits`"): read_transfers(page("withdrawals"), "deposits")


def test_answers_to_writes_are_about_the_order_that_was_meant():
    assert read_placed(json.encode({"order_id": "o1", "fill_count": "1.00", "remaining_count": "9.00"})) == ("o1", 100, 900)
    assert read_amended(b'{"order_id": "o1", "remaining_count": "9.00"}', "o1") == 900
    assert read_amended(b'{"order_id": "o1", "remaining_count": "0.00"}', "o1") == 0
    assert read_amended(b'{"order_id": "o1"}', "o1") is None
    assert read_canceled(b'{"order_id": "o1", "reduced_by": "2.50"}', "o1") == 250
    for read, body in ((read_amended, b'{"order_id": "o2"}'), (read_canceled, b'{"order_id": "o2", "reduced_by": "2.50"}')):
        with pytest.raises(ValueError, match="about order o2, not o1"): read(body, "o1")
    items = page("orders", {"order_id": "o1", "reduced_by": "2.00"}, {"order_id": "o2", "error": {"code": "not_found"}},
                 {"order_id": "o3", "error": {}}, {"order_id": "o4"})  # fmt: skip
    assert read_canceled_batch(items) == [("o1", 200, ""), ("o2", 0, "not_found"), ("o3", 0, "error"), ("o4", 0, "")]


def test_groups_are_read_with_or_without_a_limit():
    groups = read_groups(page("order_groups", {"id": "g1", "contracts_limit_fp": "150.00", "exchange_index": 2}, {"id": "g2"}))
    assert [(g.group_id, g.limit, g.exchange_index) for g in groups] == [("g1", 15_000, 2), ("g2", None, 0)]
    assert read_groups(b"{}") == []


@pytest.mark.parametrize(("left_ms", "said"), [
    (14 * DAY_S * 1000 + 1000, ""), (14 * DAY_S * 1000, "lapses"), (1, "lapses"), (0, "has lapsed"), (-1, "has lapsed")])
def test_a_location_is_to_be_attested_again_two_weeks_before_it_lapses(left_ms: int, said: str):
    ends_s = 1_700_000_000
    text = KeyList([], ends_s).expiry(1000 * ends_s - left_ms)
    assert said in text and bool(text) == bool(said)
    if said: assert text == f"the location that was attested for API keys {said} on 2023-11-14 22:13 UTC"
    assert KeyList([], None).expiry(0) == ""
