"The day with Kalshi's own kalshi-python-sync: REST only, it has no stream"
import asyncio
import json
import time
import uuid
from pathlib import Path
from typing import Any

import kalshi_python_sync as kalshi
from day import Stranger, main


class Official(Stranger):
    async def open(self, series: str) -> list[str]: return await asyncio.to_thread(self._open, series)

    def _open(self, series: str) -> list[str]:
        config = kalshi.Configuration(host=self.rest)
        config.api_key_id, config.private_key_pem = self.key_id, Path(self.key_file).read_text()
        client = kalshi.KalshiClient(config)  # ApiClient.set_kalshi_auth, which the older SDK had us use, has lost an import
        self.markets, self.events, self.exchange = kalshi.MarketApi(client), kalshi.EventsApi(client), kalshi.ExchangeApi(client)
        self.orders, self.groups = kalshi.OrdersApi(client), kalshi.OrderGroupsApi(client)
        self.portfolio, self.account = kalshi.PortfolioApi(client), kalshi.AccountApi(client)
        assert self.exchange.get_exchange_status().trading_active
        assert self.markets.get_series(series).series.fee_type == "quadratic"
        event = self.events.get_events(series_ticker=series, status="open", with_nested_markets=True).events[0]
        return sorted(m.ticker for m in event.markets)

    async def look(self, ticker: str) -> None: await asyncio.to_thread(self._look, ticker)

    def _look(self, ticker: str) -> None:
        now = int(time.time())
        assert self.markets.get_market(ticker).market.price_level_structure
        self.markets.get_market_orderbook(ticker)
        self.markets.get_market_orderbooks(tickers=[ticker])
        self.markets.get_trades(ticker=ticker, limit=10)
        self.markets.get_market_candlesticks(ticker.split("-")[0], ticker, start_ts=now - 86_400, end_ts=now, period_interval=60)
        self.exchange.get_exchange_schedule()
        self.exchange.get_user_data_timestamp()
        self.exchange.get_series_fee_changes()
        self.account.get_account_api_limits()
        self.account.get_account_endpoint_costs()
        group = self.groups.create_order_group(contracts_limit=5).order_group_id
        self.groups.trigger_order_group(group)
        self.groups.reset_order_group(group)
        self.groups.update_order_group_limit(group, contracts_limit=7)
        self.groups.get_order_group(group)
        self.groups.delete_order_group(group)

    async def quote(self, ticker: str) -> tuple[float, float]:
        book = (await asyncio.to_thread(self.markets.get_market_orderbook, ticker)).orderbook_fp
        bid, no_bid = (max((float(price) for price, _ in side), default=0.0) for side in (book.yes_dollars, book.no_dollars))
        self.seen(ticker, bid, round(1 - no_bid, 4))
        return self.quotes[ticker]

    async def place(self, ticker: str, side: str, price: str, count: str, **how: bool) -> str:
        order = await asyncio.to_thread(
            self.orders.create_order_v2, ticker=ticker, side=side, price=price, count=count, client_order_id=str(uuid.uuid4()),
            time_in_force="immediate_or_cancel" if how.get("ioc") else "good_till_canceled",
            self_trade_prevention_type="taker_at_cross", post_only=how.get("post_only", False))
        return order.order_id

    async def amend(self, order_id: str, ticker: str, side: str, price: str, count: str) -> None:
        await asyncio.to_thread(self.orders.amend_order_v2, order_id, ticker=ticker, side=side, price=price, count=count)

    async def decrease(self, order_id: str, by: str) -> None:
        await asyncio.to_thread(self.orders.decrease_order_v2, order_id, reduce_by=by)

    async def cancel(self, order_id: str) -> None: await asyncio.to_thread(self.orders.cancel_order_v2, order_id)

    async def unsettled(self, tickers: list[str]) -> int:
        markets = (await asyncio.to_thread(self.markets.get_markets, tickers=",".join(tickers))).markets
        return sum(m.status != "finalized" for m in markets)

    async def close(self) -> dict[str, Any]: return await asyncio.to_thread(self._close)

    def _close(self) -> dict[str, Any]:
        settled = self.portfolio.get_settlements(limit=100).settlements
        return {"orders": len(self._all(self.orders.get_orders, "orders")),
                "resting": len(self._all(self.orders.get_orders, "orders", status="resting")),
                "fills": [f.trade_id for f in self._all(self.portfolio.get_fills, "fills")],
                "settled": {s.ticker: s.revenue for s in settled},
                "positions": len(self.portfolio.get_positions().market_positions),
                "balance": self.portfolio.get_balance().balance}

    def _all(self, read: Any, name: str, **options: Any) -> list[Any]:
        found, cursor = [], ""
        while True:
            page = read(limit=100, **options, **({"cursor": cursor} if cursor else {}))
            found += getattr(page, name)
            cursor = page.cursor
            if not cursor: return found

    def code(self, error: Exception) -> str:
        if not isinstance(error, kalshi.ApiException) or not error.body: return ""
        said = json.loads(error.body)
        return said.get("error", said).get("code", "")


main(Official)
