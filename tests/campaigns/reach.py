"""How much of its gain a maker keeps: what a fill was worth at once, 10 seconds, 1, 5 and 30 minutes later, and at settlement.

Three makers. `joiner` is a stranger who joins the best price on both sides of every undecided market and follows it 80 ms late.
`own` is our client with its core and spread capture, joining from one cent on. Both trade whole simulated days in both regimes.
`recorded` are the makers at the recorded best prices, whom the takers meet; it needs the recordings.
What the tape of 2024/25 shows stands beside them. Profit is reported, never aimed at.
"""
import json
import os
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from kalshi_mm.maker.maker import Config, MarketMaker
from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, Price
from kalshi_mm.model.temperature_markets import HOUR_MS, day_event
from kalshi_mm.model.types import Side
from kalshi_mm.research.backtest import Backtest
from kalshi_mm.research.data import days, read_bbo
from kalshi_mm.risk.limits import Limits
from kalshi_mm.sandbox.execution import AccountFill, BookChange, Refusal, TradePrint
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.order_queue import NewOrder
from kalshi_mm.sandbox.recorded import RecordedDay
from kalshi_mm.sandbox.simulated import SimulatedDay
from kalshi_mm.sandbox.traffic import Calibration, Day, mid
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

DATA = Path(os.environ.get("KALSHI_MM_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
BBO = DATA / "bbo_kxhighny_2025-12.parquet"
LATER_S = (10, 60, 300, 1800)
TAPE = {"joiner": (0.91, 0.79, 0.61, 0.49), "recorded": (0.91, 0.70, 0.58, 0.43)}  # the share that makers kept; own: as joiner
NAMED = {"joiner": 0.10, "recorded": 0.07}  # how near it is meant to be
DATE, DELAY_MS, SIZE = date(2025, 12, 10), 80, 10 * CONTRACT
EDGES = (10 * CENT, 90 * CENT)  # of what counts as undecided
Fill = tuple[int, str, int, Price, int]  # ms, ticker, +1 if the maker bought, price, count


class Run(Struct, frozen=True):
    "One maker's day"

    maker: str  # joiner, own, recorded
    regime: str
    day: str  # a seed, or a date
    contracts: float
    gains: tuple[float, ...]  # sum over contracts, cents: at once, after LATER_S, at settlement


class Middles:
    "The rivals' middles over a day"

    def __init__(self) -> None: self._all: dict[str, tuple[list[int], list[Price]]] = {}

    def note(self, day: Day, tickers: Iterator[str] | list[str], ms: int) -> None:
        for t in tickers:
            when, what = self._all.setdefault(t, ([], []))
            now = mid(day.makers[t].best[Side.BID], day.makers[t].best[Side.ASK])
            if not what or what[-1] != now:
                when.append(ms)
                what.append(now)

    def at(self, ticker: str, ms: int) -> Price:
        when, what = self._all[ticker]
        return what[max(bisect_right(when, ms) - 1, 0)]

    def gains(self, fills: list[Fill], paid: dict[str, Price]) -> tuple[float, ...]:
        "What the fills were worth, cents: at once (against the middle just before), later, at settlement"
        out = [0.0] * (len(LATER_S) + 2)
        for ms, ticker, sign, price, n in fills:
            worth = [self.at(ticker, ms - 1), *(self.at(ticker, ms + 1000 * s) for s in LATER_S), paid[ticker]]
            for i, value in enumerate(worth): out[i] += sign * (value - price) / CENT * n / CONTRACT
        return tuple(out)


class Joiner:
    "Joins the best price on both sides, and follows it"

    def __init__(self, exchange: Exchange, day: Day):
        self._exchange, self._day = exchange, day
        self._orders: dict[tuple[str, Side], tuple[str, Price]] = {}
        self._due: dict[str, int] = {}
        exchange.open_account("joiner", 10_000_000 * DOLLAR)

    def see(self, ticker: str, ms: int) -> None:
        "A book has changed; what follows leaves after the delay"
        held = [self._orders.get((ticker, s), ("", None))[1] for s in Side]
        if ticker not in self._due and held != self._wanted(ticker): self._due[ticker] = ms + DELAY_MS

    def act(self, until_ms: int) -> None:
        for ticker, ms in [(t, ms) for t, ms in self._due.items() if ms <= until_ms]:
            del self._due[ticker]
            for side, price in zip(Side, self._wanted(ticker), strict=True): self._quote(ticker, side, price, ms)

    def _quote(self, ticker: str, side: Side, price: Price | None, ms: int) -> None:
        order_id, there = self._orders.get((ticker, side), ("", None))
        remaining = self._exchange.order(order_id).remaining if order_id else 0
        if remaining and there == price: return
        if remaining: self._exchange.cancel("joiner", order_id, ms)
        self._orders.pop((ticker, side), None)
        if price is None: return
        new = NewOrder(account="joiner", ticker=ticker, side=side, price=price, count=SIZE, post_only=True)
        try: order = self._exchange.place(new, ms)
        except Refusal: return  # it would have taken
        self._orders[ticker, side] = order.order_id, price

    def _wanted(self, ticker: str) -> list[Price | None]:
        "The best prices of others, where the market is undecided"
        own = {(s, p): self._exchange.order(o).remaining for s in Side if (q := self._orders.get((ticker, s))) for o, p in [q]}
        best = [next((p for p, n in levels if n > own.get((side, p), 0)), None)
                for side, levels in zip(Side, self._exchange.levels(ticker), strict=True)]
        return best if None not in best and EDGES[0] <= mid(*best) < EDGES[1] else [None, None]


def exchange_of(day: Day) -> Exchange:
    n = count(1)
    return Exchange(day.markets, ids=lambda: f"{next(n)}")


def joined(day: Day) -> tuple[list[Fill], Middles]:
    "The joiner's fills"
    exchange, middles, fills = exchange_of(day), Middles(), list[Fill]()
    joiner = Joiner(exchange, day)
    while (due := day.next_ms()) is not None:
        joiner.act(due)
        day.act(exchange, due, due)
        changed = set[str]()
        for h in exchange.take():
            if isinstance(h, BookChange): changed.add(h.ticker)
            if isinstance(h, AccountFill) and h.account == "joiner":
                fills.append((due, h.fill.ticker, h.fill.side.sign, h.fill.price, h.fill.count))
        middles.note(day, sorted(changed), due)
        for ticker in sorted(changed): joiner.see(ticker, due)
    return fills, middles


class Watched:
    "Traffic whose middles are noted"

    def __init__(self, day: Day):
        self.day, self.markets, self.middles = day, day.markets, Middles()
        self.next_ms, self.result = day.next_ms, day.result

    def act(self, exchange: Exchange, day_ms: int, now_ms: int) -> None:
        self.day.act(exchange, day_ms, now_ms)
        self.middles.note(self.day, list(self.day.makers), day_ms)


def traded(day: Day) -> tuple[list[Fill], Middles]:
    "Our own client's fills"
    many, much = 100_000 * CONTRACT, 100_000 * DOLLAR  # limits that don't bind
    limits = Limits(max_position=many, max_total=many, max_daily_loss=much, max_drawdown=much, max_burst=many,
                    max_event_loss=much, max_event_resting_loss=much)  # fmt: skip
    strategy = SpreadCapture(Params(min_spread=CENT, improve_ticks=0, default_order_size=SIZE))
    traffic = Watched(day)
    maker = MarketMaker(strategy, Config("reach", limits=limits))
    run = Backtest(maker, exchange_of(day), traffic, cash=10_000_000 * DOLLAR).run()
    return [(f.ts_ms, f.ticker, f.side.sign, f.price, f.count) for f in run.ledger.fills], traffic.middles


def met(day: Day) -> tuple[list[Fill], Middles]:
    "What takers met at the recorded best prices of books under 25 cents, each counted once, as on the tape"
    exchange, middles, fills = exchange_of(day), Middles(), list[Fill]()
    before: dict[str, tuple[Price | None, Price | None]] = {}
    while (due := day.next_ms()) is not None:
        day.act(exchange, due, due)
        first = {h.ticker: h for h in reversed(exchange.take()) if isinstance(h, TradePrint)}
        for ticker, h in first.items():
            bid, ask = before.get(ticker, (None, None))
            if bid and ask and ask - bid < 25 * CENT: fills.append((due, ticker, -h.taker_side.sign, h.price, CONTRACT))
        for t in day.makers: before[t] = exchange.best(t)
        middles.note(day, list(day.makers), due)
    return fills, middles


def one(maker: str, regime: str, which: str, skip_hours: int = 0) -> Run:
    "One maker's day, in a process of its own; the hours that are skipped are a simulated day's first"
    calibration = Calibration.of(json.loads((files("kalshi_mm.sandbox") / "calibration.json").read_text()), regime)
    if maker == "recorded": day: Day = RecordedDay(read_bbo(BBO, date.fromisoformat(which)), calibration, 1)
    else:
        open_ms = day_event("KXHIGHNY", DATE, 0)[0].open_ms
        day = SimulatedDay(calibration, DATE, int(which), start_ms=open_ms + skip_hours * HOUR_MS)
    fills, middles = {"joiner": joined, "own": traded, "recorded": met}[maker](day)
    return Run(maker, regime, which, sum(f[4] for f in fills) / CONTRACT, middles.gains(fills, day.result()))


def plan(makers: list[str], seed: int, n: int, own: int) -> list[tuple[str, str, str]]:
    "What is to be run: (maker, regime, day)"
    simulated = [(m, r, str(seed + i)) for m in ("own", "joiner") if m in makers for r in ("wide", "tight")
                 for i in range(own if m == "own" else n)]
    recorded = [("recorded", "wide", str(d)) for d in days(BBO)] if "recorded" in makers and BBO.exists() else []
    return simulated + recorded


def run_all(todo: list[tuple[str, str, str]], jobs: int) -> Iterator[Run]:
    with ProcessPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(one, *what) for what in todo]): yield done.result()


def shares(runs: list[Run]) -> dict[str, dict[str, Any]]:
    "By maker and regime: the share kept of the first gain, with its interval by day, and cents a contract at settlement"
    out = {}
    for key in sorted({(r.maker, r.regime) for r in runs}):
        some = [r for r in runs if (r.maker, r.regime) == key]
        gains, n = np.array([r.gains for r in some]), np.array([r.contracts for r in some])
        drawn = np.random.default_rng(1).integers(0, len(some), (4000, len(some)))
        def interval(top: Any, bottom: Any, drawn: Any = drawn) -> list[float]:
            return [round(float(v), 2) for v in
                    (top.sum() / bottom.sum(), *np.percentile(top[drawn].sum(1) / bottom[drawn].sum(1), [2.5, 97.5]))]
        out[" ".join(key)] = {
            "days": len(some), "contracts a day": round(float(n.mean())), "at once, c": interval(gains[:, 0], n),
            **{f"kept after {s} s": interval(gains[:, i + 1], gains[:, 0]) for i, s in enumerate(LATER_S)},
            "at settlement, c": interval(gains[:, -1], n)}
    return out


def misses(kept: dict[str, dict[str, Any]]) -> list[str]:
    "Where a share is further from the tape's than it is meant to be"
    told = [(who, s, row[f"kept after {s} s"][0], tape) for who, row in kept.items() if who.split()[0] in TAPE
            for s, tape in zip(LATER_S, TAPE[who.split()[0]], strict=True)]
    return [f"{who}, {s} s: {share:.2f}, the tape has {tape:.2f}" for who, s, share, tape in told
            if round(abs(share - tape), 2) > NAMED[who.split()[0]]]

