"""What the journal costs: bytes for a change of a book and for a day, and the start of a session with a long past.

    python tests/benchmarks/bench_journal.py [--fills N ...] [--against CHECKOUT] [--repeats N]

Each start is a process of its own, so that its memory is its own too: it opens the journal and reads what the core needs. The
first start after a long past folds the old fills into totals; the later ones find them folded. Another checkout of this program
is measured on the journal as it was before that. Nothing is asserted about time.
"""
import argparse
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from kalshi_mm.engine.journal import Journal
from kalshi_mm.feed.recorder import Record
from kalshi_mm.model.messages import BookDelta, Decide, FeedHealth
from kalshi_mm.model.types import Fill, Side

NOW_MS, DAY_MS = 1_795_000_000_000, 86_400_000
encode = msgspec.json.Encoder().encode


def made(folder: Path, fills: int) -> Path:
    "A journal with fills of a year in six markets a day, all but the last day's paid"
    journal = Journal(folder / "journal.db")
    journal.begin("s", "sandbox", 0)
    journal.end(0)
    db = journal._database.connection
    db.execute("BEGIN")
    for n in range(fills):
        day = 365 * n // fills
        trade_id, order_id = f"{n:08x}-1b7e-4c5d-8a6f-{n * 7919:012x}", f"{n // 2:08x}-2c8f-4d6e-9b70-{n:012x}"
        ts_ms = NOW_MS - 365 * DAY_MS * (fills - n) // fills
        side, price = (Side.BID, Side.ASK)[n % 2], 4_300 + 100 * (n % 9)
        fill = Fill(trade_id, order_id, f"KXHIGHNY-D{day}-B{n % 6}.5", side, price, 100, 175, False, ts_ms)
        db.execute("INSERT INTO fills VALUES (?, 's', ?)", (fill.trade_id, encode(fill)))
    paid = [(f"KXHIGHNY-D{day}-B{k}.5", 10_000 * (k == day % 6)) for day in range(364) for k in range(6)]
    db.executemany("INSERT INTO settlements VALUES (?, ?)", paid)
    db.execute("COMMIT")
    journal.close()
    return journal.path


def start(path: Path) -> None:
    "What the start of a session reads; its cost, for another process"
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock_s, cpu_s = time.perf_counter(), time.process_time()
    journal = Journal(path)
    past = journal.past
    last_ms = past.last_fill_ms() if hasattr(past, "last_fill_ms") else max([f.ts_ms for f in past.fills()], default=0)
    left = journal.restart.restored(NOW_MS)
    cost = time.perf_counter() - clock_s, time.process_time() - cpu_s
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    print(*cost, grown_kb, len(encode(left)), len(left.trade_ids), left.profit, len(left.positions), last_ms)


def started(path: Path, checkout: Path) -> list[float]:
    "Start in a process of its own"
    env = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    command = [sys.executable, __file__, "--start", str(path)]
    out = subprocess.run(command, env=env, cwd=checkout, check=True, stdout=subprocess.PIPE)
    return [float(word) for word in out.stdout.split()]


def burst_bytes(changes: int, bursts: int = 3_000) -> tuple[float, float]:
    "Bytes of JSON and of the record for a burst of changes and the decision after it"
    rng, raw, seq = random.Random(1), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        record = Record(Path(folder) / "r.gz")
        for n in range(bursts):
            now_ms = NOW_MS + 50 * n + rng.randrange(20)
            lines = []
            for _ in range(changes):
                ticker, side = f"KXHIGHNY-26NOV27-B{rng.randrange(40, 60)}.5", rng.choice((Side.BID, Side.ASK))
                price, by, sent_ms = 100 * rng.randrange(1, 100), 100 * rng.randrange(-300, 300), now_ms - rng.randrange(9, 40)
                lines.append(encode(BookDelta(now_ms, ticker, side, price, by, sent_ms)))
            for line in [*lines, encode(Decide(now_ms))]: record.add(b"<", line)
            raw, seq = raw + sum(map(len, lines)), seq + 1
            record.flush()
        size = record.size
        record.close()
    return raw / bursts, size / bursts


def quiet_bytes() -> float:
    "Bytes of the record for a second in which nothing happens"
    with tempfile.TemporaryDirectory() as folder:
        record = Record(Path(folder) / "r.gz")
        for n in range(4 * 600):
            record.add(b"<", encode(Decide(NOW_MS + 250 * n)))
            if n % 2: record.add(b"<", encode(FeedHealth(NOW_MS + 250 * n, 40 * n % 900, 30 + n % 9)))
            record.flush()
        size = record.size
        record.close()
    return size / 600


def day_table() -> Table:
    "Bytes of a change, and of a day at several rates"
    table = Table(title="the record of a session", caption=machine())
    headings = "changes a second", "bytes of JSON each", "bytes on disk each", "MB a day"
    for heading in headings: table.add_column(heading, justify="right")
    table.add_row("0", "", "", f"{quiet_bytes() * 86_400 / 1e6:.1f}")
    for rate, burst in ((1, 1), (20, 1), (200, 4), (1_000, 20)):
        raw, size = burst_bytes(burst)
        quiet = quiet_bytes() if rate < 4 else 0
        mb = (quiet + size / burst * rate) * 86_400 / 1e6
        table.add_row(f"{rate}", f"{raw / burst:.0f}", f"{size / burst:.1f}", f"{mb:.1f}")
    return table


def machine() -> str:
    "What ran this, and when"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, " \
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def start_table(sizes: list[int], against: Path | None, repeats: int) -> Table:
    "Starts with pasts of several lengths"
    table = Table(title="the start of a session", caption=machine())
    for heading in ("fills", "start", "s", "CPU s", "MB more", "Restored, kB", "ids", "file, MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    here = Path(__file__).parents[2]
    for fills in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path, results = made(Path(folder), fills), list[list[float]]()
            for name, checkout, times in (("other", against, repeats), ("first, folds", here, 1), ("later", here, repeats)):
                if checkout is None: continue
                runs = [started(path, checkout) for _ in range(times)]
                results += runs
                s, cpu, kb, size, ids = (statistics.median(column) for column in list(zip(*runs, strict=True))[:5])
                row = f"{fills:,}", name, f"{s:.2f}", f"{cpu:.2f}", f"{kb / 1024:.0f}", f"{size / 1000:,.0f}", f"{ids:,.0f}"
                table.add_row(*row, f"{path.stat().st_size / 1e6:.1f}")
            assert len({tuple(r[5:]) for r in results}) == 1, "the starts do not agree on profit, positions and the last fill"
        table.add_section()
    return table


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--fills", type=int, nargs="+", default=[5_000, 50_000, 500_000])
    args.add_argument("--against", type=Path, help="another checkout of this program")
    args.add_argument("--repeats", type=int, default=3)
    args.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    options = args.parse_args()
    if options.start: return start(options.start)
    Console().print(day_table())
    Console().print(start_table(options.fills, options.against, options.repeats))


if __name__ == "__main__": main()
