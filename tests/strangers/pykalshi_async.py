"The day with pykalshi's asyncio client and feed"
import asyncio
import time
from typing import Any

from day import Stranger, main
from pykalshi import AsyncKalshiClient
from pykalshi.enums import CandlestickPeriod, MarketStatus, OrderStatus, TimeInForce
from pykalshi.exceptions import KalshiAPIError
from pykalshi.orderbook import OrderbookManager


class PykalshiAsync(Stranger):
    async def open(self, series: str) -> list[str]:
        self.client = AsyncKalshiClient(self.key_id, self.key_file, api_base=self.rest)
        assert (await self.client.exchange.get_status()).trading_active
        event = (await self.client.get_events(series_ticker=series, status=MarketStatus.OPEN))[0]
        tickers = sorted(m.ticker for m in await event.get_markets())
        self.books = {t: OrderbookManager(t) for t in tickers}
        self.settled: set[str] = set()
        self.feed = self.client.feed()
        self.feed._ws_url = self.ws  # it has no argument for this
        self.feed.subscribe("orderbook_delta", market_tickers=tickers)
        for channel in ("fill", "user_orders", "market_positions", "market_lifecycle_v2", "order_group_updates"):
            self.feed.subscribe(channel)
        await self.feed.connect()
        self.reader = asyncio.create_task(self._read())
        return tickers

    async def _read(self) -> None:
        async for msg in self.feed:
            kind = type(msg).__name__
            self.frames[kind] += 1
            if kind.startswith("Orderbook"):
                book = self.books[msg.market_ticker]
                if kind == "OrderbookSnapshotMessage": book.apply_snapshot(msg.yes_dollars, msg.no_dollars)
                else: book.apply_delta(msg.side, msg.price_dollars, msg.delta_fp)
                bid, ask = book.best_bid, book.best_ask
                self.seen(msg.market_ticker, float(bid) if bid else None, float(ask) if ask else None)
            elif kind == "FillMessage": self.stream_fills.append(msg.trade_id)
            elif kind == "MarketLifecycleMessage" and msg.event_type == "settled": self.settled.add(msg.market_ticker)

    async def look(self, ticker: str) -> None:
        market, now = await self.client.get_market(ticker), int(time.time())
        await market.get_orderbook()
        await market.get_trades(limit=10)
        await market.get_candlesticks(now - 86_400, now, CandlestickPeriod.ONE_HOUR)
        await self.client.portfolio.get_queue_positions(market_tickers=[ticker])
        group = await self.client.portfolio.create_order_group("5.00")
        await self.client.portfolio.update_order_group_limit(group.id, "7.00")
        await self.client.portfolio.trigger_order_group(group.id)

    async def place(self, ticker: str, side: str, price: str, count: str, **how: bool) -> str:
        kind = TimeInForce.IOC if how.get("ioc") else TimeInForce.GTC
        order = await self.client.portfolio.place_order(
            ticker, count_fp=count, book_side=side, price_dollars=price, time_in_force=kind,
            post_only=how.get("post_only", False))
        return order.order_id

    async def amend(self, order_id: str, ticker: str, side: str, price: str, count: str) -> None:
        await self.client.portfolio.amend_order(order_id, ticker=ticker, book_side=side, price_dollars=price, count_fp=count)

    async def decrease(self, order_id: str, by: str) -> None: await self.client.portfolio.decrease_order(order_id, by)

    async def cancel(self, order_id: str) -> None: await self.client.portfolio.cancel_order(order_id)

    async def unsettled(self, tickers: list[str]) -> int: return len(set(tickers) - self.settled)

    async def close(self) -> dict[str, Any]:
        self.reader.cancel()
        await asyncio.wait([self.reader])
        mine = self.client.portfolio
        orders, fills = await mine.get_orders(fetch_all=True), await mine.get_fills(fetch_all=True)
        said = {"orders": len(orders), "resting": len(await mine.get_orders(status=OrderStatus.RESTING)),
                "fills": [f.trade_id for f in fills], "settled": {s.ticker: s.revenue for s in await mine.get_settlements()},
                "positions": len(await mine.get_positions()), "balance": (await mine.get_balance()).balance}
        await self.client.aclose()
        return said

    def code(self, error: Exception) -> str:
        return (error.error_code or "") if isinstance(error, KalshiAPIError) else ""


main(PykalshiAsync)
