"""What is believed of Kalshi, held against the sandbox, and the recorded cases of its demo exchange replayed there.

The recordings were made in June 2026. Kalshi's specification has changed since, so a recorded field that it names no more may be
missing from our answers, and what we answer besides must be in it (the judge sees to that).
"""
import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kalshi_mm.diagnostics.conform import Result, run_expectations
from kalshi_mm.diagnostics.expectations import CASES, LEFT_OUT, NOT_REPLAYED, recorded_names
from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR
from kalshi_mm.model.types import Side
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.order_queue import NewOrder
from kalshi_mm.sandbox.rest import Rest
from kalshi_mm.sandbox.server import Sandbox, wall_ms
from tests.sandbox.kit import BASE, DATA, MARKETS, Client, Nobody, rest_judge, running, stream_judge
from tests.sessions.process import Process, environment

RECORDINGS = DATA / "rest_payloads" / "demo_2026-06_request_response.json"
FRAMES = DATA / "ws" / "demo_2026-06_frames.jsonl"
needs_recordings = pytest.mark.skipif(not RECORDINGS.exists(), reason=f"no recordings at {RECORDINGS} (KALSHI_MM_DATA)")
TICKER = "KXWTACHALLENGERMATCH-26JUN11JIMLEP-LEP"  # of the market that was traded in the recording
SHOWN = replace(MARKETS[0], ticker=TICKER, event_ticker=TICKER.rsplit("-", 1)[0], series_ticker=TICKER.split("-")[0])


def run(story: Any, wait_s: float = 120) -> Any: return asyncio.run(asyncio.wait_for(story, wait_s))


def recordings() -> dict[str, Any]: return json.loads(RECORDINGS.read_text())


def rest(exchange: Exchange, ticker: str, side: Side, cents: int, contracts: int, account: str = "bob") -> None:
    order = NewOrder(account=account, ticker=ticker, side=side, price=cents * CENT, count=contracts * CONTRACT)
    exchange.place(order, wall_ms())


# ---- the expectations

async def conform_to(sandbox: Sandbox, me: Client) -> list[Result]:
    "Hold a running sandbox against the expectations"
    for side, cents in ((Side.BID, 40), (Side.ASK, 44)): rest(sandbox.exchange, MARKETS[0].ticker, side, cents, 10)
    rest_url, ws_url = f"{me.root}{BASE}", f"{me.root.replace('http', 'ws')}/trade-api/ws/v2"
    key_file = sandbox.keys.accounts["ann"].key_file
    return await asyncio.to_thread(run_expectations, rest_url, ws_url, me.key_id, key_file, MARKETS[0].series_ticker)


def test_the_sandbox_holds_every_expectation_and_is_left_as_it_was(tmp_path: Path):
    async def story() -> tuple[list[Result], Any]:
        async with running(tmp_path, tier="basic", heartbeat_s=0.2) as (sandbox, members):
            found = await conform_to(sandbox, members["ann"])
            return found, (await members["ann"].ask("GET", "/portfolio/orders", status="resting"))[1]["orders"]

    found, left = run(story())
    assert [r for r in found if r.verdict != "holds" or r.unknown] == []
    assert len(found) > len(CASES)
    assert left == []


def test_a_balance_from_which_resting_orders_are_taken_off_is_found_out_with_one_tiny_order(tmp_path: Path):
    async def story() -> list[Result]:
        async with running(tmp_path, heartbeat_s=0.2, gross_balance=False) as (sandbox, members):
            return await conform_to(sandbox, members["ann"])

    [found] = [r for r in run(story()) if r.verdict != "holds"]
    assert found.name == "the balance holds what an order reserves"
    assert "'9999.9900', not '10000.0000'" in found.text  # the order is one contract at a cent


def lie(status: int, body: Any, path: str, how: str) -> tuple[int, Any]:
    "An answer that isn't what it should be"
    match how:
        case "status" if status == 201: return 200, body
        case "code" if status == 404: return status, {"error": {"code": "order_not_found", "message": "not found"}}
        case "number" if "order_id" in (body or {}) and "ts_ms" in body: return status, body | {"ts_ms": str(body["ts_ms"])}
        case "missing" if "balance_dollars" in (body or {}): return status, body | {"portfolio_value": None}
        case "word" if path.count("/") == 5 and "order" in (body or {}):
            return status, {"order": body["order"] | {"status": "open"}}
        case "new" if "orderbook_fp" in (body or {}): return status, body | {"orderbook_l4": {}}
    return status, body


@pytest.mark.parametrize(("how", "name", "said"), [
    ("status", "an order rests", "answered 200"),
    ("code", "a second cancel finds nothing", "error.code is 'order_not_found', not 'not_found'"),
    ("number", "a cancel", "Expected `int`, got `str` - at `$.ts_ms`"),
    ("missing", "a signed request is answered", "$.portfolio_value"),
    ("word", "an order is read by its id", "Invalid enum value 'open' - at `$.order.status`"),
    ("new", "a book", "orderbook_l4"),
])
def test_an_exchange_that_answers_otherwise_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, name: str, said: str
):
    honest = Rest.answer

    def answer(self: Rest, method: str, path: str, *more: Any) -> Any: return lie(*honest(self, method, path, *more), path, how)

    monkeypatch.setattr(Rest, "answer", answer)
    monkeypatch.setattr("kalshi_mm.diagnostics.conform.listen", lambda *_: ())

    async def story() -> list[Result]:
        async with running(tmp_path, tier="prestige") as (sandbox, members): return await conform_to(sandbox, members["ann"])

    result = next(r for r in run(story()) if r.name == name)
    if how == "new": assert (result.verdict, list(result.unknown)) == ("holds", [said])
    else: assert result.verdict == "differs" and said in result.text


def test_the_command_says_what_holds_and_refuses_production(tmp_path: Path):
    process = Process(tmp_path, "conform", env=environment(tmp_path))
    try:
        status, errors = process.wait(90)
    finally:
        process.kill()
    assert (status, errors) == (0, "")
    assert re.fullmatch(r"\d+ hold, 0 differ(, \d+ could not be run)?\.\n", process.lines[-1])
    process = Process(tmp_path, "conform", "--env", "prod")
    try:
        status, errors = process.wait(30)
    finally:
        process.kill()
    assert status == 1 and "never where money is real" in errors


# ---- the recordings

@needs_recordings
def test_each_recorded_case_is_an_expectation_or_has_a_reason_not_to_be():
    told = set(recorded_names()) | LEFT_OUT.keys() | {"session__manifest"}
    assert told == recordings().keys()
    assert NOT_REPLAYED.keys() <= recordings().keys()


KINDS = {"time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
         "decimal.2": r"-?\d+\.\d\d", "decimal.4": r"-?\d+\.\d{4}", "decimal.6": r"-?\d+\.\d{6}"}


def kind(value: Any) -> str:
    "What a leaf of JSON is"
    if isinstance(value, str): return next((name for name, pattern in KINDS.items() if re.fullmatch(pattern, value)), "text")
    return type(value).__name__


def shape(value: Any, path: str = "") -> dict[str, set[str]]:
    "The kinds that stand at each path; all items of a list are one"
    if isinstance(value, dict): parts = [(f"{path}.{k}", v) for k, v in value.items()]
    elif isinstance(value, list): parts = [(f"{path}[]", v) for v in value]
    else: return {path: {kind(value)}}
    found: dict[str, set[str]] = {path: {type(value).__name__}}
    for name, part in parts:
        for where, kinds in shape(part, name).items(): found.setdefault(where, set()).update(kinds)
    return found


# Fields that Kalshi sent in June and that our answers don't have, with the reason
ABSENT = {
    "_trimmed": "a note of the recording",
    "service": "removed from error bodies on 2026-08-06 (FACTS 2)",
    "liquidity_dollars": "removed on 2026-10-01 (FACTS 2)",
    "fractional_trading_enabled": "not in specification 3.34",
    "response_price_units": "not in specification 3.34",
    "resting_orders_count": "not in specification 3.34",
    "custom_strike": "of other kinds of markets", "occurrence_datetime": "of other kinds of markets",
    "early_close_condition": "of other kinds of markets", "mve_collection_ticker": "of combinations of markets",
    "mve_selected_legs": "of combinations of markets", "is_provisional": "of combinations of markets",
    "primary_participant_key": "of sports markets", "functional_strike": "of other kinds of markets",
    "floor_strike": "of markets with a floor", "cap_strike": "of markets with a cap",
}


def unlike(recorded: Any, ours: Any) -> list[str]:
    "How an answer's shape differs from the recorded one; what a list that is empty here would hold can't be told"
    was, now = shape(recorded), shape(ours)
    wrong = []
    for path, kinds in was.items():
        if any(re.search(rf"\.{name}\b", path) for name in ABSENT): continue
        holder = path.rsplit("[]", 1)[0]
        if "[]" in path and f"{holder}[]" not in now: continue
        if path not in now: wrong.append(f"{path} is missing")
        elif not now[path] & kinds: wrong.append(f"{path} is {now[path]}, and was {kinds}")
    return wrong


class Replay:
    "Sends recorded requests to the sandbox, with the ids that it gave in place of the recorded ones"

    def __init__(self, me: Client):
        self.me, self.renamed = me, {"KXPGATOUR-USO26-JDAY": TICKER}

    async def send(self, name: str, case: dict[str, Any]) -> tuple[int, Any]:
        meta = case["meta"]
        path, _, query = self.now(meta["path"]).partition("?")
        options = dict(pair.split("=", 1) for pair in query.split("&")) if query else {}
        headers = self.headers(name, meta["auth"], meta["method"], path)
        status, body = await self.me.ask(meta["method"], path.removeprefix(BASE), meta.get("request_body"), headers, **options)
        if isinstance(body, dict):
            for key in ("order_id", "cursor"):
                if case["body"].get(key) and body.get(key): self.renamed[case["body"][key]] = body[key]
        return status, body

    def now(self, text: str) -> str:
        for old, new in self.renamed.items(): text = text.replace(old, new)
        return text

    def headers(self, name: str, auth: str, method: str, path: str) -> dict[str, str]:
        "As the recorded caller signed"
        now, late = wall_ms(), re.search(r"skew_(plus|minus)(\d+)(s|min)", name)
        if late: now += (1 if late[1] == "plus" else -1) * (int(late[2]) * (60_000 if late[3] == "min" else 1000))
        if name.endswith("plus5s"): now -= 500  # it was on its way for as long
        signed = self.me.headers(method, f"{path}x" if auth == "bad-signature" else path, now)
        if auth == "unknown-key-id": return signed | {"KALSHI-ACCESS-KEY": "00000000-0000-0000-0000-000000000000"}
        if auth == "missing-signature-header": del signed["KALSHI-ACCESS-SIGNATURE"]
        return {} if auth.startswith(("unauthenticated", "NONE")) else signed


class Recorded(Nobody):
    "The traded market of the recording, and twenty others, of which some have closed and some have paid"

    def __init__(self) -> None:
        others = [replace(MARKETS[0], ticker=f"KXTEST-26NOV23-T{n}") for n in range(20)]
        super().__init__([SHOWN, *others])


@needs_recordings
def test_every_recorded_case_is_answered_with_the_same_status_code_and_shape(tmp_path: Path):
    cases = {k: v for k, v in recordings().items() if k not in NOT_REPLAYED and "method" in v["meta"]}
    assert len(cases) + len(NOT_REPLAYED) + 2 == len(recordings())  # two are of the stream
    wrong: dict[str, Any] = {}

    async def story() -> None:
        async with running(tmp_path, traffic=Recorded(), cash=100 * DOLLAR, judge=rest_judge()) as (sandbox, members):
            while sandbox.day.step(): pass  # its markets open
            for n in range(3, 7): sandbox.exchange.set_status(f"KXTEST-26NOV23-T{n}", "closed", wall_ms())
            for n in (4, 5, 6):
                sandbox.exchange.set_status(f"KXTEST-26NOV23-T{n}", "determined", wall_ms(), 0)
                if n > 4: sandbox.exchange.settle(f"KXTEST-26NOV23-T{n}", 0, wall_ms())
            await members["bob"].place(TICKER, "bid", "0.47", "3")
            await members["bob"].place(TICKER, "ask", "0.52", "9")
            replay = Replay(members["ann"])
            for name in sorted(cases, key=lambda name: cases[name]["meta"].get("recorded_at_epoch_ms", 10**15)):
                case = cases[name]
                status, body = await replay.send(name, case)
                wrong[name] = compared(case, status, body)
            status, body = await members["ann"].ask("GET", "/markets", series_ticker="KXTEST")
            wrong["markets__high_temp"] = unlike(recordings()["markets__high_temp"]["body"], body)

    run(story())
    assert {name: differs for name, differs in wrong.items() if differs} == {}


def compared(case: dict[str, Any], status: int, body: Any) -> list[str]:
    "How an answer differs from the recorded one: in status, shape, or the words of a refusal"
    if status != case["meta"]["status"]: return [f"answered {status}, not {case['meta']['status']}"]
    return unlike(case["body"], body) + (said_otherwise(case["body"], body) if status >= 400 else [])


def said_otherwise(recorded: Any, ours: Any) -> list[str]:
    "Where a refusal has other words"
    was, now = recorded.get("error", recorded), ours.get("error", ours)
    return [f"{k}: {now.get(k)!r}, and was {text!r}" for k, text in was.items() if k != "service" and now.get(k) != text]


@needs_recordings
def test_the_recorded_streams_are_answered_in_the_same_shapes(tmp_path: Path):
    recorded: dict[str, dict[str, Any]] = {}
    for line in FRAMES.read_text().splitlines():
        said = json.loads(line)
        recorded.setdefault(said["capture"], {}).setdefault(said["frame"]["type"], said["frame"])

    async def story() -> None:
        async with running(tmp_path, traffic=Recorded()) as (_, members):
            await members["bob"].place(TICKER, "bid", "0.47", "3")
            await members["bob"].place(TICKER, "ask", "0.52", "3")
            for name, frames in recorded.items():
                command = recordings()[name]["meta"]["subscribe_cmd"]
                async with members["ann"].stream(stream_judge()) as stream:
                    await stream.send(command["cmd"], **command["params"])
                    await stream.until(lambda f: f["type"] == "orderbook_snapshot")
                    await members["bob"].place(TICKER, "bid", "0.46", "1")
                    await stream.until(lambda f: f["type"] == "orderbook_delta")
                ours = {f["type"]: f for f in stream.frames}
                assert {k: unlike(frame, ours[k]) for k, frame in frames.items()} == dict.fromkeys(frames, [])
                asks = ours["orderbook_snapshot"]["msg"]["no_dollars_fp"]
                assert asks[0][0] == ("0.5200" if command["params"]["use_yes_price"] else "0.4800")

    run(story())

