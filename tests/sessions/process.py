"Real processes for tests: an exchange, an engine, and what they say"
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-P", "-m", "kalshi_mm.cli.main"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    "This process's environment without its own settings, with a state folder of the test's"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("KALSHI_")}  # so a `.env` in the folder is read
    return clean | {"STATE_DIR": str(folder / "state"), "COLUMNS": "160", "GUARDS": "none"} | more  # it quotes at once


class Process:
    "A `kalshi-mm` command whose lines are read as they come"

    def __init__(self, folder: Path, *words: str, env: dict[str, str] | None = None, command: list[str] = COMMAND):
        self.popen = subprocess.Popen(
            [*command, *words], cwd=folder, env=env or environment(folder), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )
        self.lines: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.popen.stdout
        for line in self.popen.stdout: self._new.put(line)
        self._new.put(None)

    def json(self, key: str, within_s: float = 40) -> Any:
        "The next JSON line that has `key`; fails with what was said instead"
        until = time.monotonic() + within_s
        while (left := until - time.monotonic()) > 0:
            try: line = self._new.get(timeout=left)
            except queue.Empty: break
            if line is None: break
            self.lines.append(line)
            if line.startswith("{") and key in (said := json.loads(line)): return said
        raise AssertionError(f"no {key!r} within {within_s} s; it said {self.lines[-5:]} and {self.end()}")

    def end(self, sig: int = signal.SIGTERM, within_s: float = 30) -> tuple[int, str]:
        "Ask it to end; exit status and what it said on standard error"
        if self.popen.poll() is None: self.popen.send_signal(sig)
        return self.wait(within_s)

    def wait(self, within_s: float) -> tuple[int, str]:
        "Its own end; exit status and standard error"
        try: self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise AssertionError(f"{self.popen.args} did not end within {within_s} s") from None
        self._thread.join(5)
        while not self._new.empty():
            if line := self._new.get(): self.lines.append(line)
        assert self.popen.stderr
        return self.popen.returncode, self.popen.stderr.read()

    def kill(self) -> None:
        "Make sure that it is gone"
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdout, self.popen.stderr):
            if pipe: pipe.close()


@contextmanager
def exchange_with(folder: Path, *options: str) -> Iterator[dict[str, Any]]:
    "An exchange with these options on a free port; what it announces"
    process = Process(folder, "exchange", "--port", "0", "--json", "--ed25519", *options)
    try: yield process.json("rest")
    finally: process.kill()


def get(url: str, where: dict[str, Any] | None = None) -> Any:
    "JSON at an address; of an engine, with the token that it has left in its file"
    headers = {"Authorization": f"Bearer {Path(where['token_file']).read_text()}"} if where else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer: return json.load(answer)


def ledger(exchange: dict[str, Any]) -> Any:
    "The account as the sandbox has it, to the last decimal"
    return get(exchange["rest"].replace("/trade-api/v2", "/sandbox/ledger"))


def until(look: Callable[[], Any], what: str | Callable[[], object], within_s: float = 30) -> Any:
    "Look until it is true; its value"
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if seen := look(): return seen
        time.sleep(0.05)  # between looks at a condition
    raise AssertionError(f"not within {within_s} s: {what() if callable(what) else what}")
