"""Crashes: kill -9 at random instants, and what operating systems do to programs: nothing lost, nothing doubled, orders expire.

A full and a read-only disk are an ext4 image of 32 megabytes where one may mount, else RLIMIT_FSIZE on the running process.
Clocks are stepped inside the engine's process by `forked.py`.
"""
import asyncio
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

from .judge import three_books
from .stage import Case, Command, Stage, Story, Wrong

KILLS = 20  # in a run
LIFETIME_S = 5
USUAL = 25


def cases(runs: int, seed: int) -> list[Case]:
    "Of 25 runs, ten are of twenty kill -9 each; the others take turns"
    others = cycle([("stop and continue", frozen), ("disk full", disk_full), ("disk read-only", read_only),
                    ("journal cut off", cut_off), ("clock stepped", stepped)])
    killing = (f"kill -9, {KILLS} times", partial(kills, KILLS))
    return [Case(name, seed * 10_000 + n, work)
            for n, (name, work) in enumerate(killing if n % 5 < 2 else next(others) for n in range(runs))]


async def kills(times: int, folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "Start, kill -9 at a random instant, look at what is left, again; at last end in order"
    down: list[float] = []
    async with Stage(folder, story, lifetime_s=LIFETIME_S, read_lag_ms=rng.choice((0, 400, 1400))) as stage:
        for n in range(times):
            engine = await stage.engine()
            if rng.random() < 0.25: await asyncio.sleep(rng.uniform(0, 1.5))  # anywhere, its beginning included
            else:
                await engine.hear("started")
                if rng.random() < 0.5: await stage.until(lambda: stage.judge.resting, "something rests", 60)
                await asyncio.sleep(rng.uniform(0, 2))
            engine.signal(signal.SIGKILL)
            await engine.process.wait()
            story.tell(f"kill {n}, with {len(stage.judge.resting)} resting")
            _nothing_extra(stage, story, n)
            if rng.random() < 0.15: down.append(await _expired(stage))
        final = await stage.engine()
        await final.hear("started")
        await asyncio.sleep(3)
        await stage.finish(final, "after the last restart")
        return stage.judge.figures | {"kills": times, "gone_after_s": [round(s, 2) for s in down]}


def _nothing_extra(stage: Stage, story: Story, n: int) -> None:
    "The journal of a dead engine opens, and knows no fill that wasn't"
    if not list(stage.folder.glob("state/*/journal.db")): return
    wrong = three_books(stage.sandbox, stage.copied(), None)
    story.blame([w for w in wrong if "only in the journal" in w or "kept as" in w], f"kill {n}")


async def _expired(stage: Stage) -> float:
    "Seconds until what the dead engine left is gone"
    began = time.monotonic()
    await stage.until(lambda: not stage.judge.resting, "orders of a dead engine expire", LIFETIME_S + 2)
    return time.monotonic() - began


async def frozen(folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "SIGSTOP for up to two lifetimes of an order, and on"
    async with Stage(folder, story, lifetime_s=LIFETIME_S) as stage:
        engine = await _quoting(stage)
        for _ in range(4):
            engine.signal(signal.SIGSTOP)
            sleeps = rng.uniform(0.5, 2 * LIFETIME_S)
            story.tell(f"stopped for {sleeps:.1f} s with {len(stage.judge.resting)} resting")
            await asyncio.sleep(sleeps)
            late = sleeps > LIFETIME_S + 1 and stage.judge.resting
            if late: story.blame(["orders of a frozen engine rest beyond their lifetime"])
            engine.signal(signal.SIGCONT)
            await asyncio.sleep(rng.uniform(0.5, 4))
        await stage.finish(engine)
        return stage.judge.figures


class Disk:
    "A small disk of its own below a folder, where one may mount"

    def __init__(self, at: Path):
        self.at, self.image = at, at.with_suffix(".img")
        at.mkdir(parents=True)
        with open(self.image, "wb") as f: f.truncate(32 << 20)
        self.mounted = self._done("mkfs.ext4", "-q", str(self.image)) and self.mount()

    def _done(self, *words: str) -> bool:
        try: return subprocess.run(words, capture_output=True).returncode == 0
        except OSError: return False

    def mount(self) -> bool: return self._done("mount", "-o", "loop,errors=remount-ro", str(self.image), str(self.at))
    def umount(self) -> None: self._done("umount", "-l", str(self.at))

    def fail(self) -> None:
        "What the kernel does when it finds an error on it: from now on it is read-only, for open files too"
        if not self._done("mount", "-o", "remount,abort", str(self.at)): raise Wrong("the disk can't be made read-only")


@contextmanager
def small_disk(at: Path) -> Iterator[Disk]:
    disk = Disk(at)
    try: yield disk
    finally:
        if disk.mounted: disk.umount()


async def disk_full(folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "No byte can be written any more: the session stops quoting, and the next one on a free disk knows all"
    with small_disk(folder / "state") as disk:
        async with Stage(folder, story, lifetime_s=LIFETIME_S) as stage:
            engine = await _quoting(stage)
            await asyncio.sleep(rng.uniform(0, 4))
            filler = folder / "state" / "filler"
            if disk.mounted: await asyncio.to_thread(_fill, filler)
            else: resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
            story.tell("the disk is full" if disk.mounted else "no file may grow beyond 4096 bytes")
            await _without_disk(stage, engine, story)
            filler.unlink(missing_ok=True)
            return await _afterwards(stage, story) | {"how": "ext4, no space left" if disk.mounted else "RLIMIT_FSIZE"}


def _fill(filler: Path) -> None:
    for size in (65536, 512, 1):
        with suppress(OSError), open(filler, "ab", buffering=0) as f:
            while True: f.write(b"0" * size)


async def read_only(folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "The disk turns read-only under a running session"
    with small_disk(folder / "state") as disk:
        async with Stage(folder, story, lifetime_s=LIFETIME_S) as stage:
            engine = await _quoting(stage)
            await asyncio.sleep(rng.uniform(0, 4))
            if disk.mounted: disk.fail()
            else: resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (0, 0))
            story.tell("the disk is read-only" if disk.mounted else "no file may grow")
            await _without_disk(stage, engine, story)
            if disk.mounted:
                disk.umount()
                if not disk.mount(): raise Wrong("the disk can't be mounted again")
            return await _afterwards(stage, story) | {"how": "ext4, remounted read-only" if disk.mounted else "RLIMIT_FSIZE"}


async def _without_disk(stage: Stage, engine: Command, story: Story) -> None:
    "An engine that can't write stops quoting within seconds, and leaves nothing"
    judge, began = stage.judge, time.monotonic()
    quiet_s, placed = began, judge.placed
    while time.monotonic() < quiet_s + 3:
        if time.monotonic() > began + LIFETIME_S + 15: raise Wrong(f"it quotes on without a disk: {judge.placed - placed} orders")
        await asyncio.sleep(0.02)
        if judge.resting or judge.placed != placed: quiet_s, placed = time.monotonic(), judge.placed
    story.tell(f"quiet {quiet_s - began:.2f} s after the disk went")
    if engine.process.returncode is None: engine.signal(signal.SIGINT)
    status = await engine.wait()
    story.tell(f"ended with {status}: {engine.trouble()[-300:]}")
    if status == 0: story.blame(["a session that could not write ended with status 0"])
    story.blame(stage.judge.ended(), "without a disk")


async def _afterwards(stage: Stage, story: Story) -> dict[str, Any]:
    "The next session on the same home"
    engine = await stage.engine()
    await engine.hear("started")
    await asyncio.sleep(4)
    await stage.finish(engine, "the next session")
    return stage.judge.figures


async def cut_off(folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "Files of the account lose their ends, as after a power cut; the next session opens them and knows all"
    async with Stage(folder, story, lifetime_s=LIFETIME_S) as stage:
        for n in range(4):
            engine = await _quoting(stage)
            await asyncio.sleep(rng.uniform(0, 3))
            engine.signal(signal.SIGKILL)
            await engine.process.wait()
            home = stage.journal.parent
            files = [f for f in home.rglob("*") if f.is_file() and f.name.startswith("journal.db") or f.suffix == ".gz"]
            file = rng.choice(sorted(f for f in files if f.stat().st_size and not f.name.endswith("-shm")))
            size = file.stat().st_size
            left = rng.randrange(size) if rng.random() < 0.5 else max(0, size - rng.randrange(1, 5000))
            shutil.copy(file, folder / f"before-{n}")
            os.truncate(file, left)
            story.tell(f"{file.name} is cut off at {left} of {size} bytes")
        return await _afterwards(stage, story)


async def stepped(folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "The engine's clock jumps, ahead and back"
    clock = folder / "clock"
    clock.write_text("0")
    async with Stage(folder, story, lifetime_s=LIFETIME_S, env={"CLOCK_FILE": str(clock.absolute())}) as stage:
        engine = await stage.engine()
        await engine.hear("started")
        await stage.until(lambda: stage.judge.resting, "something rests")
        stage.judge.lifetime_s = 0  # by whose clock?
        for _ in range(4):
            ahead_ms = rng.choice((-1, 1)) * rng.choice((400, 3_000, 8_000, 60_000, 3_600_000))
            clock.write_text(str(ahead_ms))
            story.tell(f"its clock is {ahead_ms} ms ahead, {len(stage.judge.resting)} resting")
            await asyncio.sleep(rng.uniform(3, 6))
        clock.write_text("0")
        await asyncio.sleep(3)
        await stage.finish(engine)
        return stage.judge.figures


async def _quoting(stage: Stage) -> Command:
    engine = await stage.engine()
    await engine.hear("started")
    await stage.until(lambda: stage.judge.resting, "something rests")
    return engine
