"""A shadow of another sandbox over the wire: its books after each of a million messages, through faults, and a minute's loss.

The source is a process of its own with strangers who trade. Beside the mirror a second, independent book is kept of each market
from the same messages, and the two are compared after each of them.
"""
import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from kalshi_mm.client.credentials import Credentials
from kalshi_mm.model.messages import BookDelta, BookSnapshot, Event, Trade
from kalshi_mm.model.types import OVER, Side
from kalshi_mm.orderbook import OrderBook
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
async def mirrored(
    folder: Path, story: Story, *words: str, relay: bool = False
) -> AsyncIterator[tuple[Shadow, LiveSource, Compared, dict[str, Any], Relay | None]]:
    "A source as a process, and a shadow of it in this one"
    env = environment(folder)
    process = await Command.begin(folder, env, "exchange", "--port", "0", "--json", "--ed25519", *words)
    told = await process.hear("rest") and process.said
    between = Relay(told["rest"]) if relay else None
    if between: between.start()
    rest, ws = (between.rest, between.ws) if between else (told["rest"], told["ws"])
    client = SourceClient(rest, Credentials.load(told["key_id"], told["key_file"]))
    shadow = Shadow(folder, "a sandbox")
    compared = Compared(shadow, story)
    source = LiveSource(client, ws, ["KXHIGHNY"], shadow.hear, shadow.describe, story.tell, look_s=2, status_s=1)
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(serve_live(shadow, source, "127.0.0.1", 0, ready.set_result))
    try:
        await asyncio.wait([ready, serving], return_when=asyncio.FIRST_COMPLETED)
        if serving.done(): serving.result()
        yield shadow, source, compared, told, between
    finally:
        source.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await client.close()
        await process.close()
        if between: between.stop()


async def settled(shadow: Shadow, told: dict[str, Any], story: Story) -> int:  # how many books were compared
    "Compare the books at both addresses, each as REST has it, while a market's book stands still"
    def read(ticker: str) -> Any:
        with urllib.request.urlopen(f"{told['rest']}/markets/{ticker}/orderbook", timeout=10) as answer:
            return json.load(answer)["orderbook_fp"]

    same, tickers = set[str](), [m.ticker for m in shadow.exchange.markets() if m.active]
    end = time.monotonic() + 60
    while time.monotonic() < end and len(same) < len(tickers):
        for ticker in tickers:
            there = await asyncio.to_thread(read, ticker)
            await asyncio.sleep(0.05)
            bids, asks = shadow.exchange.levels(ticker)
            here = {"yes_dollars": [[f"{p / 10_000:.4f}", f"{n / 100:.2f}"] for p, n in bids[::-1]],
                    "no_dollars": [[f"{1 - p / 10_000:.4f}", f"{n / 100:.2f}"] for p, n in asks[::-1]]}
            if here == there: same.add(ticker)
    if len(same) < len(tickers): story.blame([f"never the same at both addresses: {', '.join(sorted({*tickers} - same))}"])
    return len(same)


async def until_heard(compared: Compared, messages: int) -> None:
    while compared.messages < messages: await asyncio.sleep(0.2)  # noqa: ASYNC110


async def books(messages: int, folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "So many messages, each followed by a comparison"
    seed = str(rng.randrange(1000))
    async with mirrored(folder, story, "--seed", seed, "--speed", SPEED, "--skip-hours", "1") as (shadow, _, compared, told, _):
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
    async with mirrored(folder, story, *words) as (shadow, source, compared, told, _):
        await asyncio.sleep(seconds)
        health = source.feed.health
        if not shadow.report().heard.losses: story.blame(["no book was lost, so nothing was tried"])
        return {"messages": compared.messages, "losses": shadow.report().heard.losses, "gaps": health.gaps,
                "reconnects": health.reconnects, "unknown_s": shadow.report().unknown_s}


async def loss(seconds: float, folder: Path, rng: Random, story: Story) -> dict[str, Any]:
    "The source is gone for a minute: no book is shown, and afterwards all are right"
    words = "--seed", str(rng.randrange(1000)), "--speed", "60"
    async with mirrored(folder, story, *words, relay=True) as (shadow, _, compared, told, relay):
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
    "A pause of a market and of the exchange, finer ticks, new fees, the next day's markets, a close and a settlement arrive"
    plan = folder / "plan.yaml"
    plan.write_text("""faults:
- {fault: market_pause, at_ms: 6000, for_ms: 4000}
- {fault: trading_pause, at_ms: 14000, for_ms: 4000}
- {fault: tick_change, at_ms: 22000, by: 10}
- {fault: fee_change, at_ms: 24000}
""")
    words = "--seed", str(rng.randrange(1000)), "--speed", "1000", "--skip-hours", "18", "--faults", str(plan)
    seen: set[str] = set()
    async with mirrored(folder, story, *words) as (shadow, _, compared, told, _):
        first = {m.ticker for m in shadow.exchange.markets()}
        end = time.monotonic() + 240
        wanted = {"inactive", "trading pause", "finer", "fees", "closed", "determined", "finalized", "new markets"}
        while seen < wanted and time.monotonic() < end:
            for m in shadow.exchange.markets():
                seen |= {m.status} & wanted
                if m.grid.ranges[0].step < 100: seen.add("finer")
                if m.fee_type == "quadratic_with_maker_fees": seen.add("fees")
                if m.ticker not in first: seen.add("new markets")
            if not shadow.exchange.trading_active: seen.add("trading pause")
            await asyncio.sleep(0.02)
        if missing := wanted - seen: story.blame([f"never arrived: {', '.join(sorted(missing))}"])
        return {"messages": compared.messages, "arrived": sorted(seen & wanted)}
