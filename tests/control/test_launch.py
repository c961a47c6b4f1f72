"Engines started from a program that may die, found again, killed from outside, and served by Jupyter: real processes"
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from zipfile import ZipFile

import pytest

from kalshi_mm.config import Settings, load_settings, setting_text
from kalshi_mm.control.launch import LaunchError, environment_of, kill_command, lab_environment, launch
from kalshi_mm.control.remote import Refused
from kalshi_mm.control.runtime import Running
from tests.sessions.process import Process, environment, until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    "Settings of an exchange that runs by itself, so that an engine may die; ends the engines that were launched"
    for name in Settings.model_fields: monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    exchange = Process(tmp_path, "exchange", "--port", "0", "--day", "2026-10-04", "--seed", "2", "--speed", "120", "--json")
    try:
        at = exchange.json("rest")
        given = Settings(kalshi_rest_url=at["rest"], kalshi_ws_url=at["ws"], kalshi_api_key_id=at["key_id"],
                         kalshi_private_key_file=at["key_file"], control_port=0, state_dir=tmp_path / "state", guards="none")
        yield given
        for running in Running.all(given):
            if running.listens:
                with suppress(ProcessLookupError):  # it may end in between
                    for sig in (signal.SIGKILL, signal.SIGCONT): os.kill(running.pid, sig)
                until(lambda r=running: not r.listens, "the engine is gone")
    finally: exchange.kill()


def quotes(running: Running) -> int: return running.client().status().maker.resting


def test_an_engine_outlives_its_launcher_and_is_found_by_the_next(settings: Settings, tmp_path: Path):
    words = {name: setting_text(getattr(settings, name)) for name in Settings.model_fields}
    launcher = (f"import os, signal; from kalshi_mm.config import Settings; from kalshi_mm.control.launch import launch\n"
                f"print(launch(Settings(**{words!r})).pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)")
    died = subprocess.run([sys.executable, "-c", launcher], capture_output=True, text=True, timeout=60, start_new_session=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    again = launch(settings)
    assert again.pid == int(died.stdout) and again == Running.find(settings)
    assert os.getsid(again.pid) == again.pid  # a session of its own: no Ctrl-C of a kernel reaches it
    assert again.client().status().maker.state == "stopped" and quotes(again) == 0  # it waits
    again.client().post("/api/strategy/start")
    until(lambda: quotes(again), "quotes")
    again.client().post("/api/strategy/end")
    until(lambda: not again.listens, "it has ended")
    assert Running.find(settings) is None
    assert "token" not in (settings.state_dir / "launch.log").read_text()


def test_a_launch_that_fails_says_why(settings: Settings):
    wrong = settings.model_copy(update={"target_series": "KXNOSUCH"})
    with pytest.raises(LaunchError, match="KXNOSUCH is not a series of this exchange"): launch(wrong)
    with pytest.raises(LaunchError, match="real money"): launch(Settings(kalshi_env="prod"), wait=False)


def test_a_second_engine_on_the_account_is_refused_by_the_lock(settings: Settings):
    first = launch(settings)
    (Path(first.journal).parent / "engine.json").unlink()  # as if it had left no word
    with pytest.raises(LaunchError, match="another engine trades this account"): launch(settings)
    os.kill(first.pid, signal.SIGTERM)
    until(lambda: not first.listens, "it has ended")


def test_real_money_starts_only_with_the_word(settings: Settings):
    live = settings.model_copy(update={"kalshi_env": "prod"})  # at the sandbox's address: nothing leaves this machine
    running = launch(live)
    with pytest.raises(Refused, match="confirm it with LIVE"): running.client().post("/api/strategy/start")
    with pytest.raises(Refused, match="confirm it with LIVE"): running.client().post("/api/strategy/start", {"confirm": "live"})
    assert quotes(running) == 0
    running.client().post("/api/strategy/start", {"confirm": "LIVE"})
    until(lambda: quotes(running), "quotes")
    assert kill_command(live)[0] == 0


@pytest.mark.parametrize("frozen", [False, True])
def test_the_kill_command_kills_whether_the_engine_answers_or_not(frozen: bool, settings: Settings):
    running = launch(settings, wait=False)
    until(lambda: quotes(running), "quotes")
    if frozen: os.kill(running.pid, signal.SIGSTOP)
    code, said = kill_command(settings, running.session, "notebook")
    assert code == 0 and "nothing of ours rests" in said, said
    assert ("did not answer and was terminated" in said) == frozen
    assert "by notebook" in (Path(running.journal).parent / "killed").read_text()


class Jupyter:
    "A Jupyter server as `kalshi-mm lab` sets it up, without the Lab"

    def __init__(self, settings: Settings, folder: Path):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.base, port = f"http://127.0.0.1:{s.getsockname()[1]}", s.getsockname()[1]
        own = {name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
        env = lab_environment(settings) | own
        options = ["--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0",
                   "--IdentityProvider.token=its-own"]
        self.log = open(folder / "jupyter.log", "wb")  # noqa: SIM115
        self.process = subprocess.Popen([sys.executable, "-m", "jupyter_server", *options], env=env, cwd=folder,
                                        stdout=self.log, stderr=self.log)
        until(lambda: self.call("GET", "/api/status", Authorization="token its-own")[0] == 200, "Jupyter is up", 90)

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        asked = urllib.request.Request(self.base + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer: return answer.status, answer.read()
        except urllib.error.HTTPError as e: return e.code, e.read()
        except OSError: return 0, b""

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


def test_the_jupyter_server_kills_for_its_own_page_and_for_nobody_else(settings: Settings, tmp_path: Path):
    running = launch(settings, wait=False)
    jupyter = Jupyter(settings, tmp_path)
    try:
        until(lambda: quotes(running), "quotes")
        kill, good = "/kalshi-mm/kill", {"Authorization": "token its-own"}
        assert jupyter.call("POST", kill, b"")[0] == 403
        assert jupyter.call("POST", kill, b"", Authorization="token stale")[0] == 403
        assert jupyter.call("POST", kill, b"", Cookie="_xsrf=forged")[0] == 403
        assert jupyter.call("POST", kill, b"", Cookie="_xsrf=forged", Origin="https://evil.example")[0] in (403, 404)
        assert running.client().status().maker.state == "quoting"
        status, body = jupyter.call("POST", kill, b"", **good)
        assert status == 200 and json.loads(body)["via"] == "engine", body
        until(lambda: json.loads(jupyter.call("GET", kill, **good)[1])["kill"]["verified_ms"], "the exchange is empty")
        os.kill(running.pid, signal.SIGSTOP)
        where = json.dumps({"state_dir": str(settings.state_dir), "session": running.session}).encode()
        status, body = jupyter.call("POST", kill, where, **good)
        assert status == 200 and json.loads(body)["via"] == "exchange" and json.loads(body)["code"] == 0, body
    finally: jupyter.close()


def test_lab_needs_jupyterlab_and_a_notebook(tmp_path: Path):
    words = [sys.executable, "-m", "kalshi_mm.cli.main", "lab", "--version"]
    (tmp_path / "control_panel.ipynb").write_text("{}")
    done = subprocess.run(words, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.strip()[0].isdigit(), done.stderr
    assert (tmp_path / "state/jupyter/jupyter_server_config.d/kalshi_mm.json").exists()


def test_the_wheel_brings_the_page_the_notebook_and_the_route(tmp_path: Path):
    copy = tmp_path / "copy"  # building leaves things behind
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "_docs", "tests"))
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, copy]
    built = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    names = ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert [n for n in names if n.endswith("etc/jupyter/jupyter_server_config.d/kalshi_mm.json")]
    wanted = {f"kalshi_mm/{p.relative_to(ROOT / 'kalshi_mm')}" for p in (ROOT / "kalshi_mm/panel/static").glob("*")}
    if (ROOT / "nbs/control_panel.ipynb").exists(): wanted.add("kalshi_mm/control_panel.ipynb")
    kinds = (".py", ".json", ".toml", ".typed")
    wanted |= {str(p.relative_to(ROOT)) for p in (ROOT / "kalshi_mm").rglob("*") if p.suffix in kinds}
    assert wanted <= set(names)


def test_settings_survive_the_way_through_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    "What a launched engine reads is what the notebook has, whatever a setting's type"
    paths = {"state_dir", "kalshi_private_key_file"}  # which become absolute
    for given in (Settings(state_dir=tmp_path), Settings(state_dir=tmp_path, kalshi_subaccount=7, min_spread=Decimal(3))):
        for name, value in environment_of(given).items():
            if name.lower() in Settings.model_fields: monkeypatch.setenv(name, value)
        assert load_settings(None).model_dump(exclude=paths) == given.model_dump(exclude=paths)
