"""Engines as processes of their own that begin in a moment: forked from a server that has imported the program already.

What runs is `kalshi-mm` with its arguments, environment, folder and pipes; its two seconds of imports are spent once.
CLOCK_FILE names a file with the milliseconds by which the engine's clock is ahead, TASKS_FILE one that is told its tasks.
"""
import asyncio
import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

_RUNNING: "set[Forked]" = set()
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["kalshi_mm.cli.trading", __name__, "tests.campaigns.__main__"])


class Forked:
    "An engine; as an `asyncio.subprocess.Process`, as far as campaigns need it"

    def __init__(self, folder: Path, env: dict[str, str], argv: tuple[str, ...]):
        self._reads, writes = _SERVER.Pipe(duplex=False)
        self._process = _SERVER.Process(target=_engine, args=(str(folder), env, argv, writes), daemon=True)
        self._writes, self._ended = writes, asyncio.Event()
        self.stdout = asyncio.StreamReader(limit=1 << 24)

    @classmethod
    async def begin(cls, folder: Path, env: dict[str, str], *argv: str) -> "Forked":
        self, loop = cls(folder, env, argv), asyncio.get_running_loop()
        await asyncio.to_thread(self._process.start)
        self._writes.close()
        pipe = os.fdopen(os.dup(self._reads.fileno()), "rb", 0)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self.stdout), pipe)
        loop.add_reader(self._process.sentinel, self._end)
        _RUNNING.add(self)
        return self

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._process.join()
        _RUNNING.discard(self)
        self._ended.set()

    @property
    def pid(self) -> int: return self._process.pid or 0

    @property
    def returncode(self) -> int | None: return self._process.exitcode if self._ended.is_set() else None

    def send_signal(self, sig: int) -> None:
        if not self._ended.is_set(): os.kill(self.pid, sig)

    async def wait(self) -> int:
        await self._ended.wait()
        return self._process.exitcode or 0


@atexit.register
def _end_all() -> None:
    "Before `multiprocessing` asks them politely, which a stopped one can't hear"
    for engine in _RUNNING: os.kill(engine.pid, signal.SIGKILL)


def _engine(folder: str, env: dict[str, str], argv: tuple[str, ...], out: Connection) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    os.dup2(out.fileno(), 1)
    out.close()
    errors = os.open("errors.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 2)
    sys.argv = ["kalshi-mm", *argv]
    if ahead := os.environ.pop("CLOCK_FILE", ""): _step_clock(Path(ahead))
    if tasks := os.environ.pop("TASKS_FILE", ""): threading.Thread(target=_count, args=(Path(tasks),), daemon=True).start()
    from kalshi_mm.cli.main import main

    main()


def _step_clock(ahead: Path) -> None:
    true_ns = time.time_ns

    def time_ns() -> int:
        with suppress(OSError, ValueError): return true_ns() + 1_000_000 * int(ahead.read_text())
        return true_ns()

    time.time_ns, time.time = time_ns, lambda: time_ns() / 1e9


def _count(told: Path) -> None:
    while True:
        time.sleep(1)
        with suppress(RuntimeError):  # the set changed while we looked
            told.write_text(str(sum(not t.done() for t in list(asyncio.tasks._all_tasks))))  # type: ignore[attr-defined]
