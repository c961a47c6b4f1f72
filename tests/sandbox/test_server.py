"The sandbox over its sockets: that it is Kalshi's format, and that the rules of the wire hold."
import asyncio
import json
import socket
import time
from collections import defaultdict
from datetime import date
from email.utils import parsedate_to_datetime
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import pytest
import websockets
from msgspec.structs import replace

from kalshi_mm.client.venue import speed_of
from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, ONE
from kalshi_mm.model.types import Side, TickGrid
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.order_queue import NewOrder
from kalshi_mm.sandbox.rest import OPERATIONS
from kalshi_mm.sandbox.server import build, wall_ms
from kalshi_mm.sandbox.simulated import SimulatedDay
from kalshi_mm.sandbox.streams import Session
from kalshi_mm.sandbox.trading_day import TradingDay
from kalshi_mm.sandbox.traffic import Calibration, MarketClock
from tests.sandbox.kit import (
    BASE,
    DATA,
    MARKETS,
    PAYLOADS,
    STREAM,
    Client,
    Nobody,
    Stream,
    needs_specs,
    rest_judge,
    running,
    stream_judge,
)

X, Y = (m.ticker for m in MARKETS)
DECI, TAPERED = TickGrid.of([(0, ONE, 10)]), TickGrid.of([(0, 1000, 10), (1000, 9000, CENT), (9000, ONE, 10)])
CALIBRATION = Calibration.of(json.loads((files("kalshi_mm.sandbox") / "calibration.json").read_text()))
CHANNELS = (
    "orderbook_delta", "trade", "ticker", "fill", "user_orders", "market_positions", "market_lifecycle_v2", "order_group_updates")


def run(story: Any, wait_s: float = 60) -> None:
    asyncio.run(asyncio.wait_for(story, wait_s))


def code_of(body: Any) -> str:
    said = body.get("error", body)
    return str(said.get("details", said.get("code")))


# ---- the specification

async def wander(rng: Random, me: Client, tickers: list[str], mine: list[tuple[str, str, str]], groups: list[str]) -> None:
    "One operation, sensible or not; `mine` are id, ticker and side of orders placed"
    ticker = rng.choice([*tickers, "NOSUCH"] if rng.random() < 0.05 else tickers)
    price, count = f"0.{rng.randint(1, 99):02d}", str(rng.choice([1, 3, 10, "0.5", "2.25"]))
    side = rng.choice(["bid", "ask"])
    order, its_ticker, its_side = rng.choice(mine[-10:]) if mine else ("none", ticker, side)
    group = rng.choice(groups) if groups else "none"
    verbs = ["place"] * 8 + ["amend", "decrease", "read"] * 2 + ["cancel", "batch", "unbatch", "group", "regroup", "all", "net"]
    match rng.choice(verbs):
        case "place":
            more: dict[str, Any] = rng.choice([
                {}, {"post_only": True}, {"time_in_force": "immediate_or_cancel"}, {"time_in_force": "fill_or_kill"},
                {"expiration_time": int(time.time()) + rng.choice([-5, 1, 60])}, {"order_group_id": group}, {"price": "0.515"},
                {"time_in_force": "immediate_or_cancel", "reduce_only": True}, {"self_trade_prevention_type": "maker"},
                {"cancel_order_on_pause": True}])
            status, body = await me.place(ticker, side, more.pop("price", price), count, **more)
            if status == 201: mine.append((body["order_id"], ticker, side))
        case "amend":
            body = {"ticker": its_ticker, "side": its_side, "price": price, "count": count}
            await me.ask("POST", f"/portfolio/events/orders/{order}/amend", body)
        case "decrease":
            body = rng.choice([{"reduce_by": "0.01"}, {"reduce_to": "0"}, {}])
            await me.ask("POST", f"/portfolio/events/orders/{order}/decrease", body)
        case "cancel": await me.ask("DELETE", f"/portfolio/events/orders/{order}")
        case "batch":
            one = {"ticker": ticker, "side": side, "price": price, "count": count, "time_in_force": "good_till_canceled",
                   "self_trade_prevention_type": "taker_at_cross"}
            _, body = await me.ask("POST", "/portfolio/events/orders/batched", {"orders": [one, one | {"price": "0.999"}]})
            mine += [(o["order_id"], ticker, side) for o in body["orders"] if "error" not in o]
        case "unbatch":
            await me.ask("DELETE", "/portfolio/events/orders/batched", {"orders": [{"order_id": o} for o in (order, "none")]})
        case "group":
            _, body = await me.ask("POST", "/portfolio/order_groups/create", {"contracts_limit_fp": "5.00"})
            groups.append(body["order_group_id"])
        case "regroup":
            verb, body = rng.choice([("reset", None), ("trigger", None), ("limit", {"contracts_limit": 7})])
            await me.ask("PUT", f"/portfolio/order_groups/{group}/{verb}", body)
            if len(groups) > 3: await me.ask("DELETE", f"/portfolio/order_groups/{groups.pop(0)}")
        case "read": await look(me, rng.choice(READS), ticker, order, group)
        case "all": await me.ask("DELETE", "/portfolio/events/orders")
        case "net":
            body = {"subaccount_number": 0, "enabled": rng.random() < 0.7}
            await me.ask("PUT", "/portfolio/subaccounts/netting", body)


READS: list[tuple[str, dict[str, Any]]] = [
    ("/exchange/status", {}), ("/exchange/schedule", {}), ("/exchange/user_data_timestamp", {}),
    ("/series", {}), ("/series/fee_changes", {}), ("/series/{series}", {}),
    ("/events", {"with_nested_markets": "true"}), ("/events/{event}", {}), ("/events/{event}", {"with_nested_markets": "true"}),
    ("/markets", {"status": "open", "limit": 2}), ("/markets", {"tickers": "{ticker}"}), ("/markets/{ticker}", {}),
    ("/markets/{ticker}/orderbook", {"depth": 2}), ("/markets/orderbooks", {"tickers": "{ticker}"}),
    ("/markets/trades", {"limit": 5}),
    ("/api_keys", {}), ("/account/limits", {}), ("/account/endpoint_costs", {}), ("/portfolio/balance", {}),
    ("/portfolio/positions", {"count_filter": "position"}), ("/portfolio/fills", {"limit": 3}), ("/portfolio/settlements", {}),
    ("/portfolio/orders", {"status": "resting"}), ("/portfolio/orders", {"limit": 5}), ("/portfolio/orders/{order}", {}),
    ("/portfolio/orders/{order}/queue_position", {}), ("/portfolio/orders/queue_positions", {}), ("/portfolio/order_groups", {}),
    ("/portfolio/order_groups/{group}", {}),
    ("/series/{series}/markets/{ticker}/candlesticks", {"start_ts": 0, "end_ts": 10**10, "period_interval": 1}),
    ("/series/{series}/events/{event}/candlesticks", {"start_ts": 0, "end_ts": 10**10, "period_interval": 60}),
    ("/markets/candlesticks", {"market_tickers": "{ticker}", "start_ts": 0, "end_ts": 10**10, "period_interval": 1440}),
    ("/markets/candlesticks", {"market_tickers": "{ticker}", "start_ts": 10**10, "end_ts": 2 * 10**10, "period_interval": 60,
                               "include_latest_before_start": "true"}),
    ("/incentive_programs", {"status": "active", "type": "liquidity"}), ("/historical/cutoff", {}),
    ("/historical/trades", {"ticker": "{ticker}"}), ("/portfolio/summary/total_resting_order_value", {}),
    ("/portfolio/subaccounts/netting", {}), ("/historical/markets", {"limit": 3}), ("/portfolio/deposits", {"limit": 3}),
    ("/live_data/events/{event}", {}), ("/portfolio/withdrawals", {}), ("/portfolio/subaccounts/transfers", {}),
]


async def look(me: Client, read: tuple[str, dict[str, Any]], ticker: str, order: str, group: str) -> None:
    "One read"
    names = {"ticker": ticker, "event": ticker.rsplit("-", 1)[0], "series": ticker.split("-")[0], "order": order, "group": group}
    path, query = read
    await me.ask("GET", path.format(**names), **{k: str(v).format(**names) for k, v in query.items()})


@needs_specs
@pytest.mark.parametrize("seed", [1, 2])
def test_every_answer_and_every_frame_of_a_random_session_fits_the_specification(tmp_path: Path, seed: int):
    traffic = SimulatedDay(CALIBRATION, date(2026, 11, 24), seed)
    clock = MarketClock(wall_ms(), traffic.markets[0].open_ms, speed=600)
    tickers = [m.ticker for m in traffic.markets]
    rest_judge().seen.clear()
    stream_judge().seen.clear()

    async def story() -> None:
        async with running(tmp_path, traffic=traffic, clock=clock, judge=rest_judge()) as (sandbox, members):
            async with members["ann"].stream(stream_judge()) as stream:
                await stream.subscribe(*CHANNELS, market_tickers=tickers, use_yes_price=True, send_initial_snapshot=True)
                await stream.subscribe("orderbook_delta", market_tickers=tickers[:2])
                listen = asyncio.create_task(follow(stream))
                rng, mine, groups = Random(seed), defaultdict(list), defaultdict(list)
                for _ in range(400):
                    name = rng.choice(["ann", "ann", "bob"])
                    await wander(rng, members[name], tickers, mine[name], groups[name])
                for cmd, params in [("list_subscriptions", {}), ("sing", {}), ("subscribe", {"channels": ["weather"]}),
                                    ("update_subscription", {"sid": 1, "action": "get_snapshot", "market_tickers": tickers}),
                                    ("update_subscription", {"sid": 9, "action": "delete_markets", "market_ticker": tickers[0]}),
                                    ("unsubscribe", {"sids": [2, 77]})]:
                    await stream.send(cmd, **params)
                await stream.send("list_subscriptions")
                await asyncio.wait_for(listen, 10)
            ann = members["ann"]
            _, order = await ann.place(tickers[0], "bid", "0.01", "1", post_only=True)
            _, group = await ann.ask("POST", "/portfolio/order_groups/create", {"contracts_limit": 10})
            for read in READS: await look(ann, read, tickers[0], order["order_id"], group["order_group_id"])
            await ann.ask("DELETE", f"/portfolio/order_groups/{group['order_group_id']}")
            await ann.ask("POST", f"/portfolio/events/orders/{order['order_id']}/decrease", {"reduce_to": "0.5"})
            x, old = sandbox.exchange, tickers[-1]
            for status in ("closed", "determined"): x.set_status(old, status, sandbox.now(), 3700)
            x.settle(old, 3700, sandbox.now())
            sandbox.day.publish()
            assert (await ann.ask("GET", f"/markets/{old}"))[0] == 200
            assert (await ann.ask("GET", f"/historical/markets/{old}"))[0] == 404
            wide = {"start_ts": 0, "end_ts": 10**10, "period_interval": 1}
            live = f"/series/{old.split('-')[0]}/markets/{old}/candlesticks"
            _, before = await ann.ask("GET", live, **wide)
            sandbox.day.cutoff_ms = sandbox.now() + 1  # whatever has settled is history
            assert (await ann.ask("GET", live, **wide))[0] == 404
            _, after = await ann.ask("GET", f"/historical/markets/{old}/candlesticks", **wide)
            ends = [[c["end_period_ts"] for c in body["candlesticks"]] for body in (before, after)]
            assert ends[0] and ends[0] == ends[1][: len(ends[0])]
            assert (await ann.ask("GET", f"/markets/{old}"))[0] == 404
            assert old not in {m["ticker"] for m in (await ann.ask("GET", "/markets"))[1]["markets"]}
            assert [m["ticker"] for m in (await ann.ask("GET", "/historical/markets"))[1]["markets"]] == [old]
            found = (await ann.ask("GET", f"/historical/markets/{old}"))[1]["market"]
            assert (found["result"], found["settlement_value_dollars"]) == ("scalar", "0.3700")

    run(story())
    assert {op.name for op in OPERATIONS} - {name for name, _ in rest_judge().seen} == {"V1"}
    rare = {"market_lifecycle_v2", "event_lifecycle", "event_fee_update"}  # nothing opens or changes then
    assert stream_judge().seen == PAYLOADS.keys() - rare


async def follow(stream: Stream) -> None:
    "Read until the second list of subscriptions"
    lists = 0
    while lists < 2:
        frame = await stream.next()
        lists += frame["type"] == "ok" and isinstance(frame["msg"], list)


# ---- the day

class Short(Nobody):
    "A market that is open for two hours of market time, in which one maker offers ten at 40"

    def __init__(self) -> None:
        self.markets = (replace(MARKETS[0], open_ms=3_600_000, close_ms=10_800_000),)
        self.due: int | None = 3_600_000

    def next_ms(self) -> int | None: return self.due  # type: ignore[override]

    def act(self, exchange: Exchange, day_ms: int, now_ms: int) -> None:
        self.due = None
        exchange.open_account("maker", 0, unlimited=True)
        exchange.place(NewOrder(account="maker", ticker=X, side=Side.ASK, price=40 * CENT, count=10 * CONTRACT), now_ms)


@needs_specs
def test_a_market_opens_trades_closes_and_pays_and_the_stream_says_what_kalshi_says(tmp_path: Path):
    async def story() -> None:
        clock = MarketClock(wall_ms(), 0, speed=7200)  # an hour in half a second
        async with running(tmp_path, traffic=Short(), clock=clock, judge=rest_judge()) as (sandbox, members):
            ann = members["ann"]
            assert (await ann.place(X, "bid", "0.40", "4"))[1]["error"]["code"] == "MARKET_INACTIVE"
            assert (await ann.ask("GET", "/markets", status="unopened"))[1]["markets"][0]["status"] == "initialized"
            async with ann.stream(stream_judge()) as stream:
                channels = ("market_lifecycle_v2", "orderbook_delta", "user_orders", "market_positions")
                await stream.subscribe(*channels, market_ticker=X)
                await stream.until(lambda f: f["type"] == "orderbook_delta")
                status, body = await ann.place(X, "bid", "0.40", "4")
                assert (status, body["fill_count"], body["average_fill_price"]) == (201, "4.00", "0.4000")
                status, resting = await ann.place(X, "bid", "0.30", "1")
                closed = await stream.until(lambda f: f["msg"].get("last_update_reason") == "CloseCancel")
                assert closed["msg"]["order_id"] == resting["order_id"]
                late = await ann.ask("DELETE", f"/portfolio/events/orders/{resting['order_id']}")
                assert late[1]["error"]["code"] == "MARKET_INACTIVE"
                await stream.until(lambda f: f["msg"].get("event_type") == "settled")
            lifecycle = [f["msg"]["event_type"] for f in stream.frames if f["type"] == "market_lifecycle_v2"]
            assert lifecycle == ["determined", "settled"]
            _, body = await ann.ask("GET", "/portfolio/settlements")
            paid = body["settlements"][0]
            assert (paid["revenue"], paid["value"], paid["yes_total_cost_dollars"]) == (400, 100, "1.600000")
            assert (await ann.ask("GET", "/portfolio/positions"))[1]["market_positions"] == []
            _, settled = await ann.ask("GET", "/portfolio/positions", settlement_status="settled")
            assert [p["position_fp"] for p in settled["market_positions"]] == ["0.00"]
            fees = sum(f.fee for f in sandbox.exchange.ledger("ann").fills)
            assert sandbox.exchange.ledger("ann").cash == 10_000 * DOLLAR + 4 * CONTRACT * (ONE - 40 * CENT) - fees
            assert (await ann.ask("GET", "/markets", status="settled"))[1]["markets"][0]["settlement_value_dollars"] == "1.0000"

    run(story())


@needs_specs
def test_a_market_changes_its_grid_its_fees_and_its_close_while_it_trades(tmp_path: Path):
    cents, deci = (replace(m, fee_type="quadratic", grid=g) for m, g in zip(MARKETS, (MARKETS[0].grid, DECI), strict=True))
    tapered = replace(MARKETS[0], ticker=f"{MARKETS[0].event_ticker}-T64", grid=TAPERED)

    async def story() -> None:
        async with running(tmp_path, traffic=Nobody((cents, deci, tapered)), judge=rest_judge()) as (sandbox, members):
            ann, bob, x = members["ann"], members["bob"], sandbox.exchange
            names = [m["price_level_structure"] for m in (await ann.ask("GET", "/markets"))[1]["markets"]]
            assert sorted(names) == ["deci_cent", "linear_cent", "tapered_deci_cent"]
            for market, price, good in [(cents, "0.43", 1), (cents, "0.435", 0), (deci, "0.435", 1), (deci, "0.4355", 0),
                                        (tapered, "0.055", 1), (tapered, "0.435", 0), (tapered, "0.954", 1)]:
                status, body = await ann.place(market.ticker, "bid" if price < "0.5" else "ask", price, "1.5")
                assert (status, body.get("error", {}).get("code")) == ((201, None) if good else (400, "invalid_price"))
            async with bob.stream(stream_judge()) as stream:
                await stream.subscribe("market_lifecycle_v2")
                x.revise(replace(x.market(X), grid=DECI), sandbox.day.now())
                x.revise(replace(x.market(X), fee_type="quadratic_with_maker_fees", fee_multiplier="0.5"), sandbox.day.now())
                x.revise(replace(x.market(X), close_ms=x.market(X).close_ms - 60_000), sandbox.day.now())
                sandbox.day.publish()
                grid, fees, close = [await stream.next() for _ in range(3)]
            assert grid["msg"]["event_type"] == "price_level_structure_updated"
            assert grid["msg"]["price_ranges"] == [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]
            assert (fees["type"], fees["msg"]["fee_multiplier_override"]) == ("event_fee_update", 0.5)
            assert (close["msg"]["event_type"], close["msg"]["close_ts"]) == ("close_date_updated", x.market(X).close_ms // 1000)
            assert (await bob.place(X, "ask", "0.4290", "2"))[1]["fill_count"] == "1.50"  # ann's bid at 43 has stayed
            assert x.ledger("ann").fills[0].fee == 3300  # half of 0.0175 x 1.5 x 0.43 x 0.57 = 0.00322, to the next $0.0001
            assert (await bob.ask("GET", "/portfolio/orders"))[1]["orders"][0]["yes_price_dollars"] == "0.4290"

    run(story())


@needs_specs
def test_an_event_that_is_listed_is_told_once_and_then_each_of_its_markets(tmp_path: Path):
    tomorrow = [replace(m, ticker=f"F-{n}", event_ticker="F", status="initialized") for n, m in enumerate(MARKETS)]

    async def story() -> None:
        async with running(tmp_path) as (sandbox, members), members["ann"].stream(stream_judge()) as stream:
            await stream.subscribe("market_lifecycle_v2")
            for m in tomorrow: sandbox.exchange.list_market(m, sandbox.day.now())
            sandbox.day.publish()
            event, *markets = [await stream.next() for _ in range(1 + len(tomorrow))]
            assert (event["type"], event["msg"]["event_ticker"]) == ("event_lifecycle", "F")
            created = [(f["msg"]["event_type"], f["msg"]["market_ticker"]) for f in markets]
            assert created == [("created", m.ticker) for m in tomorrow]

    run(story())


@needs_specs
def test_lists_are_behind_while_answers_and_the_stream_are_not(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path, judge=rest_judge()) as (sandbox, members):
            ann = members["ann"]
            sandbox.day.read_lag_ms = 1400  # the most that was seen at Kalshi

            async def statuses() -> set[str]:
                return {o["status"] for o in (await ann.ask("GET", "/portfolio/orders"))[1]["orders"]}

            async def listed(status: str) -> None:
                for _ in range(200):
                    if await statuses() == {status}: return
                    await asyncio.sleep(0.05)  # calls are counted
                raise AssertionError(f"never listed as {status}")

            async with ann.stream() as stream:
                await stream.subscribe("user_orders", "fill")
                await members["bob"].place(X, "ask", "0.40", "1")
                _, placed = await ann.place(X, "bid", "0.40", "2")
                assert placed["fill_count"] == "1.00"
                await stream.until(lambda f: f["type"] == "fill")
            for path, key in (("orders", "orders"), ("fills", "fills"), ("positions", "market_positions")):
                assert (await ann.ask("GET", f"/portfolio/{path}"))[1][key] == []
            await listed("resting")
            order = f"/portfolio/events/orders/{placed['order_id']}"
            assert (await ann.ask("DELETE", order))[1]["reduced_by"] == "1.00"
            assert await statuses() == {"resting"}  # though it was acknowledged as cancelled
            assert (await ann.ask("DELETE", order))[0] == 404
            await listed("canceled")
            assert len((await ann.ask("GET", "/portfolio/fills"))[1]["fills"]) == 1

    run(story())


def test_a_built_sandbox_announces_itself_and_keeps_its_key(tmp_path: Path):
    async def story() -> None:
        sandbox = build(tmp_path, seed=3, kind="ed25519")
        address = await sandbox.start()
        try:
            assert address.rest.endswith(BASE) and address.ws.endswith(STREAM)
            assert [m.active for m in sandbox.exchange.markets()] == [True] * 6
        finally:
            await sandbox.stop()
        assert build(tmp_path, kind="ed25519").keys.accounts == sandbox.keys.accounts
        with pytest.raises(ValueError, match="not rsa"): build(tmp_path, kind="rsa")

    run(story())


# ---- books

def test_a_book_built_from_the_stream_is_the_exchanges_own_after_every_act():
    traffic = SimulatedDay(CALIBRATION, date(2026, 11, 24), 11)
    wall = [wall_ms()]
    exchange = Exchange([], ids=(f"id{n}" for n in range(10**9)).__next__)
    exchange.open_account("ann", 10**12)
    day = TradingDay(exchange, traffic, MarketClock(wall[0], traffic.markets[0].open_ms, speed=1000), lambda: wall[0])
    tickers, rng = [m.ticker for m in traffic.markets], Random(2)
    session = Session("ann", day.market_data, limit=10**9)
    stream = Stream(None, None)  # type: ignore[arg-type]
    for yes_price in (True, False):
        params = {"channels": ["orderbook_delta"], "market_tickers": tickers, "use_yes_price": yes_price}
        session.receive(json.dumps({"id": 1, "cmd": "subscribe", "params": params}), wall[0])
        stream.yes_price[int(yes_price is False) + 1] = yes_price
    day.sessions.add(session)
    messages = 0
    while messages < 20_000:
        if not day.step(): wall[0] += 100
        ticker, side = rng.choice(tickers), rng.choice(list(Side))
        if exchange.market(ticker).active:
            price, count = rng.randint(1, 99) * CENT, rng.randint(1, 500)
            exchange.place(NewOrder(account="ann", ticker=ticker, side=side, price=price, count=count), wall[0])
            if rng.random() < 0.3: exchange.cancel_all("ann", wall[0])
        day.publish()
        while len(session):
            stream._follow(json.loads(session.pop()))
            messages += 1
        for ticker in tickers:
            assert stream.levels(1, ticker) == stream.levels(2, ticker) == exchange.levels(ticker)


def test_a_stranger_over_the_socket_builds_the_exchanges_book(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as (sandbox, members):
            async with members["ann"].stream() as stream:
                yes, = await stream.subscribe("orderbook_delta", market_tickers=[X, Y], use_yes_price=True)
                no, = await stream.subscribe("orderbook_delta", market_tickers=[X, Y])
                rng = Random(4)
                for _ in range(150):
                    member = members[rng.choice(["ann", "bob"])]
                    await member.place(rng.choice([X, Y]), rng.choice(["bid", "ask"]), f"0.{rng.randint(30, 70)}", "2.5")
                    listing = await stream.command("list_subscriptions")  # all that was told before it has been read
                    assert len(listing["msg"]) == 2
                    for ticker in (X, Y):
                        assert stream.levels(yes, ticker) == stream.levels(no, ticker) == sandbox.exchange.levels(ticker)

    run(story())


def test_the_clock_of_a_change_is_later_than_that_of_the_snapshot_before_it(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as (_, members):
            ann = members["ann"]
            _, first = await ann.place(X, "bid", "0.40", "1")
            async with ann.stream() as stream:
                await stream.subscribe("orderbook_delta", market_ticker=X)
                snapshot = await stream.next()
                await ann.ask("DELETE", f"/portfolio/events/orders/{first['order_id']}")
                assert (await stream.next())["msg"]["clock"] > snapshot["msg"]["clock"] > 0

    run(story())


# ---- subscriptions

def test_the_sequence_counts_acknowledgements_snapshots_and_scoped_errors(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as (_, members):
            async with members["ann"].stream() as stream:
                sid, = await stream.subscribe("orderbook_delta", market_ticker=X)
                assert (await stream.next())["seq"] == 1
                added = await stream.command("update_subscription", sid=sid, action="add_markets", market_ticker=Y)
                assert (added["type"], added["seq"], added["msg"]["market_tickers"]) == ("ok", 2, [X, Y])
                assert (await stream.next())["seq"] == 3  # the snapshot of Y
                again = await stream.command("update_subscription", sids=[sid], action="get_snapshot", market_tickers=[X])
                assert (again["type"], again["seq"], again["msg"]["market_ticker"]) == ("orderbook_snapshot", 4, X)
                wrong = await stream.command("update_subscription", sid=sid, action="fly", market_ticker=X)
                assert (wrong["seq"], wrong["msg"]["code"]) == (5, 13)
                await members["bob"].place(X, "bid", "0.10", "1")
                assert (await stream.next())["seq"] == 6
                gone = await stream.command("unsubscribe", sids=[sid])
                assert (gone["type"], gone["seq"]) == ("unsubscribed", 7)

    run(story())


def test_an_account_hears_of_its_own_orders_only_and_sees_them_marked_in_the_book(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as (_, members):
            async with members["ann"].stream() as hers, members["bob"].stream() as his:
                for stream in (hers, his):
                    await stream.subscribe("orderbook_delta", "fill", "user_orders", market_ticker=X)
                await members["ann"].place(X, "bid", "0.40", "2", client_order_id="hers-1")
                await members["bob"].place(X, "ask", "0.40", "1", client_order_id="his-1")
                for stream in (hers, his): await stream.command("list_subscriptions")
            private = {"fill", "user_order"}
            assert {f["msg"]["client_order_id"] for f in hers.frames if f["type"] in private} == {"hers-1"}
            assert {f["msg"]["client_order_id"] for f in his.frames if f["type"] in private} == {"his-1"}
            marks = [[f["msg"].get("client_order_id") for f in s.frames if f["type"] == "orderbook_delta"] for s in (hers, his)]
            assert marks == [["hers-1", "hers-1"], [None, None]]

    run(story())


def test_heartbeats_come_as_pings_with_that_body(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path, heartbeat_s=0.05) as (_, members):
            ann = members["ann"]
            where, headers = ann.root.replace("http", "ws") + STREAM, ann.headers("GET", STREAM)
            async with ann.http.ws_connect(where, headers=headers, autoping=False) as ws:
                bodies = [bytes((await ws.receive(timeout=5)).data) for _ in range(3)]
            assert bodies == [b"heartbeat"] * 3

    run(story())


def test_a_client_that_does_not_read_loses_its_subscription_and_disturbs_nobody(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path, queue=200) as (sandbox, members):
            ann = members["ann"]
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.setblocking(False)
            host, port = ann.root.removeprefix("http://").split(":")
            await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
            lazy = {"sock": raw, "max_queue": 1, "compression": None, "ping_interval": None}
            async with ann.stream(**lazy) as asleep, members["bob"].stream() as awake:
                await asleep.send("subscribe", channels=["orderbook_delta"], market_ticker=X)
                await awake.subscribe("orderbook_delta", market_ticker=X)
                bid = NewOrder(account="ann", ticker=X, side=Side.BID, price=CENT, count=CONTRACT)
                sleeper, = (s for s in sandbox.day.sessions if s.account == "ann")
                for n in range(50_000):
                    order = sandbox.exchange.place(bid, wall_ms())
                    sandbox.exchange.cancel("ann", order.order_id, wall_ms())
                    sandbox.day.publish()
                    if n % 50 == 0: await awake.command("list_subscriptions")  # this one keeps up: any gap would fail it
                    if n > 300 and len(sleeper) == 1: break  # its queue has been thrown away, but for the error
                else: raise AssertionError("it never overflowed")
                async with asyncio.timeout(20):
                    while (frame := json.loads(await asleep.ws.recv()))["type"] != "error": pass
                assert (frame["sid"], frame["msg"]["code"]) == (1, 25)

    run(story(), 120)


# ---- who may

@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_signatures_are_checked_as_the_demo_exchange_does(tmp_path: Path, kind: str):
    async def story() -> None:
        async with running(tmp_path, kind=kind) as (_, members):
            ann, path = members["ann"], f"{BASE}/portfolio/balance"
            now = wall_ms()
            good = ann.headers("GET", path)

            async def why(headers: dict[str, str]) -> tuple[int, str]:
                status, body = await ann.ask("GET", "/portfolio/balance", headers=headers)
                return status, "ok" if status == 200 else code_of(body)

            assert await why(good) == (200, "ok")
            for skew_s in (-30, 300, -300):
                assert await why(ann.headers("GET", path, now + skew_s * 1000)) == (401, "header_timestamp_expired")
            assert await why(ann.headers("POST", path)) == (401, "INCORRECT_API_KEY_SIGNATURE")
            assert await why(good | {"KALSHI-ACCESS-SIGNATURE": "AAAA"}) == (401, "INCORRECT_API_KEY_SIGNATURE")
            assert await why(good | {"KALSHI-ACCESS-KEY": "00000000-0000-0000-0000-000000000000"}) == (401, "NOT_FOUND")
            del good["KALSHI-ACCESS-SIGNATURE"]
            assert await why(good) == (401, "signature_is_missing_from_headers")
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with websockets.connect(ann.root.replace("http", "ws") + STREAM, proxy=None): pass
            assert refused.value.response.status_code == 401

    run(story())


@pytest.mark.parametrize("skew_s", [-5, 5])
def test_a_clock_that_is_five_seconds_off_still_trades(tmp_path: Path, skew_s: int):
    async def story() -> None:
        async with running(tmp_path) as (_, members):
            ann = members["ann"]
            headers = ann.headers("GET", f"{BASE}/portfolio/balance", wall_ms() + skew_s * 1000)
            assert (await ann.ask("GET", "/portfolio/balance", headers=headers))[0] == 200

    run(story())


def test_the_date_header_tells_the_time_and_public_data_needs_no_key(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as (_, members):
            async with members["ann"].http.get(f"{members['ann'].root}{BASE}/markets") as r:
                assert r.status == 200 and len((await r.json())["markets"]) == 2
                assert abs(parsedate_to_datetime(r.headers["Date"]).timestamp() - time.time()) < 3

    run(story())


def test_the_basic_tier_creates_ten_orders_at_once_and_the_eleventh_is_too_many(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path, tier="basic") as (_, members):
            ann = members["ann"]
            began = wall_ms()
            answers = [await ann.place(X, "bid", "0.01", "1") for _ in range(40)]
            refilled = (wall_ms() - began) // 100  # a token each 10 ms, an order costs ten
            taken = sum(status == 201 for status, _ in answers)
            assert 10 <= taken <= 10 + refilled + 1
            if taken < 40: assert next(b for s, b in answers if s == 429)["error"]["code"] == "too_many_requests"
            assert (await members["bob"].place(X, "bid", "0.01", "1"))[0] == 201  # his bucket is his own

    run(story())


# ---- refusals

def recorded(case: str) -> Any:
    path = DATA / "rest_payloads" / "demo_2026-06_request_response.json"
    if not path.exists(): pytest.skip("no recorded demo cases (KALSHI_MM_DATA names the folder)")
    return json.loads(path.read_text())[case]


@pytest.mark.parametrize("case", [
    "orders__create_v2_maker", "orders__duplicate_client_order_id", "orders__insufficient_balance",
    "orders__invalid_price_structure", "orders__numeric_field_types", "orders__post_only_cross",
    "orders__create_v2_taker_ioc", "orders__stp_self_cross",
    "orders__cancel_unknown_id", "markets__limit_over_max", "markets__garbage_cursor", "settlements__page",
    "series__fee_changes"])
def test_a_recorded_demo_case_gets_the_recorded_answer(tmp_path: Path, case: str):
    "Status and error word for word, success by the recorded fields; `service` has been gone from errors since August 2026"
    tape = recorded(case)
    request, expected = tape["meta"], tape["body"]

    async def story() -> None:
        async with running(tmp_path) as (_, members):
            ann = members["ann"]
            await members["bob"].place(X, "ask", "0.52", "5.00")
            if "stp" in case: await ann.place(X, "bid", "0.48", "1.00", post_only=True)
            body = request["request_body"]
            if body: body["ticker"] = X
            if "duplicate" in case: await ann.ask("POST", "/portfolio/events/orders", body)
            if "insufficient" in case: body["count"] = "10200.00"
            path, _, query = request["path"].removeprefix(BASE).partition("?")
            status, answer = await ann.ask(request["method"], path, body, **dict(p.split("=") for p in query.split("&") if p))
            assert status == request["status"]
            if status >= 400:
                if isinstance(expected.get("error"), dict): expected["error"].pop("service", None)
                assert answer == expected
            else:
                assert answer.keys() == expected.keys()
                told = ("fill_count", "remaining_count", "average_fill_price")
                assert all(answer[k] == expected[k] for k in told if k in expected)

    run(story())


def test_what_kalshi_no_longer_has_and_what_it_never_had(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as (_, members):
            ann = members["ann"]
            old = (("POST", "/portfolio/orders"), ("DELETE", "/portfolio/orders/x"), ("POST", "/portfolio/orders/x/amend"))
            for method, path in old:
                status, body = await ann.ask(method, path, {})
                assert (status, code_of(body)) == (410, "deprecated_v1_order_endpoint")
            for method, path in (("GET", "/portfolio/nothing"), ("PATCH", "/markets"), ("POST", "/exchange/status")):
                status, body = await ann.ask(method, path)
                assert (status, body) == (404, {"error": {"code": "not_found", "message": "not found"}})

    run(story())


def test_a_second_cancel_and_a_foreign_order_are_not_found(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as (_, members):
            _, placed = await members["ann"].place(X, "bid", "0.40", "1")
            path = f"/portfolio/events/orders/{placed['order_id']}"
            assert (await members["bob"].ask("DELETE", path))[0] == 404
            assert (await members["bob"].ask("GET", f"/portfolio/orders/{placed['order_id']}"))[0] == 404
            status, body = await members["ann"].ask("DELETE", path)
            assert (status, body["reduced_by"]) == (200, "1.00")
            assert (await members["ann"].ask("DELETE", path))[0] == 404

    run(story())


def test_an_expired_order_goes_by_itself(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as (_, members):
            ann = members["ann"]
            async with ann.stream() as stream:
                await stream.subscribe("user_orders")
                expires = int(time.time()) + 2
                await ann.place(X, "bid", "0.40", "1", expiration_time=expires)
                gone = await stream.until(lambda f: f["msg"].get("status") == "canceled")
                assert gone["msg"]["last_update_reason"] == "ExpiryCancel"
                assert 0 <= gone["msg"]["last_updated_ts_ms"] - expires * 1000 < 1000

    run(story())


# ---- lists, and the audit door

def test_pages_lose_and_repeat_nothing_while_orders_come_and_go(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as (_, members):
            ann = members["ann"]
            ids = [(await ann.place(X, "bid", "0.10", "1"))[1]["order_id"] for _ in range(7)]
            seen, cursor = [], ""
            while True:
                _, body = await ann.ask("GET", "/portfolio/orders", limit=2, cursor=cursor, status="resting")
                seen += [o["order_id"] for o in body["orders"]]
                cursor = body["cursor"]
                if not cursor: break
                await ann.place(X, "bid", "0.10", "1")  # one comes
                await ann.ask("DELETE", f"/portfolio/events/orders/{seen[0]}")  # one that was shown goes
            assert seen == ids[::-1]

    run(story())


def test_a_sandbox_tells_how_fast_its_day_passes_and_nobody_else_does(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as (sandbox, members):
            root = members["ann"].root
            clock = sandbox.day.clock
            for speed, told in ((1.0, 1.0), (120.0, 120.0), (0.5, 0.5), (0.0, 1.0), (-3.0, 1.0)):  # nonsense is no speed
                sandbox.day.clock = replace(clock, speed=speed)
                assert await asyncio.to_thread(speed_of, root + BASE) == told
            assert await asyncio.to_thread(speed_of, f"{root}/elsewhere") == 1.0
        assert await asyncio.to_thread(speed_of, root + BASE) == 1.0  # nobody is there any more

    run(story())


def test_the_audit_door_tells_the_ledger_exactly(tmp_path: Path):
    async def story() -> None:
        async with running(tmp_path) as (sandbox, members):
            ann = members["ann"]
            await members["bob"].place(X, "ask", "0.40", "2.5")
            await ann.place(X, "bid", "0.41", "4")
            async with ann.http.get(f"{ann.root}/sandbox/ledger", params={"account": "ann"}) as r: door = await r.json()
            ledger = sandbox.exchange.ledger("ann")
            assert (door["cash"], door["locked"]) == (ledger.cash, ledger.locked)
            assert door["positions"][X]["net"] == 250 and len(door["fills"]) == 1
            assert door["resting"][0]["remaining"] == 150
            assert door["cash"] + door["locked"] == 10_000 * DOLLAR - 250 * 40 * CENT - ledger.fills[0].fee
            async with ann.http.get(f"{ann.root}/sandbox/ledger", params={"account": "maker"}) as r: assert r.status == 404

    run(story())
