"Recordings of others, where they are: nothing is lost on the way, and books are what the exchange's own figures say."
import gzip
import json
import os
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from kalshi_mm.datasets.dataset import Dataset
from kalshi_mm.datasets.importers import import_file
from kalshi_mm.datasets.layout import CandleRow, DepthRow, QuoteRow, TradeRow
from kalshi_mm.datasets.playback import best_prices, core_events
from kalshi_mm.model.messages import BookDelta, BookSnapshot
from kalshi_mm.model.numbers import ONE, parse_price
from kalshi_mm.orderbook import OrderBook
from kalshi_mm.research.data import read_bbo

DATA = Path(os.environ.get("KALSHI_MM_DATA", Path(__file__).parents[3] / "shared" / "data"))


def file(name: str) -> Path:
    if not (DATA / name).exists(): pytest.skip(f"no recording {name} (KALSHI_MM_DATA names the folder)")
    return DATA / name


def test_a_raw_stream_becomes_books_that_agree_with_the_exchanges_own_ticker(tmp_path: Path):
    path = file("ws/kxbtc15m_20260513T1259Z.jsonl.gz")
    report = import_file(path, tmp_path, "import-stream")
    lines = [json.loads(line) for line in gzip.open(path)]
    frames = [r["frame"] for r in lines if "frame" in r]
    deltas = sum(f["type"] == "orderbook_delta" for f in frames)
    levels = sum(len(f["msg"].get(k, ())) for f in frames if f["type"] == "orderbook_snapshot"
                 for k in ("yes_dollars_fp", "no_dollars_fp"))
    rows = [r for r in Dataset(tmp_path).events("depth") if isinstance(r, DepthRow)]
    seen = Counter(r.change for r in rows)
    assert report.problems == {} and seen["change"] == deltas and seen["set"] == levels
    books, best = dict[str, OrderBook](), dict[str, set[tuple[int, int]]]()
    for e in core_events(rows):
        if isinstance(e, BookSnapshot): books.setdefault(e.ticker, OrderBook(e.ticker)).apply_snapshot(e.bids, e.asks, 0)
        if isinstance(e, BookDelta): books[e.ticker].apply_delta(e.side, e.price, e.delta, 0)
        if isinstance(e, BookSnapshot | BookDelta):
            book = books[e.ticker]
            best.setdefault(e.ticker, set()).add((book.best_bid or 0, book.best_ask or ONE))
    told = [(m["market_ticker"], parse_price(m["yes_bid_dollars"]), parse_price(m["yes_ask_dollars"]))
            for m in (f["msg"] for f in frames if f["type"] == "ticker")]
    assert len(told) > 500
    assert sum((bid, ask) in best.get(ticker, ()) for ticker, bid, ask in told) > 0.99 * len(told)


def test_answers_to_commands_are_counted_and_a_frame_that_is_missing_makes_gaps(tmp_path: Path):
    path = file("ws/kxmlbgame_verbatim_20260807.jsonl")

    def changes(name: str) -> Counter[str]:
        return Counter(r.change for r in Dataset(tmp_path / name).events("depth") if isinstance(r, DepthRow))

    assert import_file(path, tmp_path / "whole", "import-whole").problems == {}
    whole = changes("whole")
    assert (whole["clear"], whole["change"], whole["gap"]) == (12, 245, 0)
    lines = path.read_text().splitlines(keepends=True)
    missing = next(n for n in range(len(lines) // 2, len(lines)) if "orderbook_delta" in lines[n])
    (tmp_path / "holes.jsonl").write_text("".join(lines[:missing] + lines[missing + 1:]))
    report = import_file(tmp_path / "holes.jsonl", tmp_path / "holes", "import-holes")
    assert report.problems["numbers missing in the sequence"] == 1 and changes("holes")["gap"] > 0


def test_captured_books_are_snapshots_that_nobody_may_hold_for_the_time_after(tmp_path: Path):
    path = file("depth_kxhighny_2026-07.jsonl.gz")
    assert import_file(path, tmp_path, "import-captures").problems == {}
    seen = Counter(r.change for r in Dataset(tmp_path).events("depth") if isinstance(r, DepthRow))
    captures = [json.loads(line)["orderbook_fp"] for line in gzip.open(path)]
    assert seen["clear"] == seen["gap"] == len(captures) == 288
    assert seen["set"] == sum(len(c["yes_dollars"]) + len(c["no_dollars"]) for c in captures)


def test_hours_and_polled_quotes_and_markets(tmp_path: Path):
    hours = import_file(file("hourly_bbo_kxhighny_2025-11_2026-02.parquet"), tmp_path, "import-hours")
    polled = import_file(file("poll_bbo_sized_kxhighny_2026-03-31.parquet"), tmp_path, "import-polled")
    markets = import_file(file("markets_kxhighny.csv.gz"), tmp_path, "import-markets")
    assert (hours.rows, polled.rows) == ({"candles": 22_617}, {"quotes": 2_880})
    assert markets.rows["markets"] + markets.problems["markets without times were left out"] == 3_307
    data = Dataset(tmp_path)
    assert {r.minutes for r in data.events("candles") if isinstance(r, CandleRow)} == {60}
    quotes = [r for r in data.events("quotes") if isinstance(r, QuoteRow)]
    assert all(r.bid_count is not None or r.bid is None for r in quotes)
    paid = data.frame("settlements", series="KXHIGHNY").groupby("day")["value"].sum()
    assert paid.max() <= 1.0 and (paid == 1.0).mean() > 0.9


def test_a_days_quotes_are_the_same_as_read_from_the_recording_itself(tmp_path: Path):
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path, day = file("bbo_kxhighny_2025-12.parquet"), date(2025, 12, 10)
    table = pq.read_table(path)
    pq.write_table(table.filter(pc.equal(table["event_date"].cast("string"), str(day))), tmp_path / "day.parquet")
    import_file(tmp_path / "day.parquet", tmp_path / "data", "import-bbo")
    data = tmp_path / "data"
    assert best_prices(Dataset(data), "KXHIGHNY", day) == read_bbo(data, day) == changed(read_bbo(path, day))


def changed(rows: list[tuple[int, str, int | None, int | None]]) -> list[tuple[int, str, int | None, int | None]]:
    "Rows without those that repeat the last one of their market"
    last, kept = dict[str, tuple[int | None, ...]](), []
    for ms, ticker, bid, ask in rows:
        if last.get(ticker) != (bid, ask): kept.append((ms, ticker, bid, ask))
        last[ticker] = bid, ask
    return kept


def test_a_year_of_prints_keeps_its_volume(tmp_path: Path):
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(file("trades_kxhighny_2023-12_2025-03.parquet"))
    some = table.filter(pc.starts_with(table["ticker"].cast("string"), "KXHIGHNY-25MAR"))
    pq.write_table(some, tmp_path / "march.parquet")
    report = import_file(tmp_path / "march.parquet", tmp_path / "data", "import-march")
    rows = [r for r in Dataset(tmp_path / "data").events("trades") if isinstance(r, TradeRow)]
    assert report.rows["trades"] == len(rows) == len(some) > 10_000
    assert sum(r.count for r in rows) == 100 * pc.sum(some["count"]).as_py()
    assert sum(r.taker_side == "bid" for r in rows) == pc.sum(pc.equal(some["taker_side"].cast("string"), "yes")).as_py()
