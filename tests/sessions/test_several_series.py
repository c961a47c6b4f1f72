"Several series in one session: each is quoted, and each goes on to its next day"
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sessions.process import Process, environment, exchange_with, get, ledger, until

BOTH = "KXHIGHNY,KXHIGHCHI"


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[dict[str, Any]]:
    "Two series, 15 seconds before their next days open"
    day = ("--series", BOTH, "--day", "2026-10-04", "--seed", "5", "--skip-hours", "22.75", "--speed", "300")
    with exchange_with(tmp_path, *day) as announced: yield announced


def engine(exchange: dict[str, Any], folder: Path, series: str) -> Process:
    key = {"KALSHI_API_KEY_ID": exchange["key_id"], "KALSHI_PRIVATE_KEY_FILE": exchange["key_file"]}
    words = ("run", "--env", "sandbox", "--rest", exchange["rest"], "--ws", exchange["ws"], "--control-port", "0", "--json")
    return Process(folder, *words, env=environment(folder, **key, TARGET_SERIES=series))


def test_both_series_are_quoted_and_go_on_to_their_next_day(exchange: dict[str, Any], tmp_path: Path):
    listed = {m["event_ticker"] for m in get(f"{exchange['rest']}/markets?status=open")["markets"]}
    assert listed == {f"{s}-26OCT04" for s in BOTH.split(",")}, listed
    process = engine(exchange, tmp_path, " kxhighny , KXHIGHCHI, kxhighny ")
    quoted: set[str] = set()  # events in which something of ours rested

    def all_quoted() -> bool:
        quoted.update(order["ticker"].rpartition("-")[0] for order in ledger(exchange)["resting"])
        return len(quoted) == 4

    try:
        assert process.json("started")["started"]["series"] == BOTH
        until(all_quoted, f"quotes in two days of two series, not only {quoted}", within_s=80)
        assert quoted == {f"{s}-26OCT{day}" for s in BOTH.split(",") for day in ("04", "05")}
        status, errors = process.end()
        assert (status, errors, ledger(exchange)["resting"]) == (0, "", [])
    finally: process.kill()


def test_each_series_has_its_own_weather_and_one_that_is_none_is_named(exchange: dict[str, Any], tmp_path: Path):
    markets = get(f"{exchange['rest']}/markets?status=open")["markets"]
    days = [[m["yes_bid_dollars"] for m in markets if m["ticker"].startswith(f"{s}-26OCT04")] for s in BOTH.split(",")]
    assert [len(day) for day in days] == [6, 6] and days[0] != days[1]
    process = engine(exchange, tmp_path, "KXHIGHNY,KXHIGHMIA")
    try:
        status, errors = process.wait(30)
        assert status == 1 and "KXHIGHMIA is not a series of this exchange; set TARGET_SERIES or --series" in errors, errors
        assert "Traceback" not in errors
    finally: process.kill()
