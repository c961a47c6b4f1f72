"Shadow sessions in real processes: the source is another sandbox, behind a relay that logs what reaches it"
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.sessions.process import COMMAND, Process, environment, exchange_with, get, ledger, until
from tests.shadow.relay import Relay, relayed

QUICK = {"MIN_SPREAD": "1", "IMPROVE_TICKS": "0", "CONTROL_PORT": "0", "MIN_BALANCE": "0"}  # it joins, whatever the spread


def settings(folder: Path, source: dict[str, Any], relay: Relay, **more: str) -> dict[str, str]:
    return environment(folder, KALSHI_ENV="shadow", KALSHI_REST_URL=relay.rest, KALSHI_WS_URL=relay.ws,
                       KALSHI_API_KEY_ID=source["key_id"], KALSHI_PRIVATE_KEY_FILE=source["key_file"], **QUICK, **more)


@contextmanager
def shadow_of(folder: Path, env: dict[str, str], *words: str) -> Iterator[tuple[Process, dict[str, Any]]]:
    "A session on a shadow: its process, and what it says when it has started"
    process = Process(folder, "run", "--json", *words, env=env)
    try: yield process, process.json("started", 90)["started"]
    finally: process.kill()


def resting(started: dict[str, Any]) -> list[dict[str, Any]]:
    "What rests at the shadow, by its own ledger"
    return list(ledger(started)["resting"])


def heard(started: dict[str, Any]) -> Any: return get(started["rest"].replace("/trade-api/v2", "/sandbox/shadow"))


def said(folder: Path, env: dict[str, str], *words: str) -> tuple[int, str]:
    done = subprocess.run([*COMMAND, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=90,
                          stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def source(tmp_path: Path) -> Iterator[dict[str, Any]]:
    with exchange_with(tmp_path, "--seed", "7", "--speed", "30") as found: yield found


def test_only_get_reaches_the_source_through_quotes_expiry_flatten_and_kill_and_its_key_stays_with_the_mirror(
    source: dict[str, Any], tmp_path: Path
):
    pem, pipe = Path(source["key_file"]).read_bytes(), tmp_path / "key.pipe"
    os.mkfifo(pipe, 0o600)  # it can be read once: nobody but the mirror has it
    threading.Thread(target=pipe.write_bytes, args=(pem,), daemon=True).start()
    with relayed(source["rest"]) as relay:
        env = settings(tmp_path, source, relay, QUOTE_LIFETIME_S="5", MAX_DAILY_LOSS="500", MAX_DRAWDOWN="500")
        env["KALSHI_PRIVATE_KEY_FILE"] = str(pipe)
        with shadow_of(tmp_path, env) as (process, started):
            assert started["env"] == "shadow" and started["throwaway"]
            assert started["key_id"] != source["key_id"] and started["key_file"] != str(pipe)
            until(lambda: resting(started), "it quotes", 60)
            os.kill(started["pid"], signal.SIGSTOP)
            until(lambda: not resting(started), "its quotes expire while it is frozen", 60)
            os.kill(started["pid"], signal.SIGCONT)
            until(lambda: resting(started), "it quotes again", 60)
            code, words = said(tmp_path, env, "flatten", "--session", started["session"])
            assert code == 0, words
            code, words = said(tmp_path, env, "kill", "--env", "shadow")
            assert code == 0 and "nothing of ours rests" in words, words
            assert not resting(started)
            status, errors = process.end()
            assert status == 0, errors
        summary = next(json.loads(line) for line in process.lines if line.startswith('{"summary"'))
        assert summary["shadow"]["source"].startswith("the exchange at 127.0.0.1") and not summary["summary"]["resting"]
        assert sum(k["fills"] for k in summary["shadow"]["fills"].values()) == sum(
            m["fills"] for m in summary["summary"]["status"]["maker"]["markets"])
        assert relay.verbs == {"GET"} and any(stream for _, _, stream in relay.requests) and relay.bytes_up < 10_000
        assert not ledger(source)["fills"] and not [p for _, p, _ in relay.requests if "/portfolio/" in p]
    kept = [p for p in Path(started["journal"]).parent.rglob("*") if p.is_file()]
    assert {"journal.db", "engine.log"} <= {p.name for p in kept}
    secrets = pem.splitlines()[1], source["key_id"].encode()
    for p in kept: assert not [s for s in secrets if s in p.read_bytes()], p


def test_a_lost_source_pulls_the_quotes_and_they_come_back(source: dict[str, Any], tmp_path: Path):
    with relayed(source["rest"]) as relay, shadow_of(tmp_path, settings(tmp_path, source, relay)) as (process, started):
        until(lambda: resting(started), "it quotes", 60)
        relay.lose()
        until(lambda: heard(started)["unknown"], "the shadow knows that it knows nothing")
        until(lambda: not resting(started), "the quotes are pulled, by the engine's own rules")
        assert process.popen.poll() is None
        relay.find()
        until(lambda: not heard(started)["unknown"], "the source is heard again", 60)
        until(lambda: resting(started), "it quotes again", 60)
        assert heard(started)["heard"]["losses"] >= 6 and heard(started)["unknown_s"] > 0


def test_what_cannot_be_repeated_is_said(tmp_path: Path):
    env = environment(tmp_path, KALSHI_ENV="shadow", CONTROL_PORT="0")
    code, words = said(tmp_path, env, "run", "--source", str(tmp_path / "nowhere"))
    assert code == 1 and "the shadow did not start: there is no" in words
    code, words = said(tmp_path, env, "run", "--regime", "wide")
    assert code == 1 and "--regime is for a simulated exchange" in words
