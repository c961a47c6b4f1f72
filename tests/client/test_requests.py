"""Every request and every command that our own client sends in a session is one that Kalshi's specification allows.

A real session: the `kalshi-mm run` process on a sandbox in this one, which writes down what comes in.
"""
import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.sandbox.rest import Rest
from kalshi_mm.sandbox.streams import Session
from tests.sandbox.kit import BASE, MARKETS, Client, Judge, closed, needs_specs, rest_judge, running, stream_judge
from tests.sessions.process import COMMAND, environment

pytestmark = needs_specs
Query = Mapping[str, Sequence[str]]


class RequestJudge:
    "Which requests the specification allows"

    def __init__(self) -> None:
        self.spec: Judge = rest_judge()
        self.seen: set[str] = set()

    def request(self, method: str, path: str, query: Query, body: bytes) -> None:
        name, op, shared = self._operation(method, path.removeprefix(BASE))
        self.seen.add(op["operationId"])
        known = {p["name"]: p for p in map(self._resolved, [*shared, *op.get("parameters", [])]) if p["in"] == "query"}
        assert query.keys() <= known.keys(), f"{name} takes no {query.keys() - known.keys()}"
        for parameter in known.values():
            assert not parameter.get("required") or query.get(parameter["name"]), f"{name} needs {parameter['name']}"
        for key, words in query.items(): self._check(known[key]["schema"], [self._typed(w) for w in words], f"{name}?{key}")
        if "requestBody" not in op: assert not body or json.loads(body) is None, f"{name} takes no body: {body!r}"
        else:
            whole = op["requestBody"]["content"]["application/json"]["schema"]
            self.spec.check(whole["$ref"].rsplit("/", 1)[1], json.loads(body))

    def _operation(self, method: str, path: str) -> tuple[str, Any, list[Any]]:
        for pattern, ops in sorted(self.spec.document["paths"].items(), key=lambda p: p[0].count("{")):
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", pattern), path) and method.lower() in ops:
                return f"{method} {pattern}", ops[method.lower()], ops.get("parameters", [])
        raise AssertionError(f"{method} {path} is not in the specification")

    def _resolved(self, parameter: Any) -> Any:
        name = parameter.get("$ref", "").rsplit("/", 1)[-1]
        return self.spec.document["components"]["parameters"][name] if name else parameter

    def _typed(self, word: str) -> Any:
        return int(word) if re.fullmatch(r"-?\d+", word) else {"true": True, "false": False}.get(word, word)

    def _check(self, schema: Any, words: list[Any], where: str) -> None:
        schema = json.loads(json.dumps(closed(schema)).replace('"#/', '"spec#/'))
        validator = type(self.spec.validator("ErrorResponse"))(schema, registry=self.spec.registry)
        good = any(validator.is_valid(value) for value in ([words, words[0], str(words[0])] if len(words) == 1 else [words]))
        assert good, f"{where} can't be {words}"


COMMANDS = {"subscribe": "subscribeCommandPayload", "unsubscribe": "unsubscribeCommandPayload",
            "update_subscription": "updateSubscriptionCommandPayload", "list_subscriptions": "listSubscriptionsCommandPayload"}


@asynccontextmanager
async def overheard(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[list[Any], list[Any]]]:
    "What every sandbox here is asked, as it came: requests and commands"
    requests, commands = list[Any](), list[Any]()
    answer, receive = Rest.answer, Session.receive

    def answering(self: Rest, method: str, path: str, query: Query, headers: Mapping[str, str], body: bytes) -> Any:
        if headers.get("User-Agent") == "kalshi_mm": requests.append((method, path, {k: list(v) for k, v in query.items()}, body))
        return answer(self, method, path, query, headers, body)

    def receiving(self: Session, text: str | bytes, *more: Any) -> None:
        commands.append(json.loads(text))
        receive(self, text, *more)

    monkeypatch.setattr(Rest, "answer", answering)
    monkeypatch.setattr(Session, "receive", receiving)
    yield requests, commands


async def session(folder: Path, me: Client, other: Client, key_file: Path) -> None:
    "Quote on a quiet exchange, be hit, be moved, lose the stream's patience never, and be stopped"
    rest, ws = f"{me.root}{BASE}", f"{me.root.replace('http', 'ws')}/trade-api/ws/v2"
    env = environment(folder, KALSHI_API_KEY_ID=me.key_id, KALSHI_PRIVATE_KEY_FILE=str(key_file), TARGET_SERIES="KXTEST",
                      QUOTE_LIFETIME_S="6")
    words = ["run", "--env", "sandbox", "--rest", rest, "--ws", ws, "--control-port", "0", "--json", "--for", "14s"]
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *words, cwd=folder, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    ended = asyncio.create_task(process.communicate())
    try:
        for n in range(40):
            await asyncio.wait([ended], timeout=0.5)
            if ended.done(): break
            ticker, side = MARKETS[n % 2].ticker, ("bid", "ask")[n // 2 % 2]
            await other.place(ticker, side, ("0.99", "0.01")[side == "ask"], "1.5", time_in_force="immediate_or_cancel")
            await other.place(ticker, side, (f"0.{31 + n % 4}", f"0.{60 - n % 4}")[side == "ask"], "2", post_only=True)
        _, errors = await asyncio.wait_for(ended, 40)
        assert process.returncode == 0, errors.decode()[-2000:]
    finally:
        if process.returncode is None: process.kill()


def test_all_that_our_client_sends_is_in_the_specification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    judge, judge_of_commands = RequestJudge(), stream_judge()

    async def story() -> tuple[list[Any], list[Any]]:
        async with overheard(monkeypatch) as said, running(tmp_path) as (sandbox, members):
            for market in MARKETS:
                await members["bob"].place(market.ticker, "bid", "0.30", "50")
                await members["bob"].place(market.ticker, "ask", "0.61", "50")
            await session(tmp_path, members["ann"], members["bob"], sandbox.keys.accounts["ann"].key_file)
            assert sandbox.exchange.ledger("ann").fills
            return said

    requests, commands = asyncio.run(asyncio.wait_for(story(), 120))
    for one in requests: judge.request(*one)
    for command in commands: judge_of_commands.check(COMMANDS[command["cmd"]], command)
    assert {"CreateOrderV2", "AmendOrderV2", "GetMarkets", "GetOrders", "GetFills", "GetPositions", "GetBalance"} <= judge.seen
    assert {"CancelOrderV2", "CancelAllOrders"} & judge.seen
    assert {c["cmd"] for c in commands} >= {"subscribe"}


@pytest.mark.parametrize(("request_", "said"), [
    (("GET", "/markets", {"serie": ["KXTEST"]}, b""), "takes no"),
    (("GET", "/markets", {"limit": ["many"]}, b""), "can't be"),
    (("GET", "/market", {}, b""), "not in the specification"),
    (("POST", "/portfolio/events/orders", {}, b'{"ticker": "A"}'), "is a required property"),
    (("DELETE", "/portfolio/events/orders/a", {}, b'{"now": true}'), "takes no body"),
])
def test_the_judge_of_requests_sees(request_: Any, said: str):
    method, path, query, body = request_
    with pytest.raises(AssertionError, match=re.escape(said)): RequestJudge().request(method, f"{BASE}{path}", query, body)
