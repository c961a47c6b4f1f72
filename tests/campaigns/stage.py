"A stage for campaigns: a sandbox in this process, engines and commands as processes of their own, and a story of what happened"
import asyncio
import json
import os
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any

from kalshi_mm.model.numbers import CENT, CONTRACT
from kalshi_mm.model.types import Fill, Side
from kalshi_mm.sandbox.execution import Refusal
from kalshi_mm.sandbox.fault_injection import Faults
from kalshi_mm.sandbox.matching import NewOrder
from kalshi_mm.sandbox.server import ACCOUNT, Sandbox, build
from tests.sessions.process import environment

from .forked import Forked
from .judge import Judge, replayed, three_books, words

LIMITS = {"MAX_POSITION_PER_MARKET": "30", "MAX_TOTAL_POSITION": "80"}  # low enough to be reached within half a minute
EAGER = {"MIN_SPREAD": "2", "MAX_FILL_BURST": "5000", "MAX_DAILY_LOSS": "5000", "MAX_DRAWDOWN": "5000"}  # nothing halts for good
PATIENCE_S = 300  # for processes that a busy machine starts slowly


class Wrong(Exception):
    "A run can't go on"


@dataclass
class Story:
    "What happened in a run, with times"

    began_s: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def tell(self, text: str) -> None: self.lines.append(f"{time.monotonic() - self.began_s:7.2f} s  {text}")

    def blame(self, texts: list[str], where: str = "") -> None:
        for text in texts:
            self.wrong.append(f"{where}: {text}" if where else text)
            self.tell(f"WRONG {self.wrong[-1]}")


@dataclass
class Case:
    "One run of a campaign"

    name: str
    seed: int
    work: Callable[[Path, Random, Story], Awaitable[dict[str, Any]]]  # returns figures


class Command:
    "A process whose JSON lines are read as they come"

    def __init__(self, process: asyncio.subprocess.Process | Forked, errors: Path):
        self.process, self.errors = process, errors
        self.said: dict[str, Any] = {}  # the last line of each kind: started, status, summary
        self.text: list[str] = []
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def begin(cls, folder: Path, env: dict[str, str], *argv: str) -> "Command":
        "A process as a shell starts it"
        errors = folder / "errors.txt"
        with open(errors, "ab") as log:  # noqa: ASYNC230
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "kalshi_mm.cli.main", *argv, cwd=folder, env=env, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=log, limit=1 << 24)
        return cls(process, errors)

    async def _read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            if line.startswith(b"{"): self.said |= json.loads(line)
            else: self.text.append(line.decode())
            self._news.set()
        self._news.set()

    async def hear(self, kind: str, within_s: float = PATIENCE_S) -> Any:
        "What it says under that name; Wrong if it doesn't"
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while kind not in self.said and not self._reader.done():
                    self._news.clear()
                    await self._news.wait()
        if kind not in self.said: raise Wrong(f"no {kind} within {within_s:g} s: {self.trouble()}")
        return self.said[kind]

    def trouble(self) -> str:
        said = self.errors.read_text(errors="replace")[-600:].strip() if self.errors.exists() else ""
        return "".join(self.text[-3:]) + said

    def signal(self, sig: int) -> None:
        with suppress(ProcessLookupError): self.process.send_signal(sig)

    async def wait(self, within_s: float = PATIENCE_S) -> int:
        "Its exit status; Wrong if it doesn't end"
        try: status = await asyncio.wait_for(self.process.wait(), within_s)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.process.wait()
            raise Wrong(f"it did not end within {within_s:g} s: {self.trouble()}") from None
        await asyncio.wait({self._reader}, timeout=5)
        return status

    async def close(self) -> None:
        if self.process.returncode is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
        await self.process.wait()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)


class Stage:
    "A lively exchange, an account, a home, and a judge"

    def __init__(self, folder: Path, story: Story, *, faults: Faults | None = None, lifetime_s: int = 0, limits: bool = True,
                 env: dict[str, str] | None = None, **options: Any):
        self.folder, self.story = folder, story
        told = {"seed": 2, "speed": 120, "day": date(2026, 10, 4), "skip_hours": 25} | options
        self.sandbox: Sandbox = build(folder / "exchange", faults=faults, kind="ed25519", **told)
        bounds = LIMITS if limits else {"MAX_POSITION_PER_MARKET": "1000", "MAX_TOTAL_POSITION": "10000"}
        self.judge = Judge(self.sandbox, int(bounds["MAX_POSITION_PER_MARKET"]), int(bounds["MAX_TOTAL_POSITION"]), lifetime_s)
        life = {"QUOTE_LIFETIME_S": str(lifetime_s)} if lifetime_s else {}
        self.env = environment(folder, **EAGER, **bounds, **life, **(env or {}))
        self.engines: list[Command] = []
        self.counts: Callable[[Fill], bool] = lambda fill: True  # which of the account's fills the journal must know

    async def __aenter__(self) -> "Stage":
        address = await self.sandbox.start()
        key = self.sandbox.keys.accounts[ACCOUNT]
        self.env |= {"KALSHI_API_KEY_ID": key.key_id, "KALSHI_PRIVATE_KEY_FILE": str(key.key_file.absolute())}
        self.at = ("--rest", address.rest, "--ws", address.ws)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        for engine in self.engines: await engine.close()
        await self.sandbox.stop()

    async def engine(self) -> Command:
        "A session"
        words = ("run", *self.at, "--control-port", "0", "--json")
        engine = Command(await Forked.begin(self.folder, self.env, *words), self.folder / "errors.txt")
        self.engines.append(engine)
        return engine

    async def command(self, *argv: str, within_s: float = PATIENCE_S) -> tuple[int, str]:
        "A command to its end: status, and what it said"
        done = await Command.begin(self.folder, self.env, *argv)
        self.engines.append(done)
        status = await done.wait(within_s)
        return status, "".join(done.text)

    async def ask(self, engine: Command, path: str, method: str = "GET") -> Any:
        "The engine's control API"
        where = engine.said["started"]

        def talk() -> Any:
            until = str(time.time_ns() // 1_000_000 + 10_000)  # a command that adds risk holds for so long
            headers = {"Authorization": f"Bearer {Path(where['token_file']).read_text()}", "X-Deadline-Ms": until}
            request = urllib.request.Request(where["control"] + path, method=method, headers=headers)
            with urllib.request.urlopen(request, timeout=10) as answer: return json.load(answer)

        return await asyncio.to_thread(talk)

    async def until(self, look: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> None:
        "Wait for something at the exchange"
        end = time.monotonic() + within_s
        while not look():
            if time.monotonic() > end: raise Wrong(f"not within {within_s:g} s: {what}")
            await asyncio.sleep(0.005)

    async def by_hand(self, rng: Random, seconds: float) -> None:
        "Somebody trades on the same account: an order far away, and now and then one that takes"
        x = self.sandbox.exchange
        for n in range(5):
            await asyncio.sleep(seconds / 6)
            traded = [m.ticker for m in x.markets() if m.active and all(x.best(m.ticker))]
            if not traded: continue
            ticker = rng.choice(traded)
            bid, ask = x.best(ticker)
            price = ask if n else CENT
            new = NewOrder(account=ACCOUNT, ticker=ticker, side=Side.BID, price=price or CENT, count=CONTRACT,
                           client_order_id=f"by-hand-{n}", time_in_force="immediate_or_cancel" if n else "good_till_canceled")
            self.judge.allow(CONTRACT)
            try: placed = x.place(new, self.sandbox.now())
            except Refusal as e: self.story.tell(f"by hand: refused, {e}")
            else: self.story.tell(f"by hand: bid 1 at {price} in {ticker}, {placed.filled} filled")
            self.sandbox.day.publish()

    @property
    def journal(self) -> Path:
        "The journal of the account"
        return next(self.folder.glob("state/*/journal.db"))

    def copied(self) -> Path:
        "The journal of a copy of the home, so that looking changes nothing"
        there = self.folder / "copy"
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(self.journal.parent, there, ignore=shutil.ignore_patterns("*.sock"))
        return there / "journal.db"

    def compare(self, engine: Command, where: str = "", replay: bool = True) -> None:
        "After a session has ended in order: nothing rests, and three books agree"
        summary = engine.said.get("summary")
        self.story.tell(f"ended with {engine.process.returncode}: {words(summary)}")
        self.story.blame(self.judge.ended(), where)
        self.story.blame([] if summary else [f"there was no summary: {engine.trouble()}"], where)
        alone = "other_engine", "canceled_elsewhere"  # halts that would need somebody else
        halts = [h for h in (summary["status"]["maker"]["halts"] if summary else []) if h["rule"] in alone]
        self.story.blame([f"nobody else trades here: {h['reason']}" for h in halts], where)
        copy = self.copied()
        self.story.blame(three_books(self.sandbox, copy, summary, self.counts), where)
        if replay and (begun := engine.said.get("started")): self.story.blame(replayed(copy, begun["session"], self.env), where)

    async def finish(self, engine: Command, where: str = "", replay: bool = True, within_s: float = PATIENCE_S) -> None:
        "Ask a session to end, and compare"
        engine.signal(signal.SIGINT)
        status = await engine.wait(within_s)
        self.compare(engine, where, replay)
        if status: self.story.blame([f"exit status {status}: {engine.trouble()}"], where)


def rss_mb(pid: int) -> float:
    "Memory of a process, in megabytes"
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
