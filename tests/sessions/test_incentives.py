"Liquidity programmes on the sandbox: paid to the cent, counted by us, named by the books, and unseen by everybody else"
import asyncio
import json
import urllib.request
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from kalshi_mm.client.credentials import Credentials
from kalshi_mm.client.rest import Client
from kalshi_mm.config import Settings
from kalshi_mm.engine.engine import Engine
from kalshi_mm.engine.journal import Journal
from kalshi_mm.engine.kill_latch import Latch
from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.model.incentives import paid_now, payments
from kalshi_mm.model.numbers import DOLLAR, dollars, parse_money
from kalshi_mm.sandbox.server import Sandbox, build, wall_ms
from kalshi_mm.sandbox.traffic import MarketClock
from tests.sandbox.kit import MARKETS, running

DOOR = "/sandbox/programmes"


def added(root: str, **asked: Any) -> dict[str, Any]:
    "Add a programme through the door"
    request = urllib.request.Request(root + DOOR, json.dumps(asked).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer: return dict(json.load(answer))


async def until(look: Callable[[], object], what: str) -> None:
    "Look until it is true"
    for _ in range(3000):
        if look(): return
        await asyncio.sleep(0.02)  # between looks at a condition
    raise AssertionError(f"not within a minute: {what}")


def paid_out(sandbox: Sandbox) -> bool: return all(p.programme.paid_out for p in sandbox.day.incentives.plans.values())


def test_a_hundred_beside_nine_hundred_is_paid_a_tenth_99_cents_are_nothing_and_nobody_hears_of_it(tmp_path: Path) -> None:
    async def session() -> None:
        ticker = MARKETS[0].ticker
        async with running(tmp_path, clock=MarketClock(wall_ms(), 0, speed=60)) as (sandbox, clients):
            ann, bob = clients["ann"], clients["bob"]
            for who, n in ((ann, 100), (bob, 900)):
                for side, price in (("bid", "0.4400"), ("ask", "0.4600")): await who.place(ticker, side, price, str(n))

            async def seen() -> list[Any]:
                "What an account's lists say, without the balance, and what anybody sees of the market"
                lists = "fills", "settlements", "deposits", "withdrawals", "positions", "orders"
                rows = [await ann.ask("GET", f"/portfolio/{name}") for name in lists]
                return [*rows, await bob.ask("GET", f"/markets/{ticker}/orderbook")]

            async def balance(who: Any) -> str: return str((await who.ask("GET", "/portfolio/balance"))[1]["balance_dollars"])

            async with bob.stream() as line:
                await line.subscribe("orderbook_delta", "trade", "ticker", market_tickers=[ticker])
                await line.command("list_subscriptions")  # whatever comes first has come
                first = len(line.frames)
                before, cash = await seen(), [await balance(who) for who in (ann, bob)]
                for name, reward in (("twenty", 200_000), ("little", 99_000)):
                    row = await asyncio.to_thread(added, ann.root, market_ticker=ticker, seconds=30, start_in=30, pay_after=30,
                                                  period_reward=reward, programme_id=name)
                    assert row["id"] == name and row["target_size_fp"] == "1000.00"
                await until(lambda: paid_out(sandbox), "paid")
                assert await seen() == before
                paid = {name: plan.paid for name, plan in sandbox.day.incentives.plans.items()}
                assert paid == {"twenty": {"ann": 2 * DOLLAR, "bob": 18 * DOLLAR}, "little": {"ann": 0, "bob": 8_910_000}}
                after = [await balance(who) for who in (ann, bob)]
                assert [Decimal(b) - Decimal(a) for a, b in zip(cash, after, strict=True)] == [2, Decimal("26.91")]
                await line.command("list_subscriptions")
                assert [f["type"] for f in line.frames[first:]] == ["ok"]  # nothing in between
            status, listed = await bob.ask("GET", "/incentive_programs", status="paid_out")
            assert (status, [p["id"] for p in listed["incentive_programs"]]) == (200, ["little", "twenty"])

    asyncio.run(asyncio.wait_for(session(), 60))


def test_a_session_quotes_through_a_programme_and_the_books_name_its_payment(tmp_path: Path) -> None:
    async def through() -> None:
        sandbox = build(tmp_path, seed=2, speed=30, day=date(2026, 10, 4), skip_hours=3, kind="ed25519", new_event=None)
        address = await sandbox.start()
        key, exchange = next(iter(sandbox.keys.accounts.values())), sandbox.exchange
        client, journal = Client(address.rest, Credentials.load(key.key_id, key.key_file)), Journal(tmp_path / "journal.db")
        settings = Settings(min_spread=2, max_daily_loss=5000, max_drawdown=5000, max_fill_burst=5000)
        engine = Engine(settings, client, address.ws, journal, Latch(tmp_path / "killed"), "paid", speed=30)
        session = asyncio.create_task(engine.run(quote=False))
        maker, books = engine.maker, engine.sources.books
        try:
            async with asyncio.timeout(100):
                await until(lambda: maker.reconciler.reads.ready, "the account was read")
                await books.tie("the beginning")
                root = address.rest.removesuffix("/trade-api/v2")
                for m in exchange.markets():
                    if not m.active: continue
                    await asyncio.to_thread(added, root, market_ticker=m.ticker, seconds=240, start_in=60, pay_after=30,
                                            period_reward=10_000_000, target_size=300, programme_id=f"p-{m.ticker}")
                plans = sandbox.day.incentives.plans
                await engine.sources.programmes.read()
                engine.command("start", "test")
                await until(lambda: len(maker.incentives.over) == len(plans), "all are over")
                engine.command("stop", "test")
                over = dict(maker.incentives.over)
                await until(lambda: paid_out(sandbox), "paid")
                paid = sum(plan.paid.get("trader", 0) for plan in plans.values())
                tie = await books.tie("the end")
                assert tie is not None and tie.ties, tie and tie.verdict
                await until(lambda: not maker.incentives.over, "the core has heard of it")
                assert tie.incentives == maker.incentives.paid == parse_money(engine.status().maker.incentives.paid) == paid
                for programme_id, e in over.items():
                    low, high = payments(e.filing, e.programme)
                    assert low <= plans[programme_id].paid.get("trader", 0) <= high
                assert paid > 10 * DOLLAR  # we have quoted
                counted = sum(paid_now(e.filing, e.programme) for e in over.values())
                assert tie.counted == counted and dollars(counted) in tie.verdict and dollars(paid) in tie.verdict
                engine.end("test")
                outcome = await session
            assert (outcome.resting, outcome.status.error) == ([], "")
            ledger = exchange.ledger("trader")
            cash = sum(p.cash - p.fees for p in ledger.positions.values())
            assert ledger.cash + ledger.locked == 10_000 * DOLLAR + cash + paid  # the profit has none of it
            assert maker.incentives.earned == [] and journal.restart.ties()[-1].incentives == paid
            again = MarketMaker(maker.strategy, maker.config)
            for event, actions in journal.records.read("paid"): assert again.handle(event) == actions
            assert (again.incentives.paid, again.incentives.earned) == (paid, [])
        finally:
            session.cancel()
            await asyncio.gather(session, return_exceptions=True)
            await client.close()
            journal.close()
            await sandbox.stop()

    asyncio.run(through())
