"Sessions under faults: every named one alone, then pairs by chance; at the end ledger, journal and core agree"
import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from kalshi_mm.sandbox.fault_catalogue import CATALOGUE
from kalshi_mm.sandbox.fault_injection import Faults, Injection, Levers, Reply, Sent

from .stage import Case, Command, Stage, Story, Wrong

ALONE = len(CATALOGUE)
USUAL = ALONE + 40


def cases(runs: int, seed: int) -> list[Case]:
    "Each fault alone, then pairs; fewer runs than faults take some by chance"
    rng = Random(f"faults {seed}")
    alone = [(name,) for name in (CATALOGUE if runs >= ALONE else rng.sample(list(CATALOGUE), runs))]
    pairs = [tuple(sorted(rng.sample(list(CATALOGUE), 2))) for _ in range(runs - len(alone))]
    return [Case(" + ".join(names), seed * 10_000 + n, partial(session, names)) for n, names in enumerate([*alone, *pairs])]


def injection(name: str, rng: Random) -> Injection:
    "As usual, but what happens once happens again and again"
    usual = CATALOGUE[name].plan()[1]
    if not usual.at_ms: return usual
    again = 0 if name in ("tick_change", "fee_change") else rng.randrange(11_000, 15_000)
    if name == "clock_skew": again += 12_000  # a clock that is set back stands still first
    return CATALOGUE[name].plan(at_ms=rng.randrange(1_000, 6_000), every_ms=again)[1]


class Armed(Faults):
    "Faults whose time begins when they are armed"

    armed = False
    _since_ms: int | None = None

    def on_request(self, name: str) -> Reply | None: return super().on_request(name) if self.armed else None
    def on_answer(self, name: str, reply: Reply) -> Reply: return super().on_answer(name, reply) if self.armed else reply

    def on_frame(self, frame: bytes, held: list[bytes]) -> list[Sent]:
        return super().on_frame(frame, held) if self.armed else [Sent(frame)]

    def on_tick(self, levers: Levers, elapsed_ms: int) -> None:
        if not self.armed: return
        if self._since_ms is None: self._since_ms = elapsed_ms
        super().on_tick(levers, elapsed_ms - self._since_ms)


async def session(names: tuple[str, ...], folder: Path, rng: Random, story: Story, seconds: float = 0) -> dict[str, Any]:
    "One session under these faults"
    planned = [(CATALOGUE[name], injection(name, rng)) for name in names]
    faults = Armed(planned, rng.randrange(1 << 30), story.tell)
    lag_ms, skip_h, lasts_s = rng.choice((0, 400, 1400)), 24 + rng.random() * 6, seconds or rng.uniform(20, 35)
    story.tell("; ".join(f"{f.name} {i}" for f, i in planned))
    lines, beside = rng.choice((1, 1, 2)), rng.random() < 0.5
    story.tell(f"lists lag {lag_ms} ms, {skip_h:.2f} hours skipped, {lasts_s:.0f} s, {lines} lines")
    env = {"REDUNDANT_FEED": str(lines > 1).lower()}
    async with Stage(folder, story, faults=faults, read_lag_ms=lag_ms, skip_hours=skip_h, speed=300, env=env) as stage:
        faults.armed = rng.random() < 0.25  # then the start has to go through them, too
        engine = await running(stage, story)
        story.tell("it runs")
        faults.armed = True
        await asyncio.gather(asyncio.sleep(lasts_s), stage.by_hand(rng, lasts_s) if beside else asyncio.sleep(0))
        await stage.finish(engine)
        return stage.judge.figures | {"faults": dict(faults.counts), "lines": lines, "by_hand": beside,
                                      "market_minutes": round(lasts_s * 300 / 60)}


async def running(stage: Stage, story: Story) -> Command:
    "An engine that has come up; an exchange that doesn't work may be refused at the start, in words and with status 1"
    for _ in range(30):
        engine = await stage.engine()
        with suppress(Wrong): await engine.hear("started")
        while engine.process.returncode is None:
            with suppress(OSError, KeyError):  # it doesn't answer yet, or has not said where
                if (await stage.ask(engine, "/api/strategy/status"))["maker"]["state"] in ("quoting", "halted"): return engine
            await asyncio.sleep(0.2)
        status, said = engine.process.returncode, engine.trouble()
        if status != 1 or "Traceback" in said: raise Wrong(f"ended with {status} at the start: {said}")
        story.tell(f"it refused to start: {said[-300:]}")
        await asyncio.sleep(1)
    raise Wrong("it did not come up in thirty attempts")
