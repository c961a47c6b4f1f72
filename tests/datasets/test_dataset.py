"Whatever rows a source has, they come back as they were, in one exact order, and a wrong file is refused with its place."
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_mm.datasets import writer as writing
from kalshi_mm.datasets.dataset import Dataset
from kalshi_mm.datasets.layout import DepthRow, LayoutError, QuoteRow, Row, TradeRow
from kalshi_mm.datasets.writer import Writer

DAYS = (date(2025, 12, 10), date(2025, 12, 11))
TICKERS = ("KXHIGHNY-25DEC10-B42.5", "KXHIGHNY-25DEC10-T40", "KXHIGHNY-25DEC11-T40", "KXHIGHCHI-25DEC10-T20")
T = 1_765_300_000_000_000
prices, counts, tickers = st.integers(0, 10_000), st.integers(1, 10**12), st.sampled_from(TICKERS)


def trade(ticker: str, price: int, count: int, side: str, block: bool) -> TradeRow:
    return TradeRow(0, 0, ticker, f"{price}é", price, count, side, block, None)


def quote(ticker: str, bid: int | None, ask: int | None, count: int | None) -> QuoteRow:
    return QuoteRow(0, 0, ticker, bid, ask, count, None)


def change(ticker: str, side: str, price: int, count: int) -> DepthRow:
    return DepthRow(0, 0, ticker, "change", side, price, count, T)


maybe = st.none() | prices
kinds = {TradeRow: "trades", QuoteRow: "quotes", DepthRow: "depth"}
rows = (st.builds(trade, tickers, prices, counts, st.sampled_from(["bid", "ask"]), st.booleans())
        | st.builds(quote, tickers, maybe, maybe, st.none() | counts)
        | st.builds(change, tickers, st.sampled_from(["bid", "ask"]), prices, st.integers(-(10**12), 10**12)))
sources = st.lists(st.tuples(rows, st.sampled_from([0, 0, 0, 1, 5, 10**9])), max_size=60)


def placed(given: list[tuple[Row, int]]) -> list[Row]:
    "Rows with times that never go back, and their numbers"
    ts, made = T, list[Row]()
    for n, (row, step) in enumerate(given):
        ts += step
        values = [getattr(row, f) for f in row.__struct_fields__]
        made.append(type(row)(ts, n, *values[2:]))
    return made


@settings(max_examples=60, deadline=None)
@given(sources, st.integers(1, 7))
def test_rows_come_back_as_they_were_and_in_the_order_of_their_source(given: list[tuple[Row, int]], batch: int):
    every = placed(given)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "BATCH", batch)  # so that files have many row groups
        with Writer(Path(folder), "example") as w:
            for row in every: w.add(kinds[type(row)], row)
        data = Dataset(folder)
        assert list(data.events()) == every
        for day in DAYS:
            of_day = [r for r in every if day.strftime("%y%b%d").upper() in r.ticker]
            assert list(data.events(first=day, last=day)) == of_day
        chicago = [r for r in every if r.ticker.startswith("KXHIGHCHI") and isinstance(r, TradeRow)]
        assert list(data.events("trades", series="KXHIGHCHI")) == chicago
        trades = sum(isinstance(r, TradeRow) for r in every)
        assert len(data.frame("trades")) == trades == (data.arrow("trades").count_rows() if trades else 0)
        assert sum(h.rows for h in data.describe().holdings) == len(every)


@settings(max_examples=40, deadline=None)
@given(sources.filter(lambda s: len(s) > 1), st.data())
def test_rows_out_of_order_or_doubled_are_refused_and_nothing_is_written(given: list[tuple[Row, int]], data: st.DataObject):
    every = placed(given)
    i = data.draw(st.integers(1, len(every) - 1))
    every = [*every[:i], every[i - 1], *every[i:]] if data.draw(st.booleans()) else [*every, every[0]]
    with TemporaryDirectory() as folder:
        with pytest.raises(LayoutError, match="it is there twice|the time goes back|comes after"):
            with Writer(Path(folder), "example") as w:
                for row in every: w.add(kinds[type(row)], row)
        assert not list(Path(folder).glob("**/*.parquet*"))


@settings(max_examples=30, deadline=None)
@given(sources.filter(bool), st.data())
def test_a_file_that_is_cut_or_changed_is_refused_or_reads_as_it_was(given: list[tuple[Row, int]], data: st.DataObject):
    every = placed(given)
    with TemporaryDirectory() as folder:
        with Writer(Path(folder), "example") as w:
            for row in every: w.add(kinds[type(row)], row)
        path = data.draw(st.sampled_from(sorted(w.written)))
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        path.write_bytes(whole[:at])
        with pytest.raises(LayoutError, match=path.name): list(Dataset(folder).events())
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1:])
        try: assert list(Dataset(folder).events()) == every
        except LayoutError as e: assert path.name in str(e)
