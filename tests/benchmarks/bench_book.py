"""How long a change of a book takes, beside other ways to do the same.

    python tests/benchmarks/bench_book.py [--data FILE] [--repeats N] [--against CHECKOUT]

FILE is a recorded session (`ws/kxbtc15m_*.jsonl.gz`); without one the first recording in $KALSHI_MM_DATA is taken and, if there
is none, a made-up stream. All contestants run in turn, again and again, on the same frames in one process, and the time is the
processor's, not the clock's, so that the ratios mean something on a busy machine. Times are for one change of a book, with the
best prices read after it: medians, and the least beside them. Another checkout of this program runs in a process of its own, in
turn with the others. The book of nautilus_trader is among them if it is installed; it is told what each level holds, where ours
adds a signed change and checks the sum. Nothing is asserted about time.
"""
import argparse
import gzip
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import orjson
from rich.console import Console
from rich.table import Table
from sortedcontainers import SortedDict

import kalshi_mm
from kalshi_mm.feed.frames import decode
from kalshi_mm.feed.stream_state import StreamState
from kalshi_mm.feed.subscriptions import BOOKS
from kalshi_mm.model.messages import BookDelta, BookSnapshot
from kalshi_mm.model.numbers import ONE, count_str, parse_count, parse_price, price_str
from kalshi_mm.model.types import Side
from kalshi_mm.orderbook import OrderBook

DATA = Path(os.environ.get("KALSHI_MM_DATA", Path(__file__).parents[3] / "shared" / "data"))
Session = tuple[str, list[bytes]]  # ticker and frames of one connection: its acknowledgement, a snapshot, changes


def recorded(path: Path) -> list[Session]:
    "The connections of a recording, their book frames as bytes"
    sessions: list[Session] = []
    with gzip.open(path, "rb") as lines:
        for row in map(json.loads, lines):
            frame = row.get("frame", {})
            if row.get("control") == "ws_connected": sessions.append((row["data"]["market_ticker"], []))
            elif str(frame.get("type")).startswith("orderbook") or frame.get("msg", {}).get("channel") == BOOKS:
                sessions[-1][1].append(orjson.dumps(frame))
    return sessions


def made_up(changes: int = 100_000) -> list[Session]:
    "A stream about a wandering price, mostly near the best prices, as on the exchange"
    rng, sizes, mid = Random(1), dict[tuple[str, int], int](), 5_000
    frames: list[dict[str, Any]] = [{"type": "subscribed", "msg": {"channel": BOOKS, "sid": 1}},
                                    {"type": "orderbook_snapshot", "sid": 1, "seq": 1, "msg": {"market_ticker": "X"}}]
    for seq in range(2, changes + 2):
        mid = min(9_000, max(1_000, mid + rng.choice((-100, 0, 0, 0, 100))))
        side, away = rng.choice(("yes", "no")), 100 * (1 + int(rng.expovariate(0.3)))
        price = max(100, (mid if side == "yes" else ONE - mid) - away)
        had = sizes.get((side, price), 0)
        delta = -had if had and rng.random() < 0.4 else 100 * rng.randrange(1, 500)
        sizes[side, price] = had + delta
        msg = {"market_ticker": "X", "price_dollars": price_str(price), "delta_fp": count_str(delta), "side": side, "ts_ms": seq}
        frames.append({"type": "orderbook_delta", "sid": 1, "seq": seq, "msg": msg})
    return [("X", [orjson.dumps(f) for f in frames])]


class SortedBook:
    "The same book in sorted containers"

    def __init__(self) -> None:
        self.bids, self.asks = SortedDict(), SortedDict()

    def change(self, side: Side, price: int, delta: int) -> None:
        levels = self.bids if side is Side.BID else self.asks
        left = levels.get(price, 0) + delta
        if left > 0: levels[price] = left
        elif left == 0: levels.pop(price, None)
        else: raise ValueError(f"a level below zero at {price}")

    def best(self) -> tuple[int | None, int | None]:
        return self.bids.peekitem(-1)[0] if self.bids else None, self.asks.peekitem(0)[0] if self.asks else None


def book_events(sessions: list[Session]) -> list[BookSnapshot | BookDelta]:
    "What the frames mean, made beforehand"
    state, events = StreamState(channels=(BOOKS,), use_yes_price=False), []
    for ticker, frames in sessions:
        state.subscribe([ticker], 0)
        state.on_connect(0)
        for raw in frames: events += [e for e in state.receive(raw, 0) if isinstance(e, BookSnapshot | BookDelta)]
        state.on_disconnect("", 0)
    return events


def through_the_feed(sessions: list[Session]) -> object:
    "Bytes to best prices: decode, count, translate, apply"
    state, best = StreamState(channels=(BOOKS,), use_yes_price=False), None
    for ticker, frames in sessions:
        state.subscribe([ticker], 0)
        state.on_connect(0)
        book = OrderBook(ticker)
        for raw in frames:
            for e in state.receive(raw, 0):
                if type(e) is BookDelta:
                    book.apply_delta(e.side, e.price, e.delta, e.ts_ms)
                    best = book.best_bid, book.best_ask
                elif type(e) is BookSnapshot: book.apply_snapshot(e.bids, e.asks, e.ts_ms)
        state.on_disconnect("", 0)
    assert state.health.gaps == 0
    return best


def through_the_book(events: list[BookSnapshot | BookDelta]) -> object:
    "Changes to best prices, with dicts"
    book, best = OrderBook(""), None
    for e in events:
        if type(e) is BookDelta:
            book.apply_delta(e.side, e.price, e.delta, e.ts_ms)
            best = book.best_bid, book.best_ask
        elif type(e) is BookSnapshot: book.apply_snapshot(e.bids, e.asks, e.ts_ms)
    return best


def through_sorted(events: list[BookSnapshot | BookDelta]) -> object:
    "Changes to best prices, with sorted containers"
    book, best = SortedBook(), None
    for e in events:
        if type(e) is BookDelta:
            book.change(e.side, e.price, e.delta)
            best = book.best()
        elif type(e) is BookSnapshot: book.bids, book.asks = SortedDict(e.bids), SortedDict(e.asks)
    return best


def plainly(sessions: list[Session], loads: Callable[[bytes], Any]) -> object:
    "Bytes to best prices as one would write it first: JSON to dicts, sorted containers; nothing is counted or checked"
    book, best = SortedBook(), None
    for _, frames in sessions:
        for raw in frames:
            frame = loads(raw)
            msg = frame["msg"]
            if frame["type"] == "orderbook_delta":
                price, delta = parse_price(msg["price_dollars"]), parse_count(msg["delta_fp"])
                if msg["side"] == "yes": book.change(Side.BID, price, delta)
                else: book.change(Side.ASK, ONE - price, delta)
                best = book.best()
            elif frame["type"] == "orderbook_snapshot":
                book.bids = SortedDict((parse_price(p), parse_count(c)) for p, c in msg.get("yes_dollars_fp", []))
                book.asks = SortedDict((ONE - parse_price(p), parse_count(c)) for p, c in msg.get("no_dollars_fp", []))
    return best


def decoding(sessions: list[Session], loads: Callable[[bytes], Any]) -> object:
    "Bytes to objects, and no more"
    for _, frames in sessions:
        for raw in frames: last = loads(raw)
    return last


def best_of_others(events: list[BookSnapshot | BookDelta]) -> object:
    "As above, and the best of the others read after each change, with orders of ours at both best prices of every hundredth book"
    book, best = OrderBook(""), None
    bid: dict[int, int] = {}
    ask: dict[int, int] = {}
    for n, e in enumerate(events):
        if type(e) is BookDelta: book.apply_delta(e.side, e.price, e.delta, e.ts_ms)
        elif type(e) is BookSnapshot: book.apply_snapshot(e.bids, e.asks, e.ts_ms)
        if n % 100 == 0:
            bid, ask = ({} if (p := book.best(side)) is None else {p: book.size(side, p)} for side in (Side.BID, Side.ASK))
        best = book.best_others(Side.BID, bid), book.best_others(Side.ASK, ask)
    return best


def nautilus(events: list[BookSnapshot | BookDelta]) -> Callable[[], object] | None:
    "The book of nautilus_trader, its changes made beforehand; None if it isn't installed"
    try:
        from nautilus_trader.model import data, enums, identifiers, objects
        from nautilus_trader.model.book import OrderBook as TheirBook
    except ImportError: return None
    market, rows, book = identifiers.InstrumentId.from_str("X.KALSHI"), list[list[Any]](), OrderBook("")

    def row(action: Any, side: Side, price: int, count: int) -> Any:
        whose = enums.OrderSide.BUY if side is Side.BID else enums.OrderSide.SELL
        at, size = objects.Price.from_str(price_str(price)), objects.Quantity.from_str(count_str(count))
        order = data.BookOrder(whose, at, size, price)
        return data.OrderBookDelta(market, action, order, 0, 0, 0, 0)

    for e in events:
        if isinstance(e, BookSnapshot):
            book.apply_snapshot(e.bids, e.asks, e.ts_ms)
            rows.append([data.OrderBookDelta.clear(market, 0, 0, 0)])
            for side, levels in ((Side.BID, book.bids), (Side.ASK, book.asks)):
                rows[-1] += [row(enums.BookAction.ADD, side, p, c) for p, c in levels.items()]
            continue
        had = book.size(e.side, e.price)
        book.apply_delta(e.side, e.price, e.delta, e.ts_ms)
        left = book.size(e.side, e.price)
        action = enums.BookAction.DELETE if not left else enums.BookAction.UPDATE if had else enums.BookAction.ADD
        rows.append(row(action, e.side, e.price, left or had))

    def run() -> object:
        theirs, best = TheirBook(market, enums.BookType.L2_MBP), (None, None)
        for r in rows:
            if type(r) is list:
                for one in r: theirs.apply_delta(one)
            else:
                theirs.apply_delta(r)
                best = theirs.best_bid_price(), theirs.best_ask_price()
        return tuple(p and parse_price(str(p)) for p in best)

    return run


class Checkout:
    "Another checkout of this program, in a process of its own"

    def __init__(self, path: Path, data: Path | None, contestants: str):
        args = [sys.executable, __file__, "--serve", contestants, *(["--data", str(data)] if data else [])]
        env = os.environ | {"PYTHONPATH": str(path.resolve())}
        self._process = subprocess.Popen(args, env=env, cwd=path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.began_in = self._answer()
        assert Path(self.began_in).is_relative_to(path.resolve()), f"{self.began_in} is not of {path}"

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def run(self, name: str) -> tuple[float, str]:  # seconds, and what it ended with
        "Run one contestant once"
        assert self._process.stdin
        print(name, file=self._process.stdin, flush=True)
        seconds, _, end = self._answer().partition(" ")
        return float(seconds), end


def timed(run: Callable[[], object]) -> tuple[float, str]:
    "Processor seconds of a run, and what it ended with"
    began = time.thread_time()
    end = run()
    return time.thread_time() - began, repr(end)


def serve(contestants: dict[str, Callable[[], object]]) -> None:
    "Run what is named, line by line, for another process"
    print(kalshi_mm.__file__, flush=True)
    for line in sys.stdin: print(*timed(contestants[line.strip()]), flush=True)


def machine() -> str:
    "What ran this, and when"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, " \
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, help="a recorded session")
    args.add_argument("--repeats", type=int, default=7)
    args.add_argument("--against", type=Path, help="another checkout of this program")
    args.add_argument("--serve", help=argparse.SUPPRESS)
    options = args.parse_args()
    path = options.data or next(iter(sorted((DATA / "ws").glob("kxbtc15m_*.jsonl.gz"))), None)
    sessions = recorded(path) if path else made_up()
    events = book_events(sessions)
    changes = sum(isinstance(e, BookDelta) for e in events)
    ours: dict[str, Callable[[], object]] = {
        "bytes": lambda: through_the_feed(sessions), "book": lambda: through_the_book(events),
        "others": lambda: best_of_others(events), "decode": lambda: decoding(sessions, decode),
    }
    if options.serve: return serve({name: ours[name] for name in options.serve.split(",")})
    other = Checkout(options.against, path, ",".join(ours)) if options.against else None
    theirs = nautilus(events)

    def group(title: str, name: str, peers: dict[str, Callable[[], object]]) -> dict[str, Callable[[], tuple[float, str]]]:
        rows: dict[str, Callable[[], tuple[float, str]]] = {f"[b]{title}[/b]": lambda: timed(ours[name])}
        if other: rows["  the other checkout"] = lambda: other.run(name)
        return rows | {f"  {peer}": lambda run=run: timed(run) for peer, run in peers.items()}  # type: ignore[misc]

    groups = [
        group("bytes to best prices: feed and book", "bytes", {
            "orjson and SortedDict, unchecked": lambda: plainly(sessions, orjson.loads),
            "json and SortedDict, unchecked": lambda: plainly(sessions, json.loads)}),
        group("change to best prices: OrderBook", "book", {
            **({"nautilus_trader": theirs} if theirs else {}), "SortedDict": lambda: through_sorted(events)}),
        group("change to best prices of the others", "others", {}),
        group("decoding alone: typed frames", "decode", {
            "msgspec to dicts": lambda: decoding(sessions, msgspec.json.decode),
            "orjson to dicts": lambda: decoding(sessions, orjson.loads),
            "json to dicts": lambda: decoding(sessions, json.loads)}),
    ]
    ends = [{run()[1] for run in contestants.values()} for contestants in groups[:3]]
    assert all(len(e) == 1 for e in ends), f"the contestants do not agree on the last best prices: {ends}"
    times: list[dict[str, list[float]]] = [{name: [] for name in contestants} for contestants in groups]
    for _ in range(options.repeats):
        for contestants, taken in zip(groups, times, strict=True):
            for name, run in contestants.items(): taken[name].append(run()[0] / changes)

    source = f"recorded in {path.name}" if path else "of a made-up stream"
    table = Table(title=f"{changes:,} changes {source}, medians of {options.repeats}", caption=machine())
    table.add_column(no_wrap=True)
    for heading in ("ns each", "least", "a second", "times ours"): table.add_column(heading, justify="right")
    for taken in times:
        first = statistics.median(next(iter(taken.values())))
        for name, each in taken.items():
            median = statistics.median(each)
            table.add_row(name, f"{median * 1e9:,.0f}", f"{min(each) * 1e9:,.0f}", f"{1 / median:,.0f}", f"{median / first:.2f}")
        table.add_section()
    Console().print(table)


if __name__ == "__main__": main()
