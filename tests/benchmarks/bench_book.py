"""How long a change of a book takes, beside other ways to do the same.

    python tests/benchmarks/bench_book.py [--data FILE] [--repeats N]

FILE is a recorded session (`ws/kxbtc15m_*.jsonl.gz`); without one the first recording in $KALSHI_MM_DATA is taken and, if there
is none, a made-up stream. All contestants run in turn, again and again, on the same frames in one process, and the time is the
processor's, not the clock's, so that the ratios mean something on a busy machine. Times are for one change of a book, with the
best prices read after it: medians, and the least beside them. Nothing is asserted about time.
"""
import argparse
import gzip
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import orjson
from rich.console import Console
from rich.table import Table
from sortedcontainers import SortedDict

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


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, help="a recorded session")
    args.add_argument("--repeats", type=int, default=7)
    options = args.parse_args()
    path = options.data or next(iter(sorted((DATA / "ws").glob("kxbtc15m_*.jsonl.gz"))), None)
    sessions = recorded(path) if path else made_up()
    events = book_events(sessions)
    changes = sum(isinstance(e, BookDelta) for e in events)

    groups: list[dict[str, Callable[[], object]]] = [
        {"[b]bytes to best prices: feed and book[/b]": lambda: through_the_feed(sessions),
         "  orjson and SortedDict, unchecked": lambda: plainly(sessions, orjson.loads),
         "  json and SortedDict, unchecked": lambda: plainly(sessions, json.loads)},
        {"[b]change to best prices: OrderBook[/b]": lambda: through_the_book(events),
         "  SortedDict": lambda: through_sorted(events)},
        {"[b]decoding alone: typed frames[/b]": lambda: decoding(sessions, decode),
         "  msgspec to dicts": lambda: decoding(sessions, msgspec.json.decode),
         "  orjson to dicts": lambda: decoding(sessions, orjson.loads),
         "  json to dicts": lambda: decoding(sessions, json.loads)},
    ]
    ends = [{r() for r in group.values()} for group in groups[:2]]
    assert all(len(e) == 1 for e in ends), f"the contestants do not agree on the last best prices: {ends}"
    times: dict[str, list[float]] = {name: [] for group in groups for name in group}
    for _ in range(options.repeats):
        for group in groups:
            for name, run in group.items():
                began = time.thread_time()
                run()
                times[name].append((time.thread_time() - began) / changes)

    source = f"recorded in {path.name}" if path else "of a made-up stream"
    table = Table(title=f"{changes:,} changes {source}, medians of {options.repeats}")
    table.add_column(no_wrap=True)
    for heading in ("ns each", "least", "a second", "times ours"): table.add_column(heading, justify="right")
    for group in groups:
        ours = statistics.median(times[next(iter(group))])
        for name in group:
            each = statistics.median(times[name])
            table.add_row(name, f"{each * 1e9:,.0f}", f"{min(times[name]) * 1e9:,.0f}", f"{1 / each:,.0f}", f"{each / ours:.2f}")
        table.add_section()
    Console().print(table)


if __name__ == "__main__": main()
