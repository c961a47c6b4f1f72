"The fee arithmetic against fees that the exchange really charged."
import csv
import gzip
import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.model.fees import FeeAccount, FeeSchedule
from kalshi_mm.model.numbers import ONE, parse_count, parse_fixed, parse_money, parse_price

DATA = Path(os.environ.get("KALSHI_MM_DATA", Path(__file__).parents[3] / "shared" / "data"))
QUADRATIC = FeeSchedule.of("quadratic")
CENTS = 10_000


def recording(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no recording {name} (KALSHI_MM_DATA names the folder)")
    return path


def test_fees_measured_on_a_live_ledger():
    vectors = json.loads(recording("fee_vectors.json").read_text())
    for v in vectors["measured_live_ledger_rule_A"]:
        fee = QUADRATIC.estimate(parse_price(v["price"]), parse_count(v["count"]), v["role"] == "taker")
        assert fee == parse_money(v["fee"]), v


def test_documented_cent_rounding_is_an_account_kept_in_cents():
    vectors = json.loads(recording("fee_vectors.json").read_text())
    for v in vectors["documented_rule_B"]:
        price, count = parse_price(v["price"]), parse_count(v["count"])
        fee = QUADRATIC.trade_fee(price, count, v["role"] == "taker")
        assert FeeAccount(CENTS).charge(fee, -price * count) == parse_money(v["fee"]), v


@pytest.mark.parametrize(
    ("trade_fee", "differ"),
    [(QUADRATIC.estimate, 0), (QUADRATIC.trade_fee, 1)],
    ids=["as it was then, trade fee to $0.0001", "as it is today, trade fee to $0.000001"],
)
def test_recorded_orders_cost_what_was_charged(trade_fee, differ):
    "Per order: the recording doesn't tell in which order the fills of an order came"
    orders = defaultdict(list)
    with gzip.open(recording("fills_fees_kxhigh_2026-02.csv.gz"), "rt") as f:
        for row in csv.DictReader(f):
            orders[row["order_no"]].append(row)
    wrong = 0
    for rows in orders.values():
        account, charged, computed = FeeAccount(CENTS), 0, 0
        for r in rows:
            yes = int(r["yes_price"]) * 100
            paid = (yes if r["side"] == "yes" else ONE - yes) * parse_count(r["count"])
            fee = trade_fee(yes, parse_count(r["count"]), r["is_taker"] == "True")
            computed += account.charge(fee, -paid if r["action"] == "buy" else paid)
            charged += parse_fixed(r["fee_dollars"], 6)
        wrong += charged != computed
    assert (len(orders), wrong) == (1239, differ)


fills = st.lists(st.tuples(st.integers(1, ONE - 1), st.integers(1, 10**6), st.booleans(), st.sampled_from([-1, 1])), max_size=30)


@given(fills, st.sampled_from([100, CENTS]), st.sampled_from(["quadratic", "quadratic_with_maker_fees", "new"]))
def test_an_order_pays_its_trade_fees_and_less_than_a_step_of_rounding_a_fill(fills, precision, fee_type):
    schedule, account = FeeSchedule.of(fee_type), FeeAccount(precision)
    trade_fees = net_fees = 0
    for price, count, is_taker, sign in fills:
        trade_fee, cash = schedule.trade_fee(price, count, is_taker), sign * price * count
        net = account.charge(trade_fee, cash)
        assert 0 <= net < trade_fee + precision
        assert (cash - net) % precision == 0
        trade_fees, net_fees = trade_fees + trade_fee, net_fees + net
    assert net_fees == trade_fees + account.carried
    assert 0 <= account.carried < precision * max(1, len(fills))


@given(st.integers(1, ONE - 1), st.integers(1, 10**8), st.integers(1, 10**8), st.booleans())
def test_a_trade_fee_is_symmetric_and_cheaper_in_one_piece(price, a, b, is_taker):
    fee = FeeSchedule.of("quadratic_with_maker_fees").trade_fee
    assert fee(price, a, is_taker) == fee(ONE - price, a, is_taker)
    assert 0 <= fee(price, a + b, is_taker) <= fee(price, a, is_taker) + fee(price, b, is_taker)
