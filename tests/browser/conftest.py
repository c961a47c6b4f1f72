"A browser, the panel alone in a page with canned pictures, and a JupyterLab; all skipped, loudly, where there is no Chromium"

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from kalshi_mm.jupyter.widget import STATIC

CHROMIUM = (
    os.environ.get("KMM_CHROMIUM")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
]
SIZE = {"width": 1400, "height": 1000}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if "KALSHI_MM_BROWSER" not in os.environ: pytest.skip("NOT RUN: tests in a browser are `python tools/test.py browser`")
    if not CHROMIUM:
        warnings.warn(
            "NO CHROMIUM: the panel is not tested in a browser (install the distribution's package `chromium`)", stacklevel=1
        )
        pytest.skip("no Chromium here; install the distribution's package, or name it with KMM_CHROMIUM")
    with sync_playwright() as pw:
        browser = pw.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


# ---- panel.js alone

ALONE = b"""<!doctype html><meta charset=utf-8><title>alone</title><link rel=stylesheet href=/panel.css>
<body class=kmm-page><main id=panel></main>
<script type=module>
import { render } from "/panel.js";
const heard = {}; let vm = null;
window.sent = [];
window.show = v => { vm = v; (heard["change:vm"] || []).forEach(f => f()); };
const again = () => vm?.n && window.show({ ...vm, n: vm.n + 1 });  // an engine sends its picture all the time, changed or not
const sending = setInterval(again, 200);
window.stand_still = () => { clearInterval(sending); again(); };
window.tell = m => (heard["msg:custom"] || []).forEach(f => f(m));
const model = { get: () => vm, on: (e, f) => (heard[e] ??= []).push(f), off() {}, send: m => window.sent.push(m) };
window.close = render({ model, el: document.getElementById("panel") });
window.ready = true;
</script>"""


class Handler(SimpleHTTPRequestHandler):
    "The static files, a page around them, and an engine that answers a kill as the test wants"

    def __init__(self, engine: SimpleNamespace, *args: Any):
        self.engine = engine
        super().__init__(*args, directory=str(STATIC))

    def do_GET(self) -> None:
        if self.path == "/":
            return self.answer(ALONE, "text/html")
        if self.path == "/favicon.ico":
            return self.answer(b"", "image/x-icon")
        if self.path == "/api/risk/kill":
            return self.answer(json.dumps(self.engine.kill).encode(), "application/json")
        super().do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.path.startswith("/api/risk/kill"):
            self.engine.commands.append((self.path, json.loads(body), int(self.headers.get("X-Deadline-Ms") or 0)))
            status, said = self.engine.answer
            return self.answer(json.dumps(said).encode(), "application/json", status)
        self.engine.asked.append((self.path, self.headers["Authorization"]))
        self.engine.kill = self.engine.report
        self.answer(json.dumps(self.engine.report).encode(), "application/json")

    def answer(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def engine() -> Iterator[SimpleNamespace]:
    "The engine that the page alone finds: kills that were `asked`, the `report` it answers with; `commands`, and their `answer`"
    found = SimpleNamespace(
        asked=[],
        commands=[],
        answer=(200, {}),
        kill=None,
        report={"who": "web", "sent_ms": 1_700_000_000_000, "verified_ms": 0, "resting": -1, "empty_looks": 0, "of": 3},
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, found))
    found.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def alone(chromium: Browser, engine: SimpleNamespace) -> Iterator[Callable[..., Page]]:
    "Opens the panel with a picture"
    contexts = []

    def opened(vm: dict[str, Any], **options: Any) -> Page:
        context = chromium.new_context(**{"viewport": SIZE, "reduced_motion": "reduce", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.errors = []  # type: ignore[attr-defined]
        page.on("pageerror", lambda e: page.errors.append(str(e)))  # type: ignore[attr-defined]
        page.goto(engine.url)
        page.wait_for_function("() => window.ready === true")
        way = {"url": engine.url, "token": "commands-only", "session": "", "state_dir": "", "settings": {}}
        page.evaluate("m => window.tell(m)", {"way": way})
        page.evaluate("vm => window.show(vm)", vm)
        return page

    yield opened
    for context in contexts:
        for page in context.pages:
            assert page.errors == []  # type: ignore[attr-defined]
        context.close()


# ---- JupyterLab

KERNEL_READY = """async () => { const app = window.jupyterapp; await app.restored;
  for (let i = 0; i < 600; i++) { const k = app.shell.currentWidget?.context?.sessionContext?.session?.kernel;
    if (k && k.connectionStatus === 'connected' && k.status === 'idle') { await k.info; return true }
    await new Promise(r => setTimeout(r, 50)) }
  throw new Error('kernel not ready in 30 s') }"""
RUN_ALL = """() => Promise.race([window.jupyterapp.commands.execute('notebook:run-all-cells'),
  new Promise((_, no) => setTimeout(() => no(new Error('run-all-cells timed out')), 60000))])"""
SETTINGS = {  # no popups, no autosave
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}


class Lab:
    "A JupyterLab of its own, with our server extension"

    def __init__(self, root: Path, env: dict[str, str]):
        self.root = root / "nb"
        for folder in (self.root, root / "cfg" / "labconfig", root / "cfg" / "jupyter_server_config.d"):
            folder.mkdir(parents=True, exist_ok=True)
        (root / "cfg/labconfig/default_setting_overrides.json").write_text(json.dumps(SETTINGS))
        (root / "cfg/jupyter_server_config.d/kalshi_mm.json").write_text(
            '{"ServerApp": {"jpserver_extensions": {"kalshi_mm.jupyter.server_extension": true}}}'
        )
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.token, self.base = secrets.token_hex(16), f"http://127.0.0.1:{port}"
        folders = {
            "JUPYTER_CONFIG_DIR": "cfg",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "rt",
            "JUPYTERLAB_SETTINGS_DIR": "set",
            "JUPYTERLAB_WORKSPACES_DIR": "ws",
            "IPYTHONDIR": "ipy",
        }
        env = env | {name: str(root / folder) for name, folder in folders.items()} | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        env.pop("JUPYTER_TOKEN", None)
        self.log = root / "lab.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "jupyterlab",
                    "--no-browser",
                    "--allow-root",
                    "--ip=127.0.0.1",
                    f"--port={port}",
                    "--ServerApp.port_retries=0",
                    f"--IdentityProvider.token={self.token}",
                    f"--ServerApp.root_dir={self.root}",
                    "--LabApp.expose_app_in_browser=True",
                    "--LabApp.extension_manager=readonly",
                    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
                    "--ServerApp.terminals_enabled=False",
                ],
                env=env,
                cwd=root,
                stdout=log,
                stderr=log,
            )

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            urllib.request.urlopen(f"{self.base}/api/status?token={self.token}", timeout=1)
        except OSError:
            return False
        return True

    def api(self, path: str, method: str = "GET", body: Any = None) -> Any:
        request = urllib.request.Request(
            self.base + path,
            method=method,
            headers={"Authorization": f"token {self.token}"},
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def open(self, page: Page, name: str, run: bool = True, fresh: bool = True) -> None:
        "A notebook, its cells run"
        page.goto(f"{self.base}/lab/tree/{name}?token={self.token}" + ("&reset" if fresh else ""))
        page.wait_for_function("() => !!window.jupyterapp")
        page.evaluate(KERNEL_READY)
        if not run:
            return
        page.evaluate(RUN_ALL)
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0, page.locator(
            ".jp-OutputArea"
        ).all_inner_texts()

    def end_kernels(self) -> None:
        for session in self.api("/api/sessions"):
            self.api(f"/api/sessions/{session['id']}", "DELETE")

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Callable[[], Page]]:
    "Opens tabs"
    contexts = []

    def opened() -> Page:
        context = chromium.new_context(viewport=SIZE, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        return page

    yield opened
    for context in contexts:
        context.close()
