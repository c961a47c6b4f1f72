"The day with the community's kalshi-sdk: asyncio client and WebSocket"
import asyncio
import time
import uuid
from ast import literal_eval
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

from day import Stranger, main
from kalshi import AsyncKalshiClient, KalshiConfig, KalshiError
from kalshi.errors import KalshiOrderbookUnavailableError
from kalshi.models import AmendOrderV2Request, CreateOrderV2Request, DecreaseOrderV2Request, Market

# Version 22.4 demands `liquidity_dollars`, which was removed on 2026-10-01 (FACTS 2) and which specification 3.34 doesn't name:
# against an exchange that keeps to its specification it reads no market at all.
Market.model_fields["liquidity"].default = None
Market.model_rebuild(force=True)


class Community(Stranger):
    async def open(self, series: str) -> list[str]:
        config = KalshiConfig(base_url=self.rest, ws_base_url=self.ws)
        self.client = AsyncKalshiClient(key_id=self.key_id, private_key_path=self.key_file, config=config)
        assert (await self.client.exchange.status()).trading_active
        markets = await self.client.markets.list(series_ticker=series, status="open")
        event = min(m.event_ticker for m in markets)
        tickers = sorted(m.ticker for m in markets if m.event_ticker == event)
        self.settled: set[str] = set()
        self.session = self.client.ws.connect()
        stream = await self.session.__aenter__()
        # While it waits for the answer to `subscribe` it throws away what comes for other subscriptions, and with it snapshots:
        # so quiet channels first, and one book, last of all.
        lives, fills = await stream.subscribe_market_lifecycle(), await stream.subscribe_fill(maxsize=100_000)
        others = [await stream.subscribe_user_orders(), await stream.subscribe_market_positions(),
                  await stream.subscribe_ticker(tickers=tickers)]
        books = self._books(tickers[0], await stream.orderbook(tickers[0], maxsize=100_000))
        self.tasks = [asyncio.create_task(t) for t in (books, self._fills(fills), self._lives(lives), *map(self._count, others))]
        return tickers

    async def _books(self, ticker: str, books: AsyncIterator[Any]) -> None:
        while True:
            try: book = await anext(books)
            except StopAsyncIteration: return
            except KalshiOrderbookUnavailableError:  # it makes its book anew, and says to wait for the snapshot
                await asyncio.sleep(0.05)
                continue
            self.frames["Orderbook"] += 1
            bid, no_bid = (max((level.price for level in side), default=None) for side in (book.yes, book.no))
            self.seen(ticker, None if bid is None else float(bid), None if no_bid is None else float(1 - no_bid))

    async def _fills(self, fills: AsyncIterator[Any]) -> None:
        async for f in fills:
            self.frames["Fill"] += 1
            self.stream_fills.append(f.msg.trade_id)

    async def _lives(self, lives: AsyncIterator[Any]) -> None:
        async for life in lives:
            self.frames[type(life).__name__] += 1
            if life.msg.event_type == "settled": self.settled.add(life.msg.market_ticker)

    async def _count(self, messages: AsyncIterator[Any]) -> None:
        async for m in messages: self.frames[type(m).__name__] += 1

    async def quote(self, ticker: str) -> tuple[float, float]:
        if ticker in self.quotes: return self.quotes[ticker]
        book = await self.client.markets.orderbook(ticker)
        bid, no_bid = (max((level.price for level in side), default=0) for side in (book.yes, book.no))
        return float(bid), float(1 - no_bid)

    async def look(self, ticker: str) -> None:
        now, series = int(time.time()), ticker.split("-")[0]
        await self.client.series.get(series)
        await self.client.markets.get(ticker)
        await self.client.markets.orderbook(ticker)
        await self.client.markets.bulk_orderbooks(tickers=[ticker])
        await self.client.markets.list_trades(ticker=ticker, limit=10)
        await self.client.markets.candlesticks(series, ticker, start_ts=now - 86_400, end_ts=now, period_interval=60)
        await self.client.account.limits()
        await self.client.portfolio.total_resting_order_value()

    async def place(self, ticker: str, side: str, price: str, count: str, **how: bool) -> str:
        request = CreateOrderV2Request(
            ticker=ticker, side=side, price=Decimal(price), count=Decimal(count), client_order_id=str(uuid.uuid4()),
            time_in_force="immediate_or_cancel" if how.get("ioc") else "good_till_canceled",
            self_trade_prevention_type="taker_at_cross", post_only=how.get("post_only", False))
        return (await self.client.orders.create_v2(request=request)).order_id

    async def amend(self, order_id: str, ticker: str, side: str, price: str, count: str) -> None:
        request = AmendOrderV2Request(ticker=ticker, side=side, price=Decimal(price), count=Decimal(count))
        await self.client.orders.amend_v2(order_id, request=request)

    async def decrease(self, order_id: str, by: str) -> None:
        await self.client.orders.decrease_v2(order_id, request=DecreaseOrderV2Request(reduce_by=Decimal(by)))

    async def cancel(self, order_id: str) -> None: await self.client.orders.cancel_v2(order_id)

    async def unsettled(self, tickers: list[str]) -> int: return len(set(tickers) - self.settled)

    async def close(self) -> dict[str, Any]:
        for task in self.tasks:
            if task.done(): task.result()  # raises what had ended it
            task.cancel()
        await self.session.__aexit__(None, None, None)
        mine, orders = self.client.portfolio, [o async for o in self.client.orders.list_all()]
        settled = [s async for s in mine.settlements_all()]
        said = {"orders": len(orders), "resting": sum(o.status == "resting" for o in orders),
                "fills": [f.trade_id async for f in mine.fills_all()], "settled": {s.ticker: str(s.revenue) for s in settled},
                "positions": len((await mine.positions()).market_positions),
                "balance": int((await mine.balance()).balance)}
        await self.client.close()
        return said

    def code(self, error: Exception) -> str:
        text = str(error) if isinstance(error, KalshiError) else ""
        return str(literal_eval(text).get("code", "")) if text.startswith("{") else ""  # its message is the whole refusal


main(Community)
