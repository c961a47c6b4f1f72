"The history of a sandbox's day comes back exactly, from either side of the cutoff, and whatever interrupts the download."
import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from random import Random

import msgspec
import pytest

from kalshi_mm.client.budget import BASIC, Budget, Gate, Kind, Rate
from kalshi_mm.client.calls import Query
from kalshi_mm.client.history import Ask, asker
from kalshi_mm.client.rest import PublicClient
from kalshi_mm.client.transport import Unreachable
from kalshi_mm.datasets.dataset import Dataset
from kalshi_mm.datasets.history import DayReport, download
from kalshi_mm.datasets.layout import MarketRow, SettlementRow, TradeRow
from kalshi_mm.model.numbers import ONE
from kalshi_mm.model.temperature_markets import HOUR_MS
from kalshi_mm.research.data import read_bbo
from kalshi_mm.sandbox.server import Sandbox, build
from tests.datasets.days import DAY, FASTER, OPEN_MS, SETTLED_MS, sandbox_day, tape_candles, tape_trades

NEXT = date(2026, 11, 30)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with sandbox_day() as sandbox: yield sandbox


def fetched(sandbox: Sandbox, folder: Path, cutoff_ms: int | None, wrap=lambda ask: ask) -> list[DayReport]:
    "Download two days from the sandbox over its sockets"
    async def story() -> list[DayReport]:
        sandbox.day.cutoff_ms = cutoff_ms
        address = await sandbox.start()
        client = PublicClient(address.rest, gate=Gate(Budget({**BASIC, Kind.READ: Rate(200 * FASTER // 2, 50)})))
        try: reports, refused = await download(wrap(asker(client)), folder, "KXHIGHNY", DAY, NEXT)
        finally:
            await client.close()
            await sandbox.stop()
        assert refused == []
        return reports

    return asyncio.run(asyncio.wait_for(story(), 60))


def tickers(sandbox: Sandbox, day: date) -> set[str]:
    return {m.ticker for m in sandbox.exchange.markets() if m.event_ticker == f"KXHIGHNY-{day:%y%b%d}".upper()}


CUTOFFS = {"none": None, "before": OPEN_MS - 1, "within the day": OPEN_MS + 20 * HOUR_MS, "after": SETTLED_MS + 1}


@pytest.mark.parametrize("name", CUTOFFS)
def test_an_event_day_comes_back_exactly(sandbox: Sandbox, name: str, tmp_path: Path):
    reports = fetched(sandbox, tmp_path, CUTOFFS[name])
    data, tape = Dataset(tmp_path), sandbox.day.tape
    for day in (DAY, NEXT):
        six = tickers(sandbox, day)
        assert len(six) == 6
        assert list(data.events("trades", first=day, last=day)) == tape_trades(tape, six) != []
        assert list(data.events("candles", first=day, last=day)) == tape_candles(tape, six) != []
    settled = [r for r in data.events("settlements") if isinstance(r, SettlementRow)]
    assert {r.ticker: r.value for r in settled} == {t: 100 * (tape.life(t).value or 0) for t in tickers(sandbox, DAY)}
    assert sum(r.value for r in settled) == 100 * ONE
    markets = {r.ticker: r for r in data.events("markets") if isinstance(r, MarketRow)}
    for m in (m for m in sandbox.exchange.markets() if m.ticker in markets):
        r = markets[m.ticker]
        assert (r.event, r.title, r.ts, r.close, r.status, r.strike_type, r.floor, r.cap, r.fee_type, r.fee_multiplier) == (
            m.event_ticker, m.title, m.open_ms * 1000, m.close_ms * 1000, m.status, m.strike_type, m.floor_strike, m.cap_strike,
            m.fee_type, m.fee_multiplier)
    assert markets.keys() == tickers(sandbox, DAY) | tickers(sandbox, NEXT)
    assert [(r.day, r.complete, r.problems) for r in reports] == [(DAY, True, ()), (NEXT, False, ())]
    assert [r.prints for r in reports] == [len(tape_trades(tape, tickers(sandbox, day))) for day in (DAY, NEXT)]


def test_quotes_and_prints_of_a_day_agree(sandbox: Sandbox, tmp_path: Path):
    fetched(sandbox, tmp_path, None)
    candles, trades = Dataset(tmp_path).frame("candles", last=DAY), Dataset(tmp_path).frame("trades", last=DAY)
    assert candles.groupby("ticker")["volume"].sum().round(2).to_dict() == {
        **dict.fromkeys(candles["ticker"], 0.0), **trades.groupby("ticker")["count"].sum().round(2).to_dict()}


def test_a_day_that_was_fetched_can_be_traded_again(sandbox: Sandbox, tmp_path: Path):
    fetched(sandbox, tmp_path / "data", None)
    rows = read_bbo(tmp_path / "data", DAY)
    again = build(tmp_path / "again", rows=rows, day=DAY, kind="ed25519", wall_ms=lambda: rows[0][0])
    markets = again.exchange.markets()
    assert {m.ticker for m in markets} == tickers(sandbox, DAY) and all(m.active for m in markets)
    while again.day.step(): pass
    first = {ticker: (bid, ask) for ms, ticker, bid, ask in reversed(rows) if ms == rows[0][0]}
    assert first and {t: again.exchange.best(t) for t in first} == first


class Killed(Exception): pass


def test_a_download_that_is_killed_anywhere_goes_on_from_there(sandbox: Sandbox, tmp_path: Path):
    asked: list[str] = []

    def dying(after: int):
        def wrap(ask: Ask) -> Ask:
            left = [after]

            async def one(path: str, id: str, query: Query) -> bytes:
                if not left[0]: raise Killed
                left[0] -= 1
                asked.append(path + id + str(query))
                return await ask(path, id, query)

            return one

        return wrap

    fetched(sandbox, tmp_path / "whole", None, dying(10**6))
    starts = 0
    asked.clear()
    for after in range(0, 60, 2):
        starts += 1
        try: fetched(sandbox, tmp_path / "killed", None, dying(after))
        except Killed: continue
        break
    assert starts > 8
    assert same(tmp_path / "whole", tmp_path / "killed")
    settled = [a for a in asked if "26NOV29" in a]
    assert len(settled) == len(set(settled)), "a page of a settled market was asked for twice"
    assert not list((tmp_path / "killed").glob(".history/*/*"))


def test_the_command_killed_at_any_moment_goes_on_until_all_is_there(sandbox: Sandbox, tmp_path: Path):
    fetched(sandbox, tmp_path / "whole", None)
    draw, ends = Random(11), list[int]()

    async def story() -> None:
        address = await sandbox.start()
        words = ("history", "KXHIGHNY", "--from", str(DAY), "--to", str(NEXT), "--rest", address.rest, "--data", "killed")
        try:
            while ends[-1:] != [0]:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "kalshi_mm.cli.main", *words, cwd=tmp_path, stdout=asyncio.subprocess.DEVNULL)
                wait_s = draw.uniform(0.5, 2) if len(ends) < 3 else 30
                with suppress(TimeoutError): await asyncio.wait_for(process.wait(), wait_s)
                if process.returncode is None: process.kill()
                ends.append(await process.wait())
        finally: await sandbox.stop()

    asyncio.run(asyncio.wait_for(story(), 90))
    assert set(ends[:-1]) <= {-9, 0} and -9 in ends
    assert same(tmp_path / "whole", tmp_path / "killed")


def same(a: Path, b: Path) -> bool:
    "Whether two folders have the same rows"
    names = [sorted(str(p.relative_to(f)) for p in f.glob("kind=*/**/*.parquet")) for f in (a, b)]
    return names[0] == names[1] != [] and list(Dataset(a).events()) == list(Dataset(b).events())


def test_a_complete_day_is_not_fetched_again_and_an_incomplete_one_is(sandbox: Sandbox, tmp_path: Path):
    fetched(sandbox, tmp_path, None)
    asked: list[str] = []

    def wrap(ask: Ask) -> Ask:
        async def one(path: str, id: str, query: Query) -> bytes:
            asked.append(f"{id} {query}")
            return await ask(path, id, query)

        return one

    reports = fetched(sandbox, tmp_path, None, wrap)
    assert [r.kept for r in reports] == [True, False]
    assert not [a for a in asked if "26NOV29" in a] and [a for a in asked if "26NOV30" in a]
    assert reports[0].prints == len(tape_trades(sandbox.day.tape, tickers(sandbox, DAY)))


def test_a_print_that_the_exchange_leaves_out_is_a_difference(sandbox: Sandbox, tmp_path: Path):
    def losing(ask: Ask) -> Ask:
        async def one(path: str, id: str, query: Query) -> bytes:
            body = await ask(path, id, query)
            if path != "/markets/trades": return body
            page = msgspec.json.decode(body)
            return msgspec.json.encode(page | {"trades": page["trades"][1:]})

        return one

    first, second = fetched(sandbox, tmp_path, None, losing)
    assert len(first.problems) == 6 and all("by the exchange's count" in p for p in first.problems)
    kept = [r for r in Dataset(tmp_path).events("trades", last=DAY) if isinstance(r, TradeRow)]
    assert len(kept) == len(tape_trades(sandbox.day.tape, tickers(sandbox, DAY))) - 6
    assert second.problems == ()


def test_without_an_exchange_nothing_is_left(tmp_path: Path):
    async def nobody(path: str, id: str, query: Query) -> bytes: raise Unreachable("nobody there")

    with pytest.raises(Unreachable): asyncio.run(download(nobody, tmp_path, "KXHIGHNY", DAY, DAY))
    assert list(tmp_path.iterdir()) == []
