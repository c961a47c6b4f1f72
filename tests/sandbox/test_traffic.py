"Traffic as a server drives it: repeatable, coherent, never crossed, and true to a recording."
import csv
import gzip
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_mm.maker.maker import Config, MarketMaker
from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, ONE, Price
from kalshi_mm.model.temperature_markets import HOUR_MS, day_event, event_of
from kalshi_mm.model.types import Market, OrderStatus, Quote, Side
from kalshi_mm.research.backtest import Backtest
from kalshi_mm.research.data import days, read_bbo
from kalshi_mm.risk.limits import Limits
from kalshi_mm.sandbox.matching import AccountFill, Exchange, LiveOrder, NewOrder
from kalshi_mm.sandbox.recorded import RecordedDay, Row
from kalshi_mm.sandbox.simulated import SimulatedDay
from kalshi_mm.sandbox.traffic import MAKERS, Calibration, MarketClock, Traffic
from kalshi_mm.strategy.protocol import NoQuote, Quotes, Strategy, View

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("KALSHI_MM_DATA", ROOT.parent / "shared" / "data"))
BBO = DATA / "bbo_kxhighny_2025-12.parquet"
needs_recordings = pytest.mark.skipif(not BBO.exists(), reason=f"the recordings are not in {DATA}")

PARSED = json.loads((files("kalshi_mm.sandbox") / "calibration.json").read_text())
CAL = Calibration.of(PARSED)
DAY = date(2025, 12, 10)
OPEN = day_event("KXHIGHNY", DAY, 40)[0].open_ms


def venue(markets: tuple[Market, ...]) -> Exchange:
    n = count(1)
    exchange = Exchange(markets, ids=lambda: f"id-{next(n)}")
    exchange.open_account("me", 10_000 * DOLLAR)
    return exchange


def run(traffic: Traffic, exchange: Exchange, until_ms: int, look: Callable[[int], None] = lambda ms: None) -> None:
    "Act by act, up to a time of the market day; `look` sees the exchange after each"
    while (due := traffic.next_ms()) is not None and due <= until_ms:
        traffic.act(exchange, due, due)
        look(due)


def simulated(seed: int, from_hour: int) -> tuple[SimulatedDay, Exchange]:
    day = SimulatedDay(CAL, DAY, seed, start_ms=OPEN + from_hour * HOUR_MS)
    return day, venue(day.markets)


def digest(seed: int) -> str:
    day, exchange = simulated(seed, from_hour=24)
    run(day, exchange, day.open_ms + 25 * HOUR_MS)
    return hashlib.sha256(msgspec.json.encode(exchange.take())).hexdigest()


# --- any traffic


def test_the_same_seed_acts_the_same_and_another_one_differently():
    assert digest(1) == digest(1) != digest(2)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**12), st.integers(0, 10**12), st.floats(0.1, 10_000), st.integers(0, 10**9))
def test_a_moment_of_the_market_day_is_reached_on_the_wall_when_it_is_said_to_be(wall: int, start: int, speed: float, later: int):
    clock = MarketClock(wall, start, speed)
    assert clock.day_ms(clock.wall_ms(start + later)) >= start + later
    assert clock.day_ms(wall) == start and clock.wall_ms(start) == wall


@pytest.mark.parametrize("day, opens, closes", [
    (date(2025, 12, 10), "2025-12-09T15:00", "2025-12-11T04:59"), (date(2026, 7, 16), "2026-07-15T14:00", "2026-07-17T04:59")])
def test_trading_opens_by_the_clock_of_new_york_and_closes_in_standard_time(day: date, opens: str, closes: str):
    def shown(ms: int) -> str: return time.strftime("%Y-%m-%dT%H:%M", time.gmtime(ms / 1000))
    market = day_event("KXHIGHNY", day, 40)[0]
    assert (shown(market.open_ms), shown(market.close_ms)) == (opens, closes)


# --- a simulated day


@pytest.mark.parametrize("seed", [1, 2])
def test_a_simulated_day_has_one_temperature_and_never_a_crossed_book(seed: int):
    day, exchange = simulated(seed, from_hour=0)

    def look(ms: int) -> None:
        assert abs(sum(day.outlook.chance(m) for m in day.markets) - 1) < 1e-9
        for m in day.markets:
            bid, ask = exchange.best(m.ticker)
            assert (bid or 0) < (ONE if ask is None else ask)
        exchange.take()

    began = time.monotonic()
    run(day, exchange, day.close_ms, look)
    assert time.monotonic() - began < 60
    assert day.next_ms() is None
    assert sorted(day.result().values()) == [0] * 5 + [ONE]


def test_all_six_books_stand_from_the_first_act_on():
    for seed in range(5):
        day, exchange = simulated(seed, from_hour=24)
        day.act(exchange, day.next_ms() or 0, 0)
        assert all(any(exchange.best(m.ticker)) for m in day.markets)


def test_the_weather_does_not_care_who_trades():
    (quiet, one), (busy, other) = simulated(3, 24), simulated(3, 24)

    def take_all(ms: int) -> None:
        ticker = busy.markets[2].ticker
        if (ask := other.best(ticker)[1]) is not None and other.ledger("me").cash > 100 * DOLLAR:
            other.place(NewOrder(account="me", ticker=ticker, side=Side.BID, price=ask, count=CONTRACT,
                                 time_in_force="immediate_or_cancel"), ms)

    until = quiet.open_ms + 24 * HOUR_MS + HOUR_MS // 4
    run(quiet, one, until)
    run(busy, other, until, take_all)
    assert (quiet.outlook, quiet.result()) == (busy.outlook, busy.result())


def test_a_day_begun_late_has_the_weather_of_the_whole_day():
    early, late = simulated(3, 0)[0], simulated(3, 30)[0]
    assert late.outlook == early.weather.at(late.at_ms) and late.result() == early.result()


@pytest.mark.parametrize("regime, low, high", [("wide", 2.5, 3.9), ("tight", 1.2, 1.7)])
def test_the_regimes_have_the_spreads_of_their_months(regime: str, low: float, high: float):
    "Time-weighted, for mids from 10 to 90, over six hours of three days"
    held = spent = 0.0
    for seed in range(3):
        day = SimulatedDay(Calibration.of(PARSED, regime), DAY, seed, start_ms=OPEN + 22 * HOUR_MS)
        exchange, last = venue(day.markets), {}

        def look(ms: int, exchange: Exchange = exchange, last: dict[str, tuple[int, Price, Price]] = last) -> None:
            nonlocal held, spent
            for ticker in (m.ticker for m in exchange.markets()):
                if ticker in last:
                    since, bid, ask = last.pop(ticker)
                    held, spent = held + (ask - bid) / CENT * (ms - since), spent + ms - since
                bid, ask = exchange.best(ticker)
                if bid is not None and ask is not None and 1000 <= (bid + ask) / 2 < 9000: last[ticker] = ms, bid, ask

        run(day, exchange, OPEN + 28 * HOUR_MS, look)
    assert low < held / spent < high


def left_standing(seed: int) -> float:
    "Dollars made, at fair value, by quotes two cents from where it was at first, put back at the same price when they traded"
    day, exchange = simulated(seed, from_hour=24)
    day.act(exchange, day.next_ms() or 0, 0)
    markets = {m.ticker: m for m in day.markets if 0.1 < day.outlook.chance(m) < 0.9}
    fair = {t: round(100 * day.outlook.chance(m)) for t, m in markets.items()}
    prices = {(t, side): (cents - 2 * side.sign) * CENT for t, cents in fair.items() for side in Side}
    orders: dict[tuple[str, Side], LiveOrder] = {}
    profit = 0.0

    def look(ms: int) -> None:
        nonlocal profit
        for h in exchange.take():
            if isinstance(h, AccountFill):
                gain = day.outlook.chance(markets[h.fill.ticker]) - h.fill.price / ONE
                profit += h.fill.side.sign * gain * h.fill.count / CONTRACT
        for (ticker, side), price in prices.items():
            there = exchange.best(ticker)[side is Side.BID]
            crosses = there is not None and (price - there) * side.sign >= 0
            if not crosses and ((ticker, side) not in orders or not orders[ticker, side].remaining):
                new = NewOrder(account="me", ticker=ticker, side=side, price=price, count=5 * CONTRACT)
                orders[ticker, side] = exchange.place(new, ms)

    run(day, exchange, day.open_ms + 28 * HOUR_MS, look)
    return profit


def test_quotes_that_are_left_standing_lose():
    assert sum(left_standing(seed) for seed in range(4)) < 0


class Stubborn:
    "Two cents either side of where a market first stood, always"

    def __init__(self) -> None: self.middles: dict[str, Price] = {}

    def quote(self, view: View) -> Quotes:
        if view.bid is None or view.ask is None: return Quotes.none("no market")
        middle = self.middles.setdefault(view.market.ticker, (view.bid[0] + view.ask[0]) // 2 // CENT * CENT)
        if not 15 * CENT <= middle <= 85 * CENT: return Quotes.none("an outsider")
        quotes: list[Quote | NoQuote] = []
        for side, there in ((Side.BID, view.ask[0]), (Side.ASK, view.bid[0])):
            price = middle - 2 * side.sign * CENT
            takes = (price - there) * side.sign >= 0
            quotes.append(NoQuote(side, "would take") if takes else Quote(side, price, 300 * CONTRACT, "blindly"))
        return Quotes(*quotes)


def gained(strategy: Strategy, regime: str, seed: int) -> float:
    "Dollars, by an hour of quoting from eleven in the morning; a fill counts at fair value, whose later moves are noise"
    day = SimulatedDay(Calibration.of(PARSED, regime), DAY, seed, start_ms=OPEN + 25 * HOUR_MS)
    n = count(1)
    exchange = Exchange(day.markets, ids=lambda: f"id-{next(n)}")
    many, much = 100_000 * CONTRACT, 100_000 * DOLLAR  # they don't bind
    limits = Limits(max_position=many, max_total=many, max_daily_loss=much, max_drawdown=much, max_burst=many,
                    max_event_loss=much, max_event_resting_loss=much)  # fmt: skip
    maker = MarketMaker(strategy, Config("test", limits=limits))
    run = Backtest(maker, exchange, day, cash=100_000 * DOLLAR).run(OPEN + 26 * HOUR_MS)
    markets = {m.ticker: m for m in day.markets}
    fills = [(f, day.weather.at(f.ts_ms).chance(markets[f.ticker])) for f in run.ledger.fills]
    return sum(f.side.sign * (fair - f.price / ONE) * f.count / CONTRACT for f, fair in fills)


@pytest.mark.parametrize("regime", ["wide", "tight"])
def test_a_maker_that_never_moves_its_quotes_loses(regime: str):
    results = [gained(Stubborn(), regime, seed) for seed in range(6)]
    assert sum(results) < 0 and sum(r < 0 for r in results) >= 4, results


@pytest.mark.parametrize("seed", range(3))
def test_makers_rest_and_never_take_what_a_stranger_quotes(seed: int):
    "Whoever trades with a stranger is a taker: makers stop a tick before a quote in their way"
    day, exchange = simulated(seed, from_hour=24)
    mine: dict[tuple[str, Side], LiveOrder] = {}

    def look(ms: int) -> None:
        exchange.take()
        for m in day.markets:
            for side in Side:
                best = exchange.best(m.ticker)[side is Side.ASK]
                order = mine.get((m.ticker, side))
                if best is None or (order and order.resting): continue
                new = NewOrder(account="me", ticker=m.ticker, side=side, price=best, count=CONTRACT)
                mine[m.ticker, side] = exchange.place(new, ms)

    placed = exchange.place

    def place(new: NewOrder, now_ms: int) -> LiveOrder:
        before = len(exchange.ledger("me").fills)
        order = placed(new, now_ms)
        if new.account in MAKERS: assert len(exchange.ledger("me").fills) == before, new
        return order

    exchange.place = place  # type: ignore[method-assign]
    run(day, exchange, OPEN + 25 * HOUR_MS, look)
    assert len(exchange.ledger("me").fills) > 10


@pytest.mark.parametrize("off, least, most", [(6, 0.7, 1), (-6, 0, 0)])
def test_a_stale_quote_is_mostly_found_within_a_minute_and_a_fair_one_is_left(off: int, least: float, most: float):
    "A bid six cents over the value goes; one six cents under it stays"
    gone = tried = 0
    for seed in range(4):
        day, exchange = simulated(seed, from_hour=2)  # a quiet hour
        run(day, exchange, OPEN + 2 * HOUR_MS)
        for m in day.markets:
            if not 0.2 < (value := day.outlook.chance(m)) < 0.8: continue
            price = (round(100 * value) + off) * CENT
            mine = exchange.place(NewOrder(account="me", ticker=m.ticker, side=Side.BID, price=price, count=3000 * CONTRACT),
                                  day.at_ms)
            left, tried = mine.remaining, tried + 1
            run(day, exchange, day.at_ms + 60_000)
            gone += mine.remaining < left
            exchange.cancel_all("me", day.at_ms)
    assert tried >= 10 and least <= gone / tried <= most, (gone, tried)


def test_a_stranger_who_leads_is_soon_outbid():
    day, exchange = simulated(5, from_hour=22)
    run(day, exchange, OPEN + 22 * HOUR_MS)
    tried = jumped = 0
    mine: LiveOrder | None = None

    def look(ms: int) -> None:
        nonlocal tried, jumped, mine
        for m in day.markets if mine is None else ():
            bid, ask = exchange.best(m.ticker)
            if bid and ask and ask - bid >= 6 * CENT and day.makers[m.ticker].best[Side.BID] == bid:
                new = NewOrder(account="me", ticker=m.ticker, side=Side.BID, price=bid + CENT, count=CONTRACT)
                mine, tried = exchange.place(new, ms), tried + 1
                return
        if mine is None: return
        best = exchange.best(mine.ticker)[0]
        if not mine.resting or best != mine.price or ms > mine.created_ms + 10_000:
            jumped += bool(mine.resting and best is not None and best > mine.price)
            if mine.resting: exchange.cancel("me", mine.order_id, ms)
            mine = None

    run(day, exchange, OPEN + 28 * HOUR_MS, look)
    assert tried > 200 and 0.5 < jumped / tried < 0.95


# --- several days


def test_days_follow_each_other_and_overlap_on_one_exchange():
    days_ = [SimulatedDay(CAL, DAY + timedelta(days=k), seed=1) for k in range(3)]
    exchange = venue(tuple(m for d in days_ for m in d.markets))
    until = days_[0].close_ms + HOUR_MS
    while (due := min(d.next_ms() or until for d in days_)) < until:
        for d in days_:
            if d.next_ms() == due: d.act(exchange, due, due)
        exchange.take()
    assert days_[0].next_ms() is None and days_[1].at_ms > days_[0].close_ms and days_[2].next_ms() == days_[2].open_ms
    assert all(any(exchange.best(m.ticker)) for m in days_[1].markets)
    assert len({d.outlook for d in days_}) == 3


def test_a_day_that_is_begun_again_takes_over_its_orders():
    "As after a restart of an exchange that kept its state"
    day, exchange = simulated(1, from_hour=24)
    run(day, exchange, OPEN + 24 * HOUR_MS + HOUR_MS // 4)
    again = SimulatedDay(CAL, DAY, 1, start_ms=day.at_ms + 1)
    again.act(exchange, again.next_ms() or 0, day.at_ms + 1)
    levels = [side for m in again.makers.values() for side in m.orders.values()]
    kept = {o.order_id for level in levels for o in level.values() if o and o.remaining}
    assert kept == {o.order_id for name in MAKERS for o in exchange.orders(name, status=OrderStatus.RESTING)}
    assert again.outlook == day.weather.at(again.at_ms) and again.result() == day.result()


def test_traffic_stays_away_from_a_market_that_is_closed_and_comes_back_when_it_opens():
    day, exchange = simulated(1, from_hour=24)
    day.act(exchange, day.next_ms() or 0, 0)
    ticker, now = day.markets[3].ticker, day.at_ms
    exchange.set_status(ticker, "inactive", now)
    run(day, exchange, now + HOUR_MS // 4)
    exchange.set_status(ticker, "active", day.at_ms)
    assert exchange.best(ticker) == (None, None)
    run(day, exchange, now + HOUR_MS)
    assert any(exchange.best(ticker))


# --- a recorded day


def made_up(*later: Row) -> list[Row]:
    "All six at 40 and 50 cents at the open, and then what is given"
    return [*((OPEN, m.ticker, 4000, 5000) for m in day_event("KXHIGHNY", DAY, 40)), *later]


@pytest.mark.parametrize("side, price, bid, ask", [
    (Side.ASK, 4500, 4500, 5000), (Side.ASK, 4500, 4700, 5000), (Side.BID, 4500, 4000, 4500), (Side.BID, 4500, 4000, 4200)])
def test_a_recorded_price_that_reaches_a_resting_quote_fills_it(side: Side, price: Price, bid: Price, ask: Price):
    ticker = day_event("KXHIGHNY", DAY, 40)[2].ticker
    day = RecordedDay(made_up((OPEN + 1000, ticker, bid, ask)), CAL, seed=1)
    exchange = venue(day.markets)
    run(day, exchange, OPEN)
    mine = exchange.place(NewOrder(account="me", ticker=ticker, side=side, price=price, count=300 * CONTRACT), OPEN)
    run(day, exchange, OPEN + 1000)
    assert mine.remaining == 0
    assert exchange.ledger("me").fills[0].price == price
    assert exchange.best(ticker) == (bid, ask)


def test_a_recorded_price_that_stays_away_leaves_a_quote_alone():
    ticker = day_event("KXHIGHNY", DAY, 40)[2].ticker
    day = RecordedDay(made_up((OPEN + 1000, ticker, 4400, 4600)), CAL, seed=1)
    exchange = venue(day.markets)
    run(day, exchange, OPEN)
    mine = exchange.place(NewOrder(account="me", ticker=ticker, side=Side.ASK, price=4500, count=CONTRACT), OPEN)
    run(day, exchange, OPEN + 1000)
    assert mine.remaining == CONTRACT
    assert exchange.best(ticker) == (4400, 4500)


def test_rivals_answer_a_stranger_who_leads_on_a_recorded_day_until_the_next_recorded_price():
    ticker = day_event("KXHIGHNY", DAY, 40)[2].ticker
    led = 0
    for seed in range(40):
        ticks = [(OPEN + 5_000 * k, m.ticker, 1000, 2000) for k in range(1, 5)
                 for m in day_event("KXHIGHNY", DAY, 40) if m.ticker != ticker]  # others move: then rivals look
        day = RecordedDay(made_up(*ticks, (OPEN + 30_000, ticker, 4000, 5000)), CAL, seed=seed)
        exchange = venue(day.markets)
        run(day, exchange, OPEN)
        exchange.place(NewOrder(account="me", ticker=ticker, side=Side.BID, price=4100, count=CONTRACT), OPEN)
        run(day, exchange, OPEN + 20_000)
        led += exchange.best(ticker)[0] != 4100
        run(day, exchange, OPEN + 30_000)
        assert day.makers[ticker].best == {Side.BID: 4000, Side.ASK: 5000}
    assert 30 <= led <= 39  # 1 - exp(-20 s x 0.104 a second) of 40 are 35


@needs_recordings
@pytest.mark.parametrize("which", [4, 16])
def test_rivals_hold_the_recorded_prices_at_every_recorded_instant(which: int):
    rows = read_bbo(BBO, days(BBO)[which])
    day = RecordedDay(rows, CAL, seed=1)
    exchange, best, i = venue(day.markets), {}, 0

    def look(ms: int) -> None:
        nonlocal i
        while i < len(rows) and rows[i][0] <= ms:
            best[rows[i][1]] = rows[i][2:]
            i += 1
        exchange.take()
        assert {t: exchange.best(t) for t in best} == best

    run(day, exchange, day.close_ms, look)
    assert i == len([row for row in rows if row[0] < day.close_ms])


@needs_recordings
def test_a_recorded_day_begun_late_stands_as_it_then_stood():
    rows = read_bbo(BBO, DAY)
    start = OPEN + 24 * HOUR_MS
    day = RecordedDay(rows, CAL, seed=1, start_ms=start)
    exchange = venue(day.markets)
    assert day.next_ms() == start
    day.act(exchange, start, 0)
    best = {ticker: (bid, ask) for ms, ticker, bid, ask in rows if ms <= start}
    assert {t: exchange.best(t) for t in best} == best


@needs_recordings
def test_the_last_recorded_prices_name_the_bracket_of_the_climate_report():
    with gzip.open(DATA / "markets_kxhighny.csv.gz", "rt") as f:
        paid = {row["ticker"] for row in csv.DictReader(f) if row["result"] == "yes"}
    for d in days(BBO):
        result = RecordedDay(read_bbo(BBO, d), CAL, seed=1).result()
        assert {t for t, value in result.items() if value} <= paid


@needs_recordings
def test_every_recorded_event_has_the_six_brackets_and_strikes_that_the_exchange_gave_it():
    with gzip.open(DATA / "markets_kxhighny.csv.gz", "rt") as f:
        told = {row["ticker"]: row for row in csv.DictReader(f)}
    for d in days(BBO):
        for m in event_of({row[1] for row in read_bbo(BBO, d)}):
            row = told[m.ticker]
            assert m.strike_type == row["strike_type"]
            assert [m.floor_strike, m.cap_strike] == [float(row[k]) if row[k] else None for k in ("floor_strike", "cap_strike")]


# --- the fitted figures


def calibrate() -> Any:
    spec = importlib.util.spec_from_file_location("calibrate", ROOT / "tools" / "calibrate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_recordings
def test_the_calibration_is_what_the_tool_fits():
    tool = calibrate()
    assert json.loads(tool.FITTED.read_text()) == json.loads(json.dumps(tool.fit(json.loads(tool.STATISTICS.read_text()))))


def test_the_tool_says_what_it_needs_where_the_recordings_are_missing(tmp_path: Path):
    done = subprocess.run([sys.executable, ROOT / "tools" / "calibrate.py"], env={**os.environ, "KALSHI_MM_DATA": str(tmp_path)},
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs the recordings" in done.stderr and "Traceback" not in done.stderr
