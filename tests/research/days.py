"Made-up days of recorded best prices"
from random import Random

from kalshi_mm.model.numbers import CENT
from kalshi_mm.model.temperature_markets import HOUR_MS
from kalshi_mm.sandbox.recorded import Row

TICKERS = tuple(f"KXHIGHNY-25DEC10-{name}" for name in ("T40", "B40.5", "B42.5", "B44.5", "B46.5", "T47"))
OPEN_MS = 1_765_292_400_000  # 10:00 in New York, 9 December 2025
LAST = {t: 10_000 if t == TICKERS[2] else 0 for t in TICKERS}  # what they pay


def flat_day() -> list[Row]:
    "Thirty hours at 40/50"
    return [(OPEN_MS + h * HOUR_MS, t, 40 * CENT, 50 * CENT) for h in (0, 30) for t in TICKERS]


def made_up_day(seed: int = 1, hours: float = 3, changes: int = 3_000, at: Random | None = None, split_ms: int = 0) -> list[Row]:
    "Middles that walk, spreads from one to ten cents; from `split_ms` on another random source, if there is one"
    rng, ms, middle, rows = Random(seed), OPEN_MS + 2 * HOUR_MS, dict.fromkeys(TICKERS, 40), list[Row]()
    for ticker in TICKERS: rows.append((ms, ticker, 35 * CENT, 45 * CENT))
    for _ in range(changes):
        source = at if at and ms >= split_ms else rng
        ms += round(source.expovariate(1) * hours * HOUR_MS / changes)
        ticker = source.choice(TICKERS)
        middle[ticker] = min(max(middle[ticker] + source.choice((-2, -1, 0, 0, 1, 2)), 20), 60)
        half = source.choice((1, 1, 2, 3, 5))
        rows.append((ms, ticker, (middle[ticker] - half) * CENT, (middle[ticker] + half) * CENT))
    return rows
