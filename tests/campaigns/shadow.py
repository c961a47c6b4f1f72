"""A shadow of another sandbox over the wire: its books after each of a million messages, through faults, and a minute's loss.

The source is a process of its own with strangers who trade. Beside the mirror a second, independent book is kept of each market
from the same messages, and the two are compared after each of them.
"""
import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from msgspec.structs import replace

from kalshi_mm.client.credentials import Credentials
from kalshi_mm.model.messages import BookDelta, BookSnapshot, Event, Trade
from kalshi_mm.model.numbers import ONE
from kalshi_mm.model.types import OVER, Side, TickGrid
from kalshi_mm.orderbook import OrderBook
from kalshi_mm.sandbox.server import ACCOUNT, build
from kalshi_mm.shadow.live_source import LiveSource
from kalshi_mm.shadow.server import Shadow, serve_live
from kalshi_mm.shadow.source_client import SourceClient
from tests.sessions.process import environment
from tests.shadow.relay import Relay

from .stage import Case, Command, Story

MESSAGES, SPEED = 1_000_000, "3000"  # a day of markets in three quarters of a minute
USUAL = 4
HARM = "drop_frame,duplicate_frame,reorder_frames,garble_frame,abort_socket,sequence_jump"


def cases(runs: int, seed: int) -> list[Case]:
    "Books, faults, a minute's loss, a life of markets; and again"
    works = [("a million messages", partial(books, MESSAGES)), ("books through faults", partial(through_faults, 60.0)),
             ("a minute's loss", partial(loss, 60.0)), ("pause, ticks, fees, settlement", life)]
    return [Case(works[n % 4][0], seed * 10_000 + n, works[n % 4][1]) for n in range(runs)]


class Compared:
    "A second book of each market, and what differs from the mirror's"

    def __init__(self, shadow: Shadow, story: Story):
        self.messages = self.prints = self.whole = 0
        self._shadow, self._story, self._after = shadow, story, shadow.mirror.on_event
        self._books: dict[str, OrderBook] = {}
        shadow.mirror.on_event = self.look

    def look(self, event: Event) -> None:
        self._after(event)
        mirror, exchange = self._shadow.mirror, self._shadow.exchange
        if isinstance(event, BookDelta | BookSnapshot) and exchange.market(event.ticker).status in OVER: return  # it has no book
        match event:
            case BookSnapshot():
                book = self._books[event.ticker] = OrderBook(event.ticker)
                book.apply_snapshot(event.bids, event.asks, event.ts_ms)
                self._all(event.ticker)
            case BookDelta() if event.ticker in self._books and event.ticker not in mirror.unknown:
                book = self._books[event.ticker]
                book.apply_delta(event.side, event.price, event.delta, event.ts_ms)
                level = exchange.records.books[event.ticker].queue(event.side).levels.get(event.price)
                there, here = book.size(event.side, event.price), level.total if level else 0
                if there != here: self._blame(f"{event.ticker} {event.side} at {event.price}: {there} there, {here} here")
                self.messages += 1
                if self.messages % 1_000 == 0: self._all(event.ticker)
            case Trade(): self.prints += 1
            case _: pass

    def _all(self, ticker: str) -> None:
        "A whole book, level by level"
        if not self._shadow.exchange.market(ticker).active: return
        self.whole += 1
        here = self._shadow.exchange.levels(ticker)
        there = tuple(list(self._books[ticker].depth(side, 1_000)) for side in Side)
        if tuple(here) != there: self._blame(f"{ticker} as a whole: {there} there, {here} here")

    def _blame(self, text: str) -> None:
        if len(self._story.wrong) < 20: self._story.blame([text])


@asynccontextmanager
async def repeated(
    folder: Path, story: Story, told: dict[str, Any], between: Relay | None
) -> AsyncIterator[tuple[Shadow, LiveSource, Compared]]:
    "A shadow, in this process, of the sandbox that told these addresses"
    rest, ws = (between.rest, between.ws) if between else (told["rest"], told["ws"])
    client = SourceClient(rest, Credentials.load(told["key_id"], told["key_file"]))
    shadow = Shadow(folder, "a sandbox")
    compared = Compared(shadow, story)
    source = LiveSource(client, ws, ["KXHIGHNY"], shadow.hear, shadow.describe, story.tell, look_s=2, status_s=1, programmes_s=2)
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(serve_live(shadow, source, "127.0.0.1", 0, ready.set_result))
    try:
        await asyncio.wait([ready, serving], return_when=asyncio.FIRST_COMPLETED)
        if serving.done(): serving.result()
        yield shadow, source, compared
    finally:
        source.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await client.close()


@asynccontextmanager
async def mirrored(
    folder: Path, story: Story, *words: str, relay: bool = False
) -> AsyncIterator[tuple[Shadow, LiveSource, Compared, Relay | None]]:
    "A source as a process, and a shadow of it in this one"
    process = await Command.begin(folder, environment(folder), "exchange", "--port", "0", "--json", "--ed25519", *words)
    await process.hear("rest")
    between = Relay(process.said["rest"]) if relay else None
    if between: between.start()
    try:
        async with repeated(folder, story, process.said, between) as found: yield *found, between
    finally:
        await process.close()
        if between: between.stop()


async def until_heard(compared: Compared, messages: int) -> None:
    while compared.messages < messages: await asyncio.sleep(0.2)  # noqa: ASYNC110


async def books(messages: int, folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "So many messages, each followed by a comparison"
    seed = str(rng.randrange(1000))
    async with mirrored(folder, story, "--seed", seed, "--speed", SPEED, "--skip-hours", "1") as (shadow, _, compared, _):
        began = time.monotonic()
        await until_heard(compared, messages)
        took = time.monotonic() - began
        report = shadow.report()
        story.tell(f"{compared.messages} changes in {took:.0f} s, {compared.prints} prints, {report.heard}")
        return {"messages": compared.messages, "prints": compared.prints, "whole_books": compared.whole,
                "losses": report.heard.losses, "markets": len(shadow.exchange.markets()),
                "a_second": round(compared.messages / took)}


async def through_faults(seconds: float, folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "Frames lost, doubled, swapped and spoilt, connections cut: the books are right whenever they are shown"
    words = "--seed", str(rng.randrange(1000)), "--speed", "60", "--faults", HARM
    async with mirrored(folder, story, *words) as (shadow, source, compared, _):
        await asyncio.sleep(seconds)
        health = source.feed.health
        if not shadow.report().heard.losses: story.blame(["no book was lost, so nothing was tried"])
        return {"messages": compared.messages, "losses": shadow.report().heard.losses, "gaps": health.gaps,
                "reconnects": health.reconnects, "unknown_s": shadow.report().unknown_s}


async def loss(seconds: float, folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "The source is gone for a minute: no book is shown, and afterwards all are right"
    words = "--seed", str(rng.randrange(1000)), "--speed", "60"
    async with mirrored(folder, story, *words, relay=True) as (shadow, _, compared, relay):
        assert relay
        await until_heard(compared, 500)
        relay.lose()
        while not shadow.mirror.unknown: await asyncio.sleep(0.05)  # noqa: ASYNC110
        before = compared.messages
        await asyncio.sleep(seconds)
        active = {m.ticker for m in shadow.exchange.markets() if m.active}
        if shown := sorted(active - shadow.mirror.unknown): story.blame([f"shown without a source: {', '.join(shown)}"])
        if compared.messages > before + 1: story.blame(["messages came from a lost source"])
        relay.find()
        began = time.monotonic()
        while shadow.mirror.unknown & active and time.monotonic() < began + 90: await asyncio.sleep(0.1)  # noqa: ASYNC110
        healed = time.monotonic() - began
        if shadow.mirror.unknown & active: story.blame(["not heard again within 90 s"])
        await until_heard(compared, before + 500)
        if relay.verbs != {"GET"}: story.blame([f"verbs at the source: {relay.verbs}"])
        return {"messages": compared.messages, "healed_s": round(healed, 1), "unknown_s": round(shadow.report().unknown_s, 1)}


async def life(folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "A pause of a market and of the exchange, finer ticks, new fees, a programme, the next day's markets, a settlement arrive"
    real = build(folder / "source", kind="ed25519", seed=rng.randrange(1000), speed=1_000, skip_hours=19)
    at, key = await real.start(), real.keys.accounts[ACCOUNT]
    told = {"rest": at.rest, "ws": at.ws, "key_id": key.key_id, "key_file": str(key.key_file)}
    arrived: dict[str, float] = {}
    try:
        async with repeated(folder, story, told, None) as (shadow, _, compared):
            there, here, first = real.exchange, shadow.exchange, {m.ticker for m in shadow.exchange.markets()}
            ticker = next(m.ticker for m in there.markets() if m.active)

            async def arrives(what: str, look: Callable[[], Any]) -> None:
                began = time.monotonic()
                while not look() and time.monotonic() < began + 60: await asyncio.sleep(0.01)  # noqa: ASYNC110
                if not look(): story.blame([f"{what} did not arrive within a minute"])
                arrived[what] = round(time.monotonic() - began, 2)

            def change(act: Callable[[], None]) -> None:
                act()
                real.day.publish()

            change(lambda: there.set_status(ticker, "inactive", real.now()))
            await arrives("a pause of a market", lambda: here.market(ticker).status == "inactive")
            change(lambda: there.set_status(ticker, "active", real.now()))
            await arrives("its end", lambda: here.market(ticker).active)
            change(lambda: there.set_trading(exchange_active=True, trading_active=False, now_ms=real.now()))
            await arrives("a pause of trading", lambda: not here.trading_active)
            change(lambda: there.set_trading(exchange_active=True, trading_active=True, now_ms=real.now()))
            await arrives("the end of that", lambda: here.trading_active)
            fine = TickGrid.of([(0, ONE, 10)])
            change(lambda: there.revise(replace(there.market(ticker), grid=fine), real.now()))
            await arrives("finer ticks", lambda: here.market(ticker).grid == fine)
            change(lambda: there.revise(replace(there.market(ticker), fee_type="quadratic_with_maker_fees"), real.now()))
            await arrives("new fees", lambda: here.market(ticker).fee_type == "quadratic_with_maker_fees")
            await arrives("the next day's markets", lambda: {m.ticker for m in here.markets()} - first)
            plans = shadow.sandbox.day.incentives.plans
            await arrives("a programme of theirs", lambda: {p.programme.ticker for p in plans.values()} - first)
            real.day.decide(there.market(ticker).event_ticker)
            await arrives("a settlement", lambda: here.market(ticker).status == "finalized")
            if here.market(ticker).result != there.market(ticker).result: story.blame(["another result than at the source"])
            return {"messages": compared.messages, "seconds": arrived}
    finally: await real.stop()
