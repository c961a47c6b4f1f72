"""A trading day, the same for every client: standard library only, since it runs where nothing else of ours is installed.

A client is driven through an adapter (`Stranger`); at the end one line of JSON tells what the client saw, for the test to
hold against the exchange's own books. Adapters of clients that block run their calls in a thread.
"""
import asyncio
import json
import sys
import time
import traceback
from collections import Counter
from typing import Any

BUSY_S = 0.25  # between two rounds of orders: a Basic account may place ten a second
EXPECTED = {"invalid_order", "not_found", "order_already_exists"}  # refusals that a trader lives with


class Stranger:
    "What the day needs of a client"

    def __init__(self, rest: str, ws: str, key_id: str, key_file: str):
        self.rest, self.ws, self.key_id, self.key_file = rest, ws, key_id, key_file
        self.quotes: dict[str, tuple[float, float]] = {}  # best bid and ask, as the client has it
        self.frames: Counter[str] = Counter()  # messages by kind, as the client understood them
        self.stream_fills: list[str] = []  # trade ids
        self.crossed = 0  # books that made no sense

    async def open(self, series: str) -> list[str]: raise NotImplementedError  # the tickers of the event
    async def look(self, ticker: str) -> None: raise NotImplementedError  # read all that can be read of a market
    async def quote(self, ticker: str) -> tuple[float, float]: return self.quotes.get(ticker, (0.0, 1.0))
    async def place(self, ticker: str, side: str, price: str, count: str, **how: bool) -> str: raise NotImplementedError  # its id
    async def amend(self, order_id: str, ticker: str, side: str, price: str, count: str) -> None: raise NotImplementedError
    async def decrease(self, order_id: str, by: str) -> None: raise NotImplementedError
    async def cancel(self, order_id: str) -> None: raise NotImplementedError
    async def unsettled(self, tickers: list[str]) -> int: raise NotImplementedError  # markets that have not paid yet
    async def close(self) -> dict[str, Any]: raise NotImplementedError  # fills, orders, settlements, balance
    def code(self, error: Exception) -> str: raise NotImplementedError  # of a refusal; empty if it is none

    def seen(self, ticker: str, bid: float | None, ask: float | None) -> None:
        "The best prices of a book"
        self.quotes[ticker] = (bid or 0.0, 1.0 if ask is None else ask)
        self.crossed += self.quotes[ticker][0] >= self.quotes[ticker][1]


async def trade(me: Stranger, tickers: list[str], until: float, did: Counter[str], refused: Counter[str]) -> None:
    "Join both sides of one market after the other, take now and then, amend, decrease and cancel, until all have paid"
    resting: list[tuple[str, str, str, str]] = []
    for n in range(10**9):
        ticker = tickers[n % len(tickers)]
        if n % 20 == 19 and not await me.unsettled(tickers): return
        if time.monotonic() > until: raise TimeoutError("the markets had not paid in time")
        bid, ask = await me.quote(ticker)
        try:
            match n % 7:
                case 0 | 1 | 2 if 0 < bid:
                    await keep(me, resting, ticker, "bid", bid)
                    did["place"] += 1
                case 3 | 4 if ask < 1:
                    await keep(me, resting, ticker, "ask", ask)
                    did["place"] += 1
                case 5 if ask < 1:
                    await me.place(ticker, "bid", f"{ask:.4f}", "1.00", ioc=True)
                    did["take"] += 1
                case 6 if resting:
                    order_id, its, side, price = resting.pop(0)
                    did[verb := ("amend", "decrease", "cancel")[n // 7 % 3]] += 1
                    if verb == "amend": await me.amend(order_id, its, side, price, "3.00")
                    elif verb == "decrease": await me.decrease(order_id, "1.00")
                    else: await me.cancel(order_id)
        except Exception as e:  # what isn't a refusal ends the day
            if not (code := me.code(e)): raise
            refused[code] += 1
        await asyncio.sleep(BUSY_S)


async def keep(me: Stranger, resting: list[tuple[str, str, str, str]], ticker: str, side: str, price: float) -> None:
    "Rest two contracts; the oldest of many orders is forgotten, and rests until the close"
    order_id = await me.place(ticker, side, f"{price:.4f}", "2.00", post_only=True)
    resting.append((order_id, ticker, side, f"{price:.4f}"))
    del resting[:-12]


async def story(me: Stranger, series: str, within_s: float) -> dict[str, Any]:
    did, refused = Counter[str](), Counter[str]()
    tickers = await me.open(series)
    await me.look(tickers[0])
    await trade(me, tickers, time.monotonic() + within_s, did, refused)
    return await me.close() | {"did": did, "refused": refused, "frames": me.frames, "crossed": me.crossed,
                               "stream_fills": me.stream_fills, "tickers": tickers}


def main(kind: type[Stranger]) -> None:
    "PROGRAM REST WS KEY_ID KEY_FILE SERIES SECONDS"
    *where, series, within = sys.argv[1:]
    me = kind(*where)
    try: print(json.dumps(asyncio.run(story(me, series, float(within)))), flush=True)
    except Exception as e:
        said = {"error": f"{type(e).__name__}: {e}"[:1000], "frames": me.frames, "trace": traceback.format_exc()[-3000:]}
        print(json.dumps(said), flush=True)
        sys.exit(1)
