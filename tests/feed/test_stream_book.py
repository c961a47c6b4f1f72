"""The book that our own client builds from the stream is the exchange's own, whatever happens there.

In one process, without a socket: the exchange's frames, as bytes, into the client's reader. 100,000 messages a run;
`KALSHI_MM_MESSAGES=1000000` makes it a million, which takes some minutes.
"""
import os
from random import Random

import pytest

from kalshi_mm.feed.stream_state import StreamState
from kalshi_mm.model.messages import BookDelta, BookSnapshot, BookStale
from kalshi_mm.model.numbers import CENT, ONE, Count, Price
from kalshi_mm.model.types import Side
from kalshi_mm.orderbook import OrderBook
from kalshi_mm.sandbox.execution import Refusal
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.order_queue import NewOrder
from kalshi_mm.sandbox.streams import Session
from kalshi_mm.sandbox.trading_day import TradingDay
from kalshi_mm.sandbox.traffic import MarketClock
from tests.sandbox.kit import MARKETS, Nobody

MESSAGES = int(os.environ.get("KALSHI_MM_MESSAGES", "100000"))
NOW = 1_800_000_000_000
TICKERS = [m.ticker for m in MARKETS]
Levels = tuple[list[tuple[Price, Count]], list[tuple[Price, Count]]]


class Client:
    "Our stream reader and its books"

    def __init__(self) -> None:
        self.state = StreamState()
        self.books = {t: OrderBook(t) for t in TICKERS}
        self.messages = 0

    def hear(self, frame: bytes) -> None:
        for event in self.state.receive(frame, NOW):
            match event:
                case BookDelta(ticker=t): self.books[t].apply_delta(event.side, event.price, event.delta, NOW)
                case BookSnapshot(ticker=t): self.books[t].apply_snapshot(event.bids, event.asks, NOW)
                case BookStale(): raise AssertionError(event)
                case _: continue
            self.messages += 1

    def levels(self, ticker: str) -> Levels:
        book = self.books[ticker]
        return book.depth(Side.BID, 10_000), book.depth(Side.ASK, 10_000)


def disturb(exchange: Exchange, rng: Random, resting: list[tuple[str, str]]) -> None:
    "One operation of somebody, such as happen on an exchange; some are refused"
    account, ticker, side = rng.choice(("ann", "bob", "cyd")), rng.choice(TICKERS), rng.choice((Side.BID, Side.ASK))
    centre = 45 if side is Side.BID else 55
    price, count = max(1, min(99, round(rng.gauss(centre, 8)))) * CENT, rng.choice((1, 50, 100, 250, 1000, 12_345))
    owner, order_id = rng.choice(resting[-200:]) if resting else ("ann", "none")
    try:
        match rng.randrange(10):
            case 0 | 1: exchange.cancel(owner, order_id, NOW)
            case 2: exchange.decrease(owner, order_id, NOW, reduce_by=25)
            case 3:
                o = exchange.order(order_id)
                exchange.amend(owner, order_id, ticker=o.ticker, side=o.side, price=price, count=o.filled + count, now_ms=NOW)
            case 4 if rng.random() < 0.02: exchange.cancel_all(owner, NOW)
            case kind:
                order = NewOrder(account=account, ticker=ticker, side=side, price=price, count=count, post_only=kind == 5,
                                 time_in_force="immediate_or_cancel" if kind == 6 else "good_till_canceled",
                                 self_trade=rng.choice(("taker_at_cross", "maker")))
                resting.append((account, exchange.place(order, NOW).order_id))
    except (Refusal, KeyError):
        return


@pytest.mark.timeout(1800)
def test_our_clients_book_is_the_exchanges_after_every_operation():
    exchange = Exchange([], ids=(f"id{n}" for n in range(10**9)).__next__)
    for account in ("ann", "bob", "cyd"): exchange.open_account(account, 0, unlimited=True)
    day = TradingDay(exchange, Nobody(), MarketClock(NOW, 1), lambda: NOW)
    while day.step(): pass
    session, client, rng, resting = Session("watcher", day.market_data, limit=10**9), Client(), Random(6), list[tuple[str, str]]()
    day.sessions.add(session)
    client.state.on_connect(NOW)
    client.state.subscribe(TICKERS, NOW)
    longest = 0
    while client.messages < MESSAGES:
        for command in client.state.take(): session.receive(command, NOW)
        disturb(exchange, rng, resting)
        day.publish()
        while len(session): client.hear(session.pop())
        for ticker in TICKERS:
            levels = client.levels(ticker)
            assert levels == exchange.levels(ticker)
            longest = max(longest, *map(len, levels))
    assert all(bids[0][0] < asks[0][0] <= ONE for bids, asks in map(client.levels, TICKERS) if bids and asks)
    assert longest > 20 and client.messages >= MESSAGES
