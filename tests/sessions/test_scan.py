"`kalshi-mm scan`: what public calls tell of a running exchange, to somebody without a key"
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .process import COMMAND, environment, exchange_with, get, until


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[dict[str, Any]]:
    with exchange_with(tmp_path, "--speed", "60", "--seed", "5") as announced: yield announced


def scanned(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    "Run the command in a folder and an environment without any key"
    command = [*COMMAND, "scan", *words]
    return subprocess.run(command, cwd=folder, env=environment(folder), text=True, capture_output=True, timeout=60)


def test_a_stranger_without_a_key_sees_what_there_would_be_to_quote(exchange: dict[str, Any], tmp_path: Path):
    def traded() -> Any: return get(f"{exchange['rest']}/markets/trades?ticker={exchange['markets'][0]}")["trades"]

    until(traded, "something trades")
    done = scanned(tmp_path, "--rest", exchange["rest"], "--json")
    assert (done.returncode, done.stderr) == (0, "")
    *rows, whole = map(json.loads, done.stdout.splitlines())
    ours = {r["market"]: r for r in rows if r["event"] == exchange["event"]}
    assert sorted(ours) == sorted(exchange["markets"])
    assert (whole["series"], whole["quotes"]) == ("KXHIGHNY", 2 * whole["open_markets"])
    assert (len(rows), whole["known_minutes"]) == (whole["open_markets"], sum(r["known_minutes"] for r in rows))
    busy = ours[exchange["markets"][0]]
    assert busy["known_minutes"] >= 1 and busy["trades_last_day"] >= 1 and float(busy["contracts_last_day"]) > 0
    table = scanned(tmp_path, "--rest", exchange["rest"], "--top", "1")
    assert any(r["market"] in table.stdout for r in rows) and "are not shown; --top shows more" in table.stdout


def test_what_there_is_not_ends_in_a_sentence(exchange: dict[str, Any], tmp_path: Path):
    for words, sentence in {
        ("--rest", exchange["rest"], "--series", "KXHIGHNY,NIX"): "NIX is not a series of this exchange",
        ("--rest", exchange["rest"], "--series", "KXHIGHNY;NIX"): "TARGET_SERIES=KXHIGHNY;NIX: ",
        (): "there is no exchange to look at",
    }.items():
        done = scanned(tmp_path, *words)
        assert (done.returncode, sentence in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
