"""Run rules on recorded days under the fill models, with the core that trades: `python tools/study.py`.

The recordings are not part of the repository: their folder is $KALSHI_MM_DATA or, by default, ../shared/data beside the
repository. What is done is kept in .kalshi_mm/study.jsonl, so that an interrupted run goes on. The page
nbs/research/rules_and_fill_models.ipynb shows the result.
"""
import json
import os
import platform
import time
from datetime import date
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from msgspec import structs, to_builtins

from kalshi_mm.config import DEFAULT_GUARDS
from kalshi_mm.engine.strategies import read_preset
from kalshi_mm.research.data import days
from kalshi_mm.research.fill_models import read_fill_models
from kalshi_mm.research.study import Case, DaySums, digest_of, read_calibration, read_kept, run_cases
from kalshi_mm.strategy.presets import GUARDS, Preset

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("KALSHI_MM_DATA", ROOT.parent / "shared" / "data"))
PRICES, RESULTS = DATA / "bbo_kxhighny_2025-12.parquet", DATA / "markets_kxhighny.csv.gz"
KEPT, RESULT = ROOT / ".kalshi_mm" / "study.jsonl", ROOT / "nbs" / "research" / "results" / "study.json"
JUDGED = date(2025, 12, 14)  # from this day on: rules were chosen on the days before


def changed(preset: Preset, parameters: dict[str, str], event_loss: str = "", **guards: dict[str, str]) -> Preset:
    "A preset with other parameters, an event limit and guards"
    limits = preset.limits | ({"max_event_loss": event_loss} if event_loss else {})
    return structs.replace(preset, parameters=preset.parameters | parameters, limits=limits, guards=guards, provenance={})


def rules() -> dict[str, Preset]:
    "The rules that are judged"
    original, ours = read_preset("original", ROOT), read_preset("kxhighny", ROOT)
    assert original and ours
    leave, jump = {"leave_half_spread": "1"}, {"move": "3", "seconds": "30"}
    join = {"min_spread": "3", "improve_ticks": "0", **leave}
    return {
        "original": original,
        "leave": changed(original, leave),
        "leave, jump, event $20": changed(original, leave, "20", jump=jump),
        "join": changed(original, join),
        "join, jump, event $20": changed(original, join, "20", jump=jump),
        "kxhighny, regime from 25 %": regime(ours, {"percent": "25"}),  # as it was first packaged
        "kxhighny": structs.replace(ours, provenance={}),  # the best variation that knows its regime
    }


def regime(preset: Preset, changes: dict[str, str]) -> Preset:
    "The preset with another regime guard"
    return structs.replace(preset, guards=preset.guards | {"regime": preset.guards["regime"] | changes}, provenance={})


def parts() -> dict[str, Preset]:
    "The preset as first packaged without one of its parts, or with one that looks longer, for the days that may be chosen on"
    whole = rules()["kxhighny, regime from 25 %"]
    return {
        **{f"kxhighny without {g}": structs.replace(whole, guards={n: p for n, p in whole.guards.items() if n != g})
           for g in whole.guards},
        "kxhighny without event limits": structs.replace(whole, limits={}),
        "kxhighny, regime over 4 hours": regime(whole, {"minutes": "240"}),
    }  # fmt: skip


def guards() -> dict[str, Preset]:
    "The original rule with each guard alone, and with those that are on out of the box"
    original = read_preset("original", ROOT)
    assert original
    names = [name for name in GUARDS if name != "incentive"]  # a programme pays for it, and none was recorded
    alone = {f"original + {name}": structs.replace(original, guards={name: {}}, provenance={}) for name in names}
    out_of_the_box = dict.fromkeys(DEFAULT_GUARDS, dict[str, str]())
    return alone | {"original, guarded": structs.replace(original, guards=out_of_the_box, provenance={})}


def main(
    names: Annotated[str, typer.Option("--rules", help="With ; between them; or parts, or guards.")] = "",
    models: Annotated[str, typer.Option(help="Letters of C, O, K and J.")] = "CKJ",
    which: Annotated[str, typer.Option("--days", help="judged, chosen, all, or a day such as 2025-12-14.")] = "judged",
    seeds: Annotated[int, typer.Option(help="Draws of takers, queues and rivals; the model C has one.", min=1)] = 1,
    jobs: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    kept: Annotated[Path, typer.Option(help="What is done, as JSON lines.")] = KEPT,
    result: Annotated[Path | None, typer.Option("--json", help="Where to write all that is kept.")] = None,
) -> None:
    "Run rules on recorded days under fill models"
    groups, began = {"": rules(), "parts": parts(), "guards": guards()}, time.time()
    presets = {name: preset for group in groups.values() for name, preset in group.items()}
    wanted = [*groups[names]] if names in groups else [n.strip() for n in names.split(";")]
    if unknown := set(wanted) - presets.keys(): raise typer.BadParameter(f"no rule {', '.join(unknown)}; {'; '.join(presets)}")
    if unknown := set(models) - read_fill_models()[0].models.keys(): raise typer.BadParameter(f"no model {', '.join(unknown)}")
    every = days(PRICES)
    picked = [d for d in every if which in ("all", d.isoformat()) or which == ("judged" if d >= JUDGED else "chosen")]
    if not picked: raise typer.BadParameter(f"no days {which}; there are {', '.join(map(str, every))}")
    cases = [Case(r, m, d, s) for s, d, r, m in product(range(1, seeds + 1), picked, wanted, models) if s == 1 or m != "C"]

    def step(done: int, of: int, s: DaySums) -> None:
        left_s = (time.time() - began) / max(done - first, 1) * (of - done)
        print(f"{done}/{of}, {left_s / 60:.0f} min left | {s.day} {s.model} {s.rule}: {s.contracts:.0f} contracts, "
              f"${s.profit / 100:+.2f}, {s.took_s:.0f} s{f', {s.halts}' if s.halts else ''}", flush=True)

    kept.parent.mkdir(parents=True, exist_ok=True)
    first = sum(c in read_kept(kept, {n: digest_of(p) for n, p in presets.items()}) for c in cases)
    run_cases(cases, presets, PRICES, RESULTS, kept, jobs, step)
    if result is None: return
    rows = [*read_kept(kept, {n: digest_of(p) for n, p in presets.items()}).values()]
    rows.sort(key=lambda r: (r.seed, r.day, list(presets).index(r.rule), r.model))
    told = {
        "day": time.strftime("%Y-%m-%d", time.gmtime(began)), "took_s": round(sum(r.took_s for r in rows)),
        "judged_from": JUDGED.isoformat(), "python": platform.python_version(), "cores": os.cpu_count(),
        "fill_models_sha256": read_fill_models()[1], "calibration_sha256": read_calibration()[1], "recording": PRICES.name,
        "rules": {n: to_builtins(p) for n, p in presets.items()}, "rows": [to_builtins(r) for r in rows],
    }  # fmt: skip
    result.write_text(json.dumps(told).replace('{"rule"', '\n{"rule"') + "\n")


if __name__ == "__main__": typer.run(main)
