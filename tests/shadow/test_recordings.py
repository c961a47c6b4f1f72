"Recordings as sources: what a recorder kept of a sandbox, and kept rows of a day, end in the books that the sandbox ended in"
import asyncio
from collections.abc import Iterable
from datetime import date
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from kalshi_mm.client.credentials import Credentials
from kalshi_mm.client.rest import AccountClient
from kalshi_mm.datasets.dataset import Dataset
from kalshi_mm.datasets.recorder import Recorder
from kalshi_mm.datasets.stream_rows import EventRows, market_rows, settlement_rows
from kalshi_mm.datasets.writer import Writer
from kalshi_mm.feed.frame_log import FrameLog
from kalshi_mm.maker.maker import Config, MarketMaker
from kalshi_mm.model.messages import Connection, Event
from kalshi_mm.research.backtest import Backtest
from kalshi_mm.research.session_backtest import Recorded
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.server import ACCOUNT, build
from kalshi_mm.sandbox.simulated import SimulatedDay
from kalshi_mm.sandbox.traffic import Calibration
from kalshi_mm.shadow.kept_rows import kept_events
from kalshi_mm.shadow.recording import recorded_events
from kalshi_mm.shadow.server import Shadow
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

TEN = 1_765_378_800_000  # ten in the morning in New York on 10 December 2025


def played(folder: Path, events: Iterable[Event]) -> Shadow:
    "A recording to its end, without waiting: the clock is set to whatever is due"
    told, wall = list(events), [1_000_000]
    assert isinstance(told[-1], Connection) and not told[-1].up
    shadow = Shadow(folder, "a recording", events=told[:-1], begin_ms=told[0].ts_ms, wall_ms=lambda: wall[0])
    day, end_ms = shadow.sandbox.day, told[-1].ts_ms
    while shadow.clock.day_ms(wall[0]) < end_ms:
        if not day.step(): wall[0] += min(day.wait_ms() or 1, end_ms - shadow.clock.day_ms(wall[0])) or 1
    while day.step(): pass
    return shadow


def test_frames_of_a_recorder_end_in_the_books_of_the_exchange(tmp_path: Path):
    async def record() -> dict[str, Any]:
        real = build(tmp_path / "source", kind="ed25519", seed=5, speed=60, skip_hours=25)
        at, key = await real.start(), real.keys.accounts[ACCOUNT]
        client = AccountClient(at.rest, Credentials.load(key.key_id, key.key_file))
        log = FrameLog(tmp_path / "frames", 10**9, at.rest, keep_free_bytes=0)
        recorder = Recorder(client, at.ws, ["KXHIGHNY"], log, lambda text: None)
        work = asyncio.create_task(recorder.run())
        while log.frames < 1_500: await asyncio.sleep(0.05)  # noqa: ASYNC110
        real.exchange.set_trading(exchange_active=True, trading_active=False, now_ms=real.now())
        frames = -1
        while frames != log.frames:
            frames = log.frames
            await asyncio.sleep(1)  # nothing new in a second of a paused market
        recorder.close()
        await work
        await client.close()
        books = {m.ticker: real.exchange.levels(m.ticker) for m in real.exchange.markets() if m.active}
        await real.stop()
        return books

    books = asyncio.run(record())
    shadow = played(tmp_path, recorded_events(tmp_path))
    assert books and {t: shadow.exchange.levels(t) for t in books} == books
    assert shadow.report().heard.prints and not shadow.report().heard.strays


def test_kept_rows_of_a_day_end_in_its_books_and_pay(tmp_path: Path):
    raw = msgspec.json.decode((files("kalshi_mm.sandbox") / "calibration.json").read_bytes())
    traffic, ids = SimulatedDay(Calibration.of(raw, "wide"), date(2025, 12, 10), 3, start_ms=TEN), Random(3)
    exchange = Exchange(traffic.markets, ids=lambda: f"{ids.getrandbits(64):016x}")
    session = Recorded(MarketMaker(SpreadCapture(Params(min_spread=9_900)), Config("s")))  # it only looks
    Backtest(session, exchange, traffic, data_ms=0).run(TEN + 600_000)
    rows, close_ms, paid = EventRows("s"), traffic.markets[0].close_ms, traffic.result()
    made = [row for e, _ in session.record for row in rows.received(e)]
    made += market_rows(traffic.markets) + settlement_rows({t: (close_ms, value) for t, value in paid.items()})
    with Writer(tmp_path / "data", "sandbox") as writer:
        for kind, row in made: writer.add(kind, row)
    events = list(kept_events(Dataset(tmp_path / "data"), "KXHIGHNY", date(2025, 12, 10)))
    before = [e for e in events if e.ts_ms < close_ms]
    shadow = played(tmp_path, [*before, Connection(before[-1].ts_ms + 1, False)])
    assert {t: shadow.exchange.levels(t) for t in paid} == {t: exchange.levels(t) for t in paid}
    settled = played(tmp_path / "again", events)
    assert {m.ticker: m.result for m in settled.exchange.markets()} == {t: "yes" if v else "no" for t, v in paid.items()}
