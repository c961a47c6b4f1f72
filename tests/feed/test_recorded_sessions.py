"""Recorded sessions of the real exchange, through the very classes that run live.

Each row of a recording is a frame as it came or a mark of the recorder, such as `ws_connected`. The state of the stream is told
of the connections and gets the frames; its events make the books. Nothing may be missing, no level may fall below zero, and the
books must show the prices that the exchange's own `ticker` channel told at the time.
"""
import gzip
import json
import os
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.feed.feed import StreamState
from kalshi_mm.feed.subscriptions import BOOKS
from kalshi_mm.model.messages import BookDelta, BookSnapshot, BookStale, Event
from kalshi_mm.model.numbers import ONE, parse_price
from kalshi_mm.model.types import Side
from kalshi_mm.orderbook import OrderBook

DATA = Path(os.environ.get("KALSHI_MM_DATA", Path(__file__).parents[3] / "shared" / "data")) / "ws"


def rows(name: str) -> Iterator[dict[str, Any]]:
    path = DATA / name
    if not path.exists(): pytest.skip(f"no recording {name} (KALSHI_MM_DATA names the folder above ws/)")
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path, encoding="utf-8") as lines:
        yield from map(json.loads, lines)


class Replay:
    "The stream's state and the books that its events make"

    def __init__(self, tickers: list[str], use_yes_price: bool):
        self.state = StreamState(tickers, channels=(BOOKS,), use_yes_price=use_yes_price)
        self.books: dict[str, OrderBook] = {}
        self.seen: Counter[str] = Counter()

    def told(self, events: list[Event]) -> None:
        for e in events:
            self.seen[type(e).__name__] += 1
            match e:
                case BookSnapshot():
                    self.books.setdefault(e.ticker, OrderBook(e.ticker)).apply_snapshot(e.bids, e.asks, e.ts_ms)
                    self.seen["empty snapshots"] += not e.bids and not e.asks
                case BookDelta():
                    book = self.books[e.ticker]
                    book.apply_delta(e.side, e.price, e.delta, e.ts_ms)  # raises if a level would fall below zero
                    self.seen["crossed"] += book.crossed
                case BookStale():
                    for t in e.tickers: self.books[t].mark_stale(e.reason)

    def row(self, row: dict[str, Any], now_ms: int) -> None:
        if row.get("control") == "ws_connected":
            if self.seen["ws_connected"]: self.told(self.state.on_disconnect("the recorder connects again", now_ms))
            self.seen["ws_connected"] += 1
            self.state.subscribe([row["data"]["market_ticker"]], now_ms)
            self.state.on_connect(now_ms)
        elif "frame" in row:
            self.told(self.state.receive(json.dumps(row["frame"]), now_ms))


def best(book: OrderBook) -> tuple[int, int]:
    "Best prices as the ticker channel tells them: an empty side is 0 or one dollar"
    return book.best_bid or 0, ONE if book.best_ask is None else book.best_ask


# what the recordings hold, counted from the files: connections, snapshots, of these empty, changes
@pytest.mark.parametrize(("name", "connections", "snapshots", "empty", "deltas"), [
    ("20260513T1259Z", 3, 5, 2, 43_620), ("20260514T0438Z", 3, 4, 1, 101_703), ("20260515T1130Z", 2, 3, 1, 87_025),
])
def test_a_recorded_session_replays_without_a_gap_and_shows_the_prices_of_the_ticker_channel(
    name: str, connections: int, snapshots: int, empty: int, deltas: int
):
    replay, agree, told = Replay([], use_yes_price=False), 0, 0
    shown: deque[tuple[int, tuple[int, int]]] = deque(maxlen=4_000)  # what the book showed, by the exchange's clock
    for row in rows(f"kxbtc15m_{name}.jsonl.gz"):
        kind, msg = row.get("frame", {}).get("type"), row.get("frame", {}).get("msg", {})
        replay.row(row, row["recv_ns"] // 1_000_000)
        if kind == BOOKS: shown.append((msg["ts_ms"], best(replay.books[msg["market_ticker"]])))
        if kind == "ticker" and msg["market_ticker"] in replay.state.live:  # these run a few changes ahead or behind
            told += 1
            prices = (parse_price(msg["yes_bid_dollars"]), parse_price(msg["yes_ask_dollars"]))
            agree += prices in {best(replay.books[msg["market_ticker"]])} | {p for ms, p in shown if ms == msg["ts_ms"]}

    health = replay.state.health
    assert (health.gaps, health.repeats, health.decode_errors) == (0, 0, 0)
    assert replay.state.broken == ""
    seen = [replay.seen[what] for what in ("ws_connected", "BookSnapshot", "empty snapshots", "BookDelta")]
    assert seen == [connections, snapshots, empty, deltas]  # none was ignored
    assert replay.seen["BookStale"] == connections - 1  # each reconnect, planned or not
    assert set(health.unknown_types) <= {"ticker"}
    print(f"{deltas} changes, {replay.seen['crossed']} states crossed; {agree} of {told} ticker frames agree")
    assert told > 800 and agree / told > 0.99
    assert replay.seen["crossed"] < deltas / 100


def test_verbatim_frames_of_many_markets_replay_with_their_acknowledgements_counted():
    recording = list(rows("kxmlbgame_verbatim_20260807.jsonl"))
    tickers = [r["frame"]["msg"]["market_ticker"] for r in recording if r["frame"]["type"] == "orderbook_snapshot"]
    replay = Replay(tickers, use_yes_price=False)
    replay.state.on_connect(0)
    for row in recording: replay.row(row, row["received_ms"])
    assert (replay.state.health.gaps, replay.state.broken) == (0, "")
    assert replay.seen == Counter(Connection=1, BookSnapshot=12, BookDelta=245, **{"empty snapshots": 0, "crossed": 0})
    assert replay.state.live == set(tickers)
    for book in replay.books.values():
        assert book.best_bid is not None and book.best_ask is not None and book.best_ask - book.best_bid <= 300


def test_a_count_that_leaves_out_acknowledgements_would_have_seen_gaps():
    "The trap that the recording springs: eleven `ok` frames are numbered too"
    numbers = [r["frame"]["seq"] for r in rows("kxmlbgame_verbatim_20260807.jsonl") if r["frame"]["type"].startswith("orderbook")]
    assert len([1 for a, b in zip(numbers, numbers[1:], strict=False) if b != a + 1]) == 11


@pytest.mark.parametrize(("capture", "use_yes_price", "asks"), [
    ("ws__orderbook_trade_noleg", False, {5200: 100}), ("ws__orderbook_trade_yes", True, {5200: 200}),
])
def test_both_price_conventions_make_the_same_kind_of_book(capture: str, use_yes_price: bool, asks: dict[int, int]):
    "In one run the demo exchange told NO bids at 48 cents, in the other the same as YES asks at 52"
    replay = None
    for row in rows("demo_2026-06_frames.jsonl"):
        if row["capture"] != capture: continue
        if replay is None:
            replay = Replay(["KXWTACHALLENGERMATCH-26JUN11JIMLEP-LEP"], use_yes_price)
            replay.state.on_connect(0)
        replay.row(row, 0)
    assert replay is not None and replay.state.health.gaps == 0
    (book,) = replay.books.values()
    assert book.asks == asks
    assert book.depth(Side.BID, 9) == [(4700, 300)]


def test_the_wrong_convention_would_show_at_once():
    "Read with the wrong switch, the first book of a recording is crossed"
    replay = Replay([], use_yes_price=True)
    for row in rows("kxbtc15m_20260514T0438Z.jsonl.gz"):
        replay.row(row, 0)
        if replay.books: break
    (book,) = replay.books.values()
    assert book.crossed
