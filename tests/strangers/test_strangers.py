"""Clients that nobody here wrote, on the sandbox for a whole market day: from the open of an event to the payment of its markets.

Each runs in an environment of its own, made here once and kept in the temporary folder; where the package index can't be reached,
or there is no Python new enough, the test is skipped and says so. `tests/strangers/` has a program for each client.
"""
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.model.numbers import DOLLAR
from kalshi_mm.sandbox.server import Sandbox, build

HERE = Path(__file__).parent
HOME = Path(tempfile.gettempdir()) / f"kalshi_mm-strangers-{os.getuid()}"
SPEED = 3000.0  # a market day of 40 hours in less than a minute
WITHIN_S = 200.0
CASH = 10_000 * DOLLAR
REFUSALS = {"invalid_order", "not_found", "MARKET_INACTIVE", "market_inactive", "trading_is_paused"}  # that a day brings


def python(version: str) -> str:
    "An interpreter of that version, or ours if it is newer; skips the test if there is none"
    if sys.version_info[:2] >= tuple(map(int, version.split("."))): return sys.executable
    for found in (shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}*/bin/python")):
        if not found: continue
        if not subprocess.run([found, "-c", "import venv"], capture_output=True, timeout=60).returncode: return str(found)
    pytest.skip(f"NOT CHECKED: there is no Python {version} on this machine")


def environment(version: str, *packages: str) -> str:
    "The Python of an environment that holds these packages and nothing else; skips the test if they can't be had"
    home = HOME / f"{version}-{'-'.join(packages)}"
    if not (home / "ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([python(version), "-m", "venv", home], check=True, timeout=120)
        made = subprocess.run([home / "bin/python", "-m", "pip", "install", "-q", "--no-input", *packages],
                              capture_output=True, text=True, timeout=300)
        if made.returncode: pytest.skip(f"NOT CHECKED: {' '.join(packages)} can't be installed: {made.stderr.strip()[-300:]}")
        (home / "ready").touch()
    return str(home / "bin/python")


async def day_of(sandbox: Sandbox, names: dict[str, str], folder: Path) -> dict[str, Any]:
    "Let the programs trade a day, each on its own account; what each says at the end"
    address = await sandbox.start()
    clean = {k: v for k, v in os.environ.items() if not k.upper().startswith(("KALSHI", "PYTHON", "HTTP", "ALL_PROXY"))}

    async def run(name: str, executable: str) -> Any:
        key = sandbox.keys.accounts[name]
        program = [executable, str(HERE / f"{name}.py"), address.rest, address.ws, key.key_id, str(key.key_file), "KXHIGHNY"]
        process = await asyncio.create_subprocess_exec(
            *program, str(WITHIN_S), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=clean | {"KALSHI_ALLOW_UNKNOWN_HOST": "1"}, cwd=folder)
        try: out, err = await asyncio.wait_for(process.communicate(), WITHIN_S + 30)
        finally:
            if process.returncode is None: process.kill()
        last = out.decode().strip().splitlines()[-1:]
        return json.loads(last[0]) if last else {"error": err.decode()[-2000:]}

    try: return dict(zip(names, await asyncio.gather(*(run(*n) for n in names.items())), strict=True))
    finally: await sandbox.stop()


def check(sandbox: Sandbox, account: str, said: dict[str, Any]) -> None:
    "What a client saw is what the exchange knows"
    print(account, {k: v for k, v in said.items() if k not in ("fills", "stream_fills")}, len(said.get("fills", ())))
    assert "error" not in said, said.get("trace", said["error"])
    ledger = sandbox.exchange.ledger(account)
    fills = {f.trade_id for f in ledger.fills}
    assert said["did"]["place"] > 20 and fills, said["did"]
    assert set(said["fills"]) == fills and len(said["fills"]) == len(fills)
    assert said["refused"].keys() <= REFUSALS, said["refused"]
    assert said["orders"] == len(sandbox.exchange.orders(account))
    assert (said["resting"], said["positions"]) == (0, 0)
    traded = {f.ticker for f in ledger.fills}
    assert set(said["settled"]) <= traded
    assert said["balance"] == ledger.cash // (DOLLAR // 100)
    if said["frames"]:  # its stream agrees with its reads
        assert sorted(said["stream_fills"]) == sorted(said["fills"])
        assert said["crossed"] == 0


@pytest.mark.parametrize(("version", "packages", "names"), [
    ("3.11", ["pykalshi==2.0.0"], ["pykalshi_sync", "pykalshi_async"]),
    ("3.13", ["kalshi-python-sync==3.34.0", "kalshi-sdk==22.4.0"], ["official_sync", "community"]),
])
def test_strangers_trade_a_whole_day(tmp_path: Path, version: str, packages: list[str], names: list[str]):
    executable = environment(version, *packages)

    async def story() -> None:
        sandbox = build(tmp_path, seed=11, speed=SPEED, accounts=names, cash=CASH)
        said = await day_of(sandbox, dict.fromkeys(names, executable), tmp_path)
        for name in names: check(sandbox, name, said[name])

    asyncio.run(asyncio.wait_for(story(), WITHIN_S + 60))
