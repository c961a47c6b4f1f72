"Out of the box guards watch before anything is quoted, in the market's time, and a session with them is replayed exactly"
import subprocess
from pathlib import Path

from kalshi_mm.config import DEFAULT_GUARDS
from tests.sessions.process import COMMAND, Process, environment, get, until


def test_the_guards_say_why_and_then_let_quotes_through(tmp_path: Path):
    env = environment(tmp_path)
    del env["GUARDS"]
    process = Process(tmp_path, "run", "--speed", "60", "--seed", "3", "--control-port", "0", "--json", env=env)
    try:
        where = process.json("started")["started"]

        def markets():
            return get(f"{where['control']}/api/strategy/status", where)["maker"]["markets"]


        def reasons(): return [side["why"] for m in markets() for side in (m["bid"], m["ask"]) if "watched for" in side["why"]]

        watched = until(reasons, "a guard's reason", 40)
        assert watched[0].endswith("of 10 minutes")
        assert not any(m["bid"]["ours"] or m["ask"]["ours"] for m in markets())
        until(lambda: any(m["bid"]["ours"] or m["ask"]["ours"] for m in markets()), "quotes", 60)
        settings = get(f"{where['control']}/api/strategy/status", where)["maker"]["parameters"]
        assert all(any(name.startswith(f"{guard}_") for name in settings) for guard in DEFAULT_GUARDS)
        assert process.end()[0] == 0
    finally: process.kill()
    command = [*COMMAND, "replay", where["session"]]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "gave the same" in done.stdout
