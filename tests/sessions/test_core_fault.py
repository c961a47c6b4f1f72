"A fault of ours, in a strategy, the core or the shell, takes every order back; it is told, and the kill still works"
import asyncio
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.client.credentials import Credentials
from kalshi_mm.client.rest import Client
from kalshi_mm.config import load_settings
from kalshi_mm.engine.engine import Engine
from kalshi_mm.engine.journal import Journal
from kalshi_mm.engine.kill_latch import Latch
from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.sandbox.server import ACCOUNT
from kalshi_mm.strategy.protocol import Quotes, View
from tests.campaigns.stage import Stage, Story


class Divides:
    "A strategy with a fault in it"

    def quote(self, view: View) -> Quotes: return Quotes.none(str(1 // 0))


def nothing_works(self: MarketMaker, event: object) -> Any: raise KeyError("profit")


async def forgets(self: Client, *what: object) -> Any: raise TypeError("None is no order")


@pytest.mark.parametrize("broken", ["strategy", "core", "shell"])
def test_a_fault_of_ours_takes_every_order_back_and_is_told(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def session() -> None:
        async with Stage(tmp_path, Story()) as stage:
            key, address = stage.sandbox.keys.accounts[ACCOUNT], dict(zip(stage.at[::2], stage.at[1::2], strict=True))
            client = Client(address["--rest"], Credentials.load(key.key_id, key.key_file))
            settings = load_settings(None, {}, state_dir=tmp_path / "state", min_spread=2)
            journal = Journal(tmp_path / "journal.db")
            engine = Engine(settings, client, address["--ws"], journal, Latch(tmp_path / "killed"), "fault")
            running = asyncio.create_task(engine.run())
            await stage.until(lambda: stage.judge.resting, "an order rests")
            if broken == "strategy": engine.maker.live.strategy = Divides()
            elif broken == "core": monkeypatch.setattr(MarketMaker, "handle", nothing_works)
            else:
                for call in ("place", "amend"): monkeypatch.setattr(Client, call, forgets)
            await stage.until(lambda: not stage.judge.resting, "nothing rests", within_s=10)
            placed = stage.judge.placed
            assert {"strategy": "ZeroDivisionError", "core": "KeyError", "shell": "TypeError"}[broken] in engine.status().error
            report = engine.kill("test")
            await stage.until(lambda: report.verified_ms, "the kill is verified", within_s=10)
            engine.end("by the test")
            outcome = await asyncio.wait_for(running, 30)
            assert outcome.resting == [] and outcome.status.error and stage.judge.placed == placed
            assert any("Error: " in text for _, _, level, text in journal_alerts(tmp_path) if level == "error")
            journal.close()
            await client.close()

    asyncio.run(session())


def journal_alerts(folder: Path) -> list[tuple[int, str, str, str]]:
    journal = Journal(folder / "journal.db", writes=False)
    try: return journal.past.alerts()
    finally: journal.close()
