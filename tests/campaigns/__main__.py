"The command: `python -m tests.campaigns faults|crash|kill|shadow|soak|used|reach`"
import asyncio
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from . import crash, faults, kill, reach, shadow, soak, used
from .stage import Case, Story

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
Runs = Annotated[int, typer.Option(help="How many runs; 0 for the usual number.", min=0)]
Seed = Annotated[int, typer.Option(help="Of all choices.")]
Jobs = Annotated[int, typer.Option(help="Runs at a time.", min=1)]
Result = Annotated[Path | None, typer.Option("--json", help="Where to write the results.")]
Keep = Annotated[Path, typer.Option(help="Where failed runs leave their folders.")]
Only = Annotated[str, typer.Option(help="Only runs whose name has this.")]
COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
KEPT = Path(".kalshi_mm/campaigns")


async def one(case: Case, keep: Path) -> dict[str, Any]:
    "A run, from an empty folder to its verdict"
    story, folder, figures = Story(), Path(tempfile.mkdtemp(prefix="campaign-")), dict[str, Any]()
    try: figures = await case.work(folder, Random(case.seed), story)
    except Exception as e: story.blame([f"{type(e).__name__}: {e}"])
    result = {"name": case.name, "seed": case.seed, "wrong": story.wrong, "took_s": round(time.monotonic() - story.began_s, 1),
              "figures": figures}
    if story.wrong:
        place = keep / f"{case.seed}-{''.join(c if c.isalnum() else '-' for c in case.name)}"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder, place, ignore=shutil.ignore_patterns("*.sock"), ignore_dangling_symlinks=True)
        (place / "story.txt").write_text("\n".join(story.lines) + "\n")
        result["folder"] = str(place)
    shutil.rmtree(folder, ignore_errors=True)
    return result


async def run_all(
    cases: list[Case], jobs: int, keep: Path, console: Console, done: Callable[[list[dict[str, Any]]], None]
) -> list[dict[str, Any]]:
    "All runs, some at a time, in the order of the cases; `done` is called with what there is after each"
    turn, results, order = asyncio.Semaphore(jobs), list[dict[str, Any]](), [c.seed for c in cases]
    with Progress(*COLUMNS, console=console) as progress:
        bar = progress.add_task("", total=len(cases))

        async def go(case: Case) -> None:
            async with turn:
                progress.update(bar, description=case.name)
                result = await one(case, keep)
            results.append(result)
            results.sort(key=lambda r: order.index(r["seed"]))
            done(results)
            progress.advance(bar)
            said = result["wrong"][:3] or ([] if console.is_terminal else [f"fine, in {result['took_s']} s"])
            for text in said: progress.console.print(f"[red]{case.name}[/] (seed {case.seed}): {text}", soft_wrap=True)

        await asyncio.gather(*(go(c) for c in cases))
    return results


def campaign(what: ModuleType, runs: int, seed: int, jobs: int, file: Path | None, keep: Path, only: str) -> None:
    "Run, show, write; exit status 1 if anything was wrong"
    console, began = Console(), time.time()
    if not console.is_terminal: console = Console(width=140)
    cases = [c for c in what.cases(runs or what.USUAL, seed) if only in c.name]
    name = what.__name__.rsplit(".", 1)[1]

    def write(results: list[dict[str, Any]]) -> None:
        if file is None: return
        told = {"campaign": name, "command": f"python -m tests.campaigns {name} --runs {len(cases)} --seed {seed}",
                "day": time.strftime("%Y-%m-%d", time.gmtime(began)), "took_s": round(time.time() - began), "jobs": jobs,
                "cores": os.cpu_count(), "load": round(os.getloadavg()[2], 1), "python": platform.python_version(),
                "planned": len(cases), "runs": [{k: v for k, v in r.items() if k != "folder"} for r in results]}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(told, indent=1) + "\n")

    results = asyncio.run(run_all(cases, jobs, keep, console, write))
    console.print(table(results))
    failed = [r for r in results if r["wrong"]]
    console.print(f"{len(results)} runs in {time.time() - began:.0f} s, {len(failed)} with something wrong")
    for r in failed: console.print(f"  {r['name']}: seed {r['seed']}, {r['folder']}", soft_wrap=True)
    raise typer.Exit(1 if failed else 0)


def table(results: list[dict[str, Any]]) -> Table:
    "A line for each kind of run; for kills the times"
    by: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for r in results: by[r["name"]].append(r)
    shown = Table("run", "times", "wrong", "orders", "fills", "most in a market", "in all", "p50 ms", "worst ms")
    for name, rs in by.items():
        figures = [r["figures"] for r in rs]
        def most(key: str, figures: list[dict[str, Any]] = figures) -> str:
            return f"{max((f[key] for f in figures if key in f), default=0):g}"
        def total(key: str, figures: list[dict[str, Any]] = figures) -> str: return str(sum(f.get(key, 0) for f in figures))
        took = [t for f in figures for t in f.get("took_ms", [])]
        times = (f"{statistics.median(took):.0f}", f"{max(took):.0f}") if took else ("", "")
        shown.add_row(name, str(len(took) or len(rs)), str(sum(bool(r["wrong"]) for r in rs)), total("placed"), total("fills"),
                      most("most_in_market"), most("most_in_all"), *times)
    return shown


def command(what: ModuleType) -> None:
    name = what.__name__.rsplit(".", 1)[1]

    @app.command(name, help=(what.__doc__ or "").split("\n")[0])
    def work(runs: Runs = 0, seed: Seed = 1, jobs: Jobs = 2, json: Result = None, keep: Keep = KEPT, only: Only = "") -> None:
        campaign(what, runs, seed, jobs, json, keep, only)


for module in (faults, crash, kill, shadow, soak, used): command(module)


@app.command("reach", help=(reach.__doc__ or "").split("\n")[0])
def measure(
    runs: Annotated[int, typer.Option(help="Simulated days of each regime.", min=2)] = 20,
    seed: Annotated[int, typer.Option(help="Of the first of these days; the calibration was set on days below 100.")] = 101,
    own: Annotated[int, typer.Option(help="Days of our own client in each regime; a day takes a minute.", min=2)] = 8,
    makers: Annotated[str, typer.Option(help="Which: joiner, own, recorded.")] = "joiner,own,recorded",
    jobs: Jobs = 2,
    file: Result = None,
) -> None:
    console, began, done = Console(width=170), time.time(), list[reach.Run]()
    todo = reach.plan(makers.split(","), seed, runs, own)
    if "recorded" in makers and not reach.BBO.exists(): console.print(f"no recordings in {reach.DATA}: those days are left out")
    with Progress(*COLUMNS, console=console) as progress:
        bar = progress.add_task("days", total=len(todo))
        for r in reach.run_all(todo, jobs):
            done.append(r)
            progress.advance(bar)
    kept = reach.shares(done)
    shown = Table("maker", "days", "contracts", "at once, c", *(f"kept, {s} s" for s in reach.LATER_S), "settlement, c")
    for who, row in kept.items():
        shown.add_row(who, *(str(v) if isinstance(v, int) else f"{v[0]:+.2f} [{v[1]:.2f}, {v[2]:.2f}]" for v in row.values()))
    console.print(shown)
    for text in (wrong := reach.misses(kept)): console.print(f"[red]{text}[/]")
    if file:
        words = f"--runs {runs} --own {own} --seed {seed} --makers {makers}"
        said = {"campaign": "reach", "command": f"python -m tests.campaigns reach {words}",
                "day": time.strftime("%Y-%m-%d", time.gmtime(began)), "took_s": round(time.time() - began), "kept": kept,
                "runs": [msgspec.to_builtins(r) for r in sorted(done, key=lambda r: (r.maker, r.regime, r.day))]}
        file.write_text(json.dumps(said, indent=1) + "\n")
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__": app()
