"The session's record: replayed from real sessions, cut off anywhere, on a full and on a read-only disk; and people who are told"
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.engine.journal import Journal
from tests.sessions.process import Process, environment, get, ledger, until
from tests.sessions.test_sessions import engine_on, said, trading
from tests.sessions.test_sessions import exchange as exchange  # the fixture
from tests.sessions.test_sessions import start as start  # the fixture

Start = Callable[..., Process]


def test_a_killed_session_is_replayed_and_the_next_goes_on_where_it_ended(exchange, start: Start, tmp_path: Path):
    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where, fills=1), "a fill", 90)
    os.kill(process.popen.pid, signal.SIGKILL)
    process.popen.wait()
    code, words = said(tmp_path, "replay", where["session"], "--answers")
    assert code == 0 and "gave the same" in words and "bought" in words + words.replace("sold", "bought"), words
    assert "why" in words and "place" in words and "rests as" in words

    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where), "quotes again")
    assert process.end()[0] == 0
    book, journal = ledger(exchange), Journal(tmp_path / where["journal"])
    assert book["resting"] == []
    assert {f.trade_id for f in journal.past.fills()} == {f["trade_id"] for f in book["fills"]}
    assert {t: p.net for t, p in journal.past.positions().items()} == {t: p["net"] for t, p in book["positions"].items()}
    journal.close()
    assert said(tmp_path, "replay", "--last")[0] == 0
    listed = said(tmp_path, "replay")[1]
    assert where["session"] in listed and "not ended in order" in listed
    assert "no session 'nosuch'" in said(tmp_path, "replay", "nosuch")[1]


def test_a_replay_under_another_core_says_where_it_parts(exchange, start: Start, tmp_path: Path):
    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where), "quotes")
    process.end()
    record = next((tmp_path / where["journal"]).parent.glob("records/*.gz"))
    text = subprocess.run(["gzip", "-dc", record], capture_output=True).stdout
    first = next(line for line in text.splitlines() if line.startswith(b'>{"t":"Place"'))
    changed = text.replace(first, first.replace(b'"count":1000', b'"count":900'), 1)
    record.write_bytes(subprocess.run(["gzip", "-c"], input=changed, capture_output=True).stdout)
    code, words = said(tmp_path, "replay", "--last")
    assert code == 1 and "1 of " in words and "led to other actions" in words, words


def test_a_journal_cut_off_anywhere_loses_no_position(exchange, start: Start, tmp_path: Path):
    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where, fills=3), "three fills", 120)
    os.kill(process.popen.pid, signal.SIGKILL)
    process.popen.wait()
    home, rng = (tmp_path / where["journal"]).parent, random.Random(11)
    known: set[str] = set()
    for n in range(41):  # the first one is whole
        shutil.copytree(home, copy := tmp_path / f"cut{n}", ignore=shutil.ignore_patterns("*.sock"))
        name = rng.choice(["journal.db", "journal.db-wal", f"records/{where['session']}.gz"])
        if n: os.truncate(copy / name, rng.randrange((copy / name).stat().st_size))
        journal = Journal(copy / "journal.db")
        found = {f.trade_id for f in journal.past.fills()}
        known = known or found
        assert found == known and len(known) >= 3, name
        journal.close()
    os.truncate(home / "journal.db", 1000)
    os.truncate(home / "journal.db-wal", 1000)
    os.truncate(home / f"records/{where['session']}.gz", 1000)  # all three: only the exchange knows
    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where), "quotes again")
    assert process.end()[0] == 0
    book, journal = ledger(exchange), Journal(tmp_path / where["journal"])
    assert {f.trade_id for f in journal.past.fills()} == {f["trade_id"] for f in book["fills"]}
    assert {t: p.net for t, p in journal.past.positions().items()} == {t: p["net"] for t, p in book["positions"].items()}
    journal.close()


def engine_telling(url: str, exchange: dict[str, Any], start: Start, folder: Path, **more: str) -> tuple[Process, dict[str, Any]]:
    key = {"KALSHI_API_KEY_ID": exchange["key_id"], "KALSHI_PRIVATE_KEY_FILE": exchange["key_file"]}
    env = environment(folder, ALERT_WEBHOOK_URL=url, **key) | more
    process = start("run", "--env", "sandbox", "--rest", exchange["rest"], "--ws", exchange["ws"], "--control-port", "0",
                    "--json", env=env)
    return process, process.json("started")["started"]


def stopped_by_its_disk(process: Process, where: dict[str, Any], exchange: dict[str, Any], heard: list[dict[str, Any]]) -> None:
    until(lambda: not ledger(exchange)["resting"], "everything is cancelled")
    until(lambda: any("journal" in a["text"] for a in heard), "people are told")
    now = get(f"{where['control']}/api/strategy/status", where)
    assert "can't be written" in now["error"] and now["maker"]["state"] == "halted"
    code, errors = process.end()
    assert code == 1 and "can't be written" in errors and "Traceback" not in errors, errors
    assert ledger(exchange)["resting"] == []


def test_a_full_disk_halts_cancels_and_tells(exchange, start: Start, tmp_path: Path, hook):
    url, heard = hook
    process, where = engine_telling(url, exchange, start, tmp_path)
    until(trading(where), "quotes")
    resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    stopped_by_its_disk(process, where, exchange, heard)
    process, where = engine_telling(url, exchange, start, tmp_path)  # there is room again
    until(trading(where), "quotes again")
    assert process.end()[0] == 0
    journal = Journal(tmp_path / where["journal"])
    assert {f.trade_id for f in journal.past.fills()} == {f["trade_id"] for f in ledger(exchange)["fills"]}
    journal.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    "A small file system of its own"
    (place := tmp_path / "disk").mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True)
    if made.returncode: pytest.skip("no right to mount a file system")
    yield place
    subprocess.run(["umount", "-l", place])


def test_no_room_left_halts_and_a_read_only_disk_is_a_sentence(exchange, start: Start, tmp_path: Path, hook, disk: Path):
    url, heard = hook
    process, where = engine_telling(url, exchange, start, tmp_path, STATE_DIR=str(disk / "state"))
    until(trading(where), "quotes")
    with open(disk / "filler", "wb", 0) as filler, suppress(OSError):
        while True: filler.write(bytes(4096))
    stopped_by_its_disk(process, where, exchange, heard)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    key = {"KALSHI_API_KEY_ID": exchange["key_id"], "KALSHI_PRIVATE_KEY_FILE": exchange["key_file"]}
    at = ["--rest", exchange["rest"], "--ws", exchange["ws"], "--control-port", "0"]
    code, words = said(tmp_path, "run", *at, **key, STATE_DIR=str(disk / "state"))
    assert code == 1 and "Read-only" in words and "Traceback" not in words, words


def test_a_kill_reaches_the_webhook_and_a_dead_one_changes_nothing(exchange, start: Start, tmp_path: Path, hook):
    url, heard = hook
    process, where = engine_telling(url, exchange, start, tmp_path)
    until(trading(where), "quotes")
    assert said(tmp_path, "kill", "--session", where["session"])[0] == 0
    until(lambda: any("kill" in a["text"] for a in heard), "the kill is told")
    assert {a["session"] for a in heard} == {where["session"]} and all(a["level"] in ("error", "info") for a in heard)
    said(tmp_path, "rearm", "--control-port", str(where["port"]))
    process.end()
    journal = Journal(tmp_path / where["journal"])
    assert any("kill" in text for _, _, _, text in journal.past.alerts())
    journal.close()

    with socket.socket() as mute:  # takes connections and never answers
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        process, where = engine_telling(f"http://127.0.0.1:{mute.getsockname()[1]}/", exchange, start, tmp_path)
        until(trading(where), "quotes")
        code, words = said(tmp_path, "kill", "--session", where["session"])
        assert code == 0 and "nothing of ours rests" in words
        assert process.end(within_s=20)[0] == 0


def test_a_second_engine_is_told_who_has_the_account(exchange, start: Start, tmp_path: Path):
    process, where = engine_on(exchange, start, tmp_path)
    key = {"KALSHI_API_KEY_ID": exchange["key_id"], "KALSHI_PRIVATE_KEY_FILE": exchange["key_file"]}
    at = ["--rest", exchange["rest"], "--ws", exchange["ws"]]
    code, words = said(tmp_path, "run", *at, "--control-port", "0", **key)
    assert code == 1 and f"session {where['session']} on sandbox, process {process.popen.pid} on {socket.gethostname()}" in words
    checked = said(tmp_path, "check", *at, **key)[1]
    assert "trades this account" in checked, checked


def test_the_doctor_tries_an_order_and_leaves_nothing(exchange, tmp_path: Path):
    key = {"KALSHI_API_KEY_ID": exchange["key_id"], "KALSHI_PRIVATE_KEY_FILE": exchange["key_file"]}
    code, words = said(tmp_path, "check", "--probe", "--rest", exchange["rest"], "--ws", exchange["ws"], **key)
    assert code == 0 and "Ready to trade." in words, words
    for step in ("place", "amend", "cancel"): assert f"probe: {step}" in words
    assert ledger(exchange)["resting"] == []
    at_demo = ["--env", "prod", "--rest", exchange["rest"], "--ws", "wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2"]
    code, words = said(tmp_path, "check", *at_demo, **key)
    assert code == 1 and "one is demo, the other is" in words, words


def test_old_records_go_at_the_start_and_their_fills_stay(exchange, start: Start, tmp_path: Path):
    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where, fills=1), "a fill", 90)
    assert process.end()[0] == 0
    home, known = (tmp_path / where["journal"]).parent, len(ledger(exchange)["fills"])
    old = home / f"records/{where['session']}.gz"
    os.utime(old, (0, 0))
    process, again = engine_on(exchange, start, tmp_path)
    status = f"{again['control']}/api/strategy/status"
    notes = until(lambda: [n for n in get(status, again)["notes"] if "records older" in n], "the note")
    assert "1 records older than 30 days are removed" in notes[0] and not old.exists()
    assert "1 records older" in (home / "engine.log").read_text()
    process.end()
    journal = Journal(tmp_path / where["journal"])
    assert len(journal.past.fills(where["session"])) == known and journal.records.size(again["session"])
    journal.close()
    listed = said(tmp_path, "replay")[1]
    assert "gone" in listed and "MB" in listed
