"""The feed against an exchange that misbehaves: on a real socket, and in every order that a search can think of."""
import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import json
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from kalshi_mm.feed.feed import Feed, StreamState
from kalshi_mm.feed.subscriptions import BOOKS, CHANNELS, LIFECYCLE, TRADES
from kalshi_mm.model.messages import (
    BookDelta,
    BookSnapshot,
    BookStale,
    Connection,
    Event,
    FillSeen,
    GroupSeen,
    MarketSettled,
    MarketStatus,
    OrderSeen,
    OrderUnclear,
    Trade,
)
from kalshi_mm.model.numbers import count_str, price_str
from kalshi_mm.model.types import OrderStatus, Side
from kalshi_mm.orderbook import OrderBook

DATA = Path(os.environ.get("KALSHI_MM_DATA", Path(__file__).parents[3] / "shared" / "data"))
EXAMPLES = DATA.parent / "kalshi" / "ws_examples.json"
TICKERS = ("KXHIGHNY-26NOV23-B63.5", "KXHIGHNY-26NOV23-B65.5")
A, B = TICKERS


# -- the exchange


def change(ticker: str, price: int, delta: int) -> dict[str, str]:
    "What a change of the bids says"
    return {"market_ticker": ticker, "price_dollars": price_str(price), "delta_fp": count_str(delta), "side": "yes"}


class Line:
    "One connection, seen from the exchange"

    def __init__(self, socket: ServerConnection, exchange: "Exchange"):
        self.socket, self.exchange = socket, exchange
        self.commands: list[dict[str, Any]] = []
        self.sids: dict[str, int] = {}  # of each channel
        self.seqs: dict[int, int] = {}

    async def raw(self, text: str) -> None: await self.socket.send(text)

    async def say(self, kind: str, on: str = "", seq: int | None = None, id: int = 0, **msg: Any) -> None:
        "A frame of a channel, with its next number or the number given"
        frame: dict[str, Any] = {"type": kind, "id": id, "sending_ts_ms": time.time_ns() // 1_000_000, "msg": msg}
        if on:
            sid = frame["sid"] = self.sids[on]
            if seq is None: seq = self.seqs[sid] = self.seqs.get(sid, 0) + 1
            if on not in ("fill", "user_orders", "market_positions"): frame["seq"] = seq
        await self.raw(json.encode(frame).decode())

    async def snapshot(self, ticker: str, id: int = 0) -> None:
        levels = self.exchange.bids[ticker].items()
        await self.say("orderbook_snapshot", BOOKS, id=id, market_ticker=ticker,
                       yes_dollars_fp=[[price_str(p), count_str(c)] for p, c in levels])

    async def bid(self, price: int, delta: int, ticker: str = A, lost: bool = False) -> None:
        "More or fewer contracts are bid, and the word of it may get lost"
        bids = self.exchange.bids[ticker]
        bids[price] = bids.get(price, 0) + delta
        if not bids[price]: del bids[price]
        if lost: self.seqs[self.sids[BOOKS]] += 1
        else: await self.say("orderbook_delta", BOOKS, **change(ticker, price, delta))

    async def trade(self, seq: int | None = None) -> None:
        sold = {"yes_price_dollars": "0.4700", "count_fp": "1.00", "taker_book_side": "ask"}
        await self.say("trade", TRADES, seq, trade_id="t", market_ticker=A, **sold)

    async def drop(self, channel: str, code: int) -> None:
        "The subscription ends with an error; a new one will have another sid"
        await self.say("error", channel, code=code, msg="gone")
        del self.sids[channel]

    async def obey(self) -> None:
        async for text in self.socket:
            command = json.decode(text)
            self.commands.append(command)
            await self.exchange.answer(self, command)

    def asked(self, cmd: str, key: str = "", value: Any = None) -> list[dict[str, Any]]:
        return [c for c in self.commands if c["cmd"] == cmd and (not key or c["params"].get(key) == value)]


class Exchange:
    "Answers as the real one does, as long as it is not told otherwise"

    def __init__(self) -> None:
        self.bids: dict[str, dict[int, int]] = {t: {4700: 300} for t in TICKERS}
        self.lines: list[Line] = []
        self.headers: list[str] = []
        self.deaf_to: set[str] = set()  # channels and actions that get no answer
        self.next_sid = 1

    async def __call__(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.headers.append(socket.request.headers.get("KALSHI-ACCESS-SIGNATURE", ""))
        self.lines.append(line := Line(socket, self))
        try:
            await line.obey()
        except ConnectionClosed:
            return

    @property
    def line(self) -> Line: return self.lines[-1]

    async def answer(self, line: Line, command: dict[str, Any]) -> None:
        params = command["params"]
        if self.deaf_to & {params.get("action"), *params.get("channels", [])}: return
        tickers = params.get("market_tickers", [])
        match command["cmd"], params.get("action"):
            case "subscribe", _:
                (channel,) = params["channels"]
                line.sids[channel], self.next_sid = self.next_sid, self.next_sid + 1
                await line.say("subscribed", id=command["id"], channel=channel, sid=line.sids[channel])
                if channel != BOOKS: return
                assert params["use_yes_price"] is True
            case _, "add_markets" | "delete_markets":
                channel = {sid: c for c, sid in line.sids.items()}[params["sid"]]
                await line.say("ok", channel, id=command["id"], market_tickers=tickers)
                if channel != BOOKS or params["action"] == "delete_markets": return
        for t in tickers: await line.snapshot(t, command["id"])


class Listener:
    "Keeps books of what the feed tells"

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.warnings: list[str] = []
        self.changed: list[str] = []
        self.books = {t: OrderBook(t) for t in TICKERS}
        self._news = asyncio.Event()

    def emit(self, event: Event) -> None:
        self.events.append(event)
        apply(self.books, event)
        self._news.set()

    async def until(self, condition: Callable[[], Any], seconds: float = 5) -> None:
        "Wait for what must come; looks after each event, and now and then for what makes no event"
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                try:
                    await asyncio.wait_for(self._news.wait(), 0.02)
                except TimeoutError:
                    continue

    def of(self, kind: type) -> list[Any]: return [e for e in self.events if type(e) is kind]

    def live(self, *tickers: str) -> bool: return all(self.books[t].live for t in tickers or TICKERS)


def apply(books: dict[str, OrderBook], event: Event) -> None:
    match event:
        case BookSnapshot(): books[event.ticker].apply_snapshot(event.bids, event.asks, event.ts_ms)
        case BookDelta(): books[event.ticker].apply_delta(event.side, event.price, event.delta, event.ts_ms)
        case BookStale():
            for t in event.tickers: books[t].mark_stale(event.reason)


def address(server: Server) -> str:
    return f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@asynccontextmanager
async def streaming(exchange: Exchange, **options: Any) -> AsyncIterator[tuple[Feed, Listener]]:
    "A feed that is up, with live books; everything is closed at the end"
    heard, signatures = Listener(), iter(range(1, 1000))
    async with serve(exchange, "127.0.0.1", 0, ping_interval=None, compression=None, close_timeout=0.2) as server:
        feed = Feed(address(server), lambda: {"KALSHI-ACCESS-SIGNATURE": f"signature {next(signatures)}"}, TICKERS, heard.emit,
                    lambda: time.time_ns() // 1_000_000, rng=random.Random(1), warn=heard.warnings.append,
                    changed=heard.changed.append, longest_pause_ms=20, **options)
        task = asyncio.create_task(feed.run())
        try:
            await heard.until(lambda: heard.live() and feed.health.connected)
            yield feed, heard
        finally:
            feed.close()
            await asyncio.wait_for(task, 5)


def on_a_socket(scenario: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    "A test that runs in an event loop of its own"
    def test() -> None: asyncio.run(asyncio.wait_for(scenario(), 30))
    test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
    return test


# -- on a real socket


@on_a_socket
async def test_a_gap_makes_its_own_subscription_stale_and_heals_by_snapshots():
    exchange = Exchange()
    async with streaming(exchange) as (feed, heard):
        exchange.deaf_to.add("get_snapshot")
        await exchange.line.bid(4800, 100, lost=True)
        await exchange.line.bid(4900, 100)
        await heard.until(lambda: heard.of(BookStale))
        assert heard.of(BookStale)[0].tickers == TICKERS
        assert "expected message 3, got 4" in heard.of(BookStale)[0].reason
        await exchange.line.bid(4900, 100)  # for a book that is stale: ignored
        await exchange.line.trade()
        await heard.until(lambda: heard.of(Trade))  # the other subscription goes on
        await heard.until(lambda: exchange.line.asked("update_subscription", "action", "get_snapshot"))
        assert not heard.of(BookDelta) and not heard.live(A)
        exchange.deaf_to.clear()
        for t in TICKERS: await exchange.line.snapshot(t)
        await heard.until(heard.live)
        assert heard.books[A].bids == exchange.bids[A] == {4700: 300, 4800: 100, 4900: 200}
        assert (feed.health.gaps, feed.health.reconnects, len(heard.of(Connection))) == (1, 0, 1)


@on_a_socket
async def test_a_gap_among_the_trades_leaves_the_books_alone():
    exchange = Exchange()
    async with streaming(exchange) as (feed, heard):
        await exchange.line.trade(seq=7)
        await heard.until(lambda: heard.of(Trade))
        assert feed.health.gaps == 1 and heard.warnings == ["trade: expected message 1, got 7"]
        assert heard.live() and not heard.of(BookStale)


@on_a_socket
async def test_a_frame_sent_twice_is_applied_once():
    exchange = Exchange()
    async with streaming(exchange) as (feed, heard):
        await exchange.line.bid(4800, 100)
        last = exchange.line.seqs[exchange.line.sids[BOOKS]]
        await exchange.line.say("orderbook_delta", BOOKS, last, **change(A, 4800, 100))
        await exchange.line.bid(4900, 100)
        await heard.until(lambda: heard.books[A].best_bid == 4900)
        assert heard.books[A].bids == exchange.bids[A]
        assert (feed.health.repeats, feed.health.gaps, heard.of(BookStale)) == (1, 0, [])


@on_a_socket
async def test_a_count_that_begins_anew_ends_in_a_new_connection_and_no_wrong_book_is_served():
    exchange = Exchange()
    async with streaming(exchange) as (feed, heard):
        line = exchange.line
        for _ in range(20): await line.bid(4800, 100)
        line.seqs[line.sids[BOOKS]] = 0
        for _ in range(6): await line.bid(4800, 100)
        await heard.until(lambda: feed.health.reconnects == 1 and heard.live())
        assert len(heard.of(BookDelta)) == 20
        assert heard.books[A].bids == exchange.bids[A]


@pytest.mark.parametrize("code", [10, 25])
def test_a_terminal_error_renews_that_subscription_and_no_other(code: int):
    @on_a_socket
    async def scenario() -> None:
        exchange = Exchange()
        async with streaming(exchange) as (feed, heard):
            await exchange.line.bid(4800, 100, lost=True)  # what overflowed is lost
            exchange.line.seqs[exchange.line.sids[BOOKS]] -= 1
            await exchange.line.drop(BOOKS, code)
            await heard.until(lambda: heard.of(BookStale))
            await heard.until(heard.live)
            assert [len(exchange.line.asked("subscribe", "channels", [c])) for c in CHANNELS] == [2, 1, 1, 1, 1, 1, 1]
            assert heard.books[A].bids == exchange.bids[A]
            assert len(heard.of(Connection)) == 1 and feed.health.reconnects == 0
            assert heard.warnings == [f"orderbook_delta: error {code} gone"]
    scenario()


@on_a_socket
async def test_while_our_fills_can_not_be_heard_the_stream_is_down():
    exchange = Exchange()
    async with streaming(exchange) as (feed, heard):
        await exchange.line.drop("fill", 10)
        await heard.until(lambda: len(heard.of(Connection)) == 3)
        assert [c.up for c in heard.of(Connection)] == [True, False, True]
        assert heard.live() and feed.health.reconnects == 0


@on_a_socket
async def test_other_errors_are_told_and_change_nothing():
    exchange = Exchange()
    async with streaming(exchange) as (_, heard):
        await exchange.line.say("error", BOOKS, code=26, msg="Subscription market limit exceeded")
        await exchange.line.bid(4800, 100)  # the error was numbered, and counted
        await heard.until(lambda: heard.of(BookDelta))
        assert heard.warnings == ["orderbook_delta: error 26 Subscription market limit exceeded"]


@on_a_socket
async def test_a_line_cut_without_a_close_frame_is_made_anew_with_new_signatures_and_all_subscriptions():
    exchange = Exchange()
    async with streaming(exchange) as (feed, heard):
        await exchange.line.bid(4800, 100)
        exchange.line.socket.transport.abort()
        await heard.until(lambda: heard.of(BookStale))
        await heard.until(lambda: heard.live() and feed.health.connected)
        assert [c.up for c in heard.of(Connection)] == [True, False, True]
        assert exchange.headers == ["signature 1", "signature 2"]
        assert [c["params"] for c in exchange.lines[0].commands] == [c["params"] for c in exchange.lines[1].commands]
        assert heard.books[A].bids == exchange.bids[A]
        assert heard.of(BookStale)[0].tickers == TICKERS and feed.health.reconnects == 1


@pytest.mark.parametrize("garbage", ["<html>502 Bad Gateway</html>", '{"type":"orderbook_delta","sid":1,"seq":3', "",
                                     '{"type":"orderbook_delta","sid":1,"seq":3,"msg":7}'])
def test_what_can_not_be_read_makes_all_books_stale_and_the_line_anew(garbage: str):
    @on_a_socket
    async def scenario() -> None:
        exchange = Exchange()
        async with streaming(exchange) as (feed, heard):
            await exchange.line.raw(garbage)
            await heard.until(lambda: heard.of(BookStale))
            await heard.until(lambda: heard.live() and feed.health.connected)
            assert (feed.health.decode_errors, feed.health.reconnects) == (1, 1)
            assert [c.up for c in heard.of(Connection)] == [True, False, True]
    scenario()


@on_a_socket
async def test_a_change_that_can_not_be_read_stops_its_market_until_a_snapshot_and_the_line_stays():
    exchange = Exchange()
    async with streaming(exchange, patience_ms=200) as (feed, heard):
        odd = {"market_ticker": A, "price": 48, "delta": 1}
        await exchange.line.raw(json.encode({"type": "orderbook_delta", "sid": 1, "seq": 3, "msg": odd}).decode())
        await heard.until(lambda: heard.of(BookStale))
        assert heard.of(BookStale)[0].tickers == (A,)
        await heard.until(lambda: heard.live() and feed.health.connected)
        assert (feed.health.decode_errors, feed.health.reconnects) == (1, 0)
        assert [c.up for c in heard.of(Connection)] == [True]


@on_a_socket
async def test_a_line_that_is_open_and_silent_is_given_up():
    exchange = Exchange()
    async with streaming(exchange, silence_ms=200) as (feed, heard):
        await heard.until(lambda: feed.health.reconnects and heard.live() and feed.health.connected)
        assert "nothing heard for" in heard.of(BookStale)[0].reason


@on_a_socket
async def test_a_quiet_market_with_a_heartbeat_is_not_given_up():
    exchange = Exchange()
    async with streaming(exchange, silence_ms=1_000) as (feed, heard):
        opened = feed.health.last_message_ms
        while feed.health.last_ping_ms < opened + 1_500:
            await (await exchange.line.socket.ping("heartbeat"))  # answered, too
            await asyncio.sleep(0.05)  # the beat
        assert heard.live() and (feed.health.reconnects, feed.health.last_message_ms) == (0, opened)


@on_a_socket
async def test_a_subscription_without_an_answer_is_a_line_that_does_not_work():
    exchange = Exchange()
    async with streaming(exchange, patience_ms=150) as (feed, heard):
        exchange.deaf_to.add("fill")
        exchange.line.socket.transport.abort()
        await heard.until(lambda: any("no answer to the subscription of fill" in c.reason for c in heard.of(Connection)))
        exchange.deaf_to.clear()
        await heard.until(lambda: heard.live() and feed.health.connected)


@on_a_socket
async def test_a_snapshot_that_does_not_come_is_asked_for_again():
    exchange = Exchange()
    async with streaming(exchange, patience_ms=100) as (feed, heard):
        exchange.deaf_to.add("get_snapshot")
        feed.resync([A], "numbers do not add up")
        assert not heard.live(A) and heard.live(B)
        await heard.until(lambda: len(exchange.line.asked("update_subscription", "action", "get_snapshot")) >= 2)
        exchange.deaf_to.clear()
        await heard.until(heard.live)
        assert {tuple(c["params"]["market_tickers"]) for c in exchange.line.asked("update_subscription")} == {(A,)}
        assert feed.health.reconnects == 0


@on_a_socket
async def test_markets_come_and_go_on_the_same_line():
    exchange = Exchange()
    exchange.bids["C"] = {1000: 100}
    async with streaming(exchange) as (feed, heard):
        heard.books["C"] = OrderBook("C")
        feed.add(["C"])
        feed.remove([B])
        await heard.until(lambda: heard.live("C"))
        await exchange.line.bid(4800, 100, ticker=B)  # on its way when we left
        await exchange.line.bid(4800, 100)
        await heard.until(lambda: heard.of(BookDelta))
        assert [e.ticker for e in heard.of(BookDelta)] == [A]
        assert feed.state.live == {A, "C"} and feed.health.gaps == 0
        exchange.line.socket.transport.abort()
        await heard.until(lambda: feed.health.reconnects == 1 and feed.state.live == {A, "C"})
        assert exchange.line.commands[0]["params"]["market_tickers"] == ["C", A]


@on_a_socket
async def test_a_burst_is_told_in_order_and_whole():
    exchange = Exchange()
    async with streaming(exchange) as (feed, heard):
        for n in range(3_000): await exchange.line.bid(100 * (1 + n % 99), 100, ticker=TICKERS[n % 2])
        await heard.until(lambda: len(heard.of(BookDelta)) == 3_000)
        assert all(heard.books[t].bids == exchange.bids[t] for t in TICKERS)
        assert feed.health.gaps == 0 and 0 <= feed.health.age_ms <= feed.health.max_age_ms < 30_000


@on_a_socket
async def test_the_account_is_heard_whole():
    exchange = Exchange()
    async with streaming(exchange) as (feed, heard):
        say = exchange.line.say
        ours = {"book_side": "bid", "yes_price_dollars": "0.4700", "client_order_id": "kmm-a-1"}
        rests = ours | {"ticker": A, "fill_count_fp": "0.00", "remaining_count_fp": "10.00", "created_ts_ms": 5}
        await say("user_order", "user_orders", order_id="o1", status="resting", **rests)
        await say("user_order", "user_orders", order_id="o2", status="unknown", **rests)
        await say("user_order", "user_orders", order_id="o3", status="brand_new", **rests)
        await say("fill", "fill", trade_id="t1", order_id="o1", market_ticker=A, is_taker=False, count_fp="2.50",
                  fee_cost="0.000000", ts_ms=6, **ours)
        await say("market_position", "market_positions", market_ticker=A, position_fp="2.50")
        await say("order_group_updates", "order_group_updates", event_type="triggered", order_group_id="g1", ts_ms=7)
        await heard.until(lambda: heard.of(GroupSeen))
        (order,), (fill,), (group,) = heard.of(OrderSeen), heard.of(FillSeen), heard.of(GroupSeen)
        assert (order.order.status, order.order.remaining, order.order.expiration_ms) == (OrderStatus.RESTING, 1000, None)
        assert (fill.fill.side, fill.fill.count, fill.fill.client_order_id) == (Side.BID, 250, "kmm-a-1")
        assert (group.change, feed.health.positions) == ("triggered", {A: 250})
        assert [(u.order_id, u.said) for u in heard.of(OrderUnclear)] == [("o2", "unknown"), ("o3", "brand_new")]
        assert heard.warnings == [f"a word that isn't known, user_order: status '{word}'" for word in ("unknown", "brand_new")]
        assert feed.health.connected and feed.health.reconnects == 0  # a new word is no reason to give the line up


@on_a_socket
async def test_the_life_of_our_markets_is_told_and_of_others_counted():
    exchange = Exchange()
    async with streaming(exchange) as (feed, heard):
        async def life(event_type: str, ticker: str = A, **more: Any) -> None:
            await exchange.line.say(LIFECYCLE, LIFECYCLE, event_type=event_type, market_ticker=ticker, **more)
        await life("created", "SOMEBODY-ELSES")
        await life("deactivated", is_deactivated=True)
        await life("close_date_updated", close_ts=1_700_000_000)
        await exchange.line.say("event_fee_update", LIFECYCLE, event_ticker="KXHIGHNY-26NOV23", fee_type_override="quadratic")
        await life("determined", result="yes", settlement_value="1.0000")
        await life("settled")
        await heard.until(lambda: "finalized" in [e.status for e in heard.of(MarketStatus)])
        assert [e.status for e in heard.of(MarketStatus)] == ["inactive", "determined", "finalized"]
        assert not heard.of(MarketSettled)  # what is paid may differ from the result: the market is read again
        assert feed.health.not_ours == 1 and sorted(heard.changed) == [A, A, A, B]


@on_a_socket
async def test_markets_whose_news_may_have_been_missed_are_to_be_read_again():
    exchange = Exchange()
    async with streaming(exchange) as (_, heard):
        assert heard.changed == []
        await exchange.line.say(LIFECYCLE, LIFECYCLE, seq=5, event_type="created", market_ticker="SOMEBODY-ELSES")
        await heard.until(lambda: sorted(heard.changed) == [A, B])
        exchange.line.socket.transport.abort()
        await heard.until(lambda: sorted(heard.changed) == [A, A, B, B])


@on_a_socket
async def test_a_refused_handshake_is_told_and_tried_again():
    heard, tries = Listener(), 0
    def refuse(socket: ServerConnection, request: Any) -> Any:
        nonlocal tries
        tries += 1
        return socket.respond(401, "header_timestamp_expired\n")
    async with serve(Exchange(), "127.0.0.1", 0, process_request=refuse) as server:
        feed = Feed(address(server), dict, TICKERS, heard.emit, lambda: 0, rng=random.Random(1), warn=heard.warnings.append,
                    longest_pause_ms=10)
        task = asyncio.create_task(feed.run())
        await heard.until(lambda: tries >= 3)
        feed.close()
        await asyncio.wait_for(task, 5)
    assert "401" in heard.of(Connection)[0].reason and "401" in heard.warnings[0]
    assert not heard.of(BookStale)


@on_a_socket
async def test_nobody_there_is_told_and_closing_does_not_wait_for_the_next_attempt():
    heard = Listener()
    async with serve(Exchange(), "127.0.0.1", 0) as server: url = address(server)  # of a server that is gone
    feed = Feed(url, dict, TICKERS, heard.emit, lambda: 0, rng=random.Random(1), warn=heard.warnings.append)
    task = asyncio.create_task(feed.run())
    await heard.until(lambda: len(heard.of(Connection)) >= 3)
    feed.close()
    await asyncio.wait_for(task, 1)
    assert not any(c.up for c in heard.of(Connection))


@on_a_socket
async def test_an_error_of_the_listener_is_not_swallowed():
    def emit(event: Event) -> None: raise RuntimeError("the journal is full")
    async with serve(Exchange(), "127.0.0.1", 0) as server:
        feed = Feed(address(server), dict, TICKERS, emit, lambda: 0, rng=random.Random(1))
        with pytest.raises(RuntimeError, match="journal is full"): await asyncio.wait_for(feed.run(), 5)


# -- every example of the specification


def test_every_message_that_the_specification_shows_can_be_read():
    if not EXAMPLES.exists(): pytest.skip("no ws_examples.json (KALSHI_MM_DATA names the folder beside kalshi/)")
    shown = [e["payload"] for group in json.decode(EXAMPLES.read_bytes()).values() for e in group]
    answers = [p for p in shown if isinstance(p, dict) and "type" in p]
    assert len(answers) > 40
    state = StreamState([A])
    for p in answers:
        state.on_connect(0)
        state.receive(json.encode(p), 0)
        assert state.health.decode_errors == 0, p
    ours = {"orderbook_snapshot", "orderbook_delta", "trade", "fill", "user_order", "market_position", "market_lifecycle_v2",
            "order_group_updates", "event_lifecycle", "event_fee_update", "subscribed", "unsubscribed", "ok", "error"}
    assert ours <= {p["type"] for p in answers} and not ours & set(state.health.unknown_types)


# -- every order of things

Books = dict[str, dict[int, int]]
ACTS = ["bid"] * 5 + ["answer", "answer", "lose", "repeat", "late", "restart", "overflow", "garbage", "cut", "tick"]


class Wire:
    "An exchange without a socket, which remembers with each frame what its books were then"

    def __init__(self) -> None:
        self.state = StreamState(TICKERS, channels=(BOOKS,), patience_ms=10)
        self.books = {t: OrderBook(t) for t in TICKERS}  # the listener's
        self.truth: Books = {t: {} for t in TICKERS}
        self.now_ms, self.sid, self.seq, self.sids = 0, 0, 0, 0
        self.commands: list[dict[str, Any]] = []
        self.past: list[tuple[bytes, Books]] = []  # frames of this subscription, lost ones too
        self.heard, self.shown = -1, self.truth  # the newest frame that arrived, and the books as of it
        self.lose_next = False
        self.state.on_connect(0)

    def told(self, events: list[Event]) -> None:
        for e in events: apply(self.books, e)  # BookError if a level would fall below zero
        if self.state.broken: self.cut()

    def cut(self) -> None:
        events = self.state.on_disconnect("cut", self.now_ms)
        self.sid, self.commands = 0, []
        self.state.on_connect(self.now_ms)
        self.told(events)

    def arrive(self, index: int) -> None:
        raw, truth = self.past[index]
        if index > self.heard: self.heard, self.shown = index, truth
        self.told(self.state.receive(raw, self.now_ms))

    def send(self, kind: str, **msg: Any) -> None:
        self.seq += 1
        raw = json.encode({"type": kind, "sid": self.sid, "seq": self.seq, "msg": msg})
        self.past.append((raw, {t: dict(b) for t, b in self.truth.items()}))
        lost, self.lose_next = self.lose_next, False
        if not lost: self.arrive(len(self.past) - 1)

    def answer(self) -> None:
        "Carry out the oldest command that waits"
        self.commands += map(json.decode, self.state.take())
        if not self.commands: return
        command = self.commands.pop(0)
        reply = {"type": "error", "id": command["id"], "msg": {"code": 7, "msg": "Unknown subscription ID"}}
        if command["cmd"] == "subscribe":
            self.sids += 1
            self.sid, self.seq, self.past, self.heard = self.sids, 0, [], -1
            reply = {"type": "subscribed", "id": command["id"], "msg": {"channel": BOOKS, "sid": self.sid}}
        if command["params"].get("sid") != self.sid: self.told(self.state.receive(json.encode(reply), self.now_ms))
        if command["params"].get("sid", self.sid) != self.sid: return
        for t in command["params"]["market_tickers"]:
            levels = [[price_str(p), count_str(c)] for p, c in self.truth[t].items()]
            if self.sid: self.send("orderbook_snapshot", market_ticker=t, yes_dollars_fp=levels)

    def bid(self, n: int, size: int) -> None:
        ticker, price = TICKERS[n % 2], 100 * (1 + n % 3)
        bids = self.truth[ticker]
        if not (delta := max(size, -bids.get(price, 0))): return
        bids[price] = bids.get(price, 0) + delta
        if not bids[price]: del bids[price]
        self.send("orderbook_delta", **change(ticker, price, delta))

    def do(self, act: str, n: int = 0, size: int = 0) -> None:
        self.now_ms += 1
        match act:
            case "answer": self.answer()
            case "cut": self.cut()
            case "garbage": self.told(self.state.receive(b"<html>", self.now_ms))
            case "tick":
                self.now_ms += 20
                self.told(self.state.tick(self.now_ms))
            case _ if not self.sid: return  # the rest needs a subscription
            case "bid": self.bid(n, size)
            case "lose": self.lose_next = True
            case "repeat" if self.past: self.arrive(len(self.past) - 1)
            case "late" if self.past: self.arrive(n % len(self.past))
            case "restart":
                self.seq, self.lose_next = 0, False
                self.bid(n, size)
            case "overflow":
                self.lose_next = False
                self.send("error", code=25, msg="Subscription buffer overflow")
                self.sid = 0


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 11), st.integers(-300, 300)), max_size=60))
def test_a_live_book_is_the_exchanges_book_whatever_is_lost_repeated_or_late(steps: list[tuple[str, int, int]]):
    wire = Wire()
    for act, n, size in [("answer", 0, 0), *steps]:
        wire.do(act, n, size)
        for ticker, book in wire.books.items():
            assert not book.live or book.bids == wire.shown[ticker]
            assert book.live == (ticker in wire.state.live)
    wire.lose_next = False
    wire.do("bid", 0, 100)  # a loss shows in the next frame
    for _ in range(40):  # left in peace, it heals
        wire.do("answer")
        wire.do("tick")
    for ticker, book in wire.books.items():
        assert book.live and book.bids == wire.truth[ticker]
