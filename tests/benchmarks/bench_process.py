"""A whole engine under load: how old a change of a book is when it has been handled, the memory, and where the time goes.

    python tests/benchmarks/bench_process.py [--markets N ...] [--rates N ...] [--seconds S] [--against CHECKOUT] [--profile]

For each number of markets a stand-in for the exchange and an engine run as two processes over real sockets of this machine: the
feed, the core, the journal and the gateway as in a session. The stand-in sends changes at one rate after the other. A change is
handled when the core has taken it, has decided, and the journal has it; its age then is counted from its sending, in whole
milliseconds rounded up. The engine is given up when it is far behind or doesn't get ready. Nothing is asserted about time.
"""
import argparse
import asyncio
import cProfile
import json
import os
import platform
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.table import Table

from kalshi_mm.client.credentials import Credentials
from kalshi_mm.client.rest import Client
from kalshi_mm.config import Settings
from kalshi_mm.engine.engine import Engine
from kalshi_mm.engine.journal import Journal
from kalshi_mm.engine.kill_latch import Latch
from kalshi_mm.model.messages import BookDelta

READY_S = 60  # for all books to be live
STUB = Path(__file__).with_name("exchange_stub.py")


class Ages:
    "The ages of changes when they have been handled"

    def __init__(self, engine: Engine):
        self.ages: list[int] = []
        self._sent: list[int] = []
        loop = engine._loop
        self._step, self._carry_out = loop.step, loop.carry_out
        loop.step, loop.carry_out = self.step, self.carry_out  # type: ignore[method-assign]

    def step(self, event: Any) -> Any:
        if type(event) is BookDelta: self._sent.append(event.sent_ms)
        return self._step(event)

    def carry_out(self, actions: Any) -> None:
        self._carry_out(actions)
        now_ms = time.time_ns() // 1_000_000 + 1
        self.ages += [now_ms - sent for sent in self._sent]
        self._sent.clear()

    def take(self) -> list[int]:
        ages, self.ages = self.ages, []
        return ages


def part(ages: list[int], share: float) -> int:
    "A quantile of sorted ages; 0 if there is none"
    return ages[min(int(len(ages) * share), len(ages) - 1)] if ages else 0


async def until(done: Callable[[], bool], within_s: float) -> bool:
    "Whether it becomes so in time"
    end = time.monotonic() + within_s
    while not done() and time.monotonic() < end: await asyncio.sleep(0.01)  # noqa: ASYNC110 (between looks at a condition)
    return done()


async def measured(markets: int, rates: list[float], seconds: float, profile: cProfile.Profile | None) -> list[dict[str, Any]]:
    "Run an engine against a stand-in"
    stub = await asyncio.create_subprocess_exec(sys.executable, str(STUB), "--markets", str(markets), stdin=subprocess.PIPE,
                                                stdout=subprocess.PIPE)
    assert stub.stdout and stub.stdin
    where = json.loads(await stub.stdout.readline())
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        settings = Settings(_env_file=None, state_dir=home)  # type: ignore[call-arg]
        client, journal = Client(where["rest"], Credentials("bench", Ed25519PrivateKey.generate())), Journal(home / "journal.db")
        engine = Engine(settings, client, where["ws"], journal, Latch(home / "killed"), "bench")
        ages, began = Ages(engine), time.monotonic()
        run = asyncio.create_task(engine.run())
        ready = await until(lambda: len(engine.feed.live) == markets or run.done(), READY_S)
        ready_s = time.monotonic() - began
        await asyncio.sleep(3)  # the first quotes are no part of what is measured
        ages.take()
        for rate in rates if ready and not run.done() else ():
            if profile: profile.enable()
            cpu, wrote = time.process_time(), journal.records.size("bench")
            stub.stdin.write(f"stream {rate} {seconds}\n".encode())
            sent = json.loads(await stub.stdout.readline())
            cpu = time.process_time() - cpu
            got: list[int] = []
            def all_in(got: list[int] = got, sent: dict[str, Any] = sent) -> bool:
                got += ages.take()
                return len(got) >= sent["sent"]
            if profile: profile.disable()
            caught_up = await until(all_in, 20)
            got.sort()
            rows.append({
                "markets": markets, "rate": rate, "sent": sent["rate"], "handled": len(got), "of": sent["sent"],
                "ready_s": ready_s, "p50": part(got, 0.5), "p99": part(got, 0.99), "worst": part(got, 1),
                "cpu": cpu / seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "bytes": (journal.records.size("bench") - wrote) / max(len(got), 1), "orders": engine.maker.resting,
                "state": "; ".join(engine.maker.halts.active) or engine.fault.text})  # fmt: skip
            if not caught_up or got and got[len(got) // 2] > 5_000: break
        if not rows: rows = [{"markets": markets, "ready_s": ready_s, "live": len(engine.feed.live), "state": repr(run)[:300]}]
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await client.close()
        journal.close()
    stub.stdin.close()
    await stub.wait()
    return rows


def shares(profile: cProfile.Profile) -> Table:
    "The time by module, and the functions that take most"
    table = Table(title="where the engine's time goes (profiled, so slower)")
    for heading in ("share", "where"): table.add_column(heading)
    modules, functions, total = Counter[str](), Counter[str](), 0.0
    for (file, _, name), (_, _, own_s, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        part = file.split("kalshi_mm/")[-1].removesuffix(".py") if "kalshi_mm/" in file else Path(file).parent.name
        if "poll" in name and "select" in name: continue  # waiting
        modules["/".join(part.split("/")[:2])] += own_s  # type: ignore[assignment]
        functions[f"{part}: {name}"] += own_s  # type: ignore[assignment]
        total += own_s
    for counted, most in ((modules, 16), (functions, 25)):
        for name, own_s in counted.most_common(most): table.add_row(f"{own_s / total:.1%}", name)
        table.add_section()
    return table


def machine() -> str:
    "What ran this, and when"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, " \
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def result_table(rows: list[dict[str, Any]]) -> Table:
    "The results of one checkout and others"
    table = Table(title="changes of books through an engine, ages when handled", caption=machine())
    headings = "", "markets", "ready, s", "a second", "sent", "handled", "p50 ms", "p99 ms", "worst", "CPU", "MB", "B each", "is"
    for heading in headings: table.add_column(heading, justify="right")
    for r in rows:
        if "rate" not in r:
            table.add_row(r["name"], str(r["markets"]), f"{r['ready_s']:.1f}", *[""] * 9, f"{r.get('live')} live: {r['state']}")
            continue
        ages = f"{r['p50']}", f"{r['p99']}", f"{r['worst']}"
        begun = r["name"], str(r["markets"]), f"{r['ready_s']:.1f}"
        table.add_row(*begun, f"{r['rate']:g}", f"{r['sent']:.0f}", str(r["handled"]),
                      *ages, f"{r['cpu']:.0%}", f"{r['mb']:.0f}", f"{r['bytes']:.0f}", r["state"])
    return table


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--markets", type=int, nargs="+", default=[6, 60, 300, 600])
    args.add_argument("--rates", type=float, nargs="+", default=[20, 200, 1_000, 3_000])
    args.add_argument("--seconds", type=float, default=5)
    args.add_argument("--against", type=Path, help="another checkout of this program")
    args.add_argument("--profile", action="store_true")
    args.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = args.parse_args()
    if options.one or options.profile:
        profile = cProfile.Profile() if options.profile else None
        rows = asyncio.run(measured(options.markets[0], options.rates, options.seconds, profile))
        if profile: Console(width=150).print(shares(profile))
        return print(json.dumps(rows))
    rows, here = list[dict[str, Any]](), Path(__file__).parents[2]
    for markets in options.markets:
        for name, checkout in (("other", options.against), ("this", here)):
            if checkout is None: continue
            command = [sys.executable, __file__, "--one", "--markets", str(markets), "--seconds", str(options.seconds), "--rates",
                       *map(str, options.rates)]  # fmt: skip
            env = os.environ | {"PYTHONPATH": str(checkout.resolve()), "GUARDS": "none"}  # it quotes at once
            out = subprocess.run(command, env=env, cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=600)
            none = [{"markets": markets, "ready_s": 0, "state": "no result"}]
            found = json.loads(out.stdout.splitlines()[-1]) if out.stdout else none
            rows += [{"name": name} | row for row in found]
    Console(width=160).print(result_table(rows))


if __name__ == "__main__": main()
