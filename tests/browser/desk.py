"A trader's place for tests and tools: a JupyterLab, an exchange, and whatever engine is started there"

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kalshi_mm.config import load_settings
from kalshi_mm.control.runtime import Running
from tests.browser.conftest import Lab
from tests.sessions.process import Process, environment, ledger, until

NOTEBOOK = Path(__file__).resolve().parents[2] / "nbs" / "control_panel.ipynb"


@contextmanager
def exchange(folder: Path, speed: int = 20) -> Iterator[dict[str, Any]]:
    "A sandbox in the middle of its day"
    process = Process(
        folder,
        "exchange",
        "--port",
        "0",
        "--day",
        "2026-10-04",
        "--seed",
        "2",
        "--speed",
        str(speed),
        "--state",
        str(folder / "kept"),
        "--json",
    )
    try:
        yield process.json("rest")
    finally:
        process.kill()


def at(where: dict[str, Any]) -> dict[str, str]:
    "Settings for an engine at an exchange; quotes where two cents are between the others"
    return {
        "KALSHI_ENV": "sandbox",
        "KALSHI_REST_URL": where["rest"],
        "KALSHI_WS_URL": where["ws"],
        "KALSHI_API_KEY_ID": where["key_id"],
        "KALSHI_PRIVATE_KEY_FILE": where["key_file"],
        "MIN_SPREAD": "2",
        "CONTROL_PORT": "0",
    }


class Desk:
    "A JupyterLab with the panel's notebook, beside an exchange"

    def __init__(self, root: Path, where: dict[str, Any]):
        self.exchange, self.settings = where, load_settings(state_dir=root / "state")
        self.lab = Lab(root, environment(root, **at(where)))
        until(self.lab.ready, "JupyterLab answers", 60)
        (self.lab.root / NOTEBOOK.name).write_bytes(NOTEBOOK.read_bytes())

    @property
    def engine(self) -> Running | None:
        return Running.find(self.settings)

    @property
    def resting(self) -> int:
        return len(ledger(self.exchange)["resting"])

    def quoting(self) -> Running:
        "The engine, once its quotes rest"
        assert (engine := self.engine) is not None
        engine.client("cli").post("/api/strategy/start")
        until(lambda: self.resting, "quotes rest")
        return engine

    def kernel(self) -> int:
        "Process id of the kernel"
        return next(children(self.lab.process.pid))

    def close(self) -> None:
        if (engine := self.engine) and engine.listens:
            os.kill(engine.pid, signal.SIGKILL)
        self.lab.close()


def children(parent: int) -> Iterator[int]:
    "Process ids of the kernels that a Jupyter server has started"
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words, stat = (folder / "cmdline").read_text(), (folder / "stat").read_text()
        except OSError:
            continue
        if "ipykernel_launcher" in words and int(stat.rpartition(")")[2].split()[1]) == parent:
            yield int(folder.name)
