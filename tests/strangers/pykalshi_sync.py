"The day with pykalshi's blocking client and its threaded feed"
import asyncio
import time
from typing import Any

from day import Stranger, main
from pykalshi import KalshiClient
from pykalshi.enums import CandlestickPeriod, MarketStatus, OrderStatus, TimeInForce
from pykalshi.exceptions import KalshiAPIError
from pykalshi.orderbook import OrderbookManager


class PykalshiSync(Stranger):
    async def open(self, series: str) -> list[str]: return await asyncio.to_thread(self._open, series)

    def _open(self, series: str) -> list[str]:
        self.client = KalshiClient(self.key_id, self.key_file, api_base=self.rest)
        assert self.client.exchange.get_status().trading_active
        assert self.client.get_series(series).ticker == series
        event = self.client.get_events(series_ticker=series, status=MarketStatus.OPEN)[0]
        tickers = sorted(m.ticker for m in event.get_markets())
        self.books = {t: OrderbookManager(t) for t in tickers}
        self.settled: set[str] = set()
        self.feed = self.client.feed()
        self.feed._ws_url = self.ws  # it has no argument for this
        for channel in ("orderbook_delta", "ticker", "trade", "fill", "user_orders", "market_positions", "market_lifecycle_v2"):
            self.feed.on(channel, lambda msg, c=channel: self._heard(c, msg))
            if channel in ("orderbook_delta", "ticker", "trade"): self.feed.subscribe(channel, market_tickers=tickers)
            else: self.feed.subscribe(channel)
        self.feed.start()
        return tickers

    def _heard(self, channel: str, msg: Any) -> None:
        self.frames[type(msg).__name__] += 1
        if channel == "orderbook_delta":
            book = self.books[msg.market_ticker]
            if hasattr(msg, "yes_dollars"): book.apply_snapshot(msg.yes_dollars, msg.no_dollars)
            else: book.apply_delta(msg.side, msg.price_dollars, msg.delta_fp)
            bid, ask = book.best_bid, book.best_ask
            self.seen(msg.market_ticker, float(bid) if bid else None, float(ask) if ask else None)
        elif channel == "fill": self.stream_fills.append(msg.trade_id)
        elif channel == "market_lifecycle_v2" and msg.event_type == "settled": self.settled.add(msg.market_ticker)

    async def look(self, ticker: str) -> None: await asyncio.to_thread(self._look, ticker)

    def _look(self, ticker: str) -> None:
        market, now = self.client.get_market(ticker), int(time.time())
        market.get_orderbook(depth=5)
        market.get_trades(limit=10)
        market.get_candlesticks(now - 86_400, now, CandlestickPeriod.ONE_MINUTE)
        self.client.exchange.get_schedule()
        self.client.portfolio.get_queue_positions(market_tickers=[ticker])
        self.client.portfolio.get_resting_order_value()
        group = self.client.portfolio.create_order_group("5.00")
        self.client.portfolio.trigger_order_group(group.id)
        self.client.portfolio.reset_order_group(group.id)

    async def place(self, ticker: str, side: str, price: str, count: str, **how: bool) -> str:
        kind = TimeInForce.IOC if how.get("ioc") else TimeInForce.GTC
        order = await asyncio.to_thread(
            self.client.portfolio.place_order, ticker, count_fp=count, book_side=side, price_dollars=price, time_in_force=kind,
            post_only=how.get("post_only", False))
        return order.order_id

    async def amend(self, order_id: str, ticker: str, side: str, price: str, count: str) -> None:
        more = {"ticker": ticker, "book_side": side, "price_dollars": price, "count_fp": count}
        await asyncio.to_thread(self.client.portfolio.amend_order, order_id, **more)

    async def decrease(self, order_id: str, by: str) -> None:
        await asyncio.to_thread(self.client.portfolio.decrease_order, order_id, by)

    async def cancel(self, order_id: str) -> None: await asyncio.to_thread(self.client.portfolio.cancel_order, order_id)

    async def unsettled(self, tickers: list[str]) -> int: return len(set(tickers) - self.settled)

    async def close(self) -> dict[str, Any]: return await asyncio.to_thread(self._close)

    def _close(self) -> dict[str, Any]:
        self.feed.stop()
        mine = self.client.portfolio
        orders, fills = mine.get_orders(fetch_all=True), mine.get_fills(fetch_all=True)
        said = {"orders": len(orders), "resting": len(mine.get_orders(status=OrderStatus.RESTING)),
                "fills": [f.trade_id for f in fills], "settled": {s.ticker: s.revenue for s in mine.get_settlements()},
                "positions": len(mine.get_positions()), "balance": mine.get_balance().balance}
        self.client.close()
        return said

    def code(self, error: Exception) -> str:
        return (error.error_code or "") if isinstance(error, KalshiAPIError) else ""


main(PykalshiSync)
