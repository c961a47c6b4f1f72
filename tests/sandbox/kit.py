"""What tests of the sandbox have in common: the specification as a judge, a market without traffic, and a client of their own.

The client is written against the documents, with a library that the sandbox does not use (`websockets`), and shares no code with
the project's own client and feed: a mistake on both sides of the wire must not cancel out.
"""
import asyncio
import base64
import json
import os
import re
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
import websockets
import yaml
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from kalshi_mm.model.numbers import CENT, DOLLAR, ONE, Money
from kalshi_mm.model.types import Market, TickGrid
from kalshi_mm.sandbox.auth import ApiKeys
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.server import Sandbox, wall_ms
from kalshi_mm.sandbox.traffic import MarketClock, Traffic

DATA = Path(os.environ.get("KALSHI_MM_DATA", Path(__file__).parents[3] / "shared" / "data"))
SPECS = DATA.parent / "kalshi"
needs_specs = pytest.mark.skipif(not SPECS.exists(), reason="no specifications (KALSHI_MM_DATA names the folder beside kalshi/)")
BASE = "/trade-api/v2"
STREAM = "/trade-api/ws/v2"

# ---- the specification


def closed(node: Any, inside: bool = False) -> Any:
    "A schema that allows no field which it doesn't name, and in which OpenAPI's `nullable` means what it says"
    if isinstance(node, list): return [closed(n, inside) for n in node]
    if not isinstance(node, dict): return node
    out = {k: closed(v, inside or k == "allOf") for k, v in node.items()}
    if isinstance(node.get("properties"), dict) and node.get("type") == "object" and not inside:
        out.setdefault("additionalProperties", False)
    return {"anyOf": [out, {"type": "null"}]} if out.pop("nullable", False) else out


class Judge:
    "Validates by one of Kalshi's specification files"

    def __init__(self, name: str):
        text = (SPECS / name).read_text(encoding="utf-8")
        self.document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        whole = {"components": {"schemas": closed(self.document["components"]["schemas"])}}
        self.registry = Registry().with_resource("spec", Resource(whole, DRAFT202012))

    @cache  # noqa: B019 (a judge lives as long as the tests)
    def validator(self, schema: str) -> Draft202012Validator:
        ref = {"$ref": f"spec#/components/schemas/{schema}"}
        return Draft202012Validator(ref, registry=self.registry, format_checker=FormatChecker())

    def check(self, schema: str, value: Any) -> None:
        for error in self.validator(schema).iter_errors(value):
            where = "/".join(map(str, error.absolute_path))
            raise AssertionError(f"{schema} at {where or 'the top'}: {error.message[:500]}\n{json.dumps(value)[:1500]}")


class RestJudge(Judge):
    "Which answer each operation may give"

    def __init__(self) -> None:
        super().__init__("openapi.yaml")
        self.operations = [
            (method.upper(), re.compile(re.sub(r"{\w+}", "[^/]+", path)), path.count("{"), op)
            for path, ops in self.document["paths"].items() for method, op in ops.items() if "operationId" in op]
        self.operations.sort(key=lambda o: o[2])  # fixed words before names
        self.seen: set[tuple[str, int]] = set()

    def answer(self, method: str, path: str, status: int, body: Any) -> None:
        "Check an answer: a success by its schema, a refusal by the three shapes that Kalshi's errors have"
        op = next((o for m, pattern, _, o in self.operations if m == method and pattern.fullmatch(path.removeprefix(BASE))), None)
        assert status < 500, f"{method} {path} was answered {status}"
        if status >= 400:
            said = body.get("error", body)
            assert {"code", "message"} <= said.keys() or "msg" in said, body
            assert all(isinstance(v, str) for v in said.values()), body
            return
        assert op is not None, f"{method} {path} is not in the specification, and was answered {status}"
        allowed = op["responses"].get(str(status))
        assert allowed is not None, f"{op['operationId']} was answered {status}"
        self.seen.add((op["operationId"], status))
        schema = allowed.get("content", {}).get("application/json", {}).get("schema")
        if schema is None: assert body is None
        else: self.check(schema["$ref"].rsplit("/", 1)[1], body)


PAYLOADS = {
    "subscribed": "subscribedResponsePayload", "unsubscribed": "unsubscribedResponsePayload", "ok": "okResponsePayload",
    "error": "errorResponsePayload", "orderbook_snapshot": "orderbookSnapshotPayload", "orderbook_delta": "orderbookDeltaPayload",
    "ticker": "tickerPayload", "trade": "tradePayload", "fill": "fillPayload", "user_order": "userOrderPayload",
    "market_position": "marketPositionPayload", "market_lifecycle_v2": "marketLifecycleV2Payload",
    "order_group_updates": "orderGroupUpdatesPayload", "event_fee_update": "eventFeeUpdatePayload",
    "event_lifecycle": "eventLifecyclePayload",
}


class StreamJudge(Judge):
    "Which frames may come"

    def __init__(self) -> None:
        super().__init__("asyncapi.yaml")
        self.seen: set[str] = set()

    def frame(self, frame: dict[str, Any]) -> None:
        self.seen.add(frame["type"])
        listing = frame["type"] == "ok" and isinstance(frame.get("msg"), list)
        self.check("listSubscriptionsResponsePayload" if listing else PAYLOADS[frame["type"]], frame)


@cache
def rest_judge() -> RestJudge: return RestJudge()


@cache
def stream_judge() -> StreamJudge: return StreamJudge()


# ---- a client

class Client:
    "A stranger with a key"

    def __init__(self, http: aiohttp.ClientSession, root: str, key_id: str, key_file: Path, judge: RestJudge | None = None):
        self.http, self.root, self.key_id, self.judge = http, root, key_id, judge
        self.key = serialization.load_pem_private_key(key_file.read_bytes(), None)

    def headers(self, method: str, path: str, stamp: int | None = None) -> dict[str, str]:
        stamp_text = str(time.time_ns() // 1_000_000 if stamp is None else stamp)
        text = (stamp_text + method + path).encode()
        if isinstance(self.key, ed25519.Ed25519PrivateKey): raw = self.key.sign(text)
        else: raw = self.key.sign(text, padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size), hashes.SHA256())
        return {"KALSHI-ACCESS-KEY": self.key_id, "KALSHI-ACCESS-TIMESTAMP": stamp_text,
                "KALSHI-ACCESS-SIGNATURE": base64.b64encode(raw).decode()}

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **query: Any
    ) -> tuple[int, Any]:
        "Status and body; `body` may be bytes, to send what no client should"
        full = BASE + path
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        signed = self.headers(method, full) if headers is None else headers
        async with self.http.request(method, self.root + full, data=raw, headers=signed, params=query) as r:
            text = await r.read()
            answer = json.loads(text) if text else None
            if self.judge: self.judge.answer(method, full, r.status, answer)
            return r.status, answer

    async def place(self, ticker: str, side: str, price: str, count: str, **more: Any) -> tuple[int, Any]:
        order = {"ticker": ticker, "side": side, "price": price, "count": count, "client_order_id": str(uuid.uuid4()),
                 "time_in_force": "good_till_canceled", "self_trade_prevention_type": "taker_at_cross"}
        return await self.ask("POST", "/portfolio/events/orders", order | more)

    @asynccontextmanager
    async def stream(self, judge: StreamJudge | None = None, **options: Any) -> AsyncIterator["Stream"]:
        options = {"max_queue": None, "close_timeout": 1} | options  # it reads at once: frames unread would delay the closing
        where, headers = self.root.replace("http", "ws") + STREAM, self.headers("GET", STREAM)
        async with websockets.connect(where, additional_headers=headers, proxy=None, **options) as ws:
            yield Stream(ws, judge)


class Stream:
    "A connection that checks each frame and each sequence number, and builds the books"

    SEQUENCED = {"orderbook_delta", "trade", "market_lifecycle_v2", "order_group_updates"}

    def __init__(self, ws: websockets.ClientConnection, judge: StreamJudge | None):
        self.ws, self.judge = ws, judge
        self.channels: dict[int, str] = {}
        self.seqs: dict[int, int] = defaultdict(int)
        self.yes_price: dict[int, bool] = {}
        self.books: dict[int, dict[str, dict[str, dict[int, int]]]] = defaultdict(dict)  # sid, ticker, side: price and count
        self.frames: list[dict[str, Any]] = []
        self._commands = 0

    async def send(self, cmd: str, **params: Any) -> int:
        "Send a command; returns its id"
        self._commands += 1
        await self.ws.send(json.dumps({"id": self._commands, "cmd": cmd} | ({"params": params} if params else {})))
        return self._commands

    async def next(self, wait_s: float = 10) -> dict[str, Any]:
        frame = json.loads(await asyncio.wait_for(self.ws.recv(), wait_s))
        self.frames.append(frame)
        if self.judge: self.judge.frame(frame)
        self._follow(frame)
        return frame

    async def until(self, done: Callable[[dict[str, Any]], bool], wait_s: float = 10) -> dict[str, Any]:
        "Read up to a frame"
        async with asyncio.timeout(wait_s):
            while not done(frame := await self.next()): pass
        return frame

    async def command(self, cmd: str, **params: Any) -> dict[str, Any]:
        "Send a command and read up to its answer"
        number = await self.send(cmd, **params)
        return await self.until(lambda f: f.get("id") == number)

    async def subscribe(self, *channels: str, **params: Any) -> list[int]:
        number = await self.send("subscribe", channels=channels, **params)
        sids = []
        for _ in channels:
            answer = await self.until(lambda f: f.get("id") == number)
            assert answer["type"] == "subscribed", answer
            sids.append(answer["msg"]["sid"])
            self.yes_price[sids[-1]] = params.get("use_yes_price", False)
        return sids

    def _follow(self, frame: dict[str, Any]) -> None:
        kind, sid, msg = frame["type"], frame.get("sid", 0), frame.get("msg", {})
        if kind == "subscribed": self.channels[msg["sid"]] = msg["channel"]
        if sid and (self.channels.get(sid) in self.SEQUENCED):
            self.seqs[sid] += 1
            assert frame["seq"] == self.seqs[sid], f"{frame['seq']} came after {self.seqs[sid] - 1}"
        if kind == "orderbook_snapshot":
            sides = {"yes": msg.get("yes_dollars_fp", []), "no": msg.get("no_dollars_fp", [])}
            self.books[sid][msg["market_ticker"]] = {
                side: {units(p, 4): units(n, 2) for p, n in levels} for side, levels in sides.items()}
        if kind == "orderbook_delta":
            side = self.books[sid][msg["market_ticker"]][msg["side"]]
            price = units(msg["price_dollars"], 4)
            side[price] = side.get(price, 0) + units(msg["delta_fp"], 2)
            assert side[price] >= 0, f"a level fell below zero: {frame}"
            if not side[price]: del side[price]

    def levels(self, sid: int, ticker: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        "Bids and asks in YES prices, best first: what the exchange's own `levels` should say"
        book = self.books[sid][ticker]
        asks = book["no"] if self.yes_price[sid] else {ONE - p: n for p, n in book["no"].items()}
        return sorted(book["yes"].items(), reverse=True), sorted(asks.items())


def units(text: str, places: int) -> int:
    "A decimal string in units of its last place"
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(places, "0"))


# ---- a sandbox

CENTS = TickGrid.of([(0, ONE, CENT)])
EVENT = "KXTEST-26NOV23"
MARKETS = tuple(
    Market(f"{EVENT}-T{n}", EVENT, "KXTEST", f"{n} or below", "active", 0, 10**13, CENTS, "less", None, n + 1) for n in (60, 62))


class Nobody:
    "No traffic, and markets that never close"

    def __init__(self, markets: Iterable[Market] = MARKETS):
        self.markets = tuple(markets)

    def next_ms(self) -> None: return None
    def act(self, exchange: Exchange, day_ms: int, now_ms: int) -> None: raise AssertionError("nothing was due")
    def result(self) -> dict[str, int]: return {m.ticker: ONE for m in self.markets}


@asynccontextmanager
async def running(
    directory: Path, *, traffic: Traffic | None = None, clock: MarketClock | None = None, members: Iterable[str] = ("ann", "bob"),
    cash: Money = 10_000 * DOLLAR, kind: str = "ed25519", tier: str = "prestige", judge: RestJudge | None = None, **options: Any,
) -> AsyncIterator[tuple[Sandbox, dict[str, Client]]]:
    "A sandbox on a free port, and a client for each member"
    ids, keys = Random(5), ApiKeys()
    exchange = Exchange([], ids=lambda: str(uuid.UUID(int=ids.getrandbits(128), version=4)))
    for name in members:
        keys.make(kind, directory, name)
        exchange.open_account(name, cash)
    sandbox = Sandbox(exchange, traffic or Nobody(), clock or MarketClock(wall_ms(), 0), keys, tier=tier, **options)
    address = await sandbox.start()
    try:
        async with aiohttp.ClientSession(trust_env=False) as http:
            root = address.rest.removesuffix(BASE)
            yield sandbox, {n: Client(http, root, k.key_id, k.key_file, judge) for n, k in keys.accounts.items()}
    finally:
        await sandbox.stop()
