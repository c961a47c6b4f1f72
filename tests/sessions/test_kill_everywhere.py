"A kill reaches every engine, from anywhere, whoever answers; and every other command the one that is meant: real processes"
import http.server
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.control.remote import ControlClient
from kalshi_mm.control.runtime import Running
from tests.sessions.process import COMMAND, Process, environment, ledger, until

DAY = ["--day", "2026-10-04", "--seed", "2", "--speed", "120"]
ROOT = Path(__file__).resolve().parents[2]


def ours(at: dict[str, Any]) -> list[str]:
    "What of ours rests, as the exchange's own ledger has it"
    return [o["client_order_id"] for o in ledger(at)["resting"]]


class Home:
    "A user with a home folder, exchanges, and engines started from different working folders"

    def __init__(self, folder: Path):
        self.folder, self.processes = folder, list[Process]()
        self.state = folder / ".local" / "state" / "kalshi_mm"

    def env(self, **more: str) -> dict[str, str]:
        clean = environment(self.folder, **more)
        for name in ("STATE_DIR", "XDG_STATE_HOME"): clean.pop(name, None)
        return clean | {"HOME": str(self.folder)} | more

    def begin(self, cwd: Path, *words: str, **env: str) -> Process:
        cwd.mkdir(parents=True, exist_ok=True)
        self.processes.append(Process(cwd, *words, env=self.env(**env)))
        return self.processes[-1]

    def exchange(self, name: str) -> dict[str, Any]:
        process = self.begin(self.folder, "exchange", "--port", "0", *DAY, "--state", str(self.folder / name), "--json")
        at: dict[str, Any] = process.json("rest")
        return at

    def engine(self, at: dict[str, Any], env: str, cwd: str, *words: str, port: int = 0, **more: str) -> tuple[Process, Running]:
        "An engine of an environment on an exchange, once it quotes"
        key = {"KALSHI_API_KEY_ID": at["key_id"], "KALSHI_PRIVATE_KEY_FILE": at["key_file"]}
        key["MAX_FILL_BURST"] = "100000"  # a day that passes 120 times faster fills as fast
        process = self.begin(self.folder / cwd, "run", "--env", env, "--rest", at["rest"], "--ws", at["ws"], "--json",
                             "--control-port", str(port), *words, **key, **more)
        where = Running(**{k: v for k, v in process.json("started")["started"].items() if k != "process"})
        until(lambda: ours(at), "quotes rest")
        return process, where

    def said(self, *words: str, cwd: str | Path = "/", bare: bool = True, **env: str) -> tuple[int, str]:
        "A command as from a new terminal, with no standard input"
        given = {"HOME": str(self.folder), "PATH": os.environ["PATH"]} | env if bare else self.env(**env)
        done = subprocess.run([*COMMAND, *words], cwd=cwd, env=given, capture_output=True, text=True, timeout=90,
                              stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout + done.stderr

    def close(self) -> None:
        for process in reversed(self.processes): process.kill()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path)
    try: yield found
    finally: found.close()


class Stranger:
    "Another program on an engine's port: it says yes to everything, or relays to another engine, and keeps what it was told"

    def __init__(self, port: int, relay_to: int | None = None):
        heard: list[str] = []
        self.heard = heard

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                heard.append(f"{self.command} {self.path} {self.headers}")
                body = b'{"ok": true}'
                if relay_to:
                    try: body = json.dumps(ControlClient(relay_to).get("/api/health")).encode()
                    except Exception as e: heard.append(str(e))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *words: Any) -> None: pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def test_a_bare_kill_from_anywhere_kills_every_engine_whoever_answers(home: Home):
    "Two engines, one frozen, in different folders; a third is dead, and on its port a stranger relays to one that lives"
    demo, sandbox, third = home.exchange("demo"), home.exchange("sandbox"), home.exchange("third")
    frozen, at_demo = home.engine(demo, "demo", "a/checkout")
    alive, at_sandbox = home.engine(sandbox, "sandbox", "elsewhere")
    dead, at_third = home.engine(third, "sandbox", "a", port=free_port())
    tokens = [r.token for r in (at_demo, at_sandbox, at_third)]
    os.kill(frozen.popen.pid, signal.SIGSTOP)
    dead.kill()
    stranger = Stranger(at_third.port, at_sandbox.port)
    try: code, words = home.said("kill")
    finally: stranger.close()
    assert code == 0, words
    assert [ours(at) for at in (demo, sandbox, third)] == [[], [], []]
    for r in (at_demo, at_sandbox, at_third):
        assert f"{r.env}, account {r.key_id[:8]}, session {r.session}: killed: nothing of ours rests, seen twice" in words
        assert (home.state / f"{r.env}-{r.key_id[:8]}" / "killed").read_text().startswith("by cli")
    assert not [t for t in tokens if any(t in line for line in stranger.heard)] and stranger.heard == []
    assert "did not answer and was terminated" in words and frozen.wait(10)[0] == -signal.SIGKILL
    assert alive.popen.poll() is None and "acknowledged the kill and keeps running" in words


@pytest.mark.parametrize("how", ["no home", "working folder gone", "wrong settings", "no output"])
def test_nothing_in_the_shell_stands_in_the_way(how: str, home: Home, tmp_path: Path):
    at = home.exchange("x")
    home.engine(at, "sandbox", "w")
    (gone := tmp_path / "gone").mkdir()
    command = [*COMMAND, "kill"]
    env = {"HOME": str(home.folder), "PATH": os.environ["PATH"]}
    if how == "no home": env = {"PATH": os.environ["PATH"], "STATE_DIR": str(home.state)}
    if how == "working folder gone": command = ["/bin/sh", "-c", f'cd {gone} && rmdir {gone} && exec "$@"', "sh", *command]
    if how == "wrong settings":
        env |= {"KALSHI_ENV": "mars", "MAX_DAILY_LOS": "1", "CONTROL_PORT": "no"}
        (gone / ".env").write_bytes(b"\xff\xfe=")
    if how == "no output": command = ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
    done = subprocess.run(command, cwd=gone, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)
    assert (done.returncode, ours(at)) == (0, []), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_command_goes_to_the_engine_that_is_meant_or_to_none(home: Home):
    demo, sandbox = home.exchange("demo"), home.exchange("sandbox")
    _, first = home.engine(demo, "demo", "w")
    _, second = home.engine(sandbox, "sandbox", "w")  # later, to try something
    for words in (["status"], ["stop"], ["start"], ["set", "skew_ticks=3"], ["reduce-only"], ["rearm"]):
        code, text = home.said(*words)
        assert code == 1 and f"--session {first.session}" in text and f"--session {second.session}" in text, text
    until(lambda: ours(demo) and ours(sandbox), "both quote")
    assert home.said("stop", "--env", "demo")[0] == 0
    assert ours(demo) == []
    until(lambda: ours(sandbox), "the other goes on")
    assert "stopped" in home.said("status", "--session", first.session)[1]
    assert "quoting" in home.said("status", "--control-port", str(second.port))[1]
    code, text = home.said("kill", "--env", "demo")
    assert code == 0 and "demo, account" in text and "sandbox, account" not in text, text
    until(lambda: ours(sandbox), "the other goes on")
    code, text = home.said("kill", "--session", second.session)
    assert code == 0 and ours(sandbox) == [] and f"session {second.session}" in text


def test_a_relay_on_the_port_of_a_dead_engine_hears_nothing(home: Home):
    at, port = home.exchange("x"), free_port()
    process, _ = home.engine(at, "sandbox", "w", port=port)
    process.kill()
    stranger = Stranger(port)
    try:
        for words in (["status"], ["stop"], ["start"], ["set"], ["kill"]): home.said(*words)
    finally: stranger.close()
    assert (stranger.heard, ours(at)) == ([], [])


def test_the_port_is_taken_so_another_is_found_and_said(home: Home):
    at = home.exchange("x")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        _, where = home.engine(at, "sandbox", "w", port=port)
        assert where.port != port and where.control == f"http://127.0.0.1:{where.port}"
        notes = json.loads(home.said("status", "--json")[1])["notes"]
    assert [n for n in notes if f"port {port} is in use by another program; the panel is at http://127.0.0.1:{where.port}" in n]


def test_the_state_folder_is_for_its_owner_alone(home: Home):
    os.umask(0o022)
    at = home.exchange("x")
    process, _ = home.engine(at, "sandbox", "w")
    found = [home.state, *home.state.rglob("*")]
    assert len(found) > 8
    for path in found:
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path
    assert process.end()[0] == 0


def test_a_state_folder_of_an_earlier_version_is_made_private_and_a_link_is_refused(home: Home, tmp_path: Path):
    at = home.exchange("x")
    (old := tmp_path / "old").mkdir(mode=0o755)
    process, where = home.engine(at, "sandbox", "w", STATE_DIR=str(old))
    assert [stat.S_IMODE(p.stat().st_mode) for p in (old, where.home)] == [0o700, 0o700]
    process.end()
    (tmp_path / "link").symlink_to(old)
    key = {"KALSHI_API_KEY_ID": at["key_id"], "KALSHI_PRIVATE_KEY_FILE": at["key_file"]}
    code, text = home.said("run", "--rest", at["rest"], "--ws", at["ws"], STATE_DIR=str(tmp_path / "link"), bare=False, **key)
    assert code == 1 and "is a link" in text and "Traceback" not in text


@pytest.mark.parametrize("what", ["the folder", "lock", "journal.db", "engine.json"])
def test_files_that_are_taken_away_from_a_running_engine_stop_it(what: str, home: Home):
    at = home.exchange("x")
    process, where = home.engine(at, "sandbox", "w")
    began = time.monotonic()
    if what == "the folder": shutil.rmtree(where.home)
    else: (where.home / what).rename(where.home / "away")
    until(lambda: not ours(at), "nothing rests")
    assert time.monotonic() - began < 10  # seen within a second, on a machine that may be slow
    code, errors = process.end()
    assert code == 1 and "the state folder was changed under a running engine" in errors


def test_a_latch_that_is_taken_away_is_written_again(home: Home):
    at = home.exchange("x")
    _, where = home.engine(at, "sandbox", "w")
    assert home.said("kill")[0] == 0
    (where.home / "killed").unlink()
    until(lambda: (where.home / "killed").exists(), "the latch is there again")
    assert home.said("rearm")[0] == 0
    time.sleep(1.5)  # past the second in which it looks
    assert not (where.home / "killed").exists()


def test_a_thousand_silent_callers_neither_stop_nor_mute_the_engine(home: Home):
    import resource

    at = home.exchange("x")
    process, where = home.engine(at, "sandbox", "w")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    idle = []
    try:
        for _ in range(1200):
            idle.append(line := socket.socket())
            line.settimeout(5)
            line.connect(("127.0.0.1", where.port))
        assert len(os.listdir(f"/proc/{process.popen.pid}/fd")) < 400
        status = ControlClient(where.port, where.token).status()  # a browser is answered among them
        assert (status.maker.state, status.error) == ("quoting", "")
        code, text = home.said("kill")
        assert code == 0 and ours(at) == [], text
        assert (where.home / "killed").read_text().startswith("by cli")
    finally:
        for line in idle: line.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    logs = sum(p.stat().st_size for p in where.home.glob("engine.log*"))
    assert logs < 200_000 and not list(where.home.glob("engine.log.*"))


def test_a_kill_is_latched_when_no_descriptor_is_left(home: Home):
    at = home.exchange("x")
    process, where = home.engine(at, "sandbox", "w")
    count = len(os.listdir(f"/proc/{process.popen.pid}/fd"))
    import resource

    line = ControlClient(where.home / "control.sock").connection(5)
    try:
        time.sleep(0.2)
        hard = resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE, (count + 1, hard))
        line.sendall(b"POST /api/risk/kill-switch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 200")
    finally: line.close()
    until(lambda: (where.home / "killed").exists(), "it is latched")
    assert "by api" in (where.home / "killed").read_text()


def test_a_lock_of_an_innocent_process_does_not_get_it_killed(home: Home):
    at = home.exchange("x")
    process, where = home.engine(at, "sandbox", "w")
    innocent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        lock = json.loads((where.home / "lock").read_text())
        os.kill(process.popen.pid, signal.SIGSTOP)
        lock |= {"pid": innocent.pid, "process": lock["process"] | {"pid": innocent.pid}}
        (where.home / "lock").write_text(json.dumps(lock))
        code, text = home.said("kill")
        assert code == 0 and "can't be identified for certain, so it was not terminated" in text and ours(at) == []
        assert innocent.poll() is None
    finally: innocent.communicate(b"\n")


def test_the_settings_of_a_checkout_hold_in_its_notebooks_folder(home: Home, tmp_path: Path):
    (nbs := tmp_path / "checkout" / "nbs").mkdir(parents=True)
    (tmp_path / "checkout" / "pyproject.toml").touch()
    (tmp_path / "checkout" / ".env").write_text("KALSHI_API_KEY_ID=mine\nKALSHI_PRIVATE_KEY_FILE=keys/k.pem\nMIN_SPREAD=9\n")
    code = """from kalshi_mm.config import load_settings
s = load_settings()
print(s.file, s.kalshi_private_key_file, s.min_spread)"""
    done = subprocess.run([sys.executable, "-c", code], cwd=nbs, env=home.env(), capture_output=True, text=True, timeout=60)
    top = tmp_path / "checkout"
    assert done.stdout.split() == [str(top / ".env"), str(top / "keys/k.pem"), "9"], done.stderr


def test_a_start_that_waited_in_a_frozen_engine_is_not_obeyed(home: Home):
    at = home.exchange("x")
    process, where = home.engine(at, "sandbox", "w")
    assert home.said("stop")[0] == 0
    os.kill(process.popen.pid, signal.SIGSTOP)
    code, text = home.said("start")
    assert code == 1 and "doesn't answer" in text
    time.sleep(1)  # past its deadline, two seconds after it was sent
    os.kill(process.popen.pid, signal.SIGCONT)
    def refused() -> Any: return [c for c in where.client().get("/api/commands") if c["verb"] == "start" and c["refused"]]

    seen = until(refused, "the start was read")
    assert "too late by" in seen[0]["refused"]
    until(lambda: where.client().status().maker.state == "stopped", "what the freeze halted has passed")  # not quoting
    assert ours(at) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ended", "killed"])
def test_a_sandbox_of_a_sessions_own_leaves_nothing(how: signal.Signals, home: Home, tmp_path: Path):
    (temporary := tmp_path / "tmp").mkdir()
    process = home.begin(tmp_path, "run", *DAY, "--control-port", "0", "--json", TMPDIR=str(temporary))
    where = process.json("started")["started"]
    assert [p.name.startswith("kalshi_mm-sandbox-") for p in temporary.iterdir()] == [True]
    process.popen.send_signal(how)
    process.wait(40)
    until(lambda: not list(temporary.iterdir()), "nothing is left of it")
    if how is signal.SIGKILL:
        code, words = home.said("kill")
        assert code == 0 and "its engine is gone, and its sandbox with it: nothing rests" in words
    assert not (Path(where["journal"]).parent / "killed").exists()
