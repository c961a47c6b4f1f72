"""How many orders a second the exchange matches, and how many frames a second it makes for one subscriber, on one core.

    python tests/benchmarks/bench_matching.py [--orders N] [--repeats N]

Ordinary accounts, with collateral, fees, fills and news of their own: two makers quote both sides near a wandering price and
cancel, two takers hit them. `noted` is the same exchange when it writes its calls down (in memory; the disk is not measured).
Frames go through `TradingDay` and `Session`, from the call to the bytes that a socket would send, matching included; each call is
published by itself, as after a request. Times are the processor's, not the clock's: medians, and the best beside them. Nothing
is asserted about time.
"""
import argparse
import gc
import json
import statistics
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from random import Random

from rich.console import Console
from rich.table import Table

from kalshi_mm.model.numbers import CENT, DOLLAR, ONE
from kalshi_mm.model.types import Market, Side, TickGrid
from kalshi_mm.sandbox.matching import Exchange, NewOrder
from kalshi_mm.sandbox.state import Ids, NotedExchange
from kalshi_mm.sandbox.streams import Session
from kalshi_mm.sandbox.trading_day import TradingDay
from kalshi_mm.sandbox.traffic import MarketClock

MARKETS = tuple(Market(f"E-B{n}", "E", "S", "", "active", 0, 10**15, TickGrid.of([(0, ONE, CENT)])) for n in range(6))
NAMES = ("maker-1", "maker-2", "taker-1", "taker-2")
Call = tuple[NewOrder, bool]  # an order, and whether the oldest order of its account is cancelled before


def calls(n: int) -> list[Call]:
    "The same orders for everybody"
    rng, made, mid = Random(1), list[Call](), 50
    for k in range(n):
        mid = min(80, max(20, mid + rng.choice((-1, 0, 0, 0, 0, 0, 1))))
        takes, side = rng.random() < 0.15, rng.choice((Side.BID, Side.ASK))
        away = -3 if takes else rng.randint(1, 6)
        made.append((NewOrder(
            account=NAMES[2 * takes + k % 2], ticker=MARKETS[k % 6].ticker, side=side, price=(mid - side.sign * away) * CENT,
            count=100 * rng.randint(1, 20), client_order_id=f"{k}", post_only=False, self_trade="maker",
            time_in_force="immediate_or_cancel" if takes else "good_till_canceled"), not takes and k > 200))
    return made


def trade(x: Exchange, made: list[Call], after: Callable[[], object]) -> int:
    "Carry the calls out; returns how many orders and cancels that were"
    mine: dict[str, deque[str]] = {name: deque() for name in NAMES}
    asked = 0
    for now, (new, cancels) in enumerate(made):
        old = mine[new.account]
        while cancels and len(old) > 50:
            order = x.order(old.popleft())
            if order.resting:
                x.cancel(new.account, order.order_id, now)
                asked += 1
                break
        placed = x.place(new, now)
        asked += 1
        if placed.resting: old.append(placed.order_id)
        after()
    return asked


class Nobody:
    markets = MARKETS
    def next_ms(self) -> None: return None
    def act(self, exchange: Exchange, day_ms: int, now_ms: int) -> None: raise AssertionError
    def result(self) -> dict[str, int]: return {}


def matched(made: list[Call], make: Callable[[], Exchange]) -> tuple[int, float]:
    x = make()
    for m in MARKETS: x.list_market(m)
    for name in NAMES: x.open_account(name, 10**9 * DOLLAR)
    gc.collect()
    begun = time.process_time()
    return trade(x, made, x.take), time.process_time() - begun


def fanned(made: list[Call]) -> tuple[int, float]:
    "Frames, and the time for them: matching included"
    x = Exchange([], ids=Ids("1"))
    for name in NAMES: x.open_account(name, 10**9 * DOLLAR)
    clock = count(1)
    day = TradingDay(x, Nobody(), MarketClock(0, 0), lambda: next(clock))
    session, frames = Session("maker-1", day.market_data), 0
    channels = ["orderbook_delta", "trade", "ticker", "fill", "user_orders", "market_positions"]
    params = {"channels": channels, "market_tickers": [m.ticker for m in MARKETS], "use_yes_price": True}
    session.receive(json.dumps({"id": 1, "cmd": "subscribe", "params": params}), 0)
    day.sessions.add(session)

    def after() -> None:
        nonlocal frames
        day.publish()
        while len(session):
            session.pop()
            frames += 1

    gc.collect()
    begun = time.process_time()
    trade(x, made, after)
    return frames, time.process_time() - begun


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--orders", type=int, default=30_000)
    p.add_argument("--repeats", type=int, default=5)
    a = p.parse_args()
    made = calls(a.orders)
    contestants: dict[str, Callable[[], tuple[int, float]]] = {
        "matching: orders and cancels": lambda: matched(made, lambda: Exchange([], ids=Ids("1"))),
        "matching, noted": lambda: matched(made, lambda: NotedExchange(Ids("1"))),
        "frames to one subscriber": lambda: fanned(made)}
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(a.repeats):
        for name, run in contestants.items():
            n, seconds = run()
            rates[name].append(n / seconds)
    table = Table("", "a second, median", "best")
    for name, each in rates.items(): table.add_row(name, f"{statistics.median(each):,.0f}", f"{max(each):,.0f}")
    Console().print(table)


if __name__ == "__main__": main()
