"A day with the core and a fill model: it repeats, looks at nothing to come, and its money adds up"
import json
from datetime import date
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

from kalshi_mm.engine.strategies import read_preset
from kalshi_mm.model.messages import Amend, Place
from kalshi_mm.model.numbers import CENT, CONTRACT
from kalshi_mm.model.temperature_markets import HOUR_MS, event_of
from kalshi_mm.research.modelled_day import ModelledDay
from kalshi_mm.research.study import (
    Case,
    DaySums,
    Estimate,
    RecordedEvent,
    by_day,
    core_of,
    digest_of,
    estimates,
    play,
    ratio,
    read_event,
    read_kept,
    run_cases,
    sums_of,
)
from kalshi_mm.sandbox.recorded import Row
from kalshi_mm.strategy.presets import Preset

from .days import LAST, OPEN_MS, TICKERS, made_up_day

DAY = date(2025, 12, 10)


def preset(name: str = "original") -> Preset:
    found = read_preset(name, Path())
    assert found
    return found


def event(rows: list[Row]) -> RecordedEvent: return RecordedEvent(DAY, rows, event_of(TICKERS), LAST)


def fills(day: ModelledDay) -> list[tuple[int, str, str, int, int]]:
    return [(f.fill.ts_ms, f.fill.ticker, f.fill.side, f.fill.price, f.fill.count) for f in day.exchange.fills]


@pytest.fixture(scope="module")
def played() -> ModelledDay: return play(event(made_up_day(changes=1_500)), preset(), "J", 1)


def test_the_same_seed_gives_the_same_fills_and_another_one_others(played: ModelledDay):
    again, other = (play(event(made_up_day(changes=1_500)), preset(), "J", seed) for seed in (1, 2))
    assert again.actions == played.actions and fills(again) == fills(played)
    assert fills(other) != fills(played)


def test_takers_and_recorded_prices_both_fill_and_nothing_is_halted(played: ModelledDay):
    assert {f.reached for f in played.exchange.fills} == {True, False}
    assert not played.maker.halts


@pytest.mark.parametrize("rule", ["original", "kxhighny"])
def test_two_recordings_that_are_alike_until_an_hour_give_the_same_actions_until_then(rule: str):
    split_ms = OPEN_MS + 4 * HOUR_MS
    recordings = made_up_day(changes=1_500), made_up_day(changes=1_500, at=Random(9), split_ms=split_ms)
    alike = sum(a == b for a, b in zip(*recordings, strict=True))
    alike_ms = min(rows[alike][0] for rows in recordings)
    assert split_ms <= alike_ms and recordings[0][:alike] == recordings[1][:alike]
    one, two = ([(ms, a) for ms, a in play(event(rows), preset(rule), "C", 1).actions] for rows in recordings)
    before = [[(ms, a) for ms, a in actions if ms < alike_ms] for actions in (one, two)]
    assert before[0] == before[1] and sum(isinstance(a, Place) for _, a in before[0]) > 10
    assert one != two


def test_orders_arrive_eighty_milliseconds_after_their_decision():
    t = TICKERS[0]
    start = OPEN_MS + 2 * HOUR_MS
    quiet = [(start, other, 45 * CENT, 46 * CENT) for other in TICKERS[1:]]
    def day(ms: int) -> ModelledDay:
        rows = [*quiet, (start, t, 40 * CENT, 50 * CENT), (start + ms, t, 38 * CENT, 41 * CENT),
                (start + 60_000, t, 30 * CENT, 50 * CENT)]
        return play(event(sorted(rows, key=lambda r: r[0])), preset(), "C", 1)
    first = next(ms for ms, a in day(30_000).actions if isinstance(a, Place)) - start
    assert 0 <= first <= 1_000
    late, early = day(first + 81), day(first + 79)
    assert [(f.fill.price, f.fill.ts_ms) for f in late.exchange.fills] == [(41 * CENT, start + first + 81)]
    assert early.exchange.fills == []  # the others moved before our bid at 41 came, which then would have crossed


def test_the_money_adds_up(played: ModelledDay):
    s = sums_of(event(made_up_day(changes=1_500)), played, "original", "J", 1)
    cash = sum(f.fill.cash for f in played.exchange.fills)
    net = {t: sum(f.fill.side.sign * f.fill.count for f in played.exchange.fills if f.fill.ticker == t) for t in TICKERS}
    assert s.profit * 10_000 == pytest.approx(cash + sum(net[t] * LAST[t] for t in TICKERS))
    assert s.profit * 10_000 == pytest.approx(played.maker.profit)
    assert s.contracts * CONTRACT == sum(f.fill.count for f in played.exchange.fills)
    assert s.worst_case <= s.profit / 100 and 0 < s.quoting_h <= s.market_h and 0 < s.reached < s.contracts


def test_sums_of_a_day_by_hand():
    t, u = TICKERS[1], TICKERS[2]  # u pays
    start = OPEN_MS + 2 * HOUR_MS
    rows = [*((start, x, 45 * CENT, 46 * CENT) for x in TICKERS if x not in (t, u)),
            (start, t, 40 * CENT, 50 * CENT), (start, u, 40 * CENT, 50 * CENT),
            (start + 10_000, t, 38 * CENT, 41 * CENT),  # reaches our bid of 41
            (start + 15_000, t, 37 * CENT, 39 * CENT), (start + 90_000, t, 30 * CENT, 31 * CENT),
            (start + 100_000, u, 49 * CENT, 52 * CENT), (start + 200_000, u, 49 * CENT, 52 * CENT)]  # reaches our ask of 49
    day = play(event(rows), preset(), "C", 1)
    assert [(f.fill.ticker, f.fill.side.sign, f.fill.price // CENT, f.fill.count // CONTRACT) for f in day.exchange.fills] == [
        (t, 1, 41, 10), (u, -1, 49, 10)]
    s = sums_of(event(rows), day, "original", "C", 1)
    assert (s.contracts, s.reached, s.fills) == (20, 20, 2)
    assert s.profit == 10 * (0 - 41) + 10 * (49 - 100)
    assert s.at_fill == 10 * (45 - 41) + 10 * (49 - 45)
    assert s.s10 == 10 * (38 - 41) + 10 * (49 - 50.5)
    assert s.s60 == 10 * (38 - 41) + 10 * (49 - 50.5)
    assert s.s300 == 10 * (30.5 - 41) + 10 * (49 - 50.5)
    assert s.worst_case == pytest.approx((-410 + 490 - 1000) / 100)
    assert s.most_held == 20


# the study
def sums(rule: str, day: str, contracts: float, profit: float, model: str = "C", seed: int = 1) -> DaySums:
    zero = {f: 0.0 for f in DaySums.__struct_fields__}
    return DaySums(**{**zero, "rule": rule, "model": model, "day": day, "seed": seed, "contracts": contracts, "profit": profit,
                      "market_h": 1.0, "halts": "", "fills": 1, "orders": 1})


def test_a_ratio_of_sums_and_its_interval():
    e = ratio([100, 300], [100, 100])
    assert e == (2, 1, 3) and str(e) == "+2.00 [+1.00, +3.00]"
    assert ratio([5, 5, 5], [1, 1, 1]) == (5, 5, 5)
    rng = np.random.default_rng(5)
    inside = [e.low <= 1 <= e.high for e in (ratio(rng.normal(1, 1, 15), np.ones(15), 500) for _ in range(300))]
    assert 0.85 < np.mean(inside) < 0.98  # percentiles of few days are somewhat narrow
    assert np.isnan(ratio([0], [0]).value)


def test_seeds_are_averaged_within_a_day_and_days_are_paired():
    rows = [sums("original", "1", 100, 0), sums("original", "2", 100, 0), sums("x", "1", 50, 100), sums("x", "2", 100, 500),
            sums("x", "1", 150, 300, seed=2)]
    f = estimates(by_day(rows))
    assert f.loc[("x", "C"), "c/contract"].value == (200 + 500) / (100 + 100)
    assert f.loc[("x", "C"), "$/day over it"] == pytest.approx((3.5, 2, 5))
    assert not isinstance(f.loc[("original", "C"), "$/day over it"], Estimate)
    assert f.loc[("x", "C"), ["days", "seeds", "worst day $"]].tolist() == [2, 2, 2.0]


def test_an_interrupted_run_goes_on_and_a_changed_rule_begins_anew(tmp_path: Path):
    prices, results, kept = tmp_path / "bbo.parquet", tmp_path / "markets.csv", tmp_path / "kept.jsonl"
    rows = made_up_day(changes=200, hours=0.2)
    pd.DataFrame([{"ts": pd.Timestamp(ms, unit="ms", tz="UTC"), "ticker": t, "event_date": DAY.isoformat(), "yes_bid": b // CENT,
                   "yes_ask": a // CENT} for ms, t, b, a in rows if b and a]).to_parquet(prices)
    results.write_text("ticker,event_date,result\n" + "".join(f"{t},{DAY},{'yes' if LAST[t] else 'no'}\n" for t in TICKERS))
    assert read_event(prices, results, DAY).rows == rows
    cases, presets, told = [Case("original", m, DAY, 1) for m in "CJ"], {"original": preset()}, list[int]()

    def run(presets: dict[str, Preset], cases: list[Case] = cases) -> list[DaySums]:
        return run_cases(cases, presets, prices, results, kept, step=lambda done, of, sums: told.append(done))

    first = run(presets, cases[:1])
    assert run(presets)[0] == first[0] and told == [1, 2]
    run(presets)
    assert told == [1, 2]
    kept.write_text(kept.read_text() + '{"digest": "of an earlier day", "rule": "original"}\n')
    assert list(read_kept(kept, {"original": digest_of(preset())})) == cases
    wider = structs.replace(preset(), parameters=preset().parameters | {"min_spread": "9"})
    assert digest_of(wider) != digest_of(preset())
    run({"original": wider})
    assert told == [1, 2, 1, 2]
    assert json.loads(kept.read_text().splitlines()[0])["model"] == "C"


def test_the_core_of_a_study_trades_by_its_preset(played: ModelledDay):
    writes = [a for _, a in played.actions if isinstance(a, Place | Amend)]
    assert max(a.count for a in writes if isinstance(a, Place)) == 10 * CONTRACT
    assert played.maker.config.quote_lifetime_s == 3600
    assert set(core_of(preset("kxhighny")).live.guards) == {"opening", "jump", "regime"}
