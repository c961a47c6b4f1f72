"Between the end of trading and the payment: no order, a position that waits and is shown, and in the end what was paid"
import asyncio
from pathlib import Path
from typing import Any

from kalshi_mm.engine.journal import Journal
from kalshi_mm.maker.maker import Config, MarketMaker
from kalshi_mm.model.messages import (
    AccountRead,
    BookSnapshot,
    Command,
    Connection,
    Decide,
    FillSeen,
    MarketListed,
    MarketSettled,
    MarketStatus,
    Place,
)  # fmt: skip
from kalshi_mm.model.numbers import CENT, CONTRACT, ONE, cost
from kalshi_mm.model.types import Fill, Market, Side, TickGrid
from kalshi_mm.risk.limits import Limits
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture
from tests.campaigns.stage import Command as Process
from tests.campaigns.stage import Stage, Story
from tests.sessions.test_past import listed, traded

WORDS = ("closed", "determined", "disputed", "amended")


def test_a_position_waits_through_a_dispute_and_a_restart_for_what_is_paid_in_the_end(tmp_path: Path) -> None:
    async def session() -> None:
        async with Stage(tmp_path, Story()) as stage:
            x, ticker = stage.sandbox.exchange, listed(stage, "KXHIGHCHI-26OCT04-B60.5")
            stage.env["TARGET_SERIES"] = "KXHIGHCHI"
            engine = await stage.engine()
            await engine.hear("started")
            await stage.until(lambda: stage.sandbox.lines, "a line")
            traded(stage, ticker, 12, 6000)

            async def waits(engine: Process, word: str, contracts: str) -> dict[str, Any]:
                "Wait until the engine knows the market's status, and see what it does there"
                for _ in range(100):
                    now: dict[str, Any] = (await stage.ask(engine, "/api/strategy/status"))["maker"]
                    market = next((m for m in now["markets"] if m["ticker"] == ticker), None)
                    sure = market and (word == "finalized" or market["bid"]["why"] == f"the market is {word}")
                    if sure and market["status"] == word and now["pending"] == contracts: return now
                    await asyncio.sleep(0.1)  # between looks at a condition
                raise AssertionError(f"not {word} with {contracts} contracts pending: {now}")

            for word in WORDS:
                x.set_status(ticker, word, stage.sandbox.now(), None if word == "closed" else ONE)
                stage.sandbox.day.publish()
                if word == "disputed":  # somebody restarts it meanwhile
                    await stage.finish(engine)
                    engine = await stage.engine()
                    await engine.hear("started")
                now = await waits(engine, word, "12.00")
                assert now["pending_markets"] == 1
                assert not [o for o in x.orders("trader", ticker=ticker) if o.resting]
            x.settle(ticker, 0, stage.sandbox.now())  # it was determined YES, and pays NO
            stage.sandbox.day.publish()
            await waits(engine, "finalized", "0.00")
            await stage.finish(engine)
            assert not stage.story.wrong, stage.story.wrong
            journal = Journal(stage.copied())
            left = journal.past.positions()[ticker]
            journal.close()
            assert (left.net, left.cash) == (0, -cost(6000, 12 * CONTRACT))

    asyncio.run(session())


T, GRID = 1_700_000_000_000, TickGrid.of([(0, ONE, CENT)])


def two_days(word: str, total: int) -> tuple[MarketMaker, list[Place]]:
    "Ten contracts at 60 cents in yesterday's market, which has this status; and the orders in today's, under a limit in all"
    maker = MarketMaker(SpreadCapture(Params()), Config("s", limits=Limits(max_position=10 * CONTRACT, max_total=total)))
    old, new = (Market(f"S-{day}-B1", f"S-{day}", "S", day, "active", 0, 2 * T, GRID) for day in ("old", "new"))
    placed: list[Place] = []
    for event in (
        Connection(T, True), MarketListed(T, old), MarketListed(T, new), AccountRead(T, T, 0, (), (), (), 10**10),
        FillSeen(T, Fill("t", "o", old.ticker, Side.BID, 6000, 10 * CONTRACT, 0, False, T)), MarketStatus(T, old.ticker, word),
        BookSnapshot(T, new.ticker, ((4200, 2500),), ((4800, 2500),)), Command(T, "start", "cli"), Decide(T),
    ): placed += [a for a in maker.handle(event) if isinstance(a, Place)]  # fmt: skip
    return maker, placed


def test_a_payment_that_takes_days_holds_up_the_next_day_by_its_worst_outcome_alone() -> None:
    for word in WORDS:
        maker, placed = two_days(word, 16 * CONTRACT)  # six dollars may be lost there: room for ten contracts more
        assert {(a.ticker, a.count) for a in placed} == {("S-new-B1", 10 * CONTRACT)}, word
        assert maker.markets.totals.exposures.total == 16 * CONTRACT
        maker.handle(MarketSettled(T, "S-old-B1", ONE))
        maker.handle(Decide(T + 1))
        assert maker.markets.totals.exposures.total == 10 * CONTRACT and maker.markets.totals.exposures.relieved == 0
    _, placed = two_days("inactive", 16 * CONTRACT)  # it may trade again: all ten count
    assert sum(a.count for a in placed if a.side is Side.BID) <= 6 * CONTRACT
    _, placed = two_days("closed", 15 * CONTRACT)
    assert all(a.count <= 9 * CONTRACT for a in placed)


def test_no_order_is_placed_in_a_market_whose_trading_is_over() -> None:
    for word in (*WORDS, "inactive", "initialized", "finalized", "of the future"):
        maker, _ = two_days("active", 100 * CONTRACT)
        ticker = "S-old-B1"
        events = (MarketStatus(T, ticker, word), BookSnapshot(T, ticker, ((4200, 2500),), ((4800, 2500),)), Decide(T + 1))
        actions = [a for event in events for a in maker.handle(event)]
        assert not [a for a in actions if isinstance(a, Place) and a.ticker == ticker], word
    maker, _ = two_days("active", 100 * CONTRACT)
    actions = [a for e in (BookSnapshot(T, ticker, ((4200, 2500),), ((4800, 2500),)), Decide(T + 1)) for a in maker.handle(e)]
    assert [a for a in actions if isinstance(a, Place) and a.ticker == ticker]  # while it is active there is one
