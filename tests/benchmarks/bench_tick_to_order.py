"""From a change on the stream to the order that answers it: how long, and where the time goes.

    python tests/benchmarks/bench_tick_to_order.py [--moves N] [--keys rsa ed25519] [--against CHECKOUT]

One market, nothing else going on. A stand-in for the exchange, in another process, moves the best bid by a tick; the engine must
move its own bid. The time runs from before the frame is written to its socket until the bytes of the order have been read on the
other side, by one clock. In turn with it runs the floor: one signature and one POST of the same size through the SDK, from the
moment that a thread makes the call. Nothing is asserted about time.
"""
import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from rich.console import Console
from rich.table import Table

from kalshi_mm.client.credentials import Credentials
from kalshi_mm.client.rest import Client
from kalshi_mm.client.transport import Transport
from kalshi_mm.config import Settings
from kalshi_mm.engine.engine import Engine
from kalshi_mm.engine.journal import Journal
from kalshi_mm.engine.kill_latch import Latch
from kalshi_mm.model.messages import Amend, BookDelta, Place

STUB = Path(__file__).with_name("exchange_stub.py")
STAGES = ("the socket, to the core's door", "inbox and hop to the loop", "core, journal, latch",
          "gateway, budget, hop to a thread", "body and call", "signature", "POST, to the other side")  # fmt: skip


class Marks:
    "Times of the last order on its way through the engine, monotonic ns"

    def __init__(self, engine: Engine):
        self.at: dict[str, int] = {}
        self._wrap(engine.inbox, "put", "put", lambda event: type(event) is BookDelta)
        self._wrap(engine._loop, "step", "step", lambda event: type(event) is BookDelta)
        self._wrap(engine.gateway, "do", "do", lambda action: isinstance(action, Place | Amend))
        self._wrap(engine.client._transport, "send", "send", lambda method, *_: method == "POST")
        keys = engine.client.credentials
        self._wrap(keys, "create_auth_headers", "sign", lambda method, *_: method == "POST", "signed")

    def _wrap(self, owner: Any, name: str, mark: str, when: Callable[..., bool], after: str = "") -> None:
        call = getattr(owner, name)

        def marked(*args: Any, **more: Any) -> Any:
            if not when(*args): return call(*args, **more)
            self.at[mark] = time.monotonic_ns()
            result = call(*args, **more)
            if after: self.at[after] = time.monotonic_ns()
            return result

        setattr(owner, name, marked)
        if name == "put": owner.put = marked


async def line(stub: asyncio.subprocess.Process, word: str) -> int:
    "The number on the next line that begins with a word"
    assert stub.stdout
    while True:
        words = (await asyncio.wait_for(stub.stdout.readline(), 10)).decode().split()
        if words and words[0] == word: return int(words[1])


async def measured(kind: str, moves: int) -> dict[str, list[float]]:
    "Milliseconds of each move: in all, by stage, and of the floor"
    key = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(65_537, 2_048)
    stub = await asyncio.create_subprocess_exec(sys.executable, str(STUB), "--markets", "1", "--orders", stdin=subprocess.PIPE,
                                                stdout=subprocess.PIPE)
    assert stub.stdout and stub.stdin
    where, taken = json.loads(await stub.stdout.readline()), {name: list[float]() for name in ("all", "floor", *STAGES)}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        settings = Settings(_env_file=None, state_dir=home)  # type: ignore[call-arg]
        client, journal = Client(where["rest"], Credentials("bench", key)), Journal(home / "journal.db")
        engine = Engine(settings, client, where["ws"], journal, Latch(home / "killed"), "bench")
        marks, floor = Marks(engine), Transport(where["rest"], Credentials("bench", key))
        run = asyncio.create_task(engine.run())
        for _ in range(2): await line(stub, "order")  # the first quotes
        body = {"ticker": "KXHIGHNY-26N000-B50.5", "client_order_id": "kmm-bench-1", "side": "bid", "price": "0.4100",
                "count": "10.00", "time_in_force": "good_till_canceled", "expiration_time": 1_795_000_000, "post_only": True,
                "order_group_id": "g1"}  # fmt: skip

        def post() -> int:
            began_ns = time.monotonic_ns()
            floor.send("POST", "/floor", None, body)
            return began_ns

        for n in range(moves + 10):
            await asyncio.sleep(0.15)  # paces the load within the budget of writes
            stub.stdin.write(b"move\n")
            sent = await line(stub, "moved")
            while (arrived := await line(stub, "order")) < sent: pass  # an earlier renewal
            at = dict(marks.at)
            began_ns = await asyncio.to_thread(post)
            floor_ms = (await line(stub, "floor") - began_ns) / 1e6
            if n < 10 or not sent < at["put"] < at["send"] < arrived: continue  # connections are made; a renewal came between
            points = [sent, at["put"], at["step"], at["do"], at["send"], at["sign"], at["signed"], arrived]
            taken["all"].append((arrived - sent) / 1e6)
            taken["floor"].append(floor_ms)
            for stage, a, b in zip(STAGES, points, points[1:], strict=False): taken[stage].append((b - a) / 1e6)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await client.close()
        floor.close()
        journal.close()
    stub.stdin.close()
    await stub.wait()
    return taken


def machine() -> str:
    "What ran this, and when"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, " \
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def result_table(kind: str, runs: dict[str, dict[str, list[float]]]) -> Table:
    "Medians and tails of one kind of key"
    table = Table(title=f"tick to order, {kind}, ms", caption=machine())
    table.add_column("")
    for name in runs:
        for part in ("p50", "p90", "p99"): table.add_column(f"{name} {part}", justify="right")
    for row in ("all", "floor", *STAGES):
        cells = []
        for taken in runs.values():
            ms = sorted(taken[row])
            cells += [f"{statistics.median(ms):.2f}", f"{ms[len(ms) * 9 // 10]:.2f}", f"{ms[len(ms) * 99 // 100]:.2f}"]
        table.add_row({"all": "[b]in all[/b]", "floor": "[b]the floor[/b]"}.get(row, f"  {row}"), *cells)
        if row == "floor":
            over = [statistics.median(t["all"]) - statistics.median(t["floor"]) for t in runs.values()]
            table.add_row("[b]over the floor[/b]", *[cell for ms in over for cell in (f"{ms:.2f}", "", "")])
            table.add_section()
    return table


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--moves", type=int, default=200)
    args.add_argument("--keys", nargs="+", choices=["rsa", "ed25519"], default=["rsa", "ed25519"])
    args.add_argument("--against", type=Path, help="another checkout of this program")
    args.add_argument("--one", help=argparse.SUPPRESS)
    options = args.parse_args()
    if options.one: return print(json.dumps(asyncio.run(measured(options.one, options.moves))))
    here = Path(__file__).parents[2]
    for kind in options.keys:
        runs: dict[str, dict[str, list[float]]] = {}
        for name, checkout in (("other", options.against), ("this", here)):
            if checkout is None: continue
            env = os.environ | {"PYTHONPATH": str(checkout.resolve()), "GUARDS": "none"}  # it quotes at once
            command = [sys.executable, __file__, "--one", kind, "--moves", str(options.moves)]
            out = subprocess.run(command, env=env, cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
            runs[name] = json.loads(out.stdout.splitlines()[-1])
        Console(width=130).print(result_table(kind, runs))


if __name__ == "__main__": main()
