"`kalshi-mm check` on exchanges where something is in the way: what it says, and that nobody is told to be ready then"
import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.client.credentials import Credentials, wall_ms
from kalshi_mm.client.rest import Client
from kalshi_mm.client.venue import Venue
from kalshi_mm.config import load_settings
from kalshi_mm.diagnostics.check import CheckReport
from kalshi_mm.diagnostics.doctor import examine
from kalshi_mm.model.numbers import DOLLAR
from kalshi_mm.sandbox.fault_catalogue import plan
from kalshi_mm.sandbox.fault_injection import Faults
from kalshi_mm.sandbox.server import Address, build


def report(folder: Path, faults: str = "", at: Callable[[Address], str] = lambda where: where.ws, cash: int = 10_000 * DOLLAR,
           **settings: Any) -> CheckReport:
    "What `check` finds on a sandbox, with the stream looked for at another address if that is given"
    async def story() -> CheckReport:
        injected = Faults(plan(faults, 1)[0], 1, lambda text: None) if faults else None
        sandbox = build(folder, seed=5, speed=120, skip_hours=10, kind="ed25519", faults=injected, cash=cash)
        where, key = await sandbox.start(), next(iter(sandbox.keys.accounts.values()))
        credentials, given = Credentials.load(key.key_id, key.key_file), load_settings(None, {}, state_dir=folder, **settings)
        client, venue = Client(where.rest, credentials), Venue(where.rest, at(where), key.key_id, key.key_file)
        try: return await examine(client, given, credentials, venue, False, wall_ms())
        finally:
            await client.close()
            await sandbox.stop()

    return asyncio.run(asyncio.wait_for(story(), 40))


def found(report: CheckReport, name: str) -> list[tuple[str, str]]:
    return [(f.level, f.text) for f in report.findings if f.name == name]


def test_who_has_everything_is_ready(tmp_path: Path):
    said = report(tmp_path, redundant_feed=True)
    assert (said.verdict, [level for level, _ in found(said, "stream")]) == ("Ready to trade.", ["ok", "ok"])
    ((level, text),) = found(said, "budget")
    assert (level, "which keep 240 resting quotes alive; 6 markets may need 12" in text) == ("ok", True)
    assert found(said, "stakes") == [("ok", "size 10 in 6 markets: up to $60.00 of your $10000.00")]
    assert [level for level, _ in found(said, "attestation")] == ["ok"]


ELSEWHERE: dict[str, tuple[Callable[[Address], str], str]] = {
    "nobody": (lambda where: "ws://127.0.0.1:1/trade-api/ws/v2", "can't be reached from here (the connection is refused)"),
    "no such name": (lambda where: "ws://no.such.host.invalid/trade-api/ws/v2", "from here (no name resolution)"),
    "another path": (lambda where: where.ws.replace("/ws/", "/wz/"), "refuses the stream: 404"),
    "no TLS there": (lambda where: where.ws.replace("ws://", "wss://"), "can't be reached from here (TLS fails"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_nobody_is_ready_whose_stream_is_not_there(tmp_path: Path, name: str):
    at, why = ELSEWHERE[name]
    said = report(tmp_path, at=at)
    ((level, text),) = found(said, "stream")
    assert (level, why in text, said.verdict == "Ready to trade.") == ("failure", True, False), text


def test_nobody_is_ready_whose_stream_is_refused(tmp_path: Path):
    said = report(tmp_path, "refuse_stream")
    ((level, text),) = found(said, "stream")
    assert (level, "refuses the stream: 502" in text, said.failed) == ("failure", True, 1), text


def test_who_would_lock_up_more_than_there_is_is_told_so(tmp_path: Path):
    said = report(tmp_path, cash=310 * DOLLAR, default_order_size=100)
    ((level, text),) = found(said, "stakes")
    assert (level, text) == ("warning", "size 100 in 6 markets: up to $300.00 of your $310.00, of which $20.00 is kept free")


def test_the_places_for_quotes_are_counted(tmp_path: Path):
    said = report(tmp_path, quote_lifetime_s=5)
    ((level, text),) = found(said, "budget")
    assert (level, "24 resting quotes" in text) == ("ok", True)
