"The tables of the studies: nothing is counted twice or lost, and nothing looks ahead"
from datetime import date
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_mm.model.numbers import CENT
from kalshi_mm.model.temperature_markets import HOUR_MS, day_event
from kalshi_mm.research.event_coherence import SIGNALS, explained, sampled, signals
from kalshi_mm.research.maker_gains import gains
from kalshi_mm.research.quote_states import PRINTS, followed, means, spells, states
from kalshi_mm.research.study import RecordedEvent
from tests.research.days import LAST, made_up_day

DAY = date(2025, 12, 10)
MARKETS = day_event("KXHIGHNY", DAY, 40)


def made_up_event(seed: int, **how: object) -> RecordedEvent:
    return RecordedEvent(DAY, made_up_day(seed, changes=800, **how), MARKETS, LAST)  # type: ignore[arg-type]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), wide=st.sampled_from([3, 5, 9]))
def test_the_spells_hold_all_of_the_wide_time_and_none_of_the_rest(seed: int, wide: int):
    found = states([made_up_event(seed)])
    s = spells(found, wide)
    assert s.s.sum() == pytest.approx(3600 * found.hours[found.spread >= wide].sum())
    assert (s.spread >= wide).all() and (s.widest >= s.spread).all()
    assert not s.duplicated(["ticker", "ms"]).any()
    f = followed(s, [made_up_event(seed)])
    assert (f["at once"] > 0).all()  # measured in the direction of the first move


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_states_of_a_market_never_overlap_and_reach_to_the_close(seed: int):
    found = states([made_up_event(seed)])
    for _, f in found.groupby("ticker"):
        assert (f.until_ms.iloc[:-1].to_numpy() == f.ms.iloc[1:].to_numpy()).all() and f.until_ms.iloc[-1] == MARKETS[0].close_ms


def made_up_tape(seed: int, n: int = 300) -> pd.DataFrame:
    rng = Random(seed)
    rows = [("2025-12-10", "X", MARKETS[0].open_ms + k * 700 + rng.randrange(600), rng.randrange(20, 80), rng.randrange(1, 900),
             rng.choice((1, -1)), 100.0) for k in range(n)]  # fmt: skip
    return pd.DataFrame(rows, columns=[*PRINTS, "paid"])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_maker_gains_what_the_taker_loses_and_a_later_trade_changes_no_earlier_figure(seed: int):
    tape = made_up_tape(seed)
    f = gains(tape, (10,))
    assert ((f.settled + f.sign * (f.paid - f.price)).abs() < 1e-9).all()
    cut = gains(tape.iloc[:200], (10,))
    settled_by = tape.ms.iloc[199] - 10_000  # what is known of these can't change any more
    known = (tape.ms.iloc[:200] < settled_by).to_numpy()
    for column in ("at once", "10 s"):
        assert np.allclose(cut[column].to_numpy()[known], f[column].to_numpy()[:200][known], equal_nan=True)
    assert means(f, [], f.settled, f["count"]).value.iloc[0].value == pytest.approx(np.average(f.settled, weights=f["count"]))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), hour=st.floats(1.5, 2.5))
def test_a_signal_knows_nothing_of_what_comes_later(seed: int, hour: float):
    split_ms = MARKETS[0].open_ms + 2 * HOUR_MS + round(hour * HOUR_MS)
    one, other = (sampled(made_up_event(seed, at=Random(s), split_ms=split_ms)) for s in (1, 2))
    before = (split_ms - MARKETS[0].open_ms - 2 * HOUR_MS) // 10_000 - 1
    n = min(len(one.middles), len(other.middles), before)
    assert n > 100 and np.array_equal(signals(one)[:, :n], signals(other)[:, :n])
    assert len(signals(one)) == len(SIGNALS)


def test_books_that_always_return_are_explained_and_a_walk_is_not():
    walks = [sampled(made_up_event(seed, hours=6)) for seed in range(4)]
    assert explained(walks, 6).share.low < 0.1
    pulled = []
    for day in walks:
        m = day.middles.copy()
        m[::2], m[1::2] = 50, 54
        pulled.append(day._replace(middles=m, spreads=np.full_like(m, 2)))
    assert explained(pulled, 1).share.value > 0.99  # up by four, down by four, for ever


def test_the_middle_of_a_side_that_nobody_quotes_lies_at_its_end():
    rows = [(MARKETS[0].open_ms, m.ticker, 10 * CENT, None) for m in MARKETS]
    day = sampled(RecordedEvent(DAY, [*rows, (MARKETS[0].open_ms + 60_000, MARKETS[0].ticker, None, 10 * CENT)], MARKETS, LAST))
    assert (day.middles[0] == 55).all() and day.middles[-1][0] == 5
