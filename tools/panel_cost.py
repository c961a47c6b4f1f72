"""What the panel costs at five pictures a second: processor (percent of one core) and memory, at the start and at the end.

    python tools/panel_cost.py [SECONDS]        60 by default; prints a table in Markdown

With canned pictures of 6 and 50 markets in a bare page, and with a real JupyterLab, kernel, engine and browser: on the sandbox
(6 markets, 12 while two days overlap), and on an exchange of 50 (`tools/crowded.py`).
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from screenshots import draw  # noqa: E402

from kalshi_mm.panel.view_model import build_vm  # noqa: E402
from tests.browser.conftest import CHROMIUM, FLAGS, SIZE  # noqa: E402
from tests.browser.desk import NOTEBOOK, Desk, exchange  # noqa: E402
from tests.panel.pictures import NOW, session  # noqa: E402

MB = 1024 * 1024


def family(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def used(processes: list[psutil.Process]) -> tuple[float, float]:
    "(seconds of processor time, MB resident)"
    alive = [p for p in processes if p.is_running()]
    times = [p.cpu_times() for p in alive]
    return sum(t.user + t.system for t in times), sum(p.memory_info().rss for p in alive) / MB


def over(seconds: float, page: Page, groups: dict[str, list[psutil.Process]]) -> list[str]:
    "Lines of the table for groups of processes"
    groups = {name: list({q.pid: q for p in ps for q in family(p.pid)}.values()) for name, ps in groups.items()}  # as of now
    before, began = {name: used(ps) for name, ps in groups.items()}, time.monotonic()
    heap = page.evaluate("() => performance.memory.usedJSHeapSize") / MB
    grown = {name: [mb] for name, (_, mb) in before.items()}
    while (left := began + seconds - time.monotonic()) > 0:
        page.wait_for_timeout(min(left, 30) * 1000)
        for name, ps in groups.items():
            grown[name].append(used(ps)[1])
    passed = time.monotonic() - began
    rows = []
    for name, ps in groups.items():
        (cpu0, mb0), (cpu1, mb1) = before[name], used(ps)
        half = grown[name][len(grown[name]) // 2]
        rows.append(f"| {name} | {100 * (cpu1 - cpu0) / passed:.1f} % | {mb0:.0f} | {half:.0f} | {mb1:.0f} |")
    after = page.evaluate("() => { if (window.gc) gc(); return performance.memory.usedJSHeapSize }") / MB
    return [*rows, f"| page's own heap | | {heap:.1f} | | {after:.1f} |"]


def bare(browser: Browser, pids: list[psutil.Process], markets: int, seconds: float) -> list[str]:
    "A page that is fed canned pictures"
    page = browser.new_page(viewport=SIZE)
    s = session(markets)
    draw(page, build_vm(s, NOW))
    began = time.perf_counter()
    for _ in range(20):
        vm = build_vm(s, NOW)
    made = (time.perf_counter() - began) / 20 * 1000
    page.evaluate(
        """vm => { let n = 1000; setInterval(() => { n += 1; const v = structuredClone(vm); v.n = n; v.clock = String(n);
             v.markets.forEach((m, i) => { m.age = `${(n * 7 + i) % 50 / 10} s`;
               m.bid.best = String((n + i) % 90); });
             for (const c of [v.pnl.chart, v.pnl.inventory, v.market.chart])
               for (const k in c.lines) c.lines[k].push(c.lines[k].shift());
             window.show(v) }, 200) }""",
        vm,
    )
    page.wait_for_timeout(3000)
    rows = over(seconds, page, {f"browser, {markets} canned markets": pids})
    page.close()
    return [*rows, f"| build_vm, {markets} markets: {made:.1f} ms, {len(json.dumps(vm)) // 1024} kB | {made / 2:.1f} % | | | |"]


@contextmanager
def crowded(folder: Path) -> Iterator[dict[str, Any]]:
    "An exchange with fifty markets"
    here = Path(__file__).with_name("crowded.py")
    process = subprocess.Popen([sys.executable, here, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def lab(browser: Browser, pids: list[psutil.Process], seconds: float, markets: int = 6) -> list[str]:
    "The real thing"
    at = crowded if markets > 6 else exchange
    with TemporaryDirectory() as name:
        root = Path(name)
        for sub in ("exchange", "desk"):
            (root / sub).mkdir()
        with at(root / "exchange") as where:
            desk = Desk(root / "desk", where)
            try:
                page = browser.new_page(viewport=SIZE)
                desk.lab.open(page, NOTEBOOK.name)
                page.get_by_test_id("launch-sandbox").click()
                page.locator(".kmm[data-state=RUNNING]").wait_for()
                page.wait_for_timeout(5000)
                assert desk.engine
                shown = len(desk.engine.client().status().maker.markets)
                assert shown >= markets
                groups = {
                    f"browser, JupyterLab, {shown} markets": pids,
                    "kernel": [psutil.Process(desk.kernel())],
                    "engine, trading and watched": [psutil.Process(desk.engine.pid)],
                }
                return over(seconds, page, groups)
            finally:
                desk.close()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    with sync_playwright() as pw:
        flags = [*FLAGS, "--enable-precise-memory-info", "--js-flags=--expose-gc"]
        print(f"| over {seconds:g} s | processor | MB before | half-way | after |\n|---|---|---|---|---|", flush=True)
        for part in (
            lambda b, p: lab(b, p, seconds), lambda b, p: lab(b, p, seconds, 50),
            lambda b, p: bare(b, p, 6, min(seconds, 60)), lambda b, p: bare(b, p, 50, min(seconds, 60)),
        ):
            before = {p.pid for p in psutil.Process().children(recursive=True)}
            browser = pw.chromium.launch(executable_path=CHROMIUM, args=flags)
            pids = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
            pids += [p for c in pids for p in c.children(recursive=True) if p not in pids]
            print("\n".join(part(browser, pids)), flush=True)
            browser.close()


if __name__ == "__main__":
    main()
