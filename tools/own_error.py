"""How wrong is the backtest? Sandbox days are traded, and played again from the record of their stream.

`python tools/own_error.py`

Each day has a seed of its own, and with it traffic, delays and their jitter that the backtest isn't told. The page
nbs/research/how_wrong_is_our_backtest.ipynb shows the result.
"""
import json
import platform
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Annotated, Any

import msgspec
import numpy as np
import typer
from msgspec import convert, structs

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import Action
from kalshi_mm.research.backtest import Backtest
from kalshi_mm.research.session_backtest import OwnError, Record, Recorded, own_error
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.simulated import SimulatedDay
from kalshi_mm.sandbox.traffic import Calibration
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

PACKAGED = Path(__file__).resolve().parent.parent / "kalshi_mm" / "research" / "own_error.json"  # what later results carry
TEN_MS = 1_765_378_800_000  # ten in the morning in New York on 10 December 2025
RULES = {"improves": Params(), "joins": Params(min_spread=300, improve_ticks=0, leave_half_spread=100)}


class Jittery(Backtest):
    "A day on which no two orders take equally long"

    def __init__(self, *args: Any, rng: Random, jitter_ms: int, **more: Any):
        super().__init__(*args, **more)
        self._rng, self._jitter_ms = rng, jitter_ms

    def _send(self, a: Action) -> None:
        late_ms = self.now_ms + self.order_ms + self._rng.randrange(self._jitter_ms + 1)
        self._agenda.add(late_ms, lambda: self._act(lambda: self._arrived(a)))


def core(rule: str) -> MarketMaker: return MarketMaker(SpreadCapture(RULES[rule]), Config("own"))


def traded(rule: str, regime: str, seed: int, hours: float) -> Record:
    "A day of the sandbox, as the journal would record it"
    raw = msgspec.json.decode((files("kalshi_mm.sandbox") / "calibration.json").read_bytes())
    rng = Random(f"delays {seed}")
    traffic, ids = SimulatedDay(Calibration.of(raw, regime), date(2025, 12, 10), seed, start_ms=TEN_MS), Random(seed)
    exchange = Exchange(traffic.markets, ids=lambda: f"{ids.getrandbits(64):016x}")
    session = Recorded(core(rule))
    Jittery(session, exchange, traffic, rng=rng, jitter_ms=rng.randrange(100), data_ms=rng.randrange(5, 80),
            order_ms=rng.randrange(20, 150)).run(TEN_MS + round(hours * 3_600_000))  # fmt: skip
    return session.record


def one(rule: str, regime: str, seed: int, hours: float) -> tuple[str, str, int, OwnError]:
    "One day: traded, played again, compared"
    return rule, regime, seed, own_error(core(rule), traded(rule, regime, seed, hours), Random(f"backtest {seed}"))


def run_all(todo: list[tuple[str, str, int, float]], jobs: int) -> Iterator[tuple[str, str, int, OwnError]]:
    with ProcessPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(one, *what) for what in todo]): yield done.result()


def main(
    days: Annotated[int, typer.Option(help="Of each rule and regime.", min=1)] = 10,
    hours: Annotated[float, typer.Option(help="Of each day, from ten in the morning.", min=0.1)] = 6,
    seed: Annotated[int, typer.Option(help="Of the first day.")] = 401,
    jobs: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    result: Annotated[Path | None, typer.Option("--json", help="Where to write the figures.")] = None,
) -> None:
    "Trade sandbox days and play them again from their stream"
    began, rows = time.time(), list[dict[str, Any]]()
    todo = [(rule, regime, n, hours) for rule in RULES for regime in ("wide", "tight") for n in range(seed, seed + days)]
    for rule, regime, n, error in run_all(todo, jobs):
        rows.append({"rule": rule, "regime": regime, "seed": n, **structs.asdict(error)})
        print(f"{len(rows)}/{len(todo)} {rule} {regime} {n}: {error}", flush=True)
    rows.sort(key=lambda r: (r["rule"], r["regime"], r["seed"]))
    if result is None: return
    told = {"day": time.strftime("%Y-%m-%d", time.gmtime(began)), "took_s": round(time.time() - began), "hours": hours,
            "python": platform.python_version(), "rows": rows}  # fmt: skip
    some = [convert(r, OwnError) for r in rows if r["real"] and r["backtest"]]
    total = sum(some[1:], some[0])
    drawn = np.random.default_rng(1).integers(0, len(some), (2_000, len(some)))
    sums = np.array([[e.real, e.backtest, e.real_gain, e.backtest_gain] for e in some], float)[drawn].sum(axis=1)
    low, high = np.percentile((sums[:, 3] / sums[:, 1] - sums[:, 2] / sums[:, 0]) / 100, [2.5, 97.5])
    PACKAGED.write_text(json.dumps(json.loads(PACKAGED.read_text()) | {
        "error": f"{total.error:+.2f} [{low:+.2f}, {high:+.2f}]", "missed": f"{100 * total.missed / total.real:.1f} %",
        "extra": f"{100 * total.extra / total.backtest:.1f} %", "on": f"sandbox, {len(some)} days of {hours:g} hours",
    }) + "\n")  # fmt: skip
    result.write_text(json.dumps(told).replace('{"rule"', '\n{"rule"') + "\n")


if __name__ == "__main__": typer.run(main)
