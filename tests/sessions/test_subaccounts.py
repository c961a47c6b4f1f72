"Two subaccounts of one key: each has its own lock, journal and kill, and every call and every kill names its own"
import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kalshi_mm.config import Settings, SettingsError, load_settings
from kalshi_mm.control.direct_kill import find_targets, kill_target, latch
from kalshi_mm.control.runtime import Home, Running
from kalshi_mm.engine.lock import Held, Lock, Owner
from kalshi_mm.engine.private_files import private_folder, write_private
from kalshi_mm.feed.frames import decode
from kalshi_mm.feed.stream_state import FrameHandler, StreamHealth
from kalshi_mm.feed.subscriptions import Markets
from tests.sessions.process import COMMAND, Process, environment, exchange_with, ledger


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[dict[str, Any]]:
    with exchange_with(tmp_path, "--speed", "120", "--seed", "2") as announced: yield announced


def env(exchange: dict[str, Any], folder: Path, subaccount: str) -> dict[str, str]:
    return environment(
        folder, KALSHI_API_KEY_ID=exchange["key_id"], KALSHI_PRIVATE_KEY_FILE=exchange["key_file"],
        KALSHI_REST_URL=exchange["rest"], KALSHI_WS_URL=exchange["ws"], KALSHI_SUBACCOUNT=subaccount, CONTROL_PORT="0")


def said(folder: Path, env: dict[str, str], word: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, word], cwd=folder, env=env, text=True, capture_output=True, timeout=60)


def registered(settings: Settings, key_id: str, rest: str = "http://127.0.0.1:1/trade-api/v2", key_file: str = "none") -> Running:
    "Leave what an engine leaves that trades this subaccount"
    home = Home(settings, key_id)
    private_folder(home.path.parent)
    private_folder(home.path)
    files = str(home.journal), str(home.log), str(home.token)
    running = Running("", 0, 0, f"s{settings.kalshi_subaccount}", "sandbox", "KXHIGHNY", rest, "", key_id, key_file, *files,
                      subaccount=settings.kalshi_subaccount)  # fmt: skip
    write_private(home.runtime, msgspec.json.encode(running).decode())
    return running


def test_each_subaccount_has_its_own_files_and_the_kill_finds_each(tmp_path: Path):
    first, second = (Settings(state_dir=tmp_path / "state", kalshi_subaccount=n) for n in (None, 3))
    for settings in (first, second): registered(settings, "0123456789")
    homes = [Home(s, "0123456789") for s in (first, second)]
    locks = [Lock(home.lock, Owner.me("a", "sandbox", 0)) for home in homes]  # both can be had
    with pytest.raises(Held): Lock(homes[1].lock, Owner.me("b", "sandbox", 0))
    for lock in locks: lock.release()
    targets = {t.subaccount: t for t in find_targets(first)}
    assert {n: t.folder for n, t in targets.items()} == {None: homes[0].path, 3: homes[1].path}
    assert "subaccount 3" in str(targets[3]) and "subaccount" not in str(targets[None])
    assert latch(targets[3], "the test") == ""
    assert [bool(home.latch.reason) for home in homes] == [False, True]


def test_the_kill_and_every_command_name_the_subaccount(exchange: dict[str, Any], tmp_path: Path):
    "The sandbox has the primary account alone, and refuses others by number: so a refusal shows what was asked for"
    settings = Settings(state_dir=tmp_path / "state", kalshi_subaccount=3)
    registered(settings, exchange["key_id"], exchange["rest"], exchange["key_file"])
    (target,) = find_targets(settings)
    verdict = asyncio.run(kill_target(target, patience_s=2))
    assert (verdict.good, "subaccount 3 does not exist" in verdict.text) == (False, True), verdict.text
    assert Home(settings, exchange["key_id"]).latch.reason
    done = said(tmp_path, env(exchange, tmp_path, "3"), "check")
    assert done.returncode == 1 and "subaccount 3 does not exist" in " ".join(done.stdout.split()), done.stdout + done.stderr
    done = said(tmp_path, env(exchange, tmp_path, "3"), "conform")
    assert done.returncode == 1 and "unset KALSHI_SUBACCOUNT" in done.stderr


def test_the_primary_account_can_be_named(exchange: dict[str, Any], tmp_path: Path):
    process = Process(tmp_path, "run", "--env", "sandbox", "--for", "5s", "--json", env=env(exchange, tmp_path, "0"))
    try:
        assert process.json("started")["started"]["subaccount"] == 0
        assert process.json("summary", within_s=60)["summary"]["resting"] == []
        assert process.wait(20) == (0, "")
        assert ledger(exchange)["resting"] == []
    finally: process.kill()


def test_only_numbers_of_subaccounts_are_taken(tmp_path: Path):
    assert load_settings(None, {}, kalshi_subaccount="63").kalshi_subaccount == 63
    for wrong in ("64", "-1", "primary"):
        with pytest.raises(SettingsError, match=f"^KALSHI_SUBACCOUNT={wrong}: "): load_settings(None, {}, kalshi_subaccount=wrong)


FILL = {"trade_id": "t", "order_id": "o", "market_ticker": "M", "is_taker": False, "yes_price_dollars": "0.4300",
        "count_fp": "1.00", "fee_cost": "0.00", "book_side": "bid", "ts_ms": 1}  # fmt: skip
ORDER = {"order_id": "o", "ticker": "M", "status": "resting", "book_side": "bid", "yes_price_dollars": "0.4300",
         "fill_count_fp": "0.00", "remaining_count_fp": "1.00"}  # fmt: skip


@pytest.mark.parametrize(("kind", "field", "msg"), [("fill", "subaccount", FILL), ("user_order", "subaccount_number", ORDER)])
def test_the_stream_of_another_subaccount_is_not_ours(kind: str, field: str, msg: dict[str, Any]):
    def counted(traded: int | None, of: object) -> int:
        handler = FrameHandler(Markets(()), StreamHealth(), [], traded)
        named = msg if of is None else msg | {field: of}
        return len(handler.handle(decode(msgspec.json.encode({"type": kind, "sid": 1, "msg": named})), None, 1))

    assert [counted(3, of) for of in (3, 0, 4, None)] == [1, 0, 0, 1]  # one that says nothing may be ours, and REST tells
    assert [counted(0, of) for of in (0, 3)] == [1, 0]
    assert [counted(None, of) for of in (0, 3, None, "odd")] == [1, 1, 1, 1]
