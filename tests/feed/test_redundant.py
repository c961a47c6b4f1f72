"Two lines to the exchange as one: with any losses and delays of either the book told is the exchange's, or it is told as stale"
import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import json

from kalshi_mm.feed.feed import TwinFeed
from kalshi_mm.feed.merge import Merge
from kalshi_mm.feed.stream_state import StreamState
from kalshi_mm.feed.subscriptions import BOOKS
from kalshi_mm.model.messages import BookDelta, BookSnapshot, BookStale, Connection, Event, FillSeen
from kalshi_mm.model.numbers import CENT, CONTRACT, count_str, price_str
from kalshi_mm.model.types import Side
from kalshi_mm.orderbook import OrderBook
from kalshi_mm.sandbox.fault_catalogue import CATALOGUE
from kalshi_mm.sandbox.fault_injection import Faults
from kalshi_mm.sandbox.order_queue import NewOrder
from kalshi_mm.sandbox.server import Sandbox
from tests.sandbox.kit import MARKETS, running
from tests.sessions.process import Process, environment, get, ledger
from tests.sessions.process import until as wait_until
from tests.sessions.test_sessions import exchange as exchange  # the fixture
from tests.sessions.test_sessions import start as start  # the fixture
from tests.sessions.test_sessions import trading

X = MARKETS[0].ticker
Levels = dict[int, int]


class Shown:
    "The book as the merge tells it"

    def __init__(self) -> None: self.book, self.stale = OrderBook(X), list[BookStale]()

    def hear(self, event: Event) -> None:
        match event:
            case BookSnapshot(ticker=t) if t == X: self.book.apply_snapshot(event.bids, event.asks, event.ts_ms)
            case BookDelta(ticker=t) if t == X: self.book.apply_delta(event.side, event.price, event.delta, event.ts_ms)
            case BookStale() if X in event.tickers:
                self.stale.append(event)
                self.book.mark_stale(event.reason)


# -- any losses, duplicates and delays


class Line:
    "A connection, seen from the exchange: frames on their way, and the client's reader"

    def __init__(self, n: int, world: "World"):
        self.n, self.world, self.state = n, world, StreamState([X], channels=(BOOKS,))
        self.way: list[bytes] = []
        self.seq = self.sid = 0
        self.connect()

    def connect(self) -> None:
        self.tell(self.state.on_disconnect("closed", self.world.now))
        self.way, self.sid = [], 0
        self.state.on_connect(self.world.now)

    def obey(self) -> None:
        "The exchange reads the commands"
        for text in self.state.take():
            command: dict[str, Any] = json.decode(text)
            if command["cmd"] == "subscribe":
                self.sid, self.seq = 1, 0
                self.way.append(json.encode({"type": "subscribed", "id": command["id"], "msg": {"channel": BOOKS, "sid": 1}}))
            self.snapshot()

    def say(self, kind: str, **msg: Any) -> None:
        self.seq += 1
        frame = {"type": kind, "sid": 1, "seq": self.seq, "msg": {"market_ticker": X, "clock": self.world.clock, **msg}}
        self.way.append(json.encode(frame))

    def snapshot(self) -> None:
        levels = [[price_str(p), count_str(c)] for p, c in self.world.book.items()]
        self.say("orderbook_snapshot", yes_dollars_fp=levels)

    def arrive(self, at: int = 0, twice: bool = False) -> None:
        "A frame comes, perhaps out of its turn"
        raw = self.way[at] if twice else self.way.pop(at)
        self.tell(self.state.receive(raw, self.world.now))
        if self.state.broken: self.connect()

    def tell(self, events: list[Event]) -> None:
        for event in events: self.world.told(self.world.merge.receive(self.n, event, self.state.raw))


class World:
    "An exchange with one book, two lines from it, and what they tell together"

    def __init__(self) -> None:
        self.now, self.clock, self.n = 0, 100, 0
        self.book: Levels = {4700: 300}
        self.history: list[Levels] = [dict(self.book)]
        self.merge, self.shown, self.at = Merge(), Shown(), 0
        self.changes = self.told_changes = 0
        self.lines = [Line(n, self) for n in (0, 1)]

    def cause(self, changes: int, rng: Random, between: Line | None = None) -> None:
        "Somebody's order changes some levels, all with one clock; a snapshot may be taken in between"
        self.clock += rng.choice((1, 1, 7))
        for n in range(changes):
            price = rng.choice((4500, 4600, 4700, 4800, 4900))
            had, self.n = self.book.get(price, 0), self.n + 1
            delta = -had if had and rng.random() < 0.4 else 100 * self.n + 1  # no two books are alike
            self.book[price] = had + delta
            if not self.book[price]: del self.book[price]
            self.history.append(dict(self.book))
            self.changes += 1
            for line in self.lines:
                if not line.sid: continue
                line.say("orderbook_delta", price_dollars=price_str(price), delta_fp=count_str(delta), side="yes")
            if between and between.sid and not n: between.snapshot()

    def told(self, events: list[Event], back: bool = False) -> None:
        for event in events:
            self.told_changes += isinstance(event, BookDelta)
            self.shown.hear(event)
            fresh = isinstance(event, BookSnapshot)
            if isinstance(event, BookStale): self.at = 0
            if self.shown.book.live: self.check(fresh and back)
        while self.merge.wrong:
            ticker, reason = self.merge.wrong.pop(0)
            for line in self.lines: line.tell(line.state.resync([ticker], reason, self.now))

    def check(self, back: bool) -> None:
        "The book is one that the exchange had, and not from before the one told last, but within one cause"
        begin = 0 if back else max(self.at - 3, 0)
        found = [n for n in range(begin, len(self.history)) if self.history[n] == self.shown.book.bids]
        assert found, f"{self.shown.book.bids} is no book of the exchange since change {begin}"
        self.at = found[0]

    def settle(self) -> None:
        "No more trouble: all that is on its way comes, and time passes"
        for _ in range(6):
            for line in self.lines:
                line.tell(line.state.tick(self.now))
                if line.state.broken: line.connect()
                line.obey()
                while line.way: line.arrive()
                line.obey()
                while line.way: line.arrive()
            self.now += 5_001
            for line in self.lines: line.state.on_ping(self.now)
            self.told(self.merge.tick(self.now), back=True)


WORDS = ["cause"] * 4 + ["arrive"] * 8 + ["obey"] * 2 + ["lose", "twice", "early", "close", "snapshot", "tick", "between"]
STEPS = st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 1), st.integers(1, 3)), max_size=120)


@settings(max_examples=400, deadline=None)
@given(STEPS, st.randoms(use_true_random=False))
def test_two_lines_with_any_losses_and_delays_tell_the_exchanges_book_or_a_stale_one(steps, rng):
    world = World()
    for line in world.lines: line.obey()
    for what, n, count in steps:
        line = world.lines[n]
        world.now += 100
        if what == "cause": world.cause(count, rng)
        elif what == "between": world.cause(count, rng, line)
        elif what == "obey": line.obey()
        elif what == "snapshot" and line.sid: line.snapshot()
        elif what == "close": line.connect()
        elif what == "tick":
            world.now += 1_500
            for each in world.lines: each.state.on_ping(world.now)
            world.told(world.merge.tick(world.now), back=True)
        elif line.way:
            if what == "lose": line.way.pop(0)
            elif what == "arrive": [line.arrive() for _ in range(min(count, len(line.way)))]
            elif what == "twice": line.arrive(twice=True)
            elif what == "early" and len(line.way) > 1: line.arrive(1)
        assert world.shown.book.live == any(X in line.state.live for line in world.lines)
    world.settle()
    assert world.shown.book.live and world.shown.book.bids == world.book


def test_a_snapshot_from_the_middle_of_one_clock_does_not_stay():
    world = World()
    for line in world.lines: line.obey()
    one = world.lines[1]
    for _ in range(2): one.arrive()
    world.cause(2, Random(3), between=one)
    one.arrive(1)  # the snapshot comes before the first change, whose place nobody else has reached
    world.settle()
    assert world.shown.book.live and world.shown.book.bids == world.book


@pytest.mark.parametrize("changes", [2, 3])
@pytest.mark.parametrize("lost", [1, 2])
@pytest.mark.parametrize("first", [0, 1])
def test_what_a_line_loses_after_a_snapshot_from_the_middle_of_a_clock_is_found(first: int, lost: int, changes: int):
    for seed in range(25):
        world = World()
        for line in world.lines: line.obey()
        snapped, other = world.lines[first], world.lines[1 - first]
        for _ in range(2): snapped.arrive()
        world.cause(changes, Random(seed), between=snapped)
        for _ in range(2): snapped.arrive()  # the first change and the snapshot after it
        del snapped.way[:lost]  # and then nothing more: no later frame shows the gap
        while other.way: other.arrive()
        world.settle()
        assert world.shown.book.live and world.shown.book.bids == world.book, seed


@settings(max_examples=200, deadline=None)
@given(STEPS, st.randoms(use_true_random=False), st.integers(0, 1))
def test_while_one_line_is_whole_the_book_is_never_stale_and_each_change_is_told_once(steps, rng, whole):
    world = World()
    for line in world.lines: line.obey()
    for line in world.lines:
        while line.way: line.arrive()
    good, bad = world.lines[whole], world.lines[1 - whole]
    for what, _, count in steps:
        if what in ("cause", "between"): world.cause(count, rng)
        while good.way: good.arrive()
        if what == "close": bad.connect()
        elif what == "obey": bad.obey()
        elif bad.way:
            if what == "lose": bad.way.pop(0)
            elif what == "arrive": bad.arrive()
            elif what == "twice": bad.arrive(twice=True)
            elif what == "early" and len(bad.way) > 1: bad.arrive(1)
        assert world.shown.book.live and world.shown.book.bids == world.book
    assert not world.shown.stale and world.told_changes <= world.changes


# -- the sandbox's faults on one line


@asynccontextmanager
async def twins(tmp_path: Path, **options: Any) -> AsyncIterator[tuple[Sandbox, TwinFeed, Shown, list[Event]]]:
    "A sandbox, and two lines that are up"
    async with running(tmp_path, heartbeat_s=0.2) as (sandbox, clients):
        ann, shown, events = clients["ann"], Shown(), list[Event]()

        def emit(event: Event) -> None:
            events.append(event)
            shown.hear(event)

        url = ann.root.replace("http", "ws") + "/trade-api/ws/v2"
        feed = TwinFeed(url, lambda: ann.headers("GET", "/trade-api/ws/v2"), [X], emit, lambda: time.time_ns() // 1_000_000,
                        rng=Random(1), warn=lambda text: None, silence_ms=2_500, longest_pause_ms=50, **options)
        task = asyncio.create_task(feed.run())
        try:
            await until(lambda: all(line.health.connected and X in line.live for line in feed.lines))
            yield sandbox, feed, shown, events
        finally:
            feed.close()
            await asyncio.wait_for(task, 5)


async def until(condition: Any, seconds: float = 8) -> None:
    async with asyncio.timeout(seconds):
        while not condition(): await asyncio.sleep(0.01)  # noqa: ASYNC110 (not all of it makes an event)


def bid(sandbox: Sandbox, n: int) -> None:
    order = NewOrder(account="bob", ticker=X, side=Side.BID, price=(30 + n % 20) * CENT, count=(n + 1) * CONTRACT)
    sandbox.exchange.place(order, sandbox.day.now())
    sandbox.day.publish()


def agree(sandbox: Sandbox, shown: Shown) -> bool:
    book = shown.book
    return book.live and (book.depth(Side.BID, 100), book.depth(Side.ASK, 100)) == sandbox.exchange.levels(X)


def on_line(sandbox: Sandbox, n: int, fault: str, **changes: Any) -> None:
    "A fault of frames for one connection alone"
    sandbox.lines[n]._faults = Faults([CATALOGUE[fault].plan(**{"at_ms": 0, "for_ms": 0, "one_in": 1} | changes)])


async def scenario(tmp_path: Path, trouble: str, n: int) -> None:
    async with twins(tmp_path) as (sandbox, feed, shown, events):
        for i in range(5): bid(sandbox, i)
        await until(lambda: agree(sandbox, shown))
        if trouble == "abort_socket": sandbox.lines[n].abort()
        elif trouble == "silent_socket": sandbox.lines[n].hush()
        elif trouble == "drop_frame": on_line(sandbox, n, trouble, one_in=3, whom=[BOOKS])
        else: on_line(sandbox, n, trouble, by=2_500, one_in=2, whom=["orderbook_delta"])
        for i in range(5, 60):
            bid(sandbox, i)
            await until(lambda: agree(sandbox, shown), 1.2)  # at once, by the other line
        assert not shown.stale and feed.health.connected
        assert [type(e) for e in events].count(Connection) == 1
        if trouble.endswith("socket"):
            await until(lambda: feed.health.reconnects == 1 and all(X in line.live for line in feed.lines))
        told = sum(isinstance(e, BookDelta) for e in events)
        assert told <= 60, "a change was told twice"
        for line in sandbox.lines: line.abort()
        await until(lambda: shown.stale)  # however soon they are back
        await until(lambda: feed.health.connected and agree(sandbox, shown))


def test_an_aborted_line_changes_nothing(tmp_path): asyncio.run(scenario(tmp_path, "abort_socket", 0))
def test_a_silent_line_changes_nothing(tmp_path): asyncio.run(scenario(tmp_path, "silent_socket", 1))
def test_lost_frames_on_one_line_change_nothing(tmp_path): asyncio.run(scenario(tmp_path, "drop_frame", 0))
def test_late_frames_on_one_line_change_nothing(tmp_path): asyncio.run(scenario(tmp_path, "delay_frame", 1))


def test_a_fill_comes_from_both_lines_with_one_id(tmp_path):
    async def fill() -> None:
        async with twins(tmp_path) as (sandbox, _, _, events):
            for account, side in (("ann", Side.BID), ("bob", Side.ASK)):
                order = NewOrder(account=account, ticker=X, side=side, price=40 * CENT, count=CONTRACT)
                sandbox.exchange.place(order, sandbox.day.now())
            sandbox.day.publish()
            await until(lambda: sum(isinstance(e, FillSeen) for e in events) == 2)
            assert len({e.fill.trade_id for e in events if isinstance(e, FillSeen)}) == 1
    asyncio.run(fill())


def test_a_session_on_two_lines_counts_each_fill_once(exchange, start: Callable[..., Process], tmp_path: Path):
    key = {"KALSHI_API_KEY_ID": exchange["key_id"], "KALSHI_PRIVATE_KEY_FILE": exchange["key_file"]}
    at = ["--rest", exchange["rest"], "--ws", exchange["ws"], "--control-port", "0"]
    process = start("run", "--env", "sandbox", *at, "--json",
                    env=environment(tmp_path, REDUNDANT_FEED="true", **key))
    where = process.json("started")["started"]
    wait_until(trading(where, fills=3), "three fills", 90)
    now = get(f"{where['control']}/api/strategy/status", where)
    assert now["gaps"] == now["reconnects"] == 0 and not now["error"]
    assert not [n for n in now["notes"] if "stale" in n or "clock" in n], now["notes"]
    assert process.end()[0] == 0
    book, summary = ledger(exchange), json.decode(process.lines[-1])["summary"]
    assert book["resting"] == [] and summary["status"]["maker"]["fills"] == len(book["fills"])
