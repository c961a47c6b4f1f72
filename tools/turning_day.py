"""Play recorded days that turn tight at noon, under the fill model J: `python tools/turning_day.py`.

Until noon of the event's day the recording stays as it is; from then on its middles stay, and spreads are drawn as in the tight
regime of the sandbox's calibration. See `turned_tight` in nbs/research/09_study.ipynb, and tools/study.py for the recordings.
"""
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from datetime import time as clock
from importlib.resources import files
from itertools import product
from typing import Annotated, Any

import typer
from study import JUDGED, PRICES, RESULT, RESULTS, rules

from kalshi_mm.model.temperature_markets import NEW_YORK
from kalshi_mm.research.data import days
from kalshi_mm.research.fill_models import read_fill_models
from kalshi_mm.research.study import play, profit_until, read_calibration, read_event, sums_of, turned_tight
from kalshi_mm.sandbox.traffic import Calibration

TURNED = RESULT.with_name("turning_day.json")
RULES = ("original", "join, jump, event $20", "kxhighny, regime from 25 %", "kxhighny")


def turned(case: tuple[str, Any]) -> dict[str, Any]:
    "Play a day that turns, and split its profit at noon"
    rule, day = case
    tight = Calibration.of(json.loads((files("kalshi_mm.sandbox") / "calibration.json").read_text()), "tight").spread_by_hour[0]
    event = read_event(PRICES, RESULTS, day)
    noon_ms = round(datetime.combine(day, clock(12), NEW_YORK).timestamp() * 1000)
    event = event._replace(rows=turned_tight(event.rows, noon_ms, tight, 1))
    played = play(event, rules()[rule], "J", 1)
    sums, wide = sums_of(event, played, rule, "J", 1), profit_until(event, played, noon_ms)
    late = sum(f.fill.count for f in played.exchange.fills if f.fill.ts_ms >= noon_ms) / 100
    return {"rule": rule, "day": sums.day, "wide": round(wide, 2), "tight": round(sums.profit - wide, 2),
            "contracts_wide": sums.contracts - late, "contracts_tight": late, "halts": sums.halts}


def main(jobs: Annotated[int, typer.Option(help="Processes.", min=1)] = 1) -> None:
    "Play the days that judge; what is in the result isn't played again"
    hashes, began = {"fill_models_sha256": read_fill_models()[1], "calibration_sha256": read_calibration()[1]}, time.time()
    before = json.loads(TURNED.read_text()) if TURNED.is_file() else {}
    rows = before["rows"] if before and before.items() >= hashes.items() else []
    done = {(r["rule"], r["day"]) for r in rows}
    cases = [c for c in product(RULES, (d for d in days(PRICES) if d >= JUDGED)) if (c[0], c[1].isoformat()) not in done]

    def each() -> Iterator[dict[str, Any]]:
        with ProcessPoolExecutor(jobs) as pool: yield from pool.map(turned, cases) if jobs > 1 else map(turned, cases)

    for row in each():
        rows.append(row)
        print(f"{len(rows) - len(done)}/{len(cases)} {row}", flush=True)
    told = {"command": "python tools/turning_day.py", "day": time.strftime("%Y-%m-%d", time.gmtime(began)), "model": "J",
            **hashes, "rows": rows}
    TURNED.write_text(json.dumps(told).replace('{"rule"', '\n{"rule"') + "\n")


if __name__ == "__main__": typer.run(main)
