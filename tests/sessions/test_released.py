"What a kill still has on its way does not hit what a person wants after releasing it"
import asyncio
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.client import order_groups
from kalshi_mm.config import load_settings
from kalshi_mm.control.direct_kill import find_targets, kill_target
from kalshi_mm.sandbox.fault_injection import Faults, Reply
from tests.campaigns.kill import accepted
from tests.campaigns.stage import Command, Stage, Story


class Triggers(Faults):
    "Counts the triggers of order groups, and refuses them while it is told to"

    def __init__(self) -> None:
        super().__init__([])
        self.count, self.refuses = 0, False

    def on_request(self, name: str) -> Reply | None:
        if not name.endswith("/trigger"): return None
        self.count += 1
        return Reply(503, b"{}") if self.refuses else None


async def quoting(stage: Stage) -> Command:
    engine = await stage.engine()
    await engine.hear("started")
    await stage.until(lambda: stage.judge.resting, "quotes")
    return engine


def test_a_released_kill_does_not_look_twice_and_cancel_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    "A person releases it right after the first list that was empty, more than a second before the next one"
    async def session() -> None:
        faults, sweep = Triggers(), order_groups.sweep
        async with Stage(tmp_path, Story(), faults=faults, limits=False) as stage:
            engine = await quoting(stage)

            async def swept_and_released(*given: Any, **more: Any) -> order_groups.Swept:
                done = await sweep(*given, **more)
                if not done.clean: return done
                for path in ("/api/risk/rearm", "/api/strategy/start"): await accepted(stage, engine, path)
                await stage.until(lambda: stage.judge.resting, "quotes again")
                counts.append(faults.count)
                return done

            counts: list[int] = []
            monkeypatch.setattr(order_groups, "sweep", swept_and_released)
            [target] = find_targets(load_settings(None, {}, state_dir=tmp_path / "state"))
            verdict = await kill_target(target)
            assert (verdict.good, verdict.released) == (False, True), verdict
            assert "then somebody released the kill" in verdict.text, verdict
            assert verdict.text.endswith("Its engine acknowledged the kill and keeps running.")
            assert counts == [faults.count]
            await stage.until(lambda: stage.judge.resting, "they still rest, or others")
            now = await stage.ask(engine, "/api/risk/status")
            assert (now["state"], now["halts"]) == ("quoting", []), now
            await stage.finish(engine)
            assert not stage.story.wrong, stage.story.wrong

    asyncio.run(session())


def test_a_kill_is_not_released_before_the_exchange_has_taken_its_cancels(tmp_path: Path) -> None:
    async def session() -> None:
        faults = Triggers()
        async with Stage(tmp_path, Story(), faults=faults, limits=False) as stage:
            engine = await quoting(stage)
            faults.refuses, before = True, faults.count
            await stage.ask(engine, "/api/risk/kill-switch", "POST")
            await stage.until(lambda: faults.count >= before + 2, "the trigger was tried again")
            try: await stage.ask(engine, "/api/risk/rearm", "POST")
            except urllib.error.HTTPError as e: assert e.code == 409 and "hasn't taken all cancels" in e.read().decode()
            else: raise AssertionError("it was released")
            faults.refuses = False
            for path in ("/api/risk/rearm", "/api/strategy/start"): await accepted(stage, engine, path)
            await stage.until(lambda: stage.judge.resting, "quotes again")
            assert (await stage.ask(engine, "/api/risk/status"))["halts"] == []
            await stage.finish(engine)
            assert not stage.story.wrong, stage.story.wrong

    asyncio.run(session())
