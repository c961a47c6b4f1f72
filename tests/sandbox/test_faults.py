"Every fault of the catalogue: a stranger sees it, the feed never believes a wrong book, and the engine's books stay right."
import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
import websockets
from websockets.protocol import State

from kalshi_mm.client.credentials import Credentials
from kalshi_mm.client.rest import Client as OurClient
from kalshi_mm.config import load_settings
from kalshi_mm.engine.engine import Engine
from kalshi_mm.engine.journal import Journal
from kalshi_mm.engine.kill_latch import Latch
from kalshi_mm.feed.feed import Feed
from kalshi_mm.model.messages import BookDelta, BookSnapshot, BookStale, Event
from kalshi_mm.model.numbers import CENT, CONTRACT
from kalshi_mm.model.types import Side
from kalshi_mm.orderbook import OrderBook
from kalshi_mm.sandbox.fault_catalogue import CATALOGUE, plan
from kalshi_mm.sandbox.fault_injection import ExchangeFault, Faults, FrameFault
from kalshi_mm.sandbox.matching import Exchange, NewOrder, Refusal
from kalshi_mm.sandbox.server import Sandbox, build, wall_ms
from kalshi_mm.sandbox.streams import Session
from tests.sandbox.kit import BASE, MARKETS, STREAM, Client, Nobody, running

X = MARKETS[0].ticker


def faults(name: str, **changes: Any) -> Faults:
    "One fault, that hits whatever it can from the beginning"
    return Faults([CATALOGUE[name].plan(**{"at_ms": 0, "for_ms": 0, "one_in": 1} | changes)])


# ---- a stranger sees it


class Stage:
    "A sandbox with one fault, and what a stranger can do on it"

    def __init__(self, name: str, sandbox: Sandbox, clients: dict[str, Client]):
        self.name, self.sandbox, self.ann, self.bob = name, sandbox, clients["ann"], clients["bob"]

    def strike(self, **changes: Any) -> Callable[[], None]:
        "Let a fault of the exchange itself happen now; what ends it"
        struck = Faults([CATALOGUE[self.name].plan(**{"at_ms": 0} | changes)])
        struck.on_tick(self.sandbox, 0)
        self.sandbox.day.publish()
        return lambda: struck.on_tick(self.sandbox, 10**9)

    def bid(self, price: int, ticker: str = X) -> None:
        "Bob bids, and the stream says so"
        self.sandbox.exchange.place(
            NewOrder(account="bob", ticker=ticker, side=Side.BID, price=price, count=CONTRACT), self.sandbox.day.now())
        self.sandbox.day.publish()

    @asynccontextmanager
    async def heard(self, *channels: str) -> AsyncIterator[websockets.ClientConnection]:
        "A stream of Ann's, subscribed"
        async with self.ann.stream() as stream:
            await stream.send("subscribe", channels=channels, market_tickers=[X])
            wanted = len(channels) + ("orderbook_delta" in channels)
            for _ in range(wanted): await asyncio.wait_for(stream.ws.recv(), 5)
            yield stream.ws

    async def raw(self, method: str, path: str, body: Any = None) -> tuple[int, bytes, dict[str, str]]:
        "Status, body and headers, whatever they are; aiohttp's errors if there is no answer"
        full, content = BASE + path, None if body is None else json.dumps(body).encode()
        async with self.ann.http.request(method, self.ann.root + full, data=content, headers=self.ann.headers(method, full)) as r:
            return r.status, await r.read(), dict(r.headers)

    async def order(self) -> tuple[int, bytes]:
        "Ann places an order"
        order = {"ticker": X, "side": "bid", "price": "0.40", "count": "1", "time_in_force": "good_till_canceled",
                 "self_trade_prevention_type": "taker_at_cross"}
        return (await self.raw("POST", "/portfolio/events/orders", order))[:2]

    def resting(self) -> int: return sum(o.resting for o in self.sandbox.exchange.orders("ann"))


async def frame(ws: websockets.ClientConnection, wait_s: float = 5) -> Any:
    return json.loads(await asyncio.wait_for(ws.recv(), wait_s))


async def seqs(stage: Stage, ws: websockets.ClientConnection, bids: int) -> list[int]:
    "The numbers of the frames that some bids cause"
    for n in range(bids): stage.bid((40 + n) * CENT)
    found = []
    with suppress(TimeoutError):
        while True: found.append((await frame(ws, 0.2))["seq"])
    return found


async def drop_frame(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws: assert await seqs(s, ws, 3) == [3, 4]


async def duplicate_frame(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws: assert await seqs(s, ws, 2) == [2, 2, 3]


async def delay_frame(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws:
        began = time.monotonic()
        s.bid(40 * CENT)
        await frame(ws)
        assert time.monotonic() - began > 0.25


async def reorder_frames(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws: assert await seqs(s, ws, 3) == [3, 2, 4]


async def garble_frame(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws:
        s.bid(40 * CENT)
        with pytest.raises(json.JSONDecodeError): await frame(ws)


async def add_field_to_frame(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws:
        s.bid(40 * CENT)
        assert {"brand_new", "seq", "msg"} <= (await frame(ws)).keys()


async def new_frame_type(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws:
        s.bid(40 * CENT)
        assert [(await frame(ws))["type"] for _ in range(2)] == ["brand_new", "orderbook_delta"]


async def new_word_in_frame(s: Stage) -> None:
    async with s.heard("user_orders") as ws:
        await s.order()
        assert (await frame(ws))["msg"]["status"] == "brand_new"


async def _filled(s: Stage) -> list[str]:
    "Ann's order trades; the types of what the stream tells her of it"
    async with s.heard("fill", "user_orders") as ws:
        await s.order()
        assert (await s.bob.place(X, "ask", "0.40", "1"))[0] == 201
        told = []
        with suppress(TimeoutError):
            while True: told.append((await frame(ws, 0.2))["type"])
    assert len((await s.ann.ask("GET", "/portfolio/fills"))[1]["fills"]) == 1
    return told


async def unread_fill(s: Stage) -> None:
    async with s.heard("fill") as ws:
        await s.order()
        await s.bob.place(X, "ask", "0.40", "1")
        assert (await frame(ws))["msg"]["count_fp"] is None


async def lose_fill(s: Stage) -> None: assert await _filled(s) == ["user_order", "user_order"]
async def lose_user_order(s: Stage) -> None: assert await _filled(s) == ["fill"]


async def sequence_jump(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws:
        s.strike()
        assert await seqs(s, ws, 2) == [7, 8]


async def sequence_back(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws:
        assert await seqs(s, ws, 2) == [2, 3]
        s.strike()
        assert await seqs(s, ws, 2) == [1, 2]


async def terminal_error(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws:
        s.strike()
        assert (await frame(ws))["msg"]["code"] == {"channel_error": 10, "buffer_overflow": 25}[s.name]
        assert await seqs(s, ws, 1) == []


async def slow_subscriber(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws:
        s.strike(by=3, for_ms=200)
        for n in range(6): s.bid((40 + n) * CENT)
        while (told := await frame(ws))["type"] != "error": pass
        assert told["msg"]["code"] == 25


async def close_socket(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws:
        s.strike()
        with pytest.raises(websockets.ConnectionClosed) as closed: await asyncio.wait_for(ws.recv(), 5)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001


async def abort_socket(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws:
        s.strike()
        with pytest.raises(websockets.ConnectionClosed) as closed: await asyncio.wait_for(ws.recv(), 5)
        assert closed.value.rcvd is None


async def silent_socket(s: Stage) -> None:
    async with s.heard("orderbook_delta") as ws:
        s.strike()
        assert await seqs(s, ws, 1) == []
        pong = await ws.ping()
        with pytest.raises(TimeoutError): await asyncio.wait_for(asyncio.shield(pong), 0.3)
        assert ws.state is State.OPEN


async def refuse_stream(s: Stage) -> None:
    for _ in range(2):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with s.ann.stream(): pass
        assert refused.value.response.status_code == 502
    async with s.ann.stream(): pass


async def too_many_requests(s: Stage) -> None:
    assert (await s.raw("GET", "/markets"))[0] == 429
    assert ((await s.order())[0], s.resting()) == (429, 0)


async def server_error(s: Stage) -> None: assert ((await s.order())[0], s.resting()) == (503, 0)
async def server_error_after(s: Stage) -> None: assert ((await s.order())[0], s.resting()) == (502, 1)


async def lose_request(s: Stage) -> None:
    with pytest.raises(aiohttp.ClientConnectionError): await s.order()
    assert s.resting() == 0


async def lose_answer(s: Stage) -> None:
    with pytest.raises(aiohttp.ClientConnectionError): await s.order()
    assert s.resting() == 1


async def delay_answer(s: Stage) -> None:
    began = time.monotonic()
    assert (await s.order())[0] == 201
    assert time.monotonic() - began > 0.25


async def garble_answer(s: Stage) -> None:
    status, body = await s.order()
    with pytest.raises(json.JSONDecodeError): json.loads(body)
    assert (status, s.resting()) == (201, 1)


async def truncate_answer(s: Stage) -> None:
    with pytest.raises(aiohttp.ClientPayloadError): await s.order()
    assert s.resting() == 1


async def add_field_to_answer(s: Stage) -> None:
    assert {"brand_new", "order_id"} <= json.loads((await s.order())[1]).keys()


async def new_word_in_answer(s: Stage) -> None:
    await s.order()
    assert json.loads((await s.raw("GET", "/portfolio/orders"))[1])["orders"][0]["status"] == "brand_new"


async def odd_row(s: Stage) -> None:
    await s.order()
    (row,), odd = json.loads((await s.raw("GET", "/portfolio/orders"))[1])["orders"], (None, 7, "", "brand_new", [])
    assert sum(row[name] in odd for name in ("yes_price_dollars", "remaining_count_fp", "book_side")) == 1


async def clock_skew(s: Stage) -> None:
    s.strike()
    status, body, headers = await s.raw("GET", "/portfolio/balance")
    assert (status, json.loads(body)["error"]["code"]) == (401, "header_timestamp_expired")
    assert parsedate_to_datetime(headers["Date"]).timestamp() > time.time() + 5


async def exchange_pause(s: Stage) -> None:
    placed = json.loads((await s.order())[1])["order_id"]
    resume = s.strike()
    assert [(await s.order())[0], (await s.raw("DELETE", f"/portfolio/events/orders/{placed}"))[0]] == [409, 409]
    assert json.loads((await s.raw("GET", "/exchange/status"))[1])["exchange_active"] is False
    resume()
    assert (await s.raw("DELETE", f"/portfolio/events/orders/{placed}"))[0] == 200


async def trading_pause(s: Stage) -> None:
    placed = json.loads((await s.order())[1])["order_id"]
    resume = s.strike()
    assert [(await s.order())[0], (await s.raw("DELETE", f"/portfolio/events/orders/{placed}"))[0]] == [409, 200]
    resume()
    assert (await s.order())[0] == 201


async def market_pause(s: Stage) -> None:
    async with s.heard("market_lifecycle_v2") as ws:
        await s.order()
        resume = s.strike()
        assert (await frame(ws))["msg"]["event_type"] == "deactivated"
        assert ((await s.order())[0], s.resting()) == (409, 1)
        resume()
        assert s.resting() == 0


async def tick_change(s: Stage) -> None:
    async with s.heard("market_lifecycle_v2") as ws:
        await s.order()
        s.strike()
        assert (await frame(ws))["msg"]["event_type"] == "price_level_structure_updated"
        assert ((await s.ann.place(X, "bid", "0.405", "1"))[0], s.resting()) == (201, 2)


async def fee_change(s: Stage) -> None:
    async with s.heard("market_lifecycle_v2") as ws:
        s.strike()
        assert (await frame(ws))["type"] == "event_fee_update"
        await s.order()
        await s.bob.place(X, "ask", "0.40", "1")
        assert [f.fee > 0 for f in s.sandbox.exchange.ledger("ann").fills] == [True]


async def price_gap(s: Stage) -> None:
    for price in ("0.50", "0.60"): assert (await s.ann.place(X, "ask", price, "10"))[0] == 201
    s.strike(by=1)
    assert (s.resting(), s.sandbox.exchange.ledger("ann").positions[X].net) == (0, -20 * CONTRACT)


async def group_trigger(s: Stage) -> None:
    group = (await s.ann.ask("POST", "/portfolio/order_groups/create", {"contracts_limit": 10}))[1]["order_group_id"]
    assert (await s.ann.place(X, "bid", "0.40", "1", order_group_id=group))[0] == 201
    s.strike()
    assert (s.resting(), (await s.ann.place(X, "bid", "0.40", "1", order_group_id=group))[0]) == (0, 400)


async def _answers(s: Stage) -> bool:
    try: return bool(await s.raw("GET", "/exchange/status"))
    except aiohttp.ClientConnectionError: return False


async def restart(s: Stage) -> None:
    await s.order()
    async with s.heard("orderbook_delta") as ws:
        s.strike(for_ms=300)
        with pytest.raises(websockets.ConnectionClosed): await asyncio.wait_for(ws.recv(), 5)
        with pytest.raises(aiohttp.ClientConnectionError): await s.order()
    async with asyncio.timeout(5):
        while not await _answers(s): await asyncio.sleep(0.05)  # noqa: ASYNC110
    assert s.resting() == 1
    async with s.heard("orderbook_delta") as ws: assert await seqs(s, ws, 1) == [2]


SEEN: dict[str, Callable[[Stage], Awaitable[None]]] = {
    f.__name__: f for f in (
        drop_frame, duplicate_frame, delay_frame, reorder_frames, garble_frame, add_field_to_frame, new_frame_type,
        new_word_in_frame, unread_fill, lose_fill, lose_user_order, sequence_jump, sequence_back, slow_subscriber, close_socket,
        abort_socket, silent_socket, refuse_stream, too_many_requests, server_error, server_error_after, lose_request,
        lose_answer, delay_answer, garble_answer, truncate_answer, add_field_to_answer, odd_row, new_word_in_answer, clock_skew,
        exchange_pause, trading_pause, market_pause, tick_change, fee_change, price_gap, group_trigger, restart)
} | {"truncate_frame": garble_frame, "channel_error": terminal_error, "buffer_overflow": terminal_error}
PARTICULAR: dict[str, dict[str, Any]] = {
    "drop_frame": {"most": 1}, "duplicate_frame": {"most": 1}, "reorder_frames": {"most": 1, "whom": ["orderbook_delta"]},
    "garble_frame": {"whom": ["orderbook_delta"]}, "truncate_frame": {"whom": ["orderbook_delta"]}, "refuse_stream": {"most": 2},
    "new_frame_type": {"whom": ["orderbook_delta"]}, "delay_frame": {"by": 300, "whom": ["orderbook_delta"]},
    "delay_answer": {"by": 300}}


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_fault_is_seen_by_a_stranger_as_described(tmp_path: Path, name: str):
    async def story() -> None:
        itself = isinstance(CATALOGUE[name], ExchangeFault)
        wrong = None if itself else faults(name, **PARTICULAR.get(name, {}))
        async with running(tmp_path, faults=wrong, heartbeat_s=0.1) as (sandbox, clients):
            await SEEN[name](Stage(name, sandbox, clients))

    asyncio.run(asyncio.wait_for(story(), 20))


def test_the_server_carries_out_a_plan_in_time(tmp_path: Path):
    async def story() -> None:
        planned, seed = plan("{seed: 3, faults: [{fault: sequence_jump, at_ms: 300, every_ms: 200, most: 2, by: 10}]}")
        async with running(tmp_path, faults=Faults(planned, seed)) as (sandbox, clients):
            stage = Stage("", sandbox, clients)
            async with stage.heard("orderbook_delta") as ws:
                async with asyncio.timeout(5):
                    while sandbox.faults.counts["sequence_jump"] < 2: await asyncio.sleep(0.05)  # noqa: ASYNC110
                assert await seqs(stage, ws, 1) == [22]

    asyncio.run(asyncio.wait_for(story(), 20))


def spoiled(seed: int) -> list[bytes]:
    "What becomes of some frames when all faults of frames are at work"
    held: list[bytes] = []
    wrong = Faults([f.plan(one_in=7, whom=[]) for f in CATALOGUE.values() if isinstance(f, FrameFault)], seed)
    return [s.frame for n in range(500) for s in wrong.on_frame(b'{"type":"trade","seq":%d}' % n, held)]


def test_the_same_seed_gives_the_same_faults_and_another_others():
    assert spoiled(1) == spoiled(1) != spoiled(2)


def test_a_fault_meets_the_same_things_whatever_else_is_planned():
    def hit(*names: str) -> list[int]:
        wrong = Faults([CATALOGUE[n].plan(one_in=5) for n in names], 9)
        return [n for n in range(200) if wrong.on_request("GET /markets") or wrong.counts["server_error"] > 1e9]

    alone = hit("server_error")
    assert alone and alone == hit("server_error", "delay_answer")


# ---- the feed never believes a wrong book


class Truth:
    "Every state that the books have ever had, heard on a line that nothing befalls"

    def __init__(self, sandbox: Sandbox, tickers: list[str]):
        self.session = Session("witness", sandbox.day.market_data)
        self.books = {t: OrderBook(t) for t in tickers}
        self.were: dict[str, set[object]] = {t: set() for t in tickers}
        sandbox.day.sessions.add(self.session)
        params = {"channels": ["orderbook_delta"], "market_tickers": tickers, "use_yes_price": True}
        self.session.receive(json.dumps({"cmd": "subscribe", "params": params}), 0)

    def hear(self) -> None:
        while len(self.session):
            told = json.loads(self.session.pop())
            if told["type"] not in ("orderbook_snapshot", "orderbook_delta"): continue
            msg = told["msg"]
            book = self.books[msg["market_ticker"]]
            if told["type"] == "orderbook_snapshot":
                book.apply_snapshot(*([(units(p), units(n, 100)) for p, n in msg.get(f"{side}_dollars_fp", [])]
                                      for side in ("yes", "no")), 0)
            else:
                side = Side.BID if msg["side"] == "yes" else Side.ASK
                book.apply_delta(side, units(msg["price_dollars"]), units(msg["delta_fp"], 100), 0)
            self.were[book.ticker].add(state(book))


def units(text: str, one: int = 10_000) -> int: return round(float(text) * one)


def state(book: OrderBook) -> object: return frozenset(book.bids.items()), frozenset(book.asks.items())


class Reader:
    "Our feed with the books that it keeps, held against the truth at every event"

    def __init__(self, truth: Truth, client: Client, tickers: list[str]):
        self.truth, self.books = truth, {t: OrderBook(t) for t in tickers}
        self.wrong: list[str] = []
        self.feed = Feed(
            client.root.replace("http", "ws") + STREAM, lambda: client.headers("GET", STREAM), tickers, self.hear, wall_ms,
            rng=random.Random(1), warn=lambda text: None, silence_ms=600, patience_ms=600, longest_pause_ms=100)

    def hear(self, event: Event) -> None:
        match event:
            case BookSnapshot(): self.books[event.ticker].apply_snapshot(event.bids, event.asks, event.ts_ms)
            case BookDelta(): self.books[event.ticker].apply_delta(event.side, event.price, event.delta, event.ts_ms)
            case BookStale():
                for t in event.tickers: self.books[t].mark_stale(event.reason)
            case _: return
        self.truth.hear()
        for t, book in self.books.items():
            if book.live and state(book) not in self.truth.were[t]: self.wrong.append(f"{t} after {event}")

    def right(self) -> bool:
        "Whether all books are live and as they are at the exchange"
        self.truth.hear()
        return all(b.live and state(b) == state(self.truth.books[t]) for t, b in self.books.items())


async def trade_a_bit(sandbox: Sandbox, rng: Random, for_s: float) -> None:
    "Bob and Ann place, cancel and trade at random"
    ours, until = list[tuple[str, str]](), time.monotonic() + for_s
    while time.monotonic() < until:
        account, side = rng.choice(("ann", "bob")), rng.choice(tuple(Side))
        price = (50 + (rng.randint(-8, 2) if side is Side.BID else rng.randint(-2, 8))) * CENT
        with suppress(Refusal):  # a pause, or an order that is gone
            if ours and rng.random() < 0.5: sandbox.exchange.cancel(*ours.pop(rng.randrange(len(ours))), sandbox.day.now())
            else:
                ticker, count = rng.choice(MARKETS).ticker, rng.randint(1, 5) * CONTRACT
                order = NewOrder(account=account, ticker=ticker, side=side, price=price, count=count)
                ours.append((account, sandbox.exchange.place(order, sandbox.day.now()).order_id))
        sandbox.day.publish()
        await asyncio.sleep(0.004)


LIVELY: dict[str, Any] = {"at_ms": 300, "for_ms": 700, "one_in": 5}  # so that it happens early, often, and ends
AGAIN: dict[str, Any] = {"every_ms": 400, "most": 2}


OF_THE_STREAM = [n for n, f in CATALOGUE.items() if isinstance(f, FrameFault | ExchangeFault)] + ["refuse_stream"]


@pytest.mark.parametrize("name", [n for n in OF_THE_STREAM])
def test_whatever_goes_wrong_our_books_are_right_or_stale_and_right_in_the_end(tmp_path: Path, name: str):
    async def story() -> Reader:
        fault, tickers = CATALOGUE[name], [m.ticker for m in MARKETS]
        planned = [fault.plan(**LIVELY, **(AGAIN if isinstance(fault, ExchangeFault) else {}))]
        if name == "refuse_stream": planned = [fault.plan(), CATALOGUE["abort_socket"].plan(at_ms=300)]
        async with running(tmp_path, faults=Faults(planned, 7), heartbeat_s=0.1) as (sandbox, clients):
            reader = Reader(Truth(sandbox, tickers), clients["ann"], tickers)
            streaming = asyncio.create_task(reader.feed.run())
            try:
                rng = Random(3)
                await trade_a_bit(sandbox, rng, 1.6)
                async with asyncio.timeout(10):
                    while not reader.right(): await trade_a_bit(sandbox, rng, 0.05)
                assert sandbox.faults.counts[name]
            finally:
                reader.feed.close()
                await asyncio.wait_for(streaming, 5)
        return reader

    reader = asyncio.run(asyncio.wait_for(story(), 30))
    assert reader.wrong == []
    assert any(len(states) > 10 for states in reader.truth.were.values())


# ---- the engine's books stay right


class Fair(Nobody):
    "Rivals with a wide spread, and takers who hit whatever stands inside it, a hundred times a second"

    def __init__(self) -> None:
        super().__init__()
        self.rng, self.due_ms, self.quotes = Random(11), 0, dict[tuple[str, Side], str]()

    def next_ms(self) -> int: return self.due_ms  # type: ignore[override]

    def act(self, exchange: Exchange, day_ms: int, now_ms: int) -> None:
        for account in ("rival", "taker") if not self.due_ms else ():
            exchange.open_account(account, 0, unlimited=True)
        self.due_ms = day_ms + 10
        for market in [m for m in exchange.markets() if m.status == "active"]:
            def order(account: str, side: Side, price: int, ticker: str = market.ticker, **more: Any) -> str:
                more = {"count": self.rng.randint(1, 300)} | more
                return exchange.place(NewOrder(account=account, ticker=ticker, side=side, price=price, **more), now_ms).order_id

            for side, price in ((Side.BID, 40 * CENT), (Side.ASK, 60 * CENT)):
                try: rests = exchange.order(self.quotes[market.ticker, side]).resting
                except (KeyError, Refusal): rests = False
                if not rests: self.quotes[market.ticker, side] = order("rival", side, price, count=1000 * CONTRACT)
            if self.rng.random() < 0.1:
                side = self.rng.choice(tuple(Side))
                order("taker", side, (59 if side is Side.BID else 41) * CENT, time_in_force="immediate_or_cancel")


async def trading(folder: Path, wrong: Faults, for_s: float) -> tuple[Sandbox, Any, Journal]:
    "A whole session of the engine on an exchange on which something goes wrong"
    options: dict[str, Any] = {"faults": wrong, "tier": "premier", "heartbeat_s": 0.3}
    async with running(folder, traffic=Fair(), members=("trader",), **options) as (sandbox, clients):
        key = sandbox.keys.accounts["trader"]
        client = OurClient(clients["trader"].root + BASE, Credentials.load(key.key_id, key.key_file))
        journal = Journal(folder / "journal.db")
        try:
            await client.limits()
            settings = load_settings(None, {}, kalshi_env="sandbox", state_dir=folder, target_series="KXTEST")
            ws = clients["trader"].root.replace("http", "ws") + STREAM
            outcome = await Engine(settings, client, ws, journal, Latch(folder / "killed"), "test").run(for_s)
        finally:
            await client.close()
        return sandbox, outcome, journal


SETS = {
    "odd": ("unread_fill", "odd_row", "lose_fill"),
    "stream": ("drop_frame", "duplicate_frame", "reorder_frames", "new_frame_type", "lose_user_order", "abort_socket"),
    "answers": ("lose_answer", "server_error_after", "delay_answer", "lose_request", "server_error", "add_field_to_answer"),
    "exchange": ("price_gap", "market_pause", "tick_change", "fee_change", "sequence_jump", "channel_error"),
    "restart": ("restart",),
}


def check_session(folder: Path, wrong: Faults, for_s: float) -> None:
    "Trade, and hold the journal against the exchange's ledger"
    sandbox, outcome, journal = asyncio.run(asyncio.wait_for(trading(folder, wrong, for_s), for_s + 60))
    ledger = sandbox.exchange.ledger("trader")
    assert [o for o in sandbox.exchange.orders("trader") if o.resting] == []
    assert (outcome.resting, outcome.status.error) == ([], "")
    assert {f.trade_id: (f.price, f.count, f.fee) for f in journal.past.fills()} == {
        f.trade_id: (f.price, f.count, f.fee) for f in ledger.fills}
    held = {t: p.net for t, p in ledger.positions.items() if p.net}
    assert {t: p.net for t, p in journal.past.positions().items() if p.net} == held
    journal.close()


@pytest.mark.parametrize("name", SETS)
def test_journal_and_ledger_agree_and_nothing_rests_whatever_went_wrong(tmp_path: Path, name: str):
    changes = {"at_ms": 1_500, "for_ms": 1_000, "every_ms": 3_500, "one_in": 5}  # the last window ends before the session does
    wrong = Faults([CATALOGUE[n].plan(**changes) for n in SETS[name]], 7)
    check_session(tmp_path, wrong, 8)
    assert wrong.counts


def test_an_exchange_that_is_kept_goes_on_where_it_ended(tmp_path: Path):
    async def story(first: bool) -> tuple[str, list[tuple[str, bool]], int]:
        sandbox = build(tmp_path, seed=5, speed=60 if first else 1, skip_hours=22, kind="ed25519", keep=True)
        await sandbox.start()
        x = sandbox.exchange
        ticker = x.markets()[0].ticker
        if first:
            x.place(NewOrder(account="trader", ticker=ticker, side=Side.BID, price=CENT, count=CONTRACT, client_order_id="kept"),
                    sandbox.day.now())
        await asyncio.sleep(0.3)  # some traffic of another day would show
        await sandbox.stop()
        return ticker, [(o.client_order_id, o.resting) for o in x.orders("trader")], sandbox.day.clock.wall_start_ms

    assert asyncio.run(story(True)) == asyncio.run(story(False))
