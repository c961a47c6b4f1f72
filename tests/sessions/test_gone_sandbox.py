"A session that crashed on a sandbox which is gone, too: a kill says so at once, and the next session forgets it"
import os
import signal
import subprocess
import time
from pathlib import Path

from kalshi_mm.control.direct_kill import Target
from kalshi_mm.control.runtime import Running
from tests.sessions.process import COMMAND, Process, environment, until


def said(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run([*COMMAND, *words], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr


def crashed(folder: Path, *words: str) -> Path:
    "The folder of a session whose process was killed"
    process = Process(folder, "run", "--control-port", "0", "--json", *words)
    try:
        home = Path(process.json("started")["started"]["journal"]).parent
        os.kill(process.popen.pid, signal.SIGKILL)
        until(lambda: process.popen.poll() is not None, "it is gone")
    finally: process.kill()
    return home


def test_a_session_that_crashed_with_its_own_sandbox_has_nothing_to_kill_and_is_forgotten_by_the_next(tmp_path: Path):
    home = crashed(tmp_path)
    assert (found := Running.at(home)) and found.throwaway and not found.listens
    code, words = said(tmp_path, "status")
    assert code == 1 and "its sandbox ended with it, so nothing rests" in words
    (home / "engine.json").write_text((home / "engine.json").read_text().replace('"throwaway":true', '"throwaway":false'))
    assert (again := Running.at(home)) and Target.of(again).throwaway  # the folder has the mark
    begun_s = time.monotonic()
    code, words = said(tmp_path, "kill")
    assert code == 0 and "its engine is gone, and its sandbox with it: nothing rests" in words, words
    assert time.monotonic() - begun_s < 15  # an exchange that doesn't answer is given 20 s
    assert not (home / "engine.json").exists() and (home / "journal.db").exists() and not (home / "killed").exists()

    other = crashed(tmp_path)
    assert Running.at(other)
    code, words = said(tmp_path, "run", "--quiet", "--for", "1s", "--control-port", "0")
    assert code == 0 and Running.at(other) is None, words
    code, words = said(tmp_path, "kill")
    assert code == 1 and "no engine is registered" in words  # rather than to name the dead one


def test_where_a_sandbox_of_its_own_process_is_gone_the_kill_says_what_to_do_within_seconds(tmp_path: Path):
    exchange = Process(tmp_path, "exchange", "--port", "0", "--seed", "2", "--speed", "60", "--json")
    try:
        at = exchange.json("rest")
        (tmp_path / ".env").write_text(f"KALSHI_API_KEY_ID={at['key_id']}\nKALSHI_PRIVATE_KEY_FILE={at['key_file']}\n")
        home = crashed(tmp_path, "--rest", at["rest"], "--ws", at["ws"])
    finally: exchange.kill()
    (tmp_path / ".env").unlink()
    begun_s = time.monotonic()
    code, words = said(tmp_path, "kill")
    assert time.monotonic() - begun_s < 17
    assert code == 1 and f"nothing listens at {at['rest']} any more" in words and "start it and kill again" in words
    assert Running.at(home) and (home / "killed").exists()  # it may have kept its state, so it isn't forgotten
