"The fill models by hand: what fills an order, and what doesn't"
import json
from importlib.resources import files
from math import exp

import numpy as np
import pytest
from msgspec import structs

from kalshi_mm.model.messages import Amend, Cancel, OrderGone, OrderPlaced, Place, WriteRejected
from kalshi_mm.model.numbers import CENT, CONTRACT
from kalshi_mm.model.temperature_markets import HOUR_MS, event_of
from kalshi_mm.model.types import Side
from kalshi_mm.research.fill_models import FillModel, Middles, Taker, draw_takers, read_fill_models
from kalshi_mm.research.modelled_day import ModelledExchange
from kalshi_mm.sandbox.traffic import Calibration, Quantiles

from .days import TICKERS, flat_day

T, OTHER = TICKERS[:2]
CONSTANTS, _ = read_fill_models()
MODELS = CONSTANTS.models


def exchange(model: FillModel = MODELS["C"], queue: float = 30, seed: int = 1) -> ModelledExchange:
    "With one market at 40/50, where so many contracts rest at each best price"
    x = ModelledExchange(TICKERS, model, CENT, Quantiles((0.0, 1.0), (queue, queue)), np.random.default_rng(seed))
    x.row((0, T, 40 * CENT, 50 * CENT))
    return x


def bid(x: ModelledExchange, cents: int, contracts: int = 10, ms: int = 1) -> str:  # the order's id
    answer = x.place(Place("", f"c{cents}-{ms}", T, Side.BID, cents * CENT, contracts * CONTRACT, 10**9), ms)
    assert isinstance(answer, OrderPlaced)
    return answer.order_id


def sells(x: ModelledExchange, contracts: int, ms: int = 2) -> list[tuple[int, int]]:
    "The fills (cents, contracts) of a taker who sells so many"
    before = len(x.fills)
    x.take(Taker(ms, T, Side.ASK, contracts * CONTRACT))
    return [(f.fill.price // CENT, f.fill.count // CONTRACT) for f in x.fills[before:]]


def test_a_recorded_price_that_reaches_ours_fills_it_whole_and_one_that_does_not_fills_nothing():
    x = exchange()
    bid(x, 45)
    x.row((2, T, 40 * CENT, 46 * CENT))
    assert x.fills == []
    x.row((3, T, 40 * CENT, 45 * CENT))
    (f,) = x.fills
    assert (f.fill.price, f.fill.count, f.fill.ts_ms, f.reached) == (45 * CENT, 10 * CONTRACT, 3, True)
    assert f.twice_mid == 86 * CENT  # the middle was 43 before the row
    assert not x.orders and not x.rests(T)


def test_a_recorded_bid_that_reaches_our_ask_fills_it():
    x = exchange()
    x.place(Place("", "a", T, Side.ASK, 48 * CENT, 10 * CONTRACT, 10**9), 1)
    x.row((2, T, 49 * CENT, 50 * CENT))
    assert [(f.fill.side, f.fill.price) for f in x.fills] == [(Side.ASK, 48 * CENT)]


def test_a_taker_meets_a_better_quote_first_and_never_a_worse_one():
    x = exchange()
    bid(x, 45)
    bid(x, 39)
    assert sells(x, 4) == [(45, 4)]
    assert sells(x, 500) == [(45, 6)]
    assert sells(x, 500) == []


def test_a_recorded_taker_meets_nothing_at_a_price_that_it_did_not_trade_at():
    x = exchange()
    x.row((1, T, 44 * CENT, 50 * CENT))
    bid(x, 45)
    x.take(Taker(2, T, Side.ASK, 3 * CONTRACT, 46 * CENT))  # sold at 46: ours was worse
    assert x.fills == []
    x.take(Taker(3, T, Side.ASK, 3 * CONTRACT, 44 * CENT))  # sold at 44, so it would have sold at 45
    assert [(f.fill.price, f.fill.count) for f in x.fills] == [(45 * CENT, 3 * CONTRACT)]


def test_a_taker_of_the_other_side_meets_nothing():
    x = exchange()
    bid(x, 45)
    x.take(Taker(2, T, Side.BID, 500 * CONTRACT))
    assert x.fills == []


def test_a_quote_that_joins_waits_behind_the_queue():
    x = exchange(queue=30)
    bid(x, 40)
    assert sells(x, 25) == []
    assert sells(x, 12) == [(40, 7)]  # 5 were left before it
    assert sells(x, 1) == [(40, 1)]


def test_a_renewal_and_a_smaller_size_keep_the_place_and_a_larger_size_loses_it():
    x = exchange(queue=30)
    order = bid(x, 40)
    sells(x, 29)
    x.amend(Amend("", "c40-1", order, T, Side.BID, 40 * CENT, 8 * CONTRACT, 2 * 10**9), 3)
    assert sells(x, 3) == [(40, 2)]  # one was left before it
    x.amend(Amend("", "c40-1", order, T, Side.BID, 40 * CENT, 12 * CONTRACT, 2 * 10**9), 4)  # 2 filled and 10 rest
    assert sells(x, 30) == []
    assert sells(x, 20) == [(40, 10)]


def test_whoever_was_there_when_the_others_came_stands_first():
    x = exchange(queue=30)
    bid(x, 45)
    x.row((2, T, 45 * CENT, 50 * CENT))
    assert sells(x, 3) == [(45, 3)]


def test_what_would_cross_is_refused_and_leaves_what_rests_as_it_was():
    x = exchange()
    answer = x.place(Place("", "c", T, Side.BID, 50 * CENT, CONTRACT, 10**9), 1)
    assert isinstance(answer, WriteRejected) and "post only cross" in answer.message and not x.orders
    order = bid(x, 45)
    answer = x.amend(Amend("", "c45-1", order, T, Side.BID, 50 * CENT, 10 * CONTRACT, 10**9), 2)
    assert isinstance(answer, WriteRejected) and x.orders[order].price == 45 * CENT


def test_an_order_that_is_gone_says_so():
    x = exchange()
    order = bid(x, 45)
    x.cancel(Cancel("", "c45-1", order, T), 2)
    assert isinstance(x.cancel(Cancel("", "c45-1", order, T), 3), OrderGone)
    assert isinstance(x.amend(Amend("", "c45-1", order, T, Side.BID, 41 * CENT, CONTRACT, 10**9), 3), OrderGone)


def test_a_rival_outbids_a_lone_leader_at_the_rate_and_goes_with_the_next_recorded_change():
    waits = []
    for seed in range(2_000):
        x = exchange(MODELS["J"], seed=seed)
        bid(x, 41)
        assert x.rivals.next_ms is not None
        waits.append((x.rivals.next_ms - 1) / 1000)
    expected_s = 1 / MODELS["J"].rivals_per_s
    assert abs(np.mean(waits) - expected_s) < 4 * expected_s / len(waits) ** 0.5  # four standard errors
    assert abs(np.mean(np.array(waits) > expected_s) - exp(-1)) < 0.05  # exponential
    assert x.rivals.step(20_000) == T
    assert x.prices.best(T, Side.BID) == 42 * CENT and sells(x, 5) == []  # a taker meets the rival
    assert x.rivals.next_ms is None
    x.row((30_000, T, 40 * CENT, 51 * CENT))
    assert x.prices.best(T, Side.BID) == 40 * CENT and x.rivals.next_ms is not None and sells(x, 5) == [(41, 5)]


@pytest.mark.parametrize("cents", [39, 40, 44, 45])  # behind, with the others, a cent from the middle, at it
def test_no_rival_comes_to_who_does_not_lead_alone_or_stands_near_the_middle(cents: int):
    x = exchange(MODELS["J"])
    bid(x, cents)
    assert x.rivals.next_ms is None


@pytest.mark.parametrize("letter", "COK")
def test_rivals_come_only_in_the_model_that_has_them(letter: str):
    x = exchange(MODELS[letter])
    bid(x, 41)
    assert x.rivals.next_ms is None


# takers
CALIBRATION = Calibration.of(json.loads((files("kalshi_mm.sandbox") / "calibration.json").read_text()))
ROWS = flat_day()
MARKETS = event_of(TICKERS)


def calibrated(**changes: object) -> Calibration: return structs.replace(CALIBRATION, **changes)  # type: ignore[arg-type]


def test_takers_come_as_calibrated_and_none_in_the_certain_model():
    hours = (ROWS[-1][0] - ROWS[0][0]) // HOUR_MS
    expected = sum(CALIBRATION.takers_by_hour[:hours])
    counts = [len(draw_takers(ROWS, MARKETS, calibrated(busy_log_sd=0.0), MODELS["K"], seed)) for seed in range(30)]
    assert abs(np.mean(counts) - expected) < 4 * (expected / len(counts)) ** 0.5
    assert 0.8 < np.std(counts) / expected**0.5 < 1.25 or len(set(counts)) > 20  # Poisson
    assert draw_takers(ROWS, MARKETS, CALIBRATION, MODELS["C"], 1) == []
    half = structs.replace(MODELS["K"], takers=0.5)
    thinned = [len(draw_takers(ROWS, MARKETS, calibrated(busy_log_sd=0.0), half, seed)) for seed in range(30)]
    assert abs(np.mean(thinned) - expected / 2) < 4 * (expected / 2 / len(thinned)) ** 0.5


def test_busy_days_differ_and_have_the_calibrated_mean():
    counts = np.array([len(draw_takers(ROWS, MARKETS, CALIBRATION, MODELS["K"], seed)) for seed in range(200)])
    assert 0.5 < np.log(counts).std() < 0.95  # of the logarithm: 0.72
    assert abs(counts.mean() / sum(CALIBRATION.takers_by_hour[:30]) - 1) < 0.25


def test_takers_sizes_and_sides_and_markets_are_the_calibrated_ones():
    takers = [t for seed in range(10) for t in draw_takers(ROWS, MARKETS, calibrated(busy_log_sd=0.0), MODELS["O"], seed)]
    sizes = np.array([t.count / CONTRACT for t in takers])
    assert abs(np.median(sizes) - 31) < 3 and sizes.min() == 1 and sizes.max() <= 6572
    row = CALIBRATION.row(45 * CENT)  # all markets stand there, so nobody knows more and all have the same weight
    assert abs(np.mean([t.side is Side.BID for t in takers]) - CALIBRATION.buyers_by_price[row]) < 0.02
    shares = [np.mean([t.ticker == ticker for t in takers]) for ticker in TICKERS]
    assert max(shares) - min(shares) < 0.03


def test_the_informed_trade_towards_the_middle_after_an_exponential_time():
    jump_ms = ROWS[0][0] + 20 * HOUR_MS
    rows = [*[r for r in ROWS if r[0] < jump_ms], *((jump_ms, t, 60 * CENT, 70 * CENT) for t in TICKERS),
            *((ROWS[-1][0], t, 60 * CENT, 70 * CENT) for t in TICKERS)]
    knows = FillModel("", 100.0, 1.0, 600_000, 0.0)
    sellers = calibrated(busy_log_sd=0.0, buyers_by_price=(0.0,) * 10)  # without news all sell
    takers = draw_takers(rows, MARKETS, sellers, knows, 1)
    soon = [t.side is Side.BID for t in takers if jump_ms - 600_000 <= t.ms < jump_ms]
    assert len(soon) > 300 and abs(np.mean(soon) - (1 - exp(-1))) < 0.08
    assert not any(t.side is Side.BID for t in takers if t.ms >= jump_ms or t.ms < jump_ms - 25 * 600_000)
    half = draw_takers(rows, MARKETS, sellers, structs.replace(knows, insight=0.5), 1)
    assert abs(np.mean([t.side is Side.BID for t in half if jump_ms - 600_000 <= t.ms < jump_ms]) - (1 - exp(-1)) / 2) < 0.08


def test_the_same_seed_draws_the_same_takers_for_every_rule():
    one, again, other = (draw_takers(ROWS, MARKETS, CALIBRATION, MODELS["K"], seed) for seed in (1, 1, 2))
    assert one == again != other


def test_middles_hold_until_the_next_row():
    m = Middles([(10, T, 40 * CENT, 50 * CENT), (20, T, None, 50 * CENT), (20, T, None, None), (30, T, 40 * CENT, None)])
    assert m.at(T, np.array([9, 10, 19, 20, 31])).tolist() == [50, 45, 45, 50, 70]
