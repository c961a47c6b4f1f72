"A count that nothing explains stops the quoting until a person accepts it, and then it goes on with the exchange's count"
import asyncio
from pathlib import Path

from kalshi_mm.engine.journal import Journal
from kalshi_mm.model.numbers import CONTRACT
from kalshi_mm.model.types import Fill, Side
from kalshi_mm.sandbox.server import ACCOUNT
from tests.campaigns.stage import Command, Stage, Story


def test_contracts_that_nothing_explains_stop_the_quoting_until_they_are_accepted(tmp_path: Path):
    async def session() -> None:
        async with Stage(tmp_path, Story()) as stage:
            engine = await stage.engine()
            where = await engine.hear("started")
            await stage.until(lambda: stage.judge.fills, "a fill")
            status, said = await stage.command("accept", "--control-port", str(where["port"]))
            assert status == 1 and "no difference is unexplained" in engine.errors.read_text()
            await stage.ask(engine, "/api/strategy/stop", "POST")
            await stage.until(lambda: not stage.judge.resting, "nothing rests")
            ticker = stage.sandbox.exchange.ledger(ACCOUNT).fills[-1].ticker
            theirs = stage.sandbox.exchange.records.accounts[ACCOUNT].holding(ticker)
            moved = Fill("", "", ticker, Side.BID, 5000, 7 * CONTRACT, 0, False, stage.sandbox.now())
            theirs.add(moved)  # by the exchange's own hand: no order, no fill
            await halts(stage, engine, ["drift"])
            status, said = await stage.command("reconcile", "--control-port", str(where["port"]))
            assert status == 0 and f"Not explained: {ticker}: we count" in said, said
            await stage.ask(engine, "/api/strategy/start", "POST")
            status, said = await stage.command("accept", "--control-port", str(where["port"]))
            assert status == 0 and f"{ticker}: we count" in said, said
            await halts(stage, engine, [])
            await stage.until(lambda: stage.judge.resting, "an order rests again")
            status, said = await stage.command("reconcile", "--control-port", str(where["port"]))
            assert (status, said) == (0, "Read: nothing is unexplained.\n")
            engine.signal(2)
            assert await engine.wait() == 0, engine.trouble()
            journal = Journal(stage.copied())
            assert journal.past.positions()[ticker].net == theirs.position.net
            journal.close()

    asyncio.run(session())


async def halts(stage: Stage, engine: Command, rules: list[str]) -> None:
    for n in range(600):
        if n % 20 == 0: await stage.ask(engine, "/api/account/reconcile", "POST")
        now = [h["rule"] for h in (await stage.ask(engine, "/api/risk/status"))["halts"]]
        if now == rules: return
        await asyncio.sleep(0.1)
    raise AssertionError(f"halts are {now}, not {rules}")
