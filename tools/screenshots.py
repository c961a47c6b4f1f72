"""Pictures of the panel for the documentation: every state, light and dark, drawn from canned sessions in a real browser.

    python tools/screenshots.py [FOLDER] [--states] [--lab]

Without a folder they go to nbs/images. `--states` makes one of each state, too; without it only those that the
documentation shows. `--lab` makes those of a real JupyterLab in front of a real engine on the sandbox (a minute).
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from kalshi_mm.jupyter.widget import SCRIPT, STATIC  # noqa: E402
from kalshi_mm.panel.view_model import build_vm, no_engine  # noqa: E402
from tests.browser.conftest import CHROMIUM, FLAGS, SIZE  # noqa: E402
from tests.browser.desk import NOTEBOOK, Desk, exchange  # noqa: E402
from tests.browser.test_page import LAUNCH  # noqa: E402
from tests.panel.pictures import NOW, session, states  # noqa: E402

SHIM = """const heard = {}; let vm = null;
window.show = v => { vm = v; (heard['change:vm'] || []).forEach(f => f()); };
window.panel = render({ model: { get: () => vm, on: (e, f) => (heard[e] ??= []).push(f), send() {} }, el: document.body });"""


def draw(page: Page, vm: dict, old_s: float = 0) -> None:
    "The panel with a picture, as old as that"
    page.set_content("<body class='kmm-page'></body>")
    page.add_style_tag(path=STATIC / "panel.css")
    page.evaluate(
        "() => { const now = performance.now.bind(performance); window.late = 0; performance.now = () => now() + window.late; }"
    )
    script = SCRIPT.replace("export default", "window.exported =")
    page.add_script_tag(content=f"(() => {{ {script}\n{SHIM} }})()")
    page.evaluate("vm => window.show(vm)", vm)
    page.evaluate("s => { window.late = s * 1000 }", old_s)
    page.wait_for_timeout(400)


def real(browser: Browser, folder: Path) -> Iterator[Path]:
    "A first session in JupyterLab: before the start, quoting, killed"
    with TemporaryDirectory() as name:
        root = Path(name)
        for sub in ("exchange", "desk"):
            (root / sub).mkdir()
        with exchange(root / "exchange") as where:
            desk = Desk(root / "desk", where)
            try:
                page = browser.new_page(viewport=SIZE, reduced_motion="reduce")
                desk.lab.open(page, NOTEBOOK.name)
                page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
                page.locator(".kmm[data-state='NO ENGINE']").wait_for()
                yield shot(page, folder / "lab_no_engine.png")
                page.get_by_test_id("launch-sandbox").click()
                page.get_by_test_id("fills").locator("tbody tr").nth(9).wait_for(timeout=180_000)
                page.locator(".mk tr[data-word=QUOTING]").first.click()  # a ladder and reasons with quotes of ours
                page.locator(".kmm").evaluate("e => e.scrollIntoView()")
                yield shot(page, folder / "lab_running.png")
                page.get_by_test_id("kill").click()
                page.locator(".killbar li.done").nth(2).wait_for()
                page.locator(".kmm[data-state='KILLED']").wait_for()
                yield shot(page, folder / "lab_killed.png")
            finally:
                desk.close()


def shot(page: Page, path: Path) -> Path:
    page.wait_for_timeout(800)
    page.screenshot(path=path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "nbs" / "images")
    parser.add_argument("--states", action="store_true")
    parser.add_argument("--lab", action="store_true")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    running = build_vm(session(), NOW)
    shots = {
        "panel": (running, 0, "light"),
        "panel_dark": (running, 0, "dark"),
        "panel_halted": (build_vm(states(session())["halted"], NOW), 0, "light"),
        "panel_killed": (build_vm(states(session())["killed"], NOW), 0, "light"),
    }
    if args.states:
        for name, s in states(session()).items():
            shots[f"state_{name.replace(' ', '_').replace(',', '')}"] = (build_vm(s, NOW), 0, "light")
        shots |= {
            "state_stale": (running, 4.6, "light"),
            "state_disconnected": (running, 14, "light"),
            "state_stale_dark": (running, 4.6, "dark"),
            "state_killing_dark": (build_vm(states(session())["kill is late"], NOW), 0, "dark"),
            "state_no_engine": (no_engine("Nothing trades.") | {"launch": LAUNCH}, 0, "light"),
            "fifty": (build_vm(session(50), NOW), 0, "light"),
        }
    with sync_playwright() as pw:
        browser = pw.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name, (vm, old_s, scheme) in shots.items():
            page = browser.new_page(viewport=SIZE, color_scheme=scheme, reduced_motion="reduce")
            draw(page, vm, old_s)
            page.screenshot(path=args.folder / f"{name}.png")
            print(args.folder / f"{name}.png")
            page.close()
        for path in real(browser, args.folder) if args.lab else ():
            print(path)
        browser.close()


if __name__ == "__main__":
    main()
