"Whole sessions as a user runs them: real processes, real sockets, the real command"
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.config import load_settings
from kalshi_mm.engine.journal import Journal
from kalshi_mm.engine.strategies import make_maker
from kalshi_mm.model.numbers import CENT
from kalshi_mm.model.types import Position
from tests.sessions.process import COMMAND, Process, environment, get, ledger, until

DAY = ("--day", "2026-10-04", "--seed", "2", "--speed", "120")  # on which there is much to do
Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    "Starts commands, and ends what is left of them"
    running: list[Process] = []

    def begin(*words: str, **more: Any) -> Process:
        running.append(Process(tmp_path, *words, **more))
        return running[-1]

    yield begin
    for process in reversed(running): process.kill()


@pytest.fixture
def exchange(start: Start) -> dict[str, Any]:
    "A running exchange, lively and fast"
    process = start("exchange", "--port", "0", *DAY, "--json")
    return process.json("rest")


def engine_on(exchange: dict[str, Any], start: Start, tmp_path: Path, *words: str, **env_: str) -> tuple[Process, dict[str, Any]]:
    "An engine on a running exchange, and what it says of itself"
    env = environment(tmp_path, KALSHI_API_KEY_ID=exchange["key_id"], KALSHI_PRIVATE_KEY_FILE=exchange["key_file"], **env_)
    process = start("run", "--env", "sandbox", "--rest", exchange["rest"], "--ws", exchange["ws"], "--control-port", "0",
                    "--json", *words, env=env)
    return process, process.json("started")["started"]


def said(tmp_path: Path, *words: str, **env: str) -> tuple[int, str]:
    "Exit status and output of a command that ends by itself"
    given = environment(tmp_path, **env)
    done = subprocess.run([*COMMAND, *words], cwd=tmp_path, env=given, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def parameters(tmp_path: Path) -> list[list[str]]:
    "Names and values, as `kalshi-mm set` lists them"
    return [line.split()[:2] for line in said(tmp_path, "set")[1].splitlines()]


def trading(where: dict[str, Any], fills: int = 0) -> Callable[[], Any]:
    def look() -> Any:
        now = get(f"{where['control']}/api/strategy/status", where)
        return now if now["maker"]["resting"] > 0 and now["maker"]["fills"] >= fills else None
    return look


def test_the_main_job_trades_and_leaves_nothing_behind(start: Start):
    process = start("run", "--for", "20s", *DAY, "--control-port", "0", "--json")
    process.json("started")
    outcome = process.json("summary", within_s=60)["summary"]
    status, errors = process.wait(20)
    assert (status, errors, outcome["resting"]) == (0, "", [])
    assert outcome["status"]["maker"]["fills"] > 0
    assert all(m["bid"]["why"] and m["ask"]["why"] for m in outcome["status"]["maker"]["markets"])


@pytest.mark.parametrize("how", ['exec "$@" >&- 2>&-', 'PYTHONIOENCODING=ascii exec "$@"'], ids=["closed", "ASCII"])
def test_a_session_needs_no_output_that_can_show_everything(how: str, tmp_path: Path):
    command = ["/bin/sh", "-c", how, "sh", *COMMAND, "run", "--for", "2s", "--control-port", "0"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=90)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    log, = (tmp_path / "state").glob("sandbox-*/engine.log")
    assert "Traceback" not in log.read_text()
    assert ">&-" in how or "Nothing rests: the exchange was asked twice." in done.stdout


def test_core_journal_and_ledger_agree_and_the_journal_replays(exchange, start: Start, tmp_path: Path):
    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where, fills=10), "ten fills", 90)
    assert process.end(signal.SIGINT)[0] == 0
    outcome = json.loads(process.lines[-1])["summary"]
    book = ledger(exchange)
    assert book["resting"] == [] and outcome["resting"] == []

    journal = Journal(Path(tmp_path / where["journal"]))
    assert {f.trade_id: (f.price, f.count, f.fee) for f in journal.past.fills()} == {
        f["trade_id"]: (f["price"], f["count"], f["fee"]) for f in book["fills"]}
    held = {t: p for t, p in journal.past.positions().items()}
    assert {t: Position(t, p["net"], p["cash"], p["fees"]) for t, p in book["positions"].items()} == held

    settings = load_settings(None, {}, kalshi_env="sandbox")
    again, _ = make_maker(settings, where["session"])
    events = 0
    for event, actions in journal.records.read(where["session"]):
        assert again.handle(event) == actions, event
        events += 1
    assert events > 100
    assert {t: s.position for t, s in again.slots.items() if s.fills} == held
    shown = {m["ticker"]: m["pnl"] for m in outcome["status"]["maker"]["markets"]}
    assert all(f"{s.pnl / 1e6:.6f}" == shown[t] for t, s in again.slots.items())
    journal.close()


def test_kill_leaves_nothing_resting_counts_on_and_stays_latched(exchange, start: Start, tmp_path: Path):
    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where), "quotes")
    code, words = said(tmp_path, "kill", "--session", where["session"])
    assert code == 0 and "nothing of ours rests" in words, words
    assert ledger(exchange)["resting"] == []
    def verified() -> Any: return get(f"{where['control']}/api/risk/status", where)["kill"]["verified_ms"]

    sent_ms = get(f"{where['control']}/api/risk/status", where)["kill"]["sent_ms"]
    assert until(verified, "the engine has verified it, too") >= sent_ms + 1500  # two looks, further apart than the lists lag

    assert "rearm first" in said(tmp_path, "start", "--control-port", str(where["port"]))[1]
    process.end()
    process, where = engine_on(exchange, start, tmp_path)  # the latch outlives the process
    until(lambda: get(f"{where['control']}/api/risk/status", where)["state"] == "killed", "killed from the start")
    assert said(tmp_path, "rearm", "--control-port", str(where["port"]))[0] == 0
    assert said(tmp_path, "start", "--control-port", str(where["port"]))[0] == 0
    until(trading(where), "quotes again")


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["frozen", "dead"])
def test_kill_works_straight_at_the_exchange_when_the_engine_is(how, exchange, start: Start, tmp_path: Path):
    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where), "quotes")
    os.kill(process.popen.pid, how)
    code, words = said(tmp_path, "kill")  # finds where the engine traded, and its key
    assert code == 0 and "nothing of ours rests, seen twice at the exchange" in words, words
    assert ledger(exchange)["resting"] == []


def test_stop_cancels_and_the_session_goes_on(exchange, start: Start, tmp_path: Path):
    _, where = engine_on(exchange, start, tmp_path)
    until(trading(where), "quotes")
    assert "lists nothing of ours" in said(tmp_path, "stop", "--control-port", str(where["port"]))[1]
    assert ledger(exchange)["resting"] == []
    assert said(tmp_path, "start", "--control-port", str(where["port"]))[0] == 0
    until(trading(where), "quotes again")


def test_what_an_operator_steers_is_done_and_outlives_the_engine(exchange, start: Start, tmp_path: Path):
    narrow = {"MIN_SPREAD": "1"}  # so that a market whose spread closes meanwhile is quoted all the same
    process, where = engine_on(exchange, start, tmp_path, **narrow)
    until(trading(where), "quotes")
    status = f"{where['control']}/api/strategy/status"

    def quoted() -> dict[str, int]: return {o["ticker"]: o["price"] for o in ledger(exchange)["resting"]}
    def why() -> Any: return f"{ticker} is quoted: {get(status, where)}"

    prices = until(quoted, "quotes rest")
    ticker = min(prices, key=lambda t: abs(prices[t] - 50 * CENT))  # it keeps its bid, unlike those at a few cents
    ending = ticker.partition("-")[2]  # such as 26OCT04-B65.5: tomorrow's event may have a B65.5, too
    assert said(tmp_path, "pause", ending) == (0, f"Asked to pause {ticker}.\n")
    until(lambda: ticker not in quoted(), "nothing rests in the paused market")
    assert said(tmp_path, "pause", "B")[0] == 1 and "not one market" in said(tmp_path, "pause", "B")[1]
    asked = said(tmp_path, "set", "skew_ticks=3", "default_order_size=7")[1]
    assert asked == "Asked to set skew_ticks 4 -> 3, default_order_size 10 -> 7.\n"
    assert "skew_ticks: 99 is not between 0 and 50 ticks" in said(tmp_path, "set", "skew_ticks=99", "min_spread=4")[1]
    listed = parameters(tmp_path)
    assert ["skew_ticks", "3"] in listed and ["default_order_size", "7"] in listed and ["min_spread", "1"] in listed
    assert said(tmp_path, "reduce-only")[0] == 0
    until(lambda: get(status, where)["maker"]["reduce_only"], "reduce only")
    assert process.end()[0] == 0

    process, where = engine_on(exchange, start, tmp_path, **narrow)
    status = f"{where['control']}/api/strategy/status"
    again = until(lambda: (now := get(status, where)["maker"])["markets"] and now, "the next engine")
    assert again["reduce_only"] and [m["paused"] for m in again["markets"] if m["ticker"] == ticker] == [True]
    assert any(f"still in force: {ticker} is paused by cli; reduce only is on" in n for n in get(status, where)["notes"])
    assert said(tmp_path, "resume", ending)[0] == said(tmp_path, "reduce-only", "--off")[0] == 0
    until(lambda: ticker in quoted(), why)
    notes = get(status, where)["notes"]
    assert any("skew_ticks is 3, as it was set; the setting is 4" in n for n in notes), notes
    assert ["skew_ticks", "3"] in (now := parameters(tmp_path)) and ["default_order_size", "7"] in now
    assert process.end()[0] == 0

    _, where = engine_on(exchange, start, tmp_path, SKEW_TICKS="6", **narrow)  # what somebody writes into the settings is newer
    notes = get(f"{where['control']}/api/strategy/status", where)["notes"]
    assert any("skew_ticks was set to 3; its setting is another one now, and holds: 6" in n for n in notes), notes
    assert ["skew_ticks", "6"] in (now := parameters(tmp_path)) and ["default_order_size", "7"] in now


def test_an_engine_without_our_disk_finds_out_that_we_trade_and_yields(exchange, start: Start, tmp_path: Path):
    for home in ("here", "there"): (tmp_path / home).mkdir()
    halts = "/api/risk/status"

    def halted(where: dict[str, Any]) -> list[str]:
        return [h["reason"] for h in get(f"{where['control']}{halts}", where)["halts"] if h["rule"] == "other_engine"]

    lively = {"MIN_SPREAD": "1", "MAX_FILL_BURST": "100000"}  # a day that passes 120 times faster fills as fast
    _, here = engine_on(exchange, start, tmp_path / "here", **lively)
    until(trading(here), "quotes")
    process, there = engine_on(exchange, start, tmp_path / "there", **lively)
    assert f"session {here['session']} " in until(lambda: halted(there), "the newcomer finds out")[0]
    assert process.end()[0] == 0  # and leaves the other one's orders alone

    def left() -> set[str]: return {o["client_order_id"].split("-")[1] for o in ledger(exchange)["resting"]}

    until(lambda: left() == {here["session"]}, "the other one quotes on")  # it may just have had no spread to stand in
    assert [h["rule"] for h in get(f"{here['control']}{halts}", here)["halts"]] == []  # nobody has cancelled its orders


def test_a_second_engine_on_the_account_is_told_who_has_it(exchange, start: Start, tmp_path: Path):
    _, where = engine_on(exchange, start, tmp_path)
    env = {"KALSHI_API_KEY_ID": exchange["key_id"], "KALSHI_PRIVATE_KEY_FILE": exchange["key_file"]}
    code, words = said(tmp_path, "run", "--rest", exchange["rest"], "--ws", exchange["ws"], "--control-port", "0", **env)
    assert code == 1 and f"another engine trades this account: session {where['session']}" in words


def test_check_says_ready_on_the_sandbox(exchange, tmp_path: Path):
    env = {"KALSHI_API_KEY_ID": exchange["key_id"], "KALSHI_PRIVATE_KEY_FILE": exchange["key_file"]}
    code, words = said(tmp_path, "check", "--rest", exchange["rest"], "--ws", exchange["ws"], **env)
    assert code == 0 and "Ready to trade." in words and exchange["markets"][0] in words, words


def test_bad_input_ends_in_a_sentence(exchange, tmp_path: Path):
    at = ["--rest", exchange["rest"], "--ws", exchange["ws"], "--control-port", "0"]
    key = {"KALSHI_API_KEY_ID": exchange["key_id"], "KALSHI_PRIVATE_KEY_FILE": exchange["key_file"]}
    (tmp_path / "text.pem").write_text("this is no key")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases: list[tuple[list[str], dict[str, str], str]] = [
            (["run", *at, "--series", "KXNOSUCH"], key, "KXNOSUCH is not a series of this exchange"),
            (["run", *at], key | {"KALSHI_PRIVATE_KEY_FILE": "text.pem"}, "text.pem"),
            (["run", *at], key | {"KALSHI_PRIVATE_KEY_FILE": "missing.pem"}, "missing.pem"),
            (["run", *at], key | {"KALSHI_API_KEY_ID": "not-a-key"}, "authentication_error"),
            (["run", *at, "--series", "kxnosuch"], key, "KXNOSUCH is not a series of this exchange"),
            (["run", "--rest", "http://127.0.0.1:1"], key, "KALSHI_REST_URL=http://127.0.0.1:1: has no path"),
            (["run", "--rest", "http://127.0.0.1:1/v2", "--ws", "ws://127.0.0.1:1", "--control-port", "0"], key, "refused"),
            (["run"], {"MAX_DAILY_LOS": "10"}, "did you mean MAX_DAILY_LOSS"),
            (["run"], {"MIN_SPREAD": "wide"}, "MIN_SPREAD=wide"),
            (["run", "--for", "soon"], {}, "not a duration"),
            (["run", "--env", "prod"], {}, "--confirm-live"),
            (["run", "--env", "demo"], {}, "demo needs a key"),
            (["status", "--control-port", "1"], {}, "no engine is running: none is registered"),
            (["kill", "--session", "1"], {}, "no engine of session 1 is registered"),
            (["exchange", "--port", port], {}, "in use"),
            (["exchange", "--data", "none.parquet", "--day", "2025-12-10"], {}, "there is no file none.parquet"),
        ]
        for words, env, wanted in cases:
            code, text = said(tmp_path, *words, **env)
            assert code != 0 and wanted in text and "Traceback" not in text, (words, code, text)
