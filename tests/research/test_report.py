"A report's figures against other counts: the exchange's ledger, sums made anew, and intervals by another library"
import json
from datetime import date
from importlib import resources
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.numbers import CENT, CONTRACT, ONE, cost
from kalshi_mm.model.types import Fill, Side
from kalshi_mm.research.backtest import Backtest
from kalshi_mm.research.dataset_backtest import backtest
from kalshi_mm.research.markouts import AT_FILL, GROUPS, HORIZONS_S, SETTLED, MarkedFill, MiddleTrack, markouts
from kalshi_mm.research.observer import QUOTED, Observed
from kalshi_mm.research.report import NOT_SCORED, backtest_report, kept_report
from kalshi_mm.research.report_page import page
from kalshi_mm.research.study import ratio
from kalshi_mm.risk.event_days import SessionDay, event_days
from kalshi_mm.risk.paying import per_contract
from kalshi_mm.risk.profit import Split
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.simulated import SimulatedDay
from kalshi_mm.sandbox.traffic import Calibration
from kalshi_mm.strategy.presets import Preset
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture
from tests.research.test_dataset_backtest import kept

NOON_MS = 1_765_378_800_000  # ten in the morning of the day in New York
HOUR_MS = 3_600_000


def test_a_backtests_report_has_the_ledgers_money_and_every_minute_of_each_side() -> None:
    calibration = Calibration.of(json.loads(resources.files("kalshi_mm.sandbox").joinpath("calibration.json").read_text()))
    traffic, ids = SimulatedDay(calibration, date(2025, 12, 10), 3, start_ms=NOON_MS + 12 * HOUR_MS), Random(3)
    exchange = Exchange(traffic.markets, ids=lambda: f"{ids.getrandbits(64):016x}")
    core = Observed(MarketMaker(SpreadCapture(Params(min_spread=2 * CENT)), Config("bt")), "bt", "test 0")
    played = Backtest(core, exchange, traffic, pause_ms=10_000).run()  # type: ignore[arg-type]
    facts = core.facts()
    report = backtest_report([facts])
    positions = played.ledger.positions.values()
    assert report.profit == sum(p.cash - p.fees for p in positions) and not any(p.net for p in positions)
    assert [f.fill.trade_id for f in report.fills] == [f.trade_id for f in played.ledger.fills] and report.fills
    parts = facts.split
    assert parts.captured + parts.exits + parts.drift + parts.settlement - parts.fees == report.profit == report.days[0].profit
    settled = sum(f.gain(f.paid) for f in report.fills if f.paid is not None)
    assert settled - parts.fees == report.profit  # every fill, valued at what its market paid
    assert all(f.middle is not None and f.ahead is not None for f in report.fills)
    spent = {(t, side): sum(ms for (of, s, _), ms in facts.spent.items() if (of, s) == (t, side))
             for t in facts.markets for side in Side}
    assert len(set(spent.values())) == 1  # each side of each market has a quote or a reason, all the time
    assert 0 < sum(ms for (*_, why), ms in facts.spent.items() if why == QUOTED) < sum(spent.values())
    lowest = min(held for _, held, _ in facts.worst[report.days[0].event])
    assert lowest <= report.profit and report.days[0].worst == min(lowest, 0)
    assert page(report).count('class="figure"') == 6  # profit, days, markouts, time, calibration, the event


times = st.lists(st.tuples(st.integers(1, 400_000), st.integers(0, 99)), min_size=1, max_size=8)
fill = st.tuples(st.integers(0, 500_000), st.sampled_from([*Side]), st.integers(1, 99), st.integers(1, 2_000))
fills = st.lists(fill, max_size=8)


@given(times, fills, st.sampled_from([0, ONE]), st.sampled_from([1_000, 60_000]))
def test_markouts_are_what_a_person_adds_up(steps: list[tuple[int, int]], made: list[tuple[int, Side, int, int]], paid: int,
                                            speed: int) -> None:
    track, ms = MiddleTrack(), 0
    seen: list[tuple[int, int]] = []
    for wait, middle in steps:
        ms += wait
        track.add(ms, middle * CENT)
        seen.append((ms, middle * CENT))
    def then(at: int) -> int | None: return next((m for when, m in reversed(seen) if when <= at), None)

    raw = [(Fill(str(n), "", "X", side, p * CENT, count, 0, False, at), at) for n, (at, side, p, count) in enumerate(made)]
    marked = [MarkedFill(f, "E", "2026-10-04", at, middle=then(at), paid=paid).marked(track, ms, speed) for f, at in raw]
    (row,) = markouts(marked) or [None]
    if row is None: return
    for horizon in (AT_FILL, SETTLED, *HORIZONS_S):
        wait_ms = HORIZONS_S.get(horizon, 0) * 1_000_000 // speed
        known = [(f, paid if horizon == SETTLED else then(f.at_ms + wait_ms)) for f in marked
                 if horizon in (AT_FILL, SETTLED) or f.at_ms + wait_ms <= ms]  # fmt: skip
        gains = [(f.fill.side.sign * cost(v - f.fill.price, f.fill.count), f.fill.count) for f, v in known if v is not None]
        assert row.figures[horizon].money == sum(g for g, _ in gains)
        assert row.figures[horizon].contracts == sum(n for _, n in gains)
    for group in GROUPS.values(): assert sum(r.contracts for r in markouts(marked, group)) == row.contracts


@given(st.lists(st.tuples(st.integers(100, 50_000), st.integers(-9_000_000, 9_000_000)), min_size=10, max_size=40))
def test_intervals_are_those_of_the_other_bootstrap(days: list[tuple[int, int]]) -> None:
    found = per_contract((str(n), contracts, money) for n, (contracts, money) in enumerate(days))
    other = ratio([m / 10_000 for _, m in days], [n / CONTRACT for n, _ in days])
    assert found.each is not None and found.low is not None and found.high is not None
    assert found.each / 10_000 == pytest.approx(other.value, abs=1e-4)
    spread = max(other.high - other.low, 1e-9)
    for edge, theirs in ((found.low, other.low), (found.high, other.high)):
        assert abs(edge / 10_000 - theirs) < 0.2 * spread + 0.001


moves = st.lists(st.tuples(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(-1000, 1000)), min_size=1, max_size=6)


@given(st.lists(moves, min_size=1, max_size=3))
def test_days_are_the_last_value_less_the_first_whatever_came_between(events: list[list[tuple[int, int, int]]]) -> None:
    rows = []
    for e, sessions in enumerate(events):
        value = 0
        for n, (captured, drift, gap) in enumerate(sessions):
            rows.append((n, SessionDay(f"s{n}", f"E-{e}", "2026-10-04", "r", Split(captured, 0, drift, 0, 0, value), 1, 1, 0, 0)))
            value += captured + drift + gap
    days = event_days(r for _, r in sorted(rows, key=lambda row: row[0]))
    ends = [sum(sum(s) for s in sessions) - sessions[-1][2] for sessions in events]  # nobody knows what came after
    assert [d.profit for d in days] == ends and np.sum([d.between for d in days]) == sum(g for s in events for *_, g in s[:-1])


def test_a_rule_on_kept_days_has_a_report_and_a_page(tmp_path: Path) -> None:
    found = backtest(Preset(), kept(tmp_path, "quotes"), "KXHIGHNY", models="CJ")
    report = kept_report(found.rows, found.head())
    (of,) = [r for r in found.rows if r.model == "J"]
    assert report.earned.money == round(of.profit * 10_000) and report.earned.contracts == round(of.contracts * 100)
    assert NOT_SCORED in report.notes and any("Can't be known from best prices" in n for n in report.notes)
    text = page(report)
    assert "too few days" in text and text.count('class="figure"') == 1 and "{{" not in text[text.index("<main>"):]
