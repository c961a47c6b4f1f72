"The books tie to the exchange to the cent, over whole sandbox days, and a difference has a name"
import asyncio
from pathlib import Path
from random import Random
from typing import Any

from kalshi_mm.client.credentials import Credentials, wall_ms
from kalshi_mm.client.rest import Client
from kalshi_mm.client.transport import Unreachable
from kalshi_mm.engine.journal import Journal
from kalshi_mm.engine.monitors import Bookkeeper
from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, ONE
from kalshi_mm.model.types import Market, Side
from kalshi_mm.risk.tie_out import Tie
from kalshi_mm.sandbox.matching import NewOrder, Refusal
from kalshi_mm.sandbox.server import Sandbox
from tests.sandbox.kit import BASE, CENTS, EVENT, Nobody, running

MARKETS = tuple(
    Market(f"{EVENT}-T{n}", EVENT, "KXTEST", f"{n} or below", "active", 0, 10**13, CENTS, "less", None, n + 1)
    for n in range(60, 66))


class Notes:
    def __init__(self) -> None: self.said: list[tuple[str, str]] = []
    def note(self, text: str, level: str = "warning") -> None: self.said.append((level, text))


def trade(sandbox: Sandbox, rng: Random, account: str) -> None:
    "An order of ours that rests or trades, at any price and of any hundredth"
    market, side = rng.choice(MARKETS), rng.choice(list(Side))
    price, count = rng.randrange(1, 100) * CENT, rng.randrange(1, 900)
    for whose, s in ((account, side), ("bob", side.opposite)) if rng.random() < 0.8 else ((account, side),):
        new = NewOrder(account=whose, ticker=market.ticker, side=s, price=price, count=count)
        try: sandbox.exchange.place(new, sandbox.day.now())
        except Refusal: pass


class Deaf(Client):
    "A client to whom the list of programmes isn't told"

    async def pages(self, path: str, *more: Any) -> Any:
        if path == "/incentive_programs": raise Unreachable("nobody answers")
        return await super().pages(path, *more)


async def books(folder: Path, seed: int, gone: int = 0, programmes: bool = True) -> tuple[list[Tie | None], Notes]:
    """Days of trading, settled one after the other, each tied; `gone` takes money from the account behind our back. Without
    `programmes` one is over, and the list that says whether it was paid can't be read"""
    rng, notes, ties = Random(seed), Notes(), list[Tie | None]()
    async with running(folder, traffic=Nobody(MARKETS), members=("ann", "bob"), tier="premier") as (sandbox, clients):
        key = sandbox.keys.accounts["ann"]
        kind, journal = Client if programmes else Deaf, Journal(folder / "j.db")
        client = kind(clients["ann"].root + BASE, Credentials.load(key.key_id, key.key_file))
        keeper = Bookkeeper(client, journal, notes, wall_ms, 0, 0.05, gross=lambda: True,  # type: ignore[arg-type]
                            over=lambda: {} if programmes else {"p": None})  # type: ignore[dict-item,arg-type,return-value]
        try:
            await client.limits()
            await keeper.tie("the beginning")
            for day, market in enumerate(MARKETS):
                for _ in range(40): trade(sandbox, rng, "ann")
                value = (0, ONE, 3333)[day % 3]
                for status in ("closed", "determined"): sandbox.exchange.set_status(market.ticker, status, sandbox.day.now())
                sandbox.exchange.settle(market.ticker, value, sandbox.day.now())
                if gone and day == 1: sandbox.exchange.records.accounts["ann"].cash -= gone
                await asyncio.sleep(0.01)  # the next statement begins a millisecond later
                ties.append(await keeper.tie(f"day {day}"))
        finally:
            await client.close()
            journal.close()
    return ties, notes


def test_whole_days_tie_to_the_cent(tmp_path: Path):
    ties, notes = asyncio.run(asyncio.wait_for(books(tmp_path, 3), 60))
    assert all(t is not None and t.ties for t in ties), [t and t.verdict for t in ties]
    assert all(level == "info" for level, _ in notes.said), notes.said
    assert any(t and t.trades for t in ties) and any(t and t.settlements for t in ties) and any(t and t.collateral for t in ties)


def test_money_that_is_gone_is_named_to_the_cent_and_once(tmp_path: Path):
    ties, notes = asyncio.run(asyncio.wait_for(books(tmp_path, 1, gone=7 * DOLLAR + 10_000), 60))
    assert [bool(t and t.ties) for t in ties] == [True, False, *[True] * (len(ties) - 2)]
    [(level, text)] = [n for n in notes.said if n[0] != "info"]
    assert level == "error" and "-$7.01 of the balance is unexplained" in text
    assert CONTRACT == 100  # hundredths were traded above


def test_the_books_tie_though_nobody_says_which_programmes_were_paid(tmp_path: Path):
    ties, notes = asyncio.run(asyncio.wait_for(books(tmp_path, 3, programmes=False), 60))
    assert all(t is not None and t.ties for t in ties)
    assert {text for level, text in notes.said if level != "info"} == {
        "which liquidity programmes were paid can't be read, and isn't in the books: nobody answers"}
