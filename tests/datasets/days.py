"A whole simulated day on a clock of its own, so that it takes seconds and is the same each time."
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from kalshi_mm.datasets.layout import CandleRow, TradeRow
from kalshi_mm.model.temperature_markets import HOUR_MS, day_event
from kalshi_mm.sandbox.server import Sandbox, build, wall_ms
from kalshi_mm.sandbox.tape import Span, Tape

DAY = date(2026, 11, 29)
OPEN_MS = day_event("KXHIGHNY", DAY, 0)[0].open_ms
FASTER = 20  # than ours
SETTLED_MS = OPEN_MS + 44 * HOUR_MS


@contextmanager
def sandbox_day(hours: int = 44, seed: int = 7) -> Iterator[Sandbox]:
    "A sandbox after its first hours; then nobody trades, and the clock goes on, faster than ours, which fills token buckets"
    wall, since = [OPEN_MS], list[int]()

    def now() -> int: return wall[0] + (FASTER * (wall_ms() - since[0]) if since else 0)

    with TemporaryDirectory() as folder:
        sandbox = build(Path(folder), seed=seed, day=DAY, kind="ed25519", tier="prestige", wall_ms=now)
        while wall[0] < OPEN_MS + hours * HOUR_MS:
            wall[0] += 60_000
            while sandbox.day.step(): pass
        sandbox.exchange.set_trading(exchange_active=True, trading_active=False, now_ms=wall[0])
        since.append(wall_ms())
        yield sandbox


def tape_trades(tape: Tape, tickers: set[str]) -> list[TradeRow]:
    "What the exchange itself knows of its trades; lists by market don't tell the order of two markets within one moment"
    prints = sorted((t for t in tape.prints if t.ticker in tickers), key=lambda t: (t.ts_ms, t.ticker))
    return [TradeRow(t.ts_ms * 1000, n, t.ticker, t.trade_id, t.price, t.count, str(t.taker_side), False, t.ts_ms * 1000)
            for n, t in enumerate(prints)]


def tape_candles(tape: Tape, tickers: set[str]) -> list[CandleRow]:
    "What the exchange itself knows of its minutes"
    def four(s: Span | None) -> tuple[int | None, ...]: return (s.open, s.high, s.low, s.close) if s else (None,) * 4

    every = sorted(((c.end_s, t, c) for t in tickers for c in tape.history(t).minutes), key=lambda x: x[:2])
    return [CandleRow(end_s * 1_000_000, n, t, 1, *four(c.bid), *four(c.ask), *four(c.trades), c.volume, c.interest)
            for n, (end_s, t, c) in enumerate(every)]
