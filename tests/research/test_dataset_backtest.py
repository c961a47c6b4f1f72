"A rule is played on what was kept, whether candles or best prices; a day that lacks something is left out with its reason"
import tracemalloc
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.datasets.dataset import Dataset
from kalshi_mm.datasets.layout import CandleRow, QuoteRow, SettlementRow, TradeRow
from kalshi_mm.datasets.stream_rows import market_rows
from kalshi_mm.datasets.writer import Writer
from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import BookDelta, BookSnapshot, Event
from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, ONE
from kalshi_mm.model.temperature_markets import event_of
from kalshi_mm.model.types import Programme, Side
from kalshi_mm.research.data import DataError
from kalshi_mm.research.dataset_backtest import DatasetDays, backtest, prices_of, stream_of
from kalshi_mm.research.session_backtest import SessionBacktest
from kalshi_mm.research.study import play
from kalshi_mm.research.walk_forward import ResearchError
from kalshi_mm.strategy.presets import Preset
from kalshi_mm.strategy.protocol import Quotes, View
from tests.research.days import LAST, OPEN_MS, TICKERS, made_up_day

DAY = date(2025, 12, 10)
ROWS = made_up_day(2, hours=6, changes=2_000)


def kept(folder: Path, kind: str, paid: bool = True) -> Dataset:
    "The made-up day as a dataset"
    with Writer(folder, "test") as writer:
        for n, (ms, ticker, bid, ask) in enumerate(ROWS):
            prices = (bid,) * 4 + (ask,) * 4
            row = QuoteRow(1000 * ms, n, ticker, bid, ask, None, None) if kind == "quotes" else \
                CandleRow(1000 * ms, n, ticker, 1, *prices, None, None, None, None, 0, None)
            writer.add(kind, row)
        for made, row in market_rows(event_of(TICKERS)): writer.add(made, row)
        for n, t in enumerate(TICKERS if paid else TICKERS[:5]):
            writer.add("settlements", SettlementRow(1000 * OPEN_MS, n, t, LAST[t] * CENT, "yes" if LAST[t] else "no"))
    return Dataset(folder)


@pytest.mark.parametrize("kind", ["quotes", "candles"])
def test_best_prices_come_back_as_they_were_kept(tmp_path: Path, kind: str):
    days = DatasetDays(kept(tmp_path, kind), "KXHIGHNY")
    event = days.event(DAY)
    assert days.days == [DAY] and days.kinds(DAY) == (kind,) and not days.has_depth(DAY)
    seen, last = [], {}
    for ms, ticker, bid, ask in ROWS:
        if last.get(ticker) != (bid, ask): seen.append((ms, ticker, bid, ask))
        last[ticker] = bid, ask
    assert list(event.rows) == seen and dict(event.payments) == LAST and sum(event.payments.values()) == ONE
    assert [m.ticker for m in event.markets] == sorted(TICKERS) and all(m.active and m.paid is None for m in event.markets)


def test_the_models_stand_side_by_side_and_the_head_says_what_they_rest_on(tmp_path: Path):
    found = backtest(Preset(), kept(tmp_path, "candles"), "KXHIGHNY")
    assert [r.model for r in found.rows] == ["C", "K", "J"] and found.rows[1].contracts > 0
    head = "\n".join(found.head())
    assert "what happened within a minute" in head and "live: not measured" in head and "2025-12-10" in head
    assert "J, the same, and rivals who answer" in head and "D, " not in head


def test_a_day_without_all_settlements_is_left_out_with_its_reason(tmp_path: Path):
    with pytest.raises(ResearchError, match=f"nothing says what {TICKERS[5]} paid"):
        backtest(Preset(), kept(tmp_path, "quotes", paid=False), "KXHIGHNY")


SIDES = st.lists(st.tuples(st.integers(1, 99), st.sampled_from(["bid", "ask"])), min_size=1, max_size=40)


@given(SIDES)
def test_prices_from_trades_are_never_crossed_and_each_trade_is_at_one_of_them(trades: list[tuple[int, str]]):
    prints = [TradeRow(1000 * n, n, "X", f"t{n}", p * CENT, 100, side, False, None) for n, (p, side) in enumerate(trades)]
    rows = {ms: (bid, ask) for ms, _, bid, ask in prices_of(prints)}
    now: tuple[int | None, int | None] = (None, None)
    for n, (p, side) in enumerate(trades):
        now = rows.get(n, now)
        bid, ask = now
        assert (ask if side == "bid" else bid) == p * CENT
        assert bid is None or ask is None or bid < ask


def test_a_day_of_trades_alone_is_played_with_the_takers_that_were_recorded(tmp_path: Path):
    with Writer(tmp_path, "test") as writer:
        for made, row in market_rows(event_of(TICKERS)): writer.add(made, row)
        for n, t in enumerate(TICKERS): writer.add("settlements", SettlementRow(1000 * OPEN_MS, n, t, LAST[t] * CENT, "no"))
        for n in range(400):  # bought at 50, sold at 40, by turns
            ms, side, price = OPEN_MS + 5_000 * n, ("bid", "ask")[n % 2], (50, 40)[n % 2]
            writer.add("trades", TradeRow(1000 * ms, n, TICKERS[2], f"t{n}", price * CENT, 500, side, False, None))
        block = TradeRow(1000 * (OPEN_MS + 3_000_000), 999, TICKERS[2], "b", 99 * CENT, 10**9, "bid", True, None)
        writer.add("trades", block)  # made off the book: nobody's order was met
    days = DatasetDays(Dataset(tmp_path), "KXHIGHNY")
    event = days.event(DAY)
    assert days.kinds(DAY) == ("trades",) and len(event.takers) == 400
    assert {r[2:] for r in event.rows[1:]} == {(40 * CENT, 50 * CENT)}
    found = backtest(Preset(), days.data, "KXHIGHNY", models="C")
    certain, recorded = found.rows
    assert (certain.model, certain.contracts, recorded.model) == ("C", 0, "T")
    assert 0 < recorded.contracts <= sum(t.count for t in event.takers) / 100
    assert "the newest sale counts as the bid" in "\n".join(found.head())
    with pytest.raises(DataError, match="model T needs recorded trades"): play(event._replace(takers=()), Preset(), "T", 1)


class Quiet:
    "Quotes nothing"

    def quote(self, view: View) -> Quotes: return Quotes.none("not today")


def peak_kb(changes: int) -> int:
    "The most memory at once while a depth day of so many changes is played"
    def books() -> Iterator[Event]:
        yield BookSnapshot(OPEN_MS, TICKERS[0], ((4_000, 500),), ((5_000, 500),))
        for n in range(changes):
            yield BookDelta(OPEN_MS + 50 * n, TICKERS[0], Side.BID, 3_900, 100 if n % 2 == 0 else -100, OPEN_MS)

    markets = event_of(TICKERS)
    tracemalloc.start()
    try:
        core, stream = MarketMaker(Quiet(), Config("s")), stream_of(books(), markets)
        SessionBacktest(core, stream, Random(1), delays=[(80, 160)], listed=markets).run()
        return tracemalloc.get_traced_memory()[1] // 1000
    finally: tracemalloc.stop()


def test_a_longer_day_takes_no_more_memory():
    peak_kb(100)  # what is made once
    short, long = peak_kb(1_000), peak_kb(8_000)
    assert long < 1.2 * short + 50, (short, long)


def test_a_programme_on_a_day_without_depth_is_said_to_be_unscored(tmp_path: Path):
    programme = Programme("p", TICKERS[2], OPEN_MS, OPEN_MS + 3_600_000, 20 * DOLLAR, 300 * CONTRACT, 5000)
    found = backtest(Preset(), kept(tmp_path, "quotes"), "KXHIGHNY", models="C", programmes=[programme])
    assert found.incentives == {DAY: None} and "Liquidity programmes on 2025-12-10: can't be scored without depth" in found.head()
