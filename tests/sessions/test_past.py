"An account with a past: what was done before our first session, or in other series, is not quoted, not valued, not stumbled over"
import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from kalshi_mm.client.credentials import Credentials
from kalshi_mm.client.rest import Client
from kalshi_mm.client.transport import ApiError
from kalshi_mm.config import Settings
from kalshi_mm.engine.engine import Engine
from kalshi_mm.engine.journal import Journal
from kalshi_mm.engine.kill_latch import Latch
from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, ONE
from kalshi_mm.model.types import Market, Side, TickGrid
from kalshi_mm.risk.halts import Halt
from kalshi_mm.sandbox import rest_reads
from kalshi_mm.sandbox.matching import NewOrder
from kalshi_mm.sandbox.server import ACCOUNT
from tests.campaigns.stage import Stage, Story

HOUR_MS = 3_600_000
GRID = TickGrid.of([(0, ONE, CENT)])


def listed(stage: Stage, ticker: str) -> str:
    "A market of another series, which trades"
    now = stage.sandbox.now()
    event, series = ticker.rpartition("-")[0], ticker.partition("-")[0]
    market = Market(ticker, event, series, "60 to 61", "active", now - 30 * HOUR_MS, now + 30 * HOUR_MS, GRID)
    stage.sandbox.exchange.list_market(market, now)
    return ticker


def traded(stage: Stage, ticker: str, contracts: int, price: int) -> None:
    "Somebody buys by hand on our account, from somebody else"
    x, now = stage.sandbox.exchange, stage.sandbox.now()
    if not x.has_account("seller"): x.open_account("seller", 10**6 * DOLLAR)
    stage.judge.allow(contracts * CONTRACT)
    for account, side in (("seller", Side.ASK), (ACCOUNT, Side.BID)):
        x.place(NewOrder(account=account, ticker=ticker, side=side, price=price, count=contracts * CONTRACT,
                         client_order_id=f"by-hand-{ticker}-{account}"), now)
    stage.sandbox.day.publish()


def test_the_first_session_on_an_account_that_was_traded_by_hand(tmp_path: Path) -> None:
    async def session() -> None:
        async with Stage(tmp_path, Story()) as stage:
            x = stage.sandbox.exchange
            other, old = listed(stage, "KXHIGHCHI-26OCT04-B60.5"), listed(stage, "KXHIGHCHI-26OCT03-B60.5")
            traded(stage, other, 500, 6000)
            traded(stage, old, 500, 6000)
            for status in ("closed", "determined"): x.set_status(old, status, stage.sandbox.now(), 0)
            x.settle(old, 0, stage.sandbox.now())  # three hundred dollars are gone, which is not this day's loss
            def asked() -> list[str]:
                return [m.ticker for m in x.markets() if m.active and m.series_ticker == "KXHIGHNY" and x.best(m.ticker)[1]]

            await stage.until(asked, "somebody sells")
            ticker, price = asked()[0], x.best(asked()[0])[1]
            traded(stage, ticker, 5, price or 0)
            engine = await stage.engine()
            await engine.hear("started")
            await stage.until(lambda: stage.judge.placed > 20, "orders of ours")
            now = (await stage.ask(engine, "/api/strategy/status"))["maker"]
            assert not now["halts"] and abs(float(now["day_pnl"])) < 20, now
            split = (await stage.ask(engine, "/api/snapshot"))["session_pnl"]
            assert abs(float(split["profit"])) < 20 and abs(float(split["fees"])) < 1, split
            assert {m["ticker"].partition("-")[0] for m in now["markets"]} == {"KXHIGHNY"}
            assert [o.ticker for o in x.orders(ACCOUNT) if o.ticker in (other, old)] == [other, old]  # those placed by hand
            engine.signal(2)
            assert await engine.wait() == 0, engine.trouble()
            assert not stage.judge.ended()
            journal, ledger = Journal(stage.copied()), x.ledger(ACCOUNT).positions
            held = {t: p.net for t, p in journal.past.positions().items()}
            assert held == {t: ledger[t].net for t in held} and ticker in held and not {other, old} & held.keys()
            journal.close()

    asyncio.run(session())


def test_who_comes_back_after_months_finds_what_his_markets_have_paid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def session() -> None:
        async with Stage(tmp_path, Story()) as stage:
            x = stage.sandbox.exchange
            other = listed(stage, "KXHIGHCHI-26OCT04-B60.5")
            stage.env["TARGET_SERIES"] = "KXHIGHCHI"  # an earlier session of ours traded it
            engine = await stage.engine()
            await engine.hear("started")
            x.open_account("seller", 10**6 * DOLLAR)
            near = NewOrder(account="seller", ticker=other, side=Side.ASK, price=6000, count=50 * CONTRACT, client_order_id="a")
            wide = NewOrder(account="seller", ticker=other, side=Side.BID, price=5000, count=50 * CONTRACT, client_order_id="b")
            for order in (near, wide): x.place(order, stage.sandbox.now())
            stage.sandbox.day.publish()
            await stage.until(lambda: any(o.ticker == other and o.sign > 0 for o in stage.judge.resting.values()), "our bid")
            mine = next(o for o in x.orders(ACCOUNT, ticker=other) if o.resting and o.side is Side.BID)
            x.place(NewOrder(account="seller", ticker=other, side=Side.ASK, price=mine.price, count=CONTRACT,
                             client_order_id="c", time_in_force="immediate_or_cancel"), stage.sandbox.now())
            stage.sandbox.day.publish()
            await stage.until(lambda: stage.judge.fills, "it fills")
            await stage.finish(engine)
            for status in ("closed", "determined"): x.set_status(other, status, stage.sandbox.now(), 3700)
            x.settle(other, 3700, stage.sandbox.now())
            monkeypatch.setattr(rest_reads, "HISTORY_MS", 1)  # as if it were long ago: the other lists don't know it any more
            del stage.env["TARGET_SERIES"]
            engine = await stage.engine()
            await engine.hear("started")
            await stage.until(lambda: stage.judge.placed > 5, "orders of ours, in our own series")
            now = (await stage.ask(engine, "/api/strategy/status"))["maker"]
            assert not now["halts"] and other not in [m["ticker"] for m in now["markets"]]
            await stage.finish(engine)  # and the journal has the ledger's money, to the last decimal
            assert not stage.story.wrong, stage.story.wrong
            journal = Journal(stage.copied())
            left = journal.past.positions()[other]
            assert left.net == 0 and left.cash == (3700 - mine.price) * CONTRACT
            journal.close()

    asyncio.run(session())


def test_a_position_in_another_series_is_followed_and_not_quoted(tmp_path: Path) -> None:
    async def session() -> None:
        async with Stage(tmp_path, Story()) as stage:
            x, other = stage.sandbox.exchange, listed(stage, "KXHIGHCHI-26OCT04-B60.5")
            stage.env["TARGET_SERIES"] = "KXHIGHCHI"
            engine = await stage.engine()
            await engine.hear("started")
            await stage.until(lambda: stage.sandbox.lines, "a line")
            traded(stage, other, 5, 6000)
            await stage.finish(engine)
            for side, price in ((Side.ASK, 6000), (Side.BID, 5000)):  # wide enough to be quoted
                x.place(NewOrder(account="seller", ticker=other, side=side, price=price, count=50 * CONTRACT,
                                 client_order_id=f"wide-{side}"), stage.sandbox.now())
            stage.sandbox.day.publish()
            del stage.env["TARGET_SERIES"]
            engine = await stage.engine()
            await engine.hear("started")
            await stage.until(lambda: stage.judge.placed > 20, "orders of ours")
            now = (await stage.ask(engine, "/api/strategy/status"))["maker"]
            there = next(m for m in now["markets"] if m["ticker"] == other)
            assert there["net"] == "5.00" and "not a series that is traded here" in there["bid"]["why"], there
            assert [o.client_order_id for o in x.orders(ACCOUNT, ticker=other)] == [f"by-hand-{other}-{ACCOUNT}"]
            await stage.finish(engine)
            assert not stage.story.wrong, stage.story.wrong

    asyncio.run(session())


def test_a_start_that_fails_forgets_nothing(tmp_path: Path, key: Path) -> None:
    kept = Halt("daily_loss", "lost too much", 5)
    journal = Journal(tmp_path / "journal.db")
    journal.begin("one", "sandbox", 0)
    journal.remember(None, {"X": 4500}, [kept], {"X": "cli"}, True, {"min_spread": ("5", "7")})
    journal.end(9)
    journal.close()

    async def start(session: str) -> None:
        client, journal = Client("http://127.0.0.1:9", Credentials.load("id", key)), Journal(tmp_path / "journal.db")
        engine = Engine(Settings(min_spread=5), client, "ws://127.0.0.1:9", journal, Latch(tmp_path / "killed"), session)
        with pytest.raises(ApiError): await engine.run()
        await client.close()
        journal.close()

    for session in ("two", "three"): asyncio.run(start(session))
    journal = Journal(tmp_path / "journal.db")
    left = journal.restart.restored(20)
    assert (left.marks, left.halts, left.paused, left.reduce_only, journal.restart.parameters()) == (
        (("X", 4500),), (("daily_loss", "lost too much", 5),), (("X", "cli"),), True, {"min_spread": ("5", "7")})
    journal.close()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    "A private key in a file"
    file = tmp_path / "key.pem"
    file.write_bytes(ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return file
