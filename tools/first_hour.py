"""Play the first hour after listing with a liquidity programme, on the sandbox in both regimes: `python tools/first_hour.py`.

Each day's six markets have the programme of newly listed ones: $20 each, 54 to 60 minutes, target 300 or 1,000. The profit is
marked half an hour later; what the programmes pay is scored by the sandbox. See nbs/research/first_hour_incentives.ipynb.
"""
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.incentives import worth
from kalshi_mm.model.numbers import CONTRACT, DOLLAR
from kalshi_mm.research.backtest import Backtest
from kalshi_mm.risk.limits import Limits
from kalshi_mm.sandbox.incentives import Incentives, NewEvent
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.simulated import SimulatedDay
from kalshi_mm.sandbox.state import Ids
from kalshi_mm.sandbox.traffic import Calibration
from kalshi_mm.strategy.guards import Guard
from kalshi_mm.strategy.incentive_capture import IncentiveCapture, IncentiveCaptureParams
from kalshi_mm.strategy.incentive_guard import IncentiveGuard, IncentiveGuardParams
from kalshi_mm.strategy.protocol import Strategy
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

RESULT = Path(__file__).resolve().parents[1] / "nbs" / "research" / "results" / "first_hour.json"
FIRST, MINUTES = date(2026, 7, 1), 95
REGIMES = ("wide", "tight")


def rules() -> dict[str, tuple[Strategy, dict[str, Guard]]]:
    "The rules, each new"
    free = IncentiveCaptureParams(cost=0)
    return {
        "spread capture": (SpreadCapture(Params()), {}),
        "spread capture, guard incentive": (SpreadCapture(Params()), {"incentive": IncentiveGuard(IncentiveGuardParams())}),
        "incentive capture": (IncentiveCapture(IncentiveCaptureParams()), {}),
        "incentive capture, loss taken for nothing": (IncentiveCapture(free), {}),
    }


def hour(case: tuple[str, str, int]) -> dict[str, Any]:
    "Play one first hour"
    rule, regime, n = case
    text = (files("kalshi_mm.sandbox") / "calibration.json").read_text()
    day = SimulatedDay(Calibration.of(json.loads(text), regime), FIRST + timedelta(n), n)
    exchange, (strategy, guards) = Exchange(day.markets, ids=Ids(str(n))), rules()[rule]
    incentives = Incentives(exchange, str(n), NewEvent())
    for m in day.markets: incentives.listed(m, 0)
    maker, open_ms = MarketMaker(strategy, Config("s", Limits()), guards), day.markets[0].open_ms
    ledger = Backtest(maker, exchange, day, incentives=incentives).run(open_ms + MINUTES * 60_000).ledger
    plans, over = list(incentives.plans.values()), list(maker.incentives.over.values())
    each = [p.accrual("us") for p in plans]
    return {
        "rule": rule, "regime": regime, "day": n, "profit": maker.profit / DOLLAR,
        "scored": round(sum(float(a.earned(p.programme)) for a, p in zip(each, plans, strict=True)) / DOLLAR, 4),
        "paid": sum(a.payment(p.programme) for a, p in zip(each, plans, strict=True)) / DOLLAR,
        "counted": round(sum(float(worth(e.filing.shares, e.programme)) for e in over) / DOLLAR, 4),
        "contracts": sum(f.count for f in ledger.fills) / CONTRACT, "fills": len(ledger.fills),
        "at_rest": round(sum(e.rested for e in over) / DOLLAR / 3_600_000, 2),
        "below_target": round(1 - sum(p.counted for p in plans) / sum(2 * p.looks for p in plans), 4),
    }  # fmt: skip


def main(
    days: Annotated[int, typer.Option(help="Event days in each regime.", min=1)] = 16,
    jobs: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
) -> None:
    "Play what is not in the result yet"
    rows = json.loads(RESULT.read_text())["rows"] if RESULT.is_file() else []
    done = {(r["rule"], r["regime"], r["day"]) for r in rows}
    cases = [c for c in product(rules(), REGIMES, range(days)) if c not in done]

    def each() -> Iterator[dict[str, Any]]:
        with ProcessPoolExecutor(jobs) as pool: yield from pool.map(hour, cases) if jobs > 1 else map(hour, cases)

    for row in each():
        rows.append(row)
        print(f"{len(rows) - len(done)}/{len(cases)} {row}", flush=True)
    told = {"command": "python tools/first_hour.py", "day": time.strftime("%Y-%m-%d", time.gmtime()), "rows": rows}
    RESULT.write_text(json.dumps(told).replace('{"rule"', '\n{"rule"') + "\n")


if __name__ == "__main__": typer.run(main)
