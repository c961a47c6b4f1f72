"""How long a kill takes from the click in JupyterLab until nothing rests at the exchange, as the sandbox itself tells it.

    python tools/kill_times.py [TIMES [CASE]]        20 of each by default; prints a table in Markdown

Real JupyterLab, real Chromium, a real engine; the kernel is idle, in a busy cell, in a C call that holds the interpreter,
stopped (SIGSTOP) or killed (SIGKILL), or the engine itself is stopped.
"""

import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kalshi_mm.control.remote import NoEngine, Refused  # noqa: E402
from tests.browser.conftest import CHROMIUM, FLAGS, SIZE  # noqa: E402
from tests.browser.desk import NOTEBOOK, Desk, exchange  # noqa: E402
from tests.sessions.process import until  # noqa: E402

RUN = "code => { window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.requestExecute({ code }) }"
CLICK = "() => { window.clicked = Date.now(); document.querySelector('.kmm .kill').click(); return window.clicked }"


def kernel_runs(code: str) -> Callable[[Page, Desk], None]:
    def start(page: Page, desk: Desk) -> None:
        page.evaluate(RUN, code)
        page.wait_for_timeout(300)

    return start


def engine_stopped(page: Page, desk: Desk) -> None:
    assert (engine := desk.engine) is not None
    os.kill(engine.pid, signal.SIGSTOP)


CASES: dict[str, Callable[[Page, Desk], None]] = {
    "kernel idle": lambda page, desk: None,
    "kernel in a busy cell": kernel_runs("import time; time.sleep(3)"),
    "kernel in a C call that holds the GIL": kernel_runs("sum(range(2 * 10**8))"),
    "kernel stopped (SIGSTOP)": lambda page, desk: os.kill(desk.kernel(), signal.SIGSTOP),
    "kernel killed (SIGKILL)": lambda page, desk: os.kill(desk.kernel(), signal.SIGKILL),
    "engine stopped (SIGSTOP)": engine_stopped,
}


def ready(page: Page, desk: Desk) -> None:
    "A panel that is connected, and an engine whose quotes rest"
    if desk.engine is None or not desk.engine.listens:
        page.get_by_test_id("launch-sandbox").click(timeout=60_000)
        until(lambda: desk.engine and desk.engine.listens, "an engine", 60)
    assert desk.engine
    try:
        desk.engine.client("cli").post("/api/risk/rearm")
    except (Refused, NoEngine):
        pass
    page.wait_for_timeout(300)
    desk.quoting()
    page.locator(".kmm[data-state=RUNNING][data-way=direct]").wait_for(timeout=60_000)


def once(page: Page, desk: Desk, trouble: Callable[[Page, Desk], None]) -> tuple[int, int, str]:
    "(ms until nothing rests, orders that rested, the way of the acknowledgement)"
    ready(page, desk)
    trouble(page, desk)
    rested, clicked = desk.resting, page.evaluate(CLICK)
    until(lambda: desk.resting == 0, "nothing rests", 60)
    took = round(time.time() * 1000 - clicked)
    page.locator(".killbar li.done:nth-child(3)").wait_for(timeout=60_000)
    return took, rested, page.locator(".killbar li").nth(1).inner_text().replace("\n", " ")


def measure(page: Page, desk: Desk, name: str, times: int) -> str:
    took = []
    for _ in range(times):
        took.append(once(page, desk, CASES[name]))
        if name.startswith("kernel stopped"):
            os.kill(desk.kernel(), signal.SIGCONT)
        if name.startswith("engine") and (engine := desk.engine) and engine.listens:
            os.kill(engine.pid, signal.SIGKILL)
            until(lambda e=engine: not e.listens, "the frozen engine is gone")
        if "SIGKILL" in name or name.startswith("engine"):
            desk.lab.open(page, NOTEBOOK.name)
    ms = sorted(t for t, _, _ in took)
    left = [r for _, r, _ in took]
    return f"| {name} | {times} | {statistics.median(ms):.0f} | {ms[-1]} | {min(left)}-{max(left)} | {took[-1][2]} |"


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    names = [n for n in CASES if len(sys.argv) < 3 or sys.argv[2] in n]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as pw:
        root = Path(folder)
        for sub in ("exchange", "desk"):
            (root / sub).mkdir()
        with exchange(root / "exchange") as where:
            desk = Desk(root / "desk", where)
            browser = pw.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport=SIZE)
            desk.lab.open(page, NOTEBOOK.name)
            print("| state | kills | p50 ms | worst ms | orders that rested | the last acknowledgement |", flush=True)
            print("|---|---|---|---|---|---|", flush=True)
            try:
                for name in names:
                    print(measure(page, desk, name, times), flush=True)
            finally:
                browser.close()
                desk.close()


if __name__ == "__main__":
    main()
