"An account whose tokens somebody else has spent: a start, a kill and a check wait for new ones, and none of them fails"
import asyncio
import signal
import time
from pathlib import Path

import pytest

from kalshi_mm.sandbox.fault_catalogue import CATALOGUE
from kalshi_mm.sandbox.fault_injection import Faults, Reply
from tests.campaigns.stage import Stage, Story

SPENT_S = 1.5


class Spent(Faults):
    "From the first call on, nothing is left for a while; then all is as always"

    def __init__(self, whom: tuple[str, ...] = ()) -> None:
        super().__init__([CATALOGUE["too_many_requests"].plan(at_ms=0, for_ms=0, whom=whom)])
        self.armed, self.until_s = False, 0.0

    def arm(self) -> None: self.armed, self.until_s = True, 0.0

    def on_request(self, name: str) -> Reply | None:
        if not self.armed: return None
        if self.until_s and time.monotonic() > self.until_s: return None
        if reply := super().on_request(name): self.until_s = self.until_s or time.monotonic() + SPENT_S
        return reply

    @property
    def refused(self) -> int: return self.counts["too_many_requests"]


@pytest.mark.parametrize("whom", [("GET",), ("POST", "PUT"), ()], ids=["to read", "to write", "at all"])
def test_a_session_begins_on_an_account_without_tokens(whom: tuple[str, ...], tmp_path: Path) -> None:
    async def session() -> None:
        faults = Spent(whom)
        async with Stage(tmp_path, Story(), faults=faults) as stage:
            faults.arm()
            engine = await stage.engine()
            await engine.hear("started")
            await stage.until(lambda: stage.judge.placed > 0, "quotes")
            assert faults.refused >= 2
            await stage.finish(engine)
            assert not stage.story.wrong, stage.story.wrong

    asyncio.run(session())


@pytest.mark.parametrize("command", ["kill", "check"])
def test_a_command_waits_for_tokens(command: str, tmp_path: Path) -> None:
    async def session() -> None:
        faults = Spent()
        async with Stage(tmp_path, Story(), faults=faults) as stage:
            engine = await stage.engine()
            await engine.hear("started")
            await stage.until(lambda: stage.judge.placed > 0, "quotes")
            engine.signal(signal.SIGKILL)
            await engine.wait()
            faults.arm()
            where = ("--env", "sandbox", *stage.at) if command == "check" else ()
            status, said = await stage.command(command, *where)
            assert status == 0 and faults.refused >= 2, said
            if command == "kill": assert "seen twice at the exchange" in said and stage.judge.ended() == []

    asyncio.run(session())
