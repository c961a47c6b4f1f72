"""A stand-in for the exchange that costs little: books of many markets over a WebSocket at a set rate, and just enough REST.

Run as a process by the benchmarks. It prints its addresses as a line of JSON, then obeys lines on standard input:

    stream RATE SECONDS     send so many changes a second, spread over the markets, then print what was sent
    move                    change the best bid of the first market by a tick, as one change, and print when, in monotonic ns

and prints `order NS` when the bytes of a new or changed order have arrived, if asked with `--orders`, and `floor NS` for a POST
to /floor. It ends with its input.
"""
import argparse
import asyncio
import json
import random
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from itertools import count, islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.asyncio.server import ServerConnection, serve

SERIES, BASE, encode = "KXHIGHNY", "/trade-api/v2", msgspec.json.encode


def tickers(markets: int) -> list[str]:
    "Events of six markets each"
    return [f"{SERIES}-26N{n // 6:03d}-B{50 + n % 6}.5" for n in range(markets)]


def price(cents: int) -> str: return f"{cents // 100}.{cents % 100:02d}00"


class Books:
    "The books of all markets, and changes of them that are possible"

    def __init__(self, markets: int):
        self.names, self._rng = tickers(markets), random.Random(1)
        self.sides: dict[tuple[str, str], dict[int, int]] = {}  # (ticker, yes or no) -> YES price in cents -> contracts
        for ticker in self.names:
            self.sides[ticker, "yes"] = {40 - n: 50 + n for n in range(20)}
            self.sides[ticker, "no"] = {50 + n: 50 + n for n in range(20)}

    def snapshot(self, ticker: str) -> dict[str, object]:
        "A whole book, NO levels at YES prices"
        yes, no = ([[price(p), f"{n}.00"] for p, n in self.sides[ticker, side].items()] for side in ("yes", "no"))
        return {"market_ticker": ticker, "yes_dollars_fp": yes, "no_dollars_fp": no}

    def read(self, ticker: str) -> dict[str, object]:
        "A whole book for REST, NO levels at NO prices"
        yes = [[price(p), f"{n}.00"] for p, n in sorted(self.sides[ticker, "yes"].items())]
        no = [[price(100 - p), f"{n}.00"] for p, n in sorted(self.sides[ticker, "no"].items(), reverse=True)]
        return {"orderbook_fp": {"yes_dollars": yes, "no_dollars": no}}

    def change(self) -> dict[str, object]:
        "One change: mostly of a count, sometimes of a best price"
        ticker, side = self._rng.choice(self.names), self._rng.choice(("yes", "no"))
        levels = self.sides[ticker, side]
        inside = 41 if side == "yes" else 49
        if self._rng.random() < 0.1:
            return self.moved(ticker, side, inside, -levels[inside] if inside in levels else 30)
        at = self._rng.choice([p for p in levels if p != inside])
        return self.moved(ticker, side, at, self._rng.choice((5, 7)) if levels[at] < 100 else -40)

    def moved(self, ticker: str, side: str, at: int, by: int) -> dict[str, object]:
        "A change of one level"
        levels = self.sides[ticker, side]
        left = levels.get(at, 0) + by
        if left: levels[at] = left
        else: del levels[at]
        return {"market_ticker": ticker, "price_dollars": price(at), "delta_fp": f"{by}.00", "side": side}


class Line:
    "One connection of the stream"

    def __init__(self, socket: ServerConnection, books: Books):
        self.socket, self.books, self.sids, self.seq = socket, books, dict[str, int](), 0

    async def send(self, kind: str, **fields: Any) -> None: await self.socket.send(encode({"type": kind, **fields}).decode())

    async def book(self, kind: str, msg: dict[str, object]) -> None:
        "Send a numbered message of the books"
        self.seq += 1
        await self.send(kind, sid=self.sids["orderbook_delta"], seq=self.seq, msg=msg)

    async def obey(self, command: dict[str, Any]) -> None:
        "Answer a command"
        params, wanted = command["params"], command["params"].get("market_tickers", [])
        if command["cmd"] == "subscribe":
            channel = params["channels"][0]
            self.sids[channel] = sid = len(self.sids) + 1
            await self.send("subscribed", id=command["id"], msg={"channel": channel, "sid": sid})
            if channel == "orderbook_delta": await self.snapshots(wanted)
        elif params["sid"] == self.sids.get("orderbook_delta"):
            if params["action"] != "get_snapshot":
                self.seq += 1
                await self.send("ok", id=command["id"], sid=params["sid"], seq=self.seq, msg={"market_tickers": wanted})
            if params["action"] != "delete_markets": await self.snapshots(wanted)
        else: await self.send("ok", id=command["id"], sid=params["sid"], msg={"market_tickers": wanted})

    async def snapshots(self, wanted: list[str]) -> None:
        for ticker in wanted: await self.book("orderbook_snapshot", self.books.snapshot(ticker))


class Rest:
    "Answers to calls"

    def __init__(self, books: Books, tell_orders: bool):
        self.books, self._tell_orders, self._ids, self.resting = books, tell_orders, count(1), dict[str, dict[str, object]]()
        now = datetime.now(UTC)
        self._open, self._close = (now - timedelta(hours=5)).isoformat(), (now + timedelta(hours=20)).isoformat()

    def market(self, ticker: str) -> dict[str, object]:
        strike = float(ticker.rpartition("B")[2])
        event = ticker.rpartition("-")[0]
        return {"ticker": ticker, "event_ticker": event, "market_type": "binary", "yes_sub_title": ticker[-5:],
                "status": "active", "open_time": self._open, "close_time": self._close, "exchange_index": 0, "result": "",
                "strike_type": "between", "floor_strike": strike, "cap_strike": strike + 1,
                "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]}  # fmt: skip

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, object]:
        "Status and body of an answer"
        arrived_ns = time.monotonic_ns()
        if target.endswith("/floor"): print("floor", arrived_ns, flush=True)
        elif self._tell_orders and method == "POST" and "/events/orders" in target: print("order", arrived_ns, flush=True)
        path, query = urlsplit(target).path.removeprefix(BASE), parse_qs(urlsplit(target).query)
        match method, path.strip("/").split("/"):
            case "GET", ["exchange", "status"]: return 200, {"exchange_active": True, "trading_active": True}
            case "GET", ["series", name]: return 200, {"series": {"ticker": name, "fee_type": "quadratic", "fee_multiplier": 1}}
            case "GET", ["events", _]: return 200, {"event": {"series_ticker": SERIES}}
            case "GET", ["markets"]:
                found = self.books.names if query["status"] == ["open"] else []
                return 200, {"markets": [self.market(t) for t in found], "cursor": ""}
            case "GET", ["markets", ticker, "orderbook"]: return 200, self.books.read(ticker)
            case "GET", ["portfolio", "balance"]: return 200, {"balance_dollars": "10000.0000"}
            case "GET", ["portfolio", "positions"]: return 200, {"market_positions": [], "cursor": ""}
            case "GET", ["portfolio", "fills"]: return 200, {"fills": [], "cursor": ""}
            case "GET", ["portfolio", "orders"]: return 200, {"orders": list(self.resting.values()), "cursor": ""}
            case "GET", ["portfolio", "order_groups"]: return 200, {"order_groups": []}
            case "POST", ["portfolio", "order_groups", "create"]: return 201, {"order_group_id": "g1"}
            case "PUT", ["portfolio", "order_groups", *_]: return 200, {}
            case "POST", ["floor"]: return 200, {}
            case _, ["portfolio", "events", "orders", *rest]: return self._order(method, rest, json.loads(body or b"{}"))
        return 404, {"error": {"code": "not_found", "message": path}}

    def _order(self, method: str, rest: list[str], body: dict[str, Any]) -> tuple[int, object]:
        if method == "POST" and not rest:
            order_id, until = f"o{next(self._ids)}", datetime.fromtimestamp(body["expiration_time"], UTC).isoformat()
            self.resting[order_id] = {
                "order_id": order_id, "ticker": body["ticker"], "book_side": body["side"], "status": "resting",
                "yes_price_dollars": body["price"], "fill_count_fp": "0.00", "remaining_count_fp": body["count"],
                "client_order_id": body["client_order_id"], "order_group_id": "g1", "expiration_time": until,
                "created_time": datetime.now(UTC).isoformat()}  # fmt: skip
            return 201, {"order_id": order_id, "client_order_id": body["client_order_id"], "fill_count": "0.00",
                         "remaining_count": body["count"], "ts_ms": time.time_ns() // 1_000_000}
        if rest[-1] == "amend":
            order = self.resting[rest[0]]
            until = datetime.fromtimestamp(body["expiration_time"], UTC).isoformat()
            order |= {"yes_price_dollars": body["price"], "remaining_count_fp": body["count"], "expiration_time": until}
            return 200, {"order_id": rest[0], "remaining_count": body["count"]}
        if rest == ["batched"]:
            gone = [o["order_id"] for o in body["orders"]]
            return 200, {"orders": [{"order_id": o, "reduced_by": self._gone(o)} for o in gone]}
        return 200, {"order_id": rest[0], "reduced_by": self._gone(rest[0])}

    def _gone(self, order_id: str) -> object: return self.resting.pop(order_id, {}).get("remaining_count_fp", "0.00")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        "Answer the calls of one connection"
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, target, _ = head.split(" ", 2)
                fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                status, said = self.answer(method, target, body)
                content = encode(said)
                date = formatdate(usegmt=True)
                writer.write(f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nDate: {date}\r\n"
                             f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError): writer.close()


class Stub:
    "The stand-in"

    def __init__(self, markets: int, tell_orders: bool):
        self.books, self.lines = Books(markets), set[Line]()
        self.rest = Rest(self.books, tell_orders)

    async def line(self, socket: ServerConnection) -> None:
        "Serve one connection of the stream"
        line = Line(socket, self.books)
        self.lines.add(line)
        try:
            async for command in socket: await line.obey(json.loads(command))
        finally: self.lines.discard(line)

    async def stream(self, rate: float, seconds: float) -> None:
        "Send changes at a rate"
        began, sent = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            due = int(passed * rate) - sent
            for change in (self.books.change() for _ in islice(count(), due)):
                stamped = change | {"ts_ms": time.time_ns() // 1_000_000}
                for line in list(self.lines): await line.book("orderbook_delta", stamped)
            sent += due
            await asyncio.sleep(min(0.002, 1 / rate))  # paces the load
        print(json.dumps({"sent": sent, "rate": sent / (time.monotonic() - began)}), flush=True)

    async def move(self, up: bool) -> None:
        "Move the best bid of the first market by a tick"
        change = self.books.moved(self.books.names[0], "yes", 41, 30 if up else -30) | {"ts_ms": time.time_ns() // 1_000_000}
        for line in list(self.lines):
            line.seq += 1
            sid = line.sids["orderbook_delta"]
            text = encode({"type": "orderbook_delta", "sid": sid, "seq": line.seq, "msg": change})
            frame = bytes((0x81, 126)) + len(text).to_bytes(2) + text  # one unmasked text frame, straight onto the socket
            sent_ns = time.monotonic_ns()
            line.socket.transport.write(frame)
            print("moved", sent_ns, flush=True)

    async def obey(self, commands: asyncio.StreamReader) -> None:
        "Obey standard input to its end"
        while words := (await commands.readline()).decode().split():
            if words[0] == "stream": await self.stream(float(words[1]), float(words[2]))
            elif words[0] == "move": await self.move(41 not in self.books.sides[self.books.names[0], "yes"])


async def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--markets", type=int, default=6)
    args.add_argument("--orders", action="store_true")
    options = args.parse_args()
    stub, commands = Stub(options.markets, options.orders), asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    rest = await asyncio.start_server(stub.rest.serve, "127.0.0.1", 0)
    async with rest, serve(stub.line, "127.0.0.1", 0, compression=None) as stream:
        calls, frames = rest.sockets[0].getsockname()[1], next(iter(stream.sockets)).getsockname()[1]
        where = {"rest": f"http://127.0.0.1:{calls}{BASE}", "ws": f"ws://127.0.0.1:{frames}/trade-api/ws/v2"}
        print(json.dumps(where), flush=True)
        await stub.obey(commands)


if __name__ == "__main__": asyncio.run(main())
