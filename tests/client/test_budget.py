"Our copy of the token buckets: to the millisecond, and never fuller than the exchange's"
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.client.budget import Budget, Kind, Rate
from kalshi_mm.client.order_groups import LIST_LAG_S, EmptyLooks

RATES = {Kind.WRITE: Rate(100, 200), Kind.READ: Rate(50, 100)}


def spent(tokens: int, now_ms: int = 1000, reserve: int = 20) -> Budget:
    "A budget of which some write tokens are spent"
    budget = Budget(RATES, reserve)
    budget.send(Kind.WRITE, tokens, now_ms, urgent=True)
    budget.landed(Kind.WRITE, tokens, now_ms)
    return budget


@pytest.mark.parametrize(("tokens", "urgent", "wait_ms"), [
    (170, False, 0), (171, False, 10), (175, False, 50), (190, True, 0), (191, True, 10), (200, True, 100), (200, False, 300)])
def test_a_call_of_ten_tokens_waits_until_they_are_there_beside_the_reserve(tokens: int, urgent: bool, wait_ms: int):
    "Two hundred fit, a hundred come each second, twenty are for urgent calls"
    budget = spent(tokens)
    assert budget.wait_ms(Kind.WRITE, 10, 1000, urgent) == wait_ms
    assert budget.wait_ms(Kind.READ, 10, 1000, urgent) == 0
    for early in range(1, min(wait_ms, 3) + 1):
        assert budget.wait_ms(Kind.WRITE, 10, 1000 + wait_ms - early, urgent) == early
        with pytest.raises(ValueError, match=f"has to wait {early} ms"):
            budget.send(Kind.WRITE, 10, 1000 + wait_ms - early, urgent)
    budget.send(Kind.WRITE, 10, 1000 + wait_ms, urgent)


def test_reads_know_no_reserve():
    budget = Budget(RATES)
    budget.send(Kind.READ, 95, 0)
    budget.landed(Kind.READ, 95, 0)
    assert [budget.wait_ms(Kind.READ, cost, 0) for cost in (5, 6, 10)] == [0, 20, 100]


@pytest.mark.parametrize(("kind", "urgent", "most"), [(Kind.WRITE, False, 180), (Kind.WRITE, True, 200), (Kind.READ, False, 100)])
def test_a_call_that_never_fits_is_refused_and_the_largest_that_does_is_not(kind: Kind, urgent: bool, most: int):
    assert Budget(RATES).wait_ms(kind, most, 0, urgent) == 0
    with pytest.raises(ValueError, match=f"never fits a bucket of {RATES[kind].capacity}"):
        Budget(RATES).wait_ms(kind, most + 1, 0, urgent)


def test_a_call_under_way_is_counted_until_it_lands_and_refills_begin_then():
    "The exchange takes the tokens at some time between: ours is never the fuller bucket"
    budget = Budget(RATES, reserve=0)
    budget.send(Kind.WRITE, 200, 0)
    assert [budget.wait_ms(Kind.WRITE, 10, ms) for ms in (0, 5000)] == [100, 100]
    budget.landed(Kind.WRITE, 200, 5000)
    assert [budget.wait_ms(Kind.WRITE, 10, ms) for ms in (5000, 5050, 5100)] == [100, 50, 0]
    assert budget.wait_ms(Kind.WRITE, 10, 4000) == 100  # a clock that goes back gives nothing and takes nothing
    assert [budget.wait_ms(Kind.WRITE, 200, ms) for ms in (6999, 7000, 99_000)] == [1, 0, 0]


def test_a_bucket_that_the_exchange_found_empty_is_empty():
    budget = Budget(RATES, reserve=0)
    budget.drain(Kind.WRITE, 1000)
    assert [budget.wait_ms(Kind.WRITE, 1, ms) for ms in (1000, 1009, 1010)] == [10, 1, 0]


@pytest.mark.parametrize(("rate", "wait_ms"), [
    (Rate(100, 300), 0), (Rate(1000, 200), 0), (Rate(100, 159), 10), (Rate(100, 150), 100), (Rate(100, 10), 100)])
def test_tokens_that_are_spent_stay_spent_when_the_rate_changes(rate: Rate, wait_ms: int):
    "A hundred and fifty of two hundred are spent"
    budget = spent(150, reserve=0)
    budget.set_rate(Kind.WRITE, rate, 1000)
    assert budget.rate(Kind.WRITE) == rate and budget.rate(Kind.READ) == RATES[Kind.READ]
    assert budget.wait_ms(Kind.WRITE, 10, 1000) == wait_ms


calls = st.lists(st.tuples(st.integers(0, 400), st.sampled_from([2, 10, 50]), st.booleans(), st.integers(0, 300),
                           st.integers(0, 100)), min_size=1, max_size=20)  # fmt: skip


@given(calls)
def test_the_exchange_never_finds_its_bucket_too_empty_whenever_a_call_reaches_it(calls: list[tuple[int, int, bool, int, int]]):
    "Each call is sent as soon as it may be, and reaches the exchange somewhere between that and its answer"
    budget, now_ms, level, at_ms = Budget(RATES), 0, 200_000, 0
    for pause_ms, cost, urgent, way_ms, part in calls:
        now_ms += pause_ms
        now_ms += budget.wait_ms(Kind.WRITE, cost, now_ms, urgent)
        budget.send(Kind.WRITE, cost, now_ms, urgent)
        there_ms = now_ms + way_ms * part // 100
        level = min(200_000, level + (there_ms - at_ms) * 100) - 1000 * cost
        assert level >= (0 if urgent else 20_000)
        at_ms, now_ms = there_ms, now_ms + way_ms
        budget.landed(Kind.WRITE, cost, now_ms)


def test_two_empty_looks_prove_that_nothing_rests_if_they_are_further_apart_than_lists_lag():
    looks = EmptyLooks()
    assert looks.due(0.0) and not looks.add(True, 10.0)
    assert not looks.due(10.0 + LIST_LAG_S - 0.125) and looks.due(10.0 + LIST_LAG_S)
    assert not looks.add(True, 10.0 + LIST_LAG_S - 0.125)  # too soon proves nothing, and spoils nothing
    assert looks.add(True, 10.0 + LIST_LAG_S)
    assert not looks.add(False, 20.0) and looks.due(20.0)  # one that finds something begins anew
    assert [looks.add(True, s) for s in (30.0, 31.0, 31.5)] == [False, False, True]


@pytest.mark.parametrize(("kind", "cost", "urgent"), [
    (Kind.BALANCE, 10, False), (Kind.READ, 200, False), (Kind.WRITE, 100, True)])
def test_as_it_comes_a_bucket_is_that_of_the_basic_tier_and_full_again_after_a_second(kind: Kind, cost: int, urgent: bool):
    "So the balance may be read once a second"
    budget = Budget()
    with pytest.raises(ValueError, match="never fits"): budget.wait_ms(kind, cost + 1, 0, urgent)
    budget.send(kind, cost, 0, urgent)
    budget.landed(kind, cost, 0)
    assert [budget.wait_ms(kind, cost, ms, urgent) for ms in (0, 1, 999, 1000)] == [1000, 999, 1, 0]


def test_as_it_comes_twenty_write_tokens_are_kept_for_a_trigger_and_five_cancels():
    budget = Budget()
    assert budget.wait_ms(Kind.WRITE, 80, 0) == 0
    with pytest.raises(ValueError, match="never fits"): budget.wait_ms(Kind.WRITE, 81, 0)
