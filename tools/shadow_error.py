"""How wrong is a shadow? A rule trades on a sandbox day really, and on a shadow of it; fills, prices and profit are compared.

`python tools/shadow_error.py --json nbs/research/results/shadow_error.json`

Weather, news and delays of a day are the same for both. Really trading, our orders are there: makers answer them, takers meet
them. On the shadow nobody sees them, so the two days drift apart: that is the error, and it is stated, not tuned away. Figures go
to the row `shadow` of kalshi_mm/research/own_error.json, which every backtest's result carries.
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
from msgspec import Struct, structs
from own_error import PACKAGED, TEN_MS, Jittery, core

from kalshi_mm.model.messages import BookSnapshot, MarketListed
from kalshi_mm.model.numbers import CONTRACT, DOLLAR, ONE, Price, cost
from kalshi_mm.model.types import Fill, Market
from kalshi_mm.research.backtest import event_of
from kalshi_mm.research.session_backtest import OwnError, compare
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.simulated import SimulatedDay
from kalshi_mm.sandbox.traffic import Calibration, MarketClock
from kalshi_mm.shadow.mirror import Mirror
from kalshi_mm.shadow.others_book import FillKind

RULES, REGIMES = ("improves", "joins"), ("wide", "tight")


class Delays(Struct, frozen=True):
    "A day's delays, ms"

    data: int  # from the exchange to us
    order: int  # from us to the exchange
    jitter: int

    @classmethod
    def of(cls, seed: int) -> "Delays":
        rng = Random(f"delays {seed}")
        jitter, data, order = rng.randrange(100), rng.randrange(5, 80), rng.randrange(20, 150)
        return cls(data, order, jitter)


class ShadowDay:
    "A simulated day on an exchange of its own, and its mirror: traffic for the exchange of the shadow"

    def __init__(self, source: SimulatedDay, there: Exchange, mirror: Mirror, late_ms: int):
        self.source, self.there, self.mirror, self.late_ms = source, there, mirror, late_ms
        self.markets: tuple[Market, ...] = source.markets
        self._begun = False

    def next_ms(self) -> int | None:
        return min((ms for ms in (self.source.next_ms(), self.mirror.next_ms()) if ms is not None), default=None)

    def act(self, exchange: Exchange, day_ms: int, now_ms: int) -> None:
        self.source.act(self.there, day_ms, now_ms)
        happenings = self.there.take()
        if not self._begun:
            self._begun = True
            for m in self.markets:
                self.mirror.take(MarketListed(day_ms, m))
                bids, asks = self.there.levels(m.ticker)
                self.mirror.take(BookSnapshot(day_ms, m.ticker, tuple(bids), tuple(asks)))
        else:
            for h in happenings:
                if event := event_of(h, "", now_ms + self.late_ms): self.mirror.take(event)
        self.mirror.act(exchange, day_ms, now_ms)

    def result(self) -> dict[str, Price]: return self.source.result()


def simulated(regime: str, seed: int) -> SimulatedDay:
    raw = msgspec.json.decode((files("kalshi_mm.sandbox") / "calibration.json").read_bytes())
    return SimulatedDay(Calibration.of(raw, regime), date(2025, 12, 10), seed, start_ms=TEN_MS)


def exchange_of(markets: tuple[Market, ...], seed: int) -> Exchange:
    ids = Random(seed)
    return Exchange(markets, ids=lambda: f"{ids.getrandbits(64):016x}")


def real(rule: str, regime: str, seed: int, until_ms: int) -> list[Fill]:
    "Fills of a day that was really traded"
    day, d = simulated(regime, seed), Delays.of(seed)
    played = Jittery(core(rule), exchange_of(day.markets, seed), day, rng=Random(f"jitter {seed}"), jitter_ms=d.jitter,
                     data_ms=d.data, order_ms=d.order).run(until_ms)  # fmt: skip
    return played.ledger.fills


def shadowed(rule: str, regime: str, seed: int, until_ms: int) -> tuple[list[Fill], dict[str, FillKind]]:
    "Fills on the shadow of the same day, and why each was"
    day, d = simulated(regime, seed), Delays.of(seed)
    exchange = exchange_of((), seed)
    mirror = Mirror(exchange, MarketClock(0, 0))
    traffic = ShadowDay(day, exchange_of(day.markets, seed), mirror, d.data)  # the mirror hears it so late, and is next door
    played = Jittery(core(rule), exchange, traffic, rng=Random(f"jitter {seed}"), jitter_ms=2, data_ms=1, order_ms=1)
    return played.run(until_ms).ledger.fills, mirror.others.kinds


Day = tuple[str, str, int, OwnError, dict[str, list[float]]]  # rule, regime, seed, comparison; by kind: contracts, gain in $


def one(rule: str, regime: str, seed: int, hours: float) -> Day:
    "One day both ways, valued by what the weather of that moment makes of each market"
    until_ms = TEN_MS + round(hours * 3_600_000)
    outlook = (day := simulated(regime, seed)).weather.at(until_ms)
    values = {m.ticker: round(outlook.chance(m) * ONE) for m in day.markets}
    here, kinds = shadowed(rule, regime, seed, until_ms)
    each = {str(k): [0.0, 0.0] for k in FillKind}  # contracts, and their gain in dollars
    for f in here:
        sums = each[kinds.get(f.trade_id, FillKind.TAKEN)]
        sums[0] += f.count / CONTRACT
        sums[1] += (f.side.sign * cost(values[f.ticker] - f.price, f.count) - f.fee) / DOLLAR
    return rule, regime, seed, compare(real(rule, regime, seed, until_ms), here, values), each


def run_all(todo: list[tuple[str, str, int, float]], jobs: int) -> Iterator[Day]:
    with ProcessPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(one, *what) for what in todo]): yield done.result()


def summed(some: list[OwnError]) -> dict[str, str]:
    "The error over days, with its interval by day"
    total = sum(some[1:], some[0])
    drawn = np.random.default_rng(1).integers(0, len(some), (2_000, len(some)))
    sums = np.array([[e.real, e.backtest, e.real_gain, e.backtest_gain] for e in some], float)[drawn].sum(axis=1)
    low, high = np.percentile((sums[:, 3] / sums[:, 1] - sums[:, 2] / sums[:, 0]) / 100, [2.5, 97.5])
    less, more = np.percentile(100 * (sums[:, 1] / sums[:, 0] - 1), [2.5, 97.5])
    return {"error": f"{total.error:+.2f} [{low:+.2f}, {high:+.2f}]",
            "fills": f"{100 * (total.backtest / total.real - 1):+.0f} % [{less:+.0f}, {more:+.0f}]",
            "missed": f"{100 * total.missed / total.real:.0f} %", "extra": f"{100 * total.extra / total.backtest:.0f} %"}


def main(
    days: Annotated[int, typer.Option(help="Of each rule and regime.", min=1)] = 10,
    hours: Annotated[float, typer.Option(help="Of each day, from ten in the morning.", min=0.1)] = 6,
    seed: Annotated[int, typer.Option(help="Of the first day.")] = 801,
    jobs: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    result: Annotated[Path | None, typer.Option("--json", help="Where to write the figures; without it nothing is kept.")] = None,
) -> None:
    "Trade sandbox days really and on their shadow"
    began, rows = time.time(), list[tuple[dict[str, Any], OwnError]]()
    todo = [(rule, regime, n, hours) for n in range(seed, seed + days) for rule in RULES for regime in REGIMES]
    for rule, regime, n, error, kinds in run_all(todo, jobs):
        rows.append(({"rule": rule, "regime": regime, "seed": n, **structs.asdict(error), "kinds": kinds}, error))
        text = str(error).replace("the backtest", "the shadow")
        print(f"{len(rows)}/{len(todo)} {rule} {regime} {n}: {text} {kinds}", flush=True)
    rows.sort(key=lambda r: (r[0]["rule"], r[0]["regime"], r[0]["seed"]))
    some = [e for _, e in rows if e.real and e.backtest]
    row = summed(some) | {"on": f"sandbox, {days} days of {hours:g} hours in each of {len(RULES) * len(REGIMES)} settings"}
    each = {f"{rule}, {regime}": summed(part) for rule in RULES for regime in REGIMES
            if (part := [e for r, e in rows if (r["rule"], r["regime"]) == (rule, regime) and e.real and e.backtest])}
    kinds = {str(k): [round(sum(r["kinds"][k][i] for r, _ in rows), 2) for i in (0, 1)] for k in FillKind}
    print(json.dumps(row), json.dumps(each, indent=1), sep="\n")
    if result is None: return
    told = {"day": time.strftime("%Y-%m-%d", time.gmtime(began)), "took_s": round(time.time() - began), "hours": hours,
            "python": platform.python_version(), "all": row, "each": each, "kinds": kinds,
            "rows": [r for r, _ in rows]}  # fmt: skip
    result.write_text(json.dumps(told).replace('{"rule"', '\n{"rule"') + "\n")
    PACKAGED.write_text(json.dumps(json.loads(PACKAGED.read_text()) | {"shadow": row}) + "\n")


if __name__ == "__main__": typer.run(main)
