"""A backtest on recorded depth, beside those of nautilus_trader and hftbacktest: how long, and how many fills.

    python tests/benchmarks/bench_backtest.py [--data FILE] [--minutes N] [--repeats N]

FILE is a recorded session (`ws/kxbtc15m_*.jsonl.gz`); without one the first recording in $KALSHI_MM_DATA is taken. The peers
are not among this project's dependencies: `pip install nautilus_trader==1.221 hftbacktest==2.4.4`; one that isn't installed
is left out and said so. All play the same changes of a book with the same rule, which each tenth of a second joins the best
price on both sides with ten contracts, up to a hundred held, 80 ms late: ours as a `Strategy` in the core that trades live,
nautilus_trader's as a strategy in Python, hftbacktest's compiled by numba (compiling is not counted). The data are made ready
beforehand and not counted either. The recording has no trades, so an order fills only where the others' opposite price
reaches it. Times are the processor's, in turn and in one process: medians. Nothing is asserted about time.
"""
import argparse
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import Action, BookDelta, BookSnapshot, Command, Connection, Decide, Event, MarketListed
from kalshi_mm.model.numbers import CONTRACT, DOLLAR, ONE
from kalshi_mm.model.types import Market, Quote, Side, TickGrid
from kalshi_mm.research.session_backtest import SessionBacktest
from kalshi_mm.risk.limits import Limits
from kalshi_mm.strategy.protocol import NoQuote, Quotes, View
from tests.benchmarks.bench_book import book_events, recorded

DATA = Path(os.environ.get("KALSHI_MM_DATA", Path(__file__).parents[3] / "shared" / "data"))
STEP_MS, LATENCY_MS, SIZE, MOST = 100, 80, 10, 100  # contracts
TICK = 10  # ten-thousandths of a dollar
Books = list[BookSnapshot | BookDelta]


class Played(NamedTuple):
    "What a contestant did"

    fills: int
    contracts: float
    orders: int
    at: tuple[tuple[int, int, int], ...] = ()  # of each fill: ms UTC, 1 for a purchase or -1, ten-thousandths of a dollar


def tape(path: Path, minutes: float) -> Books:
    "The books of the recording's busiest market, at the exchange's times, which never go back"
    sessions = recorded(path)
    busiest, _ = max(sessions, key=lambda s: len(s[1]))
    events = book_events([s for s in sessions if s[0] == busiest])
    now = begin = next(e.sent_ms for e in events if isinstance(e, BookDelta))
    found: Books = []
    for e in events:
        if isinstance(e, BookDelta): now = max(now, e.sent_ms)
        if now > begin + 60_000 * minutes: break
        found.append(BookSnapshot(now, e.ticker, e.bids, e.asks) if isinstance(e, BookSnapshot)
                     else BookDelta(now, e.ticker, e.side, e.price, e.delta, now))
    return found


# ours
class Joiner:
    "Joins both best prices"

    def quote(self, view: View) -> Quotes:
        "Ten contracts at each, unless a hundred are held"
        return Quotes(*(self._side(view, side) for side in Side))  # type: ignore[arg-type]

    def _side(self, view: View, side: Side) -> Quote | NoQuote:
        best = view.bid if side is Side.BID else view.ask
        if best is None: return NoQuote(side, "nobody quotes")
        if side.sign * view.net > (MOST - SIZE) * CONTRACT: return NoQuote(side, "enough is held")
        return Quote(side, best[0], SIZE * CONTRACT, "joins")


def ours(books: Books) -> tuple[Callable[[], Played], int]:
    "The core that trades live, on the record of a stream, deciding each tenth of a second"
    begin, ticker = books[0].ts_ms, books[0].ticker
    market = Market(ticker, "E", "KXBTC15M", "", "active", begin - 1, books[-1].ts_ms + 10**7, TickGrid.of([(0, ONE, TICK)]))
    record: list[tuple[Event, list[Action]]] = [(Connection(begin, True), []), (MarketListed(begin, market), []),
                                                (Command(begin, "start", "bench"), [])]  # fmt: skip
    due = begin + STEP_MS
    for e in books:
        while e.ts_ms >= due:
            record.append((Decide(due), []))
            due += STEP_MS
        record.append((e, []))
    limits = Limits(max_position=2 * MOST * CONTRACT, max_total=4 * MOST * CONTRACT, max_daily_loss=1000 * DOLLAR,
                    max_drawdown=1000 * DOLLAR, max_burst=10**9, min_balance=0)  # fmt: skip
    config = Config("bench", limits, quote_lifetime_s=3600, read_every_ms=3_600_000, audit_every_ms=3_600_000,
                    max_silent_ms=10**9, max_age_ms=10**9, look_through_ms=10_000)  # fmt: skip

    def play() -> Played:
        played = SessionBacktest(MarketMaker(Joiner(), config), record, Random(1), False, [(LATENCY_MS, 2 * LATENCY_MS)]).run()
        fills = played.exchange.fills
        at = tuple((f.ts_ms, f.side.sign, f.price) for f in fills)
        return Played(len(fills), sum(f.count for f in fills) / CONTRACT, len(played.actions), at)

    return play, len(books)


# nautilus_trader
def nautilus(books: Books) -> Callable[[], Played]:
    "A strategy in Python on its backtest engine, with an order book of levels"
    from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
    from nautilus_trader.backtest.models import LatencyModel
    from nautilus_trader.config import LoggingConfig
    from nautilus_trader.model.currencies import USD
    from nautilus_trader.model.data import BookOrder, OrderBookDelta
    from nautilus_trader.model.enums import AccountType, AssetClass, BookAction, BookType, OmsType, OrderSide, TimeInForce
    from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
    from nautilus_trader.model.instruments import BinaryOption
    from nautilus_trader.model.objects import Money, Price, Quantity
    from nautilus_trader.trading.strategy import Strategy

    venue = Venue("KALSHI")
    its_id = InstrumentId(Symbol(books[0].ticker), venue)
    option = BinaryOption(its_id, Symbol(books[0].ticker), AssetClass.ALTERNATIVE, USD, 3, 2, Price.from_str("0.001"),
                          Quantity.from_str("0.01"), 0, 2**62, 0, 0)  # fmt: skip
    sizes: dict[tuple[Side, int], int] = {}
    deltas = []

    def change(side: Side, price: int, size: int, ns: int) -> None:
        action = BookAction.UPDATE if size else BookAction.DELETE
        of = OrderSide.BUY if side is Side.BID else OrderSide.SELL
        order = BookOrder(of, Price(price / ONE, 3), Quantity(size / CONTRACT, 2), 0)
        deltas.append(OrderBookDelta(its_id, action, order, 0, 0, ns, ns))

    for e in books:
        if isinstance(e, BookSnapshot):
            deltas.append(OrderBookDelta.clear(its_id, 0, e.ts_ms * 10**6, e.ts_ms * 10**6))
            sizes = {(s, p): n for s, levels in ((Side.BID, e.bids), (Side.ASK, e.asks)) for p, n in levels}
            for (s, p), n in sizes.items(): change(s, p, n, e.ts_ms * 10**6)
        else:
            sizes[e.side, e.price] = n = max(sizes.get((e.side, e.price), 0) + e.delta, 0)
            change(e.side, e.price, n, e.ts_ms * 10**6)

    class Joins(Strategy):  # type: ignore[misc]
        "Joins both best prices each tenth of a second"

        def on_start(self) -> None:
            self.sent, self.at, self.count = 0, list[tuple[int, int, int]](), 0.0
            self.subscribe_order_book_deltas(its_id, book_type=BookType.L2_MBP)
            self.clock.set_timer_ns("step", STEP_MS * 10**6, 0, 0, self.step)

        def step(self, event: object) -> None:
            book = self.cache.order_book(its_id)
            net = float(self.portfolio.net_position(its_id))
            open_ = {o.side: o for o in self.cache.orders_open(instrument_id=its_id)}
            busy = {o.side for o in self.cache.orders_inflight(instrument_id=its_id)}
            for side, best, held in ((OrderSide.BUY, book.best_bid_price(), net), (OrderSide.SELL, book.best_ask_price(), -net)):
                if side in busy: continue
                order, wanted = open_.get(side), best is not None and held <= MOST - SIZE
                if order and not wanted: self.cancel_order(order)
                elif order and order.price != best: self.modify_order(order, price=best)
                elif wanted and not order:
                    new = self.order_factory.limit(its_id, side, Quantity(SIZE, 2), best, TimeInForce.GTC, post_only=True)
                    self.submit_order(new)
                else: continue
                self.sent += 1

        def on_order_filled(self, event: Any) -> None:
            sign = 1 if event.order_side == OrderSide.BUY else -1
            self.at.append((event.ts_event // 10**6, sign, round(float(event.last_px) * ONE)))
            self.count += float(event.last_qty)

    def play() -> Played:
        engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
        engine.add_venue(venue, OmsType.NETTING, AccountType.MARGIN, [Money(100_000, USD)], base_currency=USD,
                         book_type=BookType.L2_MBP, latency_model=LatencyModel(LATENCY_MS * 10**6))  # fmt: skip
        engine.add_instrument(option)
        engine.add_data(deltas, sort=False)
        strategy = Joins()
        engine.add_strategy(strategy)
        began = time.process_time()
        engine.run()
        play.took = time.process_time() - began  # type: ignore[attr-defined]
        found = Played(len(strategy.at), strategy.count, strategy.sent, tuple(strategy.at))
        engine.dispose()
        return found

    return play


# hftbacktest
def hft(books: Books) -> Callable[[], Played]:
    "The rule compiled by numba"
    import hftbacktest as h
    from hftbacktest.types import event_dtype
    from numba import njit

    both = h.EXCH_EVENT | h.LOCAL_EVENT
    sizes: dict[tuple[Side, int], int] = {}
    rows: list[tuple[int, int, int, float, float]] = []

    def row(kind: int, side: Side, price: int, size: int, ms: int) -> None:
        flag = h.BUY_EVENT if side is Side.BID else h.SELL_EVENT
        rows.append((kind | flag | both, ms * 10**6, ms * 10**6, price / ONE, size / CONTRACT))

    for e in books:
        if isinstance(e, BookSnapshot):
            for side, levels in ((Side.BID, e.bids), (Side.ASK, e.asks)):
                if levels: row(h.DEPTH_CLEAR_EVENT, side, levels[-1][0], 0, e.ts_ms)
                for p, n in levels: row(h.DEPTH_SNAPSHOT_EVENT, side, p, n, e.ts_ms)
            sizes = {(s, p): n for s, levels in ((Side.BID, e.bids), (Side.ASK, e.asks)) for p, n in levels}
        else:
            sizes[e.side, e.price] = n = max(sizes.get((e.side, e.price), 0) + e.delta, 0)
            row(h.DEPTH_EVENT, e.side, e.price, n, e.ts_ms)
    data = np.zeros(len(rows), event_dtype)
    for name, column in zip(("ev", "exch_ts", "local_ts", "px", "qty"), zip(*rows, strict=True), strict=True): data[name] = column

    @njit
    def joins(hbt: Any, sent: np.ndarray) -> None:
        while hbt.elapse(STEP_MS * 1_000_000) == 0:
            hbt.clear_inactive_orders(0)
            depth, orders, net = hbt.depth(0), hbt.orders(0), hbt.position(0)
            for side in (1, -1):
                tick = depth.best_bid_tick if side == 1 else depth.best_ask_tick
                wanted = side * net <= MOST - SIZE and 0 < tick < 1000
                there, busy = False, False
                values = orders.values()
                while values.has_next():
                    o = values.get()
                    if o.side != side: continue
                    if o.cancellable:
                        if wanted and o.price_tick == tick: there = True
                        else:
                            hbt.cancel(0, o.order_id, False)
                            sent[0] += 1
                            busy = True
                    else: busy = True
                if wanted and not there and not busy:
                    sent[0] += 1
                    number = 2 * sent[0] + (1 if side == 1 else 0)
                    price = tick * 0.001
                    if side == 1: hbt.submit_buy_order(0, number, price, SIZE, h.GTX, h.LIMIT, False)
                    else: hbt.submit_sell_order(0, number, price, SIZE, h.GTX, h.LIMIT, False)

    def play() -> Played:
        asset = h.BacktestAsset().data(data).linear_asset(1.0).constant_order_latency(LATENCY_MS * 10**6, LATENCY_MS * 10**6)
        asset = asset.risk_adverse_queue_model().partial_fill_exchange().trading_value_fee_model(0, 0)
        asset = asset.tick_size(0.001).lot_size(0.01)
        hbt, sent = h.HashMapMarketDepthBacktest([asset]), np.zeros(1, np.int64)
        began = time.process_time()
        joins(hbt, sent)
        play.took = time.process_time() - began  # type: ignore[attr-defined]
        state = hbt.state_values(0)
        found = Played(int(state.num_trades), float(state.trading_volume), int(sent[0]))
        hbt.close()
        return found

    return play


def contestants(books: Books) -> tuple[dict[str, Callable[[], Played]], list[str]]:
    "Those that can play, and those that aren't installed"
    found, absent = {"kalshi_mm, the core that trades": ours(books)[0]}, []
    for name, make in (("nautilus_trader", nautilus), ("hftbacktest", hft)):
        try: found[f"{name} {importlib.metadata.version(name.replace('_', '-'))}"] = make(books)
        except (ImportError, importlib.metadata.PackageNotFoundError): absent.append(name)
    return found, absent


def compared(ours: Played, theirs: Played, within_ms: int = 1_000) -> str:
    "How many fills two of them have in common, and what the others are"
    mine, other = set(ours.at), set(theirs.at)
    lone = sorted(other - mine)
    again = sum(any(0 <= ms - before <= within_ms and (side, price) == (s, p) and (before, s, p) != (ms, side, price)
                    for before, s, p in other) for ms, side, price in lone)  # fmt: skip
    return (f"{len(mine & other)} of our {len(mine)} are among its {len(other)}, to the millisecond and the price; of its own "
            f"{len(lone)}, {again} follow one at the same price within a second: the same contracts met again")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--data", type=Path, default=next(iter(sorted(DATA.glob("ws/kxbtc15m_*.jsonl.gz"))), None))
    asked.add_argument("--minutes", type=float, default=15, help="of the recording")
    asked.add_argument("--repeats", type=int, default=3)
    a = asked.parse_args()
    if a.data is None: raise SystemExit("no recording: give --data, or set KALSHI_MM_DATA")
    books = tape(a.data, a.minutes)
    players, absent = contestants(books)
    for play in players.values(): play()  # the compiler's turn
    times: dict[str, list[float]] = {name: [] for name in players}
    did: dict[str, Played] = {}
    for _ in range(a.repeats):
        for name, play in players.items():
            began = time.process_time()
            did[name] = play()
            times[name].append(getattr(play, "took", time.process_time() - began))
    first = statistics.median(next(iter(times.values())))
    table = Table("", "seconds", "changes a second", "times ours", "orders sent", "fills", "contracts")
    for name, took in times.items():
        s = statistics.median(took)
        p = did[name]
        figures = f"{s:.3f}", f"{len(books) / s:,.0f}", f"{s / first:.2f}", f"{p.orders:,}", str(p.fills), f"{p.contracts:g}"
        table.add_row(name, *figures)
    minutes = (books[-1].ts_ms - books[0].ts_ms) / 60_000
    Console(width=130).print(table)
    print(f"{len(books):,} changes in {minutes:.1f} minutes of {books[0].ticker}; {a.repeats} repeats; "
          f"Python {platform.python_version()}, {datetime.now(UTC):%d %B %Y}")
    others = {name: p for name, p in did.items() if name.startswith("nautilus") and p.at}
    for name, p in others.items(): print(f"fills of {name}: {compared(next(iter(did.values())), p)}")
    if absent: print(f"not installed, left out: {', '.join(absent)}")


if __name__ == "__main__": main()
