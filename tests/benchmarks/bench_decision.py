"""How long the core takes for a change of one book and the decision about it, with few markets and with many.

    python tests/benchmarks/bench_decision.py [--markets 6,60,600] [--changes N] [--repeats N] [--against PATH]

PATH is a checkout of another commit: both play the same session in processes of their own, in turn, and stand side by side. Six
markets are an event. There is a position in each market, at most sixty are quoted, the others are only watched; the terms of
one market aren't understood, so that a halt of that market is in force throughout. The strategy is spread capture, and it sums
the positions of its event where the code that is measured shows it. Each change is in a market that is quoted,
most of them near the best prices, and is followed by a decision; answers to writes come before the next change, a fill now and
then, the account's lists every 30 seconds. Changes at a best price, or that make a new one, stand alone as well: the others
change nothing that this strategy looks at. Times are the processor's, not the clock's: medians over the repeats of the median
and of the 99th percentile, and of the longest step of the session, the first decision included. Beside them stands what the
strategy alone takes for one market in the same run, which no bookkeeping can save. Nothing is asserted about time.
"""
import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

from msgspec import structs
from rich.console import Console
from rich.table import Table

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import (
    AccountRead,
    Action,
    Amend,
    BookDelta,
    BookSnapshot,
    Cancel,
    Command,
    Connection,
    Decide,
    Event,
    FeedHealth,
    FillSeen,
    MarketListed,
    MarketUnclear,
    OrderAmended,
    OrderCanceled,
    OrderPlaced,
    Place,
)
from kalshi_mm.model.numbers import CENT, CONTRACT, ONE
from kalshi_mm.model.types import Fill, Market, Order, OrderStatus, Side, TickGrid
from kalshi_mm.risk.limits import Limits
from kalshi_mm.strategy.protocol import Quotes, View
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

try: from kalshi_mm.strategy.protocol import Looks  # noqa: I001  (a checkout may lack it)
except ImportError: Looks = None  # type: ignore[assignment, misc]  # a checkout of before strategies could look at their event

T = 1_765_378_800_000
EVENT_MOST = 10**6 * CONTRACT  # in an event: never reached
QUOTED = 60  # markets at most
STEP_MS = 4  # between two changes
GRID = TickGrid.of([(0, ONE, CENT)])
LIMITS = Limits(10_000 * CONTRACT, 10**6 * CONTRACT, 10**15, 10**15, 10**9, 0)


class Remembering(SpreadCapture):
    "Spread capture that looks at the positions of its event, and that can be asked again what it was asked last"

    looks = Looks(event=True) if Looks else None
    view: View

    def quote(self, view: View) -> Quotes:
        self.view = view
        if Looks and view.event.net > EVENT_MOST: return Quotes.none("the event holds enough")
        return super().quote(view)


class Session:
    "A core, and just enough of an exchange around it"

    def __init__(self, markets: int, rng: Random):
        self.rng, self.now, self.tickers = rng, T, [f"E{n // 6}-B{n % 6}" for n in range(markets)]
        of_before = {"max_position": LIMITS.max_position} if "max_position" in Params.__struct_fields__ else {}
        self.strategy = Remembering(Params(**of_before))
        self.maker = MarketMaker(self.strategy, Config("bench", LIMITS))
        self.quoted = self.tickers[:QUOTED]
        self.answers: list[Event] = []
        self.resting: dict[str, Order] = {}  # by client_order_id
        self.net = dict.fromkeys(self.tickers, 0)
        self.ids = 0
        self.steps: Counter[str] = Counter()  # longest of each kind of event, ns

    def take(self, event: Event) -> int:  # ns
        "Hand an event to the core, and keep the answers that it will get"
        began = time.thread_time_ns()
        actions = self.maker.handle(event)
        took = time.thread_time_ns() - began
        kind = type(event).__name__
        self.steps[kind] = max(self.steps[kind], took)
        for a in actions: self.carry(a)
        return took

    def carry(self, a: Action) -> None:
        self.ids += 1
        match a:
            case Place():
                o = Order(f"o{self.ids}", a.client_order_id, a.ticker, a.side, a.price, 0, a.count, OrderStatus.RESTING)
                self.resting[a.client_order_id] = o
                self.answers.append(OrderPlaced(self.now + STEP_MS, a.client_order_id, o.order_id, 0, a.count))
            case Amend():
                o = self.resting[a.client_order_id]
                left = a.count - o.filled
                self.resting[a.client_order_id] = structs.replace(o, price=a.price, remaining=left)
                self.answers.append(OrderAmended(self.now + STEP_MS, a.client_order_id, o.order_id, left))
            case Cancel():
                o = self.resting.pop(a.client_order_id)
                self.answers.append(OrderCanceled(self.now + STEP_MS, a.client_order_id, o.order_id, o.remaining))

    def fill(self, ticker: str, count: int, client_order_id: str = "", order_id: str = "by hand") -> None:
        self.ids += 1
        self.net[ticker] += count
        fill = Fill(f"t{self.ids}", order_id, ticker, Side.BID, 4300, count, 0, False, self.now, client_order_id)
        self.take(FillSeen(self.now, fill))

    def read(self) -> None:
        "The account's lists, as the exchange has them"
        positions = tuple((t, n) for t, n in self.net.items() if n)
        self.take(AccountRead(self.now, self.now, 0, tuple(self.resting.values()), positions, (), 10**12))

    def begin(self) -> None:
        "List, fill, read, and quote until everything rests"
        self.take(Connection(self.now, True))
        for n, ticker in enumerate(self.tickers):
            market = Market(ticker, ticker.split("-")[0], "E", ticker, "active", 0, 10**15, GRID)
            self.take(MarketListed(self.now, market, ticker in self.quoted))
            levels = [(CENT * k, CONTRACT * self.rng.randint(1, 900)) for k in range(10, 90)]
            self.take(BookSnapshot(self.now, ticker, tuple(levels[:30]), tuple(levels[40:])))
            self.fill(ticker, CONTRACT * (1 + n % 7))
        self.take(MarketUnclear(self.now, self.quoted[-1], "its price grid has a gap"))
        self.read()
        self.take(Command(self.now, "start", "bench"))
        self.take(Decide(self.now))
        while self.answers or self.now < T + 20_000: self.pause()
        halted = set(self.maker.halts.active)
        assert halted == {f"terms:{self.quoted[-1]}"} and len(self.resting) == 2 * len(self.quoted) - 2, self.maker.halts.why

    def pause(self) -> None:
        self.now += STEP_MS
        if self.now % 500 < STEP_MS: self.take(FeedHealth(self.now, 100, 40))
        if self.now % 30_000 < STEP_MS: self.read()
        if self.answers:
            answers, self.answers = self.answers, []
            for answer in answers: self.take(answer)
            self.take(Decide(self.now))
        elif self.now < T + 20_000: self.take(Decide(self.now))

    def change(self) -> BookDelta:
        "A change near the best prices of a market, of others' contracts"
        ticker, side = self.rng.choice(self.quoted), self.rng.choice((Side.BID, Side.ASK))
        book = self.maker.slots[ticker].book
        away = min(int(self.rng.expovariate(0.4)), 25)
        price = 3900 - CENT * away if side is Side.BID else 5000 + CENT * away
        had = (book.bids if side is Side.BID else book.asks).get(price, 0)
        delta = -had if had and self.rng.random() < 0.1 else CONTRACT * self.rng.randint(1, 50)
        return BookDelta(self.now, ticker, side, price, delta)

    def seen(self, e: BookDelta) -> bool:
        "Whether a change is at a best price, or makes a new one"
        book = self.maker.slots[e.ticker].book
        bid, ask = book.best_bid, book.best_ask
        return bid is None or e.price >= bid if e.side is Side.BID else ask is None or e.price <= ask


def play(markets: int, changes: int) -> dict[str, float]:
    "One session; returns microseconds: of a change with its decision, and of the longest step"
    session = Session(markets, Random(1))
    gc.collect()
    session.begin()
    times, seen, alone = [], [], []
    for n in range(changes):
        session.pause()
        if n % 200 == 0 and (o := next(iter(session.resting.values()), None)):
            session.fill(o.ticker, CONTRACT, o.client_order_id, o.order_id)
            session.resting[o.client_order_id] = structs.replace(o, filled=o.filled + CONTRACT, remaining=o.remaining - CONTRACT)
        change = session.change()
        at_best = session.seen(change)
        times.append(session.take(change) + session.take(Decide(session.now)))
        if at_best: seen.append(times[-1])
        began = time.thread_time_ns()
        session.strategy.quote(session.strategy.view)
        alone.append(time.thread_time_ns() - began)
    times.sort()
    at = {"median": times[len(times) // 2], "median at a best price": statistics.median(seen)}
    at["the strategy alone"] = statistics.median(alone)
    at |= {"99 %": times[len(times) * 99 // 100], "longest step": max(session.steps.values())}
    steps = {f"longest {kind}": ns for kind, ns in session.steps.most_common(4)}
    return {name: ns / 1000 for name, ns in (at | steps).items()}


def elsewhere(root: Path, markets: int, changes: int) -> dict[str, float]:
    "The same session with the code of a checkout"
    done = subprocess.run([sys.executable, __file__, "--once", "--markets", str(markets), "--changes", str(changes)], check=True,
                          cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--markets", default="6,60,600")
    args.add_argument("--changes", type=int, default=3000, help="in each session")
    args.add_argument("--repeats", type=int, default=5)
    args.add_argument("--against", type=Path, help="a checkout of another commit")
    args.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = args.parse_args()
    sizes = [int(n) for n in options.markets.split(",")]
    if options.once: return print(json.dumps(play(sizes[0], options.changes)))

    roots = {"here": Path(__file__).parents[2]} | ({"there": options.against.resolve()} if options.against else {})
    table = Table(title=f"us for a change and its decision, {options.repeats} sessions of {options.changes:,}")
    for heading in ("markets", ""): table.add_column(heading, justify="right", no_wrap=True)
    for heading in roots: table.add_column(heading, justify="right")
    if options.against: table.add_column("there / here", justify="right")
    for n in sizes:
        runs = [{where: elsewhere(root, n, options.changes) for where, root in roots.items()} for _ in range(options.repeats)]
        for name in ("median", "median at a best price", "the strategy alone", "99 %", "longest step"):
            each = [statistics.median(run[where][name] for run in runs) for where in roots]
            ratio = [f"{each[1] / each[0]:.1f}"] if options.against else []
            table.add_row(str(n) if name == "median" else "", name, *(f"{us:,.0f}" for us in each), *ratio)
        table.add_section()
    Console().print(table)


if __name__ == "__main__": main()
