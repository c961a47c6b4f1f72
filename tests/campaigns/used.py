"""Used accounts: old positions, other series, a stranger's client, cancels by hand, scalar results; and the three books agree.

What is old was there before the first session. A second session follows a first one of which a person has cancelled an order.
"""
import asyncio
import json
import signal
from collections.abc import Iterator
from datetime import date
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from kalshi_mm.client.credentials import Credentials
from kalshi_mm.client.transport import Transport
from kalshi_mm.model.numbers import CENT, CONTRACT, ONE, Count, Price, count_str, price_str
from kalshi_mm.model.temperature_markets import day_event
from kalshi_mm.model.types import Market, Side, is_ours
from kalshi_mm.sandbox.fault_catalogue import CATALOGUE
from kalshi_mm.sandbox.matching import NewOrder
from kalshi_mm.sandbox.server import ACCOUNT

from .faults import Armed, injection, running
from .stage import Case, Command, Stage, Story

USUAL = 12
ELSE = "KXHIGHCHI"  # a series that isn't traded
FAULTS = ("lose_answer", "lose_fill", "duplicate_frame", "lose_user_order")  # of which some runs have one
CROWD = "the-other-side"


def cases(runs: int, seed: int) -> list[Case]:
    "Alternately in peace, under a fault, and with a kill -9 between the sessions"
    kinds = [("in peace", ""), ("under a fault", "fault"), ("with a crash", "crash")]
    return [Case(f"used account, {name}", seed * 10_000 + n, partial(session, kind))
            for n, (name, kind) in ((n, kinds[n % 3]) for n in range(runs))]


class Past:
    "What people and other programs have done on the account before us"

    def __init__(self, stage: Stage, rng: Random):
        self._stage, self._rng, self._n, self.x = stage, rng, count(), stage.sandbox.exchange
        self.x.open_account(CROWD, 0, unlimited=True)

    def market(self, n: int) -> Market:
        "A market of another series"
        now = self._stage.sandbox.now()
        m = day_event(ELSE, date(2026, 10, 4), 60, open_ms=now - 10**8, close_ms=now + 10**8)[n]
        self.x.list_market(m, now)
        return m

    def trade(self, ticker: str, side: Side, price: Price, size: Count) -> None:
        "The account takes what somebody offers"
        x, now = self.x, self._stage.sandbox.now()
        self._stage.judge.allow(size)
        theirs = NewOrder(account=CROWD, ticker=ticker, side=side.opposite, price=price, count=size)
        rests = x.place(theirs, now)
        mine = NewOrder(account=ACCOUNT, ticker=ticker, side=side, price=ONE - CENT if side is Side.BID else CENT, count=size,
                        client_order_id=f"years-ago-{next(self._n)}", time_in_force="immediate_or_cancel")
        x.place(mine, now)
        if rests.resting: x.cancel(CROWD, rests.order_id, now)
        self._stage.sandbox.day.publish()

    def make(self) -> list[str]:
        "Two positions elsewhere, one settled for a third of a dollar, two in the traded series; tickers that are paid later"
        x, now = self.x, self._stage.sandbox.now
        elsewhere = [self.market(n).ticker for n in range(4)]
        for ticker, side in zip(elsewhere, (Side.BID, Side.ASK, Side.BID, Side.ASK), strict=True):
            self.trade(ticker, side, self._rng.randint(20, 80) * CENT, self._rng.randint(1, 800))
        x.settle(elsewhere[3], ONE // 3, now())
        active = [m.ticker for m in x.markets() if m.active and m.series_ticker != ELSE and all(x.best(m.ticker))]
        for ticker, side in zip(self._rng.sample(active, min(2, len(active))), Side, strict=False):
            best = x.best(ticker)[side is Side.BID]
            self.trade(ticker, side, best or 0, self._rng.randint(1, 300))
        for n in range(3):  # placed and cancelled, by a person
            self._stage.judge.by_hand.add(name := f"never-mind-{n}")
            new = NewOrder(account=ACCOUNT, ticker=active[n % len(active)], side=Side.BID, price=CENT, count=CONTRACT,
                           client_order_id=name)
            x.cancel(ACCOUNT, x.place(new, now()).order_id, now())
        self._stage.sandbox.day.publish()
        return elsewhere[:3]


class Stranger:
    "A client of somebody else on the same account, with the same key: an order that stays, and some that take"

    def __init__(self, stage: Stage):
        self._stage, key = stage, stage.sandbox.keys.accounts[ACCOUNT]
        self._line = Transport(stage.at[1], Credentials.load(key.key_id, key.key_file))
        self.stays = ""  # the id of the order that stays

    def _send(self, ticker: str, side: Side, price: Price, size: Count, name: str, stays: bool) -> dict[str, Any]:
        answer = self._line.send("POST", "/portfolio/events/orders", body={
            "ticker": ticker, "side": side, "price": price_str(price), "count": count_str(size), "client_order_id": name,
            "time_in_force": "good_till_canceled" if stays else "immediate_or_cancel",
            "self_trade_prevention_type": "taker_at_cross"})
        return {"status": answer.status} | json.loads(answer.body)

    async def order(self, ticker: str, side: Side, price: Price, size: Count, name: str, stays: bool = False) -> None:
        "An order by hand; refused ones change nothing"
        self._stage.judge.allow(size)
        done = await asyncio.to_thread(self._send, ticker, side, price, size, name, stays)
        if stays: self.stays = str(done.get("order_id", ""))
        told = f"{done['status']}, {done.get('fill_count', '')} filled"
        self._stage.story.tell(f"a stranger's {side} {count_str(size)} at {price_str(price)} in {ticker}: {told}")

    def close(self) -> None: self._line.close()


def open_tickers(stage: Stage) -> Iterator[str]:
    x = stage.sandbox.exchange
    return (m.ticker for m in x.markets() if m.active and m.series_ticker != ELSE and all(x.best(m.ticker)))


async def session(kind: str, folder: Path, rng: Random, story: Story, seconds: float = 0) -> dict[str, Any]:
    "Two sessions on an account that others have used and go on using"
    name = rng.choice(FAULTS)
    faults = Armed([(CATALOGUE[name], injection(name, rng))] if kind == "fault" else [], rng.randrange(1 << 30), story.tell)
    lasts_s = seconds or rng.uniform(12, 20)
    async with Stage(folder, story, faults=faults, read_lag_ms=rng.choice((0, 400, 1400)), skip_hours=24 + 5 * rng.random(),
                     speed=120) as stage:
        stage.counts = lambda f: not f.ticker.startswith(f"{ELSE}-")
        await stage.until(lambda: len(list(open_tickers(stage))) > 1, "markets have two sides")
        to_pay, stranger = Past(stage, rng).make(), Stranger(stage)
        try:
            await stranger.order(next(open_tickers(stage)), Side.BID, CENT, 2 * CONTRACT, "phone-0", stays=True)
            await asyncio.sleep(1.5)  # lists lag
            first = await running(stage, story)
            await _canceled_by_hand(stage, story)
            if kind == "crash": await _crash(first)
            else: await stage.finish(first, "the first session")
            engine = await running(stage, story)
            faults.armed = True
            for n, ticker in enumerate(to_pay):
                await asyncio.sleep(lasts_s / 4)
                traded = rng.choice([*open_tickers(stage)] or [ticker])
                side = rng.choice(list(Side))
                worst = ONE - CENT if side is Side.BID else CENT
                await stranger.order(traded, side, worst, rng.randint(1, 100), f"phone-{n + 1}")
                stage.sandbox.exchange.settle(ticker, rng.choice((ONE // 3, 3_700, ONE - 1)), stage.sandbox.now())
                stage.sandbox.day.publish()
                story.tell(f"{ticker} of another series paid a part of a dollar")
            await asyncio.sleep(lasts_s / 4)
            halts = (await stage.ask(engine, "/api/strategy/status"))["maker"]["halts"]
            for h in halts: story.tell(f"halt {h['rule']}: {h['reason']}")
            await stage.finish(engine)
            _untouched(stage, stranger, story)
        finally: stranger.close()
        return stage.judge.figures | {"halts": [h["rule"] for h in halts], "fault": name if kind == "fault" else ""}


async def _canceled_by_hand(stage: Stage, story: Story) -> None:
    "A person cancels an order of ours on the exchange's page"
    await stage.until(lambda: any(o.ours for o in stage.judge.resting.values()), "something of ours rests")
    x = stage.sandbox.exchange
    mine = next(i for i in stage.judge.resting if is_ours(x.order(i).client_order_id))
    x.cancel(ACCOUNT, mine, stage.sandbox.now())
    stage.sandbox.day.publish()
    story.tell(f"{mine} of ours is cancelled by hand")
    await asyncio.sleep(1)


async def _crash(engine: Command) -> None:
    engine.signal(signal.SIGKILL)
    await engine.process.wait()


def _untouched(stage: Stage, stranger: Stranger, story: Story) -> None:
    "The stranger's order rests as it did, unless it has traded or its market has closed"
    if not stranger.stays: return story.blame(["the stranger's order was refused"])
    order = stage.sandbox.exchange.order(stranger.stays)
    if not order.resting and order.filled < order.initial and not order.last_update_reason:
        story.blame([f"the stranger's order was cancelled: {order}"])
