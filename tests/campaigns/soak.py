"""The soak: a week in minutes, in one engine process: events open, close and settle, Thursday pauses, the exchange restarts.

Memory, files, descriptors, threads and tasks are looked at as the week passes, and every warning is counted by its words.
"""
import asyncio
import re
from collections import Counter
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from kalshi_mm.sandbox.fault_catalogue import CATALOGUE
from kalshi_mm.sandbox.fault_injection import Faults
from kalshi_mm.sandbox.server import ACCOUNT

from .stage import Case, Command, Stage, Story, rss_mb

USUAL = 1
ROOM = {"rss_mb": 25, "fds": 5, "threads": 4, "tasks": 5}  # what may be added without being called a leak
EXPLAINED = re.compile(  # by the pause on Thursday; by restarts, which end lines and requests, and the halts pass by themselves
    r"halted, paused: the exchange is paused for trading|Connection ?[Rr]efused|Connection ?[Rr]eset|RemoteDisconnected"
    r"|Connection aborted|Failed to establish|no close frame|connection is refused|connection broke|did not answer in time")
AFTERWARDS, SOON_S = re.compile(r"missed_fill"), 15  # what a stream that was down has not told; found so soon after
WEEK_H = 7 * 24.0
SPEED = 1000.0  # a week in ten minutes


def cases(runs: int, seed: int) -> list[Case]:
    "Weeks"
    return [Case(f"a week at {SPEED:g}", seed * 10_000 + n, partial(week, WEEK_H, SPEED)) for n in range(runs)]


async def week(hours: float, speed: float, folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "So many hours of the market day, in one process"
    seconds = hours * 3600 / speed
    again = CATALOGUE["restart"].plan(at_ms=3_000 + round(seconds * 130), every_ms=round(seconds * 200), for_ms=2_000)
    faults = Faults([again], rng.randrange(1 << 30), story.tell)
    tasks = folder / "tasks"
    env = {"TASKS_FILE": str(tasks.absolute()), "QUOTE_LIFETIME_S": "20", "STOP_BEFORE_CLOSE_S": "2"}
    async with Stage(folder, story, faults=faults, speed=speed, skip_hours=10, read_lag_ms=400, env=env) as stage:
        engine = await stage.engine()
        await engine.hear("started")
        looks: list[dict[str, Any]] = []
        for n in range(60):
            await asyncio.sleep(seconds / 60)
            if engine.process.returncode is not None:
                story.blame([f"the engine ended by itself: {engine.trouble()}"])
                break
            looks.append(look(stage, engine, tasks))
            if n % 6 == 5: story.tell(str(looks[-1]))
        events = {m.event_ticker: m.status for m in stage.sandbox.exchange.markets()}
        left = await in_force(stage, engine, story) if engine.process.returncode is None else []
        await stage.finish(engine)
        story.blame(leaks(looks))
        warnings, unexplained = told(stage)
        story.blame([f"not explained: {text}" for text in unexplained])
        for text, times in warnings.most_common(): story.tell(f"{times} times: {text}")
        paid = len(stage.sandbox.exchange.ledger(ACCOUNT).settlements)
        return stage.judge.figures | {
            "market_hours": hours, "events": Counter(events.values()), "settlements": paid, "restarts": faults.counts["restart"],
            "looks": looks[::6] + looks[-1:], "warnings": warnings.most_common(), "in_force_at_the_end": left}


def leaks(looks: list[dict[str, Any]]) -> list[str]:
    "What has grown from the second tenth of the week to its end"
    if len(looks) < 30: return []
    early, late = looks[6:12], looks[-6:]

    def mean(of: list[dict[str, Any]], key: str) -> float: return sum(one[key] for one in of) / len(of)

    return [f"{key} grew from {mean(early, key):g} to {mean(late, key):g}" for key, room in ROOM.items()
            if mean(late, key) > mean(early, key) + room]


def look(stage: Stage, engine: Command, tasks: Path) -> dict[str, Any]:
    "The process from outside"
    pid, home = engine.process.pid, stage.journal.parent
    fds = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    size = sum(f.stat().st_size for f in home.rglob("*") if f.is_file())
    pending = tasks.read_text() if tasks.exists() else ""
    return {"rss_mb": round(rss_mb(pid), 1), "files_mb": round(size / 1e6, 2), "fds": fds,
            "threads": len(list(Path(f"/proc/{pid}/task").iterdir())), "tasks": int(pending or 0),
            "fills": stage.judge.fills, "placed": stage.judge.placed}


async def in_force(stage: Stage, engine: Command, story: Story) -> list[str]:
    "Halts and differences that are in force at the end of the week"
    now = await stage.ask(engine, "/api/strategy/status")
    left = [f"{h['rule']}: {h['reason']}" for h in now["maker"]["halts"]] + [str(d) for d in now["maker"].get("differences", [])]
    for text in left: story.tell(f"at the end: {text}")
    return left


def told(stage: Stage) -> tuple[Counter[str], list[str]]:
    "Warnings and errors by their words, numbers and names taken out; and those that the restarts don't explain"
    counts: Counter[str] = Counter()
    unexplained = []
    for log in stage.folder.glob("state/*/engine.log"):
        down = datetime.min
        for line in log.read_text(errors="replace").splitlines():
            if (found := re.match(r"([\d-]+ [\d:]+),\d+ (WARNING|ERROR) (.*)", line)) is None: continue
            at, text = datetime.fromisoformat(found[1]), found[3]
            if EXPLAINED.search(text): down = at
            elif not AFTERWARDS.search(text) or (at - down).total_seconds() > SOON_S: unexplained.append(f"{at:%H:%M:%S} {text}")
            counts[re.sub(r"KX\S+|\b[0-9a-f]{8}-[0-9a-f-]+|\d[\d.:,]*", "…", text)[:160]] += 1
    return counts, unexplained
