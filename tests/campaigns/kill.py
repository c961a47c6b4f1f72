"""The kill drill: how long it takes from each way to kill until nothing of ours rests at the exchange, as the exchange sees it.

Idle is a market day at its own pace; at full load it passes 400 times faster, and the books change thousands of times a second.
"""
import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

from kalshi_mm.sandbox.server import ACCOUNT

from .stage import Case, Command, Stage, Story, Wrong

LOADS = {"idle": 1.0, "full load": 400.0}  # market seconds in a second
EACH = 10  # kills in a run
LIFETIME_S = 5
USUAL = 120  # 100 kills of each way and load


async def api(stage: Stage, engine: Command) -> None: await stage.ask(engine, "/api/risk/kill-switch", "POST")


async def cli(stage: Stage, engine: Command) -> None:
    status, said = await stage.command("kill", "--session", engine.said["started"]["session"])
    if status: raise Wrong(f"kalshi-mm kill ended with {status}: {said}")


async def frozen(stage: Stage, engine: Command) -> None:
    engine.signal(signal.SIGSTOP)
    await cli(stage, engine)


async def dead(stage: Stage, engine: Command) -> None:
    engine.signal(signal.SIGKILL)
    await cli(stage, engine)


async def group(stage: Stage, engine: Command) -> None:
    x = stage.sandbox.exchange
    for g in x.groups(ACCOUNT): x.trigger_group(ACCOUNT, g.group_id, stage.sandbox.now())
    stage.sandbox.day.publish()


async def expiry(stage: Stage, engine: Command) -> None: engine.signal(signal.SIGKILL)


WAYS: dict[str, Callable[[Stage, Command], Awaitable[None]]] = {
    "control API": api, "CLI": cli, "CLI, engine frozen": frozen, "CLI, engine dead": dead, "order group": group,
    "expiry": expiry}
ENDS_IT = {"CLI, engine frozen", "CLI, engine dead", "expiry"}  # after which another engine is started


def cases(runs: int, seed: int) -> list[Case]:
    "Every way at both loads, in turn"
    kinds = [(way, load) for load in LOADS for way in WAYS]
    return [Case(f"{way}, {load}", seed * 10_000 + n, partial(drill, way, load, EACH))
            for n, (way, load) in enumerate(islice(cycle(kinds), runs))]


async def drill(way: str, load: str, times: int, folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "Quote, kill, look, and again"
    took_ms: list[float] = []
    lifetime_s = LIFETIME_S if way == "expiry" else 60
    async with Stage(folder, story, lifetime_s=lifetime_s, limits=False, speed=LOADS[load], skip_hours=25) as stage:
        engine = await started(stage)
        for n in range(times):
            await stage.until(lambda: stage.judge.resting, "an order rests")
            await asyncio.sleep(rng.uniform(0.3, 1.5))
            if way == "order group" and not stage.sandbox.exchange.groups(ACCOUNT):
                story.tell("this engine has no order groups")
                return {"way": way, "load": load, "took_ms": []}
            took_ms.append(await killed(stage, engine, way))
            story.tell(f"{n}: {took_ms[-1]:.0f} ms")
            if n + 1 < times: engine = await rearmed(stage, engine, way)
        if way not in ENDS_IT: await stage.finish(engine)
        story.blame(stage.judge.ended())
    return {"way": way, "load": load, "took_ms": [round(t, 1) for t in took_ms]}


async def killed(stage: Stage, engine: Command, way: str) -> float:
    "Milliseconds from the command to the moment from which on nothing rests; the orders sent in between count"
    judge = stage.judge
    await stage.until(lambda: judge.resting, "an order rests")
    began = time.monotonic()
    await asyncio.gather(WAYS[way](stage, engine), stage.until(lambda: not judge.resting, f"nothing rests after {way}"))
    if way != "expiry": await asyncio.sleep(1)  # what was on its way has come, and has gone too
    if judge.resting: raise Wrong(f"{len(judge.resting)} orders rest a second after {way}")
    return max(0.0, judge.emptied_s - began) * 1000


async def started(stage: Stage) -> Command:
    engine = await stage.engine()
    await engine.hear("started")
    return engine


async def rearmed(stage: Stage, engine: Command, way: str) -> Command:
    "Quoting again, with the same engine or another one"
    if way == "order group":
        await asyncio.sleep(2)  # refusals of what was on its way count towards the halt for rejects: ten within ten seconds
        for halt in (await stage.ask(engine, "/api/risk/status"))["halts"]:
            await stage.ask(engine, f"/api/risk/reset?rule={halt['rule']}", "POST")
        return engine
    if way not in ENDS_IT:
        for path in ("/api/risk/rearm", "/api/strategy/start"): await accepted(stage, engine, path)
        return engine
    engine.signal(signal.SIGCONT)
    engine.signal(signal.SIGKILL)
    await engine.close()
    for latch in stage.folder.glob("state/*/killed"): os.unlink(latch)  # what `kalshi-mm rearm` does, without its second
    return await started(stage)


async def accepted(stage: Stage, engine: Command, path: str) -> None:
    for _ in range(100):
        try: return await stage.ask(engine, path, "POST")
        except OSError: await asyncio.sleep(0.1)  # 409 until the kill's cancels are taken, or the core has heard of the rearm
    raise Wrong(f"{path} was not accepted")
