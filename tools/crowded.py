"""An exchange with fifty markets of one series, for looking at the panel: six have the sandbox's own traffic, the others books
that a stranger moves up and down. Says where it is, as `kalshi-mm exchange --json` does, and ends with whoever reads that.

    python tools/crowded.py FOLDER [MARKETS]
"""

import asyncio
import random
import sys
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import msgspec
from msgspec.structs import replace

from kalshi_mm.cli.hosting import until_stopped
from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, Price
from kalshi_mm.model.types import Side
from kalshi_mm.sandbox.execution import Refusal
from kalshi_mm.sandbox.matching import Exchange, NewOrder
from kalshi_mm.sandbox.server import Announcement, Sandbox, build, serve


@dataclass
class Stranger:
    "Quotes both sides of some markets, and moves one of them at a time"

    exchange: Exchange
    name: str
    middles: dict[str, Price]
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    orders: dict[str, list[str]] = field(default_factory=dict)

    def move(self, ticker: str, now_ms: int) -> None:
        for order_id in self.orders.pop(ticker, []):
            try: self.exchange.cancel(self.name, order_id, now_ms)
            except Refusal: pass  # it was filled
        self.middles[ticker] = min(max(self.middles[ticker] + self.chance.choice((-1, 0, 1)) * CENT, 8 * CENT), 92 * CENT)
        for side in Side:
            for away in (2, 3, 5):
                new = NewOrder(account=self.name, ticker=ticker, side=side, price=self.middles[ticker] - side.sign * away * CENT,
                               count=self.chance.randrange(1, 300) * CONTRACT)
                self.orders.setdefault(ticker, []).append(self.exchange.place(new, now_ms).order_id)


def crowded(folder: Path, markets: int) -> tuple[Sandbox, Stranger]:
    "The sandbox in the middle of its day, with more markets"
    sandbox = build(folder, seed=2, speed=20, day=date(2026, 10, 4), skip_hours=25)
    exchange, own = sandbox.exchange, sandbox.exchange.markets()
    exchange.open_account("stranger", 10**6 * DOLLAR, unlimited=True)
    more = [replace(own[n % 6], ticker=f"{own[n % 6].event_ticker}X{n // 6}-{own[n % 6].ticker.rpartition('-')[2]}",
                    event_ticker=f"{own[n % 6].event_ticker}X{n // 6}", status="active") for n in range(markets - len(own))]
    for m in more: exchange.list_market(m, sandbox.now())
    return sandbox, Stranger(exchange, "stranger", {m.ticker: 10 * CENT * (2 + n % 7) for n, m in enumerate(more)})


async def keep_moving(sandbox: Sandbox, stranger: Stranger) -> None:
    "Twenty markets a second"
    tickers = list(stranger.middles)
    for ticker in tickers: stranger.move(ticker, sandbox.now())
    while True:
        await asyncio.sleep(0.05)
        stranger.move(stranger.chance.choice(tickers), sandbox.now())
        sandbox.day.publish()


async def main(folder: Path, markets: int) -> None:
    sandbox, stranger = crowded(folder, markets)

    def announce(where: Announcement) -> None: print(msgspec.json.encode(where).decode(), flush=True)

    moving = asyncio.create_task(keep_moving(sandbox, stranger))
    try: await until_stopped(serve(sandbox, "127.0.0.1", 0, announce), attached=True)
    finally: moving.cancel()


if __name__ == "__main__": asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 50))
