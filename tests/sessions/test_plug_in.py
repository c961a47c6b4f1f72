"A strategy from a package of its own: installed, traded, steered, restarted and replayed, without a line of kalshi_mm changed"
import json
import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from kalshi_mm.config import ALIASES
from kalshi_mm.control.remote import ControlClient
from kalshi_mm.engine.journal import Journal
from kalshi_mm.strategy.spread_capture import Params
from tests.sessions.process import Process, environment, get, until

ROOT = Path(__file__).resolve().parents[2]
PRESET = """
strategy = "steady"
[parameters]
distance = 1.5
[limits]
max_daily_loss = 40
[guards.edges]
distance = 2
[provenance]
study = "none"
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The Python of a fresh environment in which pip has installed the package; kalshi_mm and the rest are those of this one"
    home = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    found, = home.glob("lib/python*/site-packages")
    here = "\n".join(dict.fromkeys([str(ROOT), sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]]))
    (found / "of_the_tests.pth").write_text(here)
    pip = [home / "bin/python", "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    copy = home / "plug_in"
    copy.mkdir()
    for file in (Path(__file__).parent / "plug_in").iterdir():
        if file.is_file(): (copy / file.name).write_bytes(file.read_bytes())
    subprocess.run([*pip, copy], check=True)
    return home / "bin/python"


class Desk:
    "Commands of one user, with the strategy installed"

    def __init__(self, folder: Path, python: Path):
        self.folder, self.command, self.started = folder, [str(python), "-P", "-m", "kalshi_mm.cli.main"], list[Process]()
        exchange = self.start("exchange", "--port", "0", "--day", "2026-10-04", "--seed", "2", "--speed", "120", "--json")
        self.at = exchange.json("rest")
        self.keys = {"KALSHI_API_KEY_ID": self.at["key_id"], "KALSHI_PRIVATE_KEY_FILE": self.at["key_file"],
                     "MAX_FILL_BURST": "100000"}  # a day that passes 120 times faster fills as fast
        self.run = ["run", "--preset", "calm.toml", "--rest", self.at["rest"], "--ws", self.at["ws"], "--control-port", "0"]

    def start(self, *words: str, **env: str) -> Process:
        self.started.append(Process(self.folder, *words, env=environment(self.folder, **env), command=self.command))
        return self.started[-1]

    def engine(self, **env: str) -> tuple[Process, dict[str, Any]]:
        process = self.start(*self.run, "--json", **(self.keys | env))
        return process, process.json("started")["started"]

    def said(self, *words: str, **env: str) -> tuple[int, str]:
        done = subprocess.run([*self.command, *words], cwd=self.folder, env=environment(self.folder, **env), capture_output=True,
                              text=True, timeout=60)  # fmt: skip
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def desk(tmp_path: Path, python: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, python)
    yield desk
    for process in reversed(desk.started): process.kill()


def status(where: dict[str, Any]) -> Any: return get(f"{where['control']}/api/strategy/status", where)


def test_a_strategy_of_another_package_trades_is_steered_and_replayed(desk: Desk, tmp_path: Path):
    (tmp_path / "calm.toml").write_text(PRESET)
    process, where = desk.engine(MIN_SPREAD="4")
    until(lambda: status(where)["maker"]["fills"] > 5, lambda: f"fills: {status(where)}", 90)
    now = status(where)
    assert now["strategy"] == "steady" and now["error"] == ""  # it raises if the view that it keeps has changed
    assert {n: now["maker"]["parameters"][n] for n in ("distance", "edges_distance", "max_daily_loss")} == {
        "distance": "1.5", "edges_distance": "2", "max_daily_loss": "40.00"}
    assert not {*ALIASES} & now["maker"]["parameters"].keys()
    assert any("MIN_SPREAD is a setting of spread_capture; steady isn't told of it" in n for n in now["notes"])

    assert desk.said("set", "distance=2") == (0, "Asked to set distance 1.5 -> 2.\n")
    assert "distance: 21 is not between 0.01 and 20 cents" in desk.said("set", "distance=21")[1]
    assert "min_spread: this strategy has no such parameter" in desk.said("set", "min_spread=3")[1]
    panel = ControlClient(where["port"], Path(where["token_file"]).read_text(), "web")
    panel.put("/api/parameters", {"most": "80", "max_daily_loss": "30"})
    until(lambda: status(where)["maker"]["parameters"]["most"] == "80", "the panel's value")
    row = next(p for p in get(f"{where['control']}/api/panel", where)["parameters"] if p["name"] == "distance")
    assert (row["value"], row["unit"], row["meaning"]) == ("2", "cents", "inside the others' best prices")
    assert process.end(signal.SIGINT)[0] == 0
    traded = {f.ticker for f in Journal(Path(where["journal"]), writes=False).past.fills()}

    (tmp_path / "calm.toml").write_text(PRESET.replace("distance = 1.5", "distance = 3"))  # the record has the text that held
    code, text = desk.said("replay", where["session"])
    assert code == 0 and "gave the same" in text, text[-400:]
    (tmp_path / "calm.toml").write_text(PRESET)

    process, where = desk.engine()
    again = until(lambda: (s := status(where))["maker"]["markets"] and s, "the next engine")
    assert {n: again["maker"]["parameters"][n] for n in ("distance", "most", "max_daily_loss")} == {
        "distance": "2", "most": "80", "max_daily_loss": "30.00"}
    assert traded and traded <= {m["ticker"] for m in again["maker"]["markets"]}
    assert process.end(signal.SIGINT)[0] == 0
    code, summary = desk.said(*desk.run, "--for", "2s", **desk.keys)
    assert code == 0 and "Strategy steady with distance 2, most 80, edges_distance 2" in summary, summary[-900:]


@pytest.mark.parametrize("words, env, why", [
    (["--strategy", "stedy"], {},
     "'stedy' is not registered; there are incentive_capture, spread_capture, steady, or write package.module:Class"),
    ([], {"STRATEGY": "nowhere.at_all:Steady"}, "there is no module nowhere; is its package installed?"),
    (["--preset", "calm"], {}, "PRESET=calm: there is no such preset; there are first_hour, kxhighny, original, or give a path"),
    (["--preset", "wrong.toml"], {}, "wrong.toml: 'parametrs' is no part of a preset; did you mean parameters?"),
    (["--preset", "far.toml"], {}, "steady, distance: 30 is not between 0.01 and 20 cents"),
])
def test_what_cannot_be_used_is_a_sentence_before_anything_starts(
    tmp_path: Path, python: Path, words: list[str], env: dict[str, str], why: str
):
    (tmp_path / "wrong.toml").write_text("[parametrs]\n")
    (tmp_path / "far.toml").write_text('strategy = "steady"\n[parameters]\ndistance = 30\n')
    done = subprocess.run([str(python), "-P", "-m", "kalshi_mm.cli.main", "run", "--for", "1s", *words], cwd=tmp_path,
                          env=environment(tmp_path, **env), capture_output=True, text=True, timeout=60)  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("kalshi-mm: ") and why in done.stderr
    assert "Traceback" not in done.stderr


def test_the_names_of_spread_capture_stand_in_its_wing_and_in_the_settings_alone():
    names = {"SpreadCapture", "spread_capture", "unwind", *structs.asdict(Params())}
    elsewhere = [
        (str(path.relative_to(ROOT)), line.strip()) for path in (ROOT / "kalshi_mm").rglob("*.py")
        if path.parent.name != "strategy" and path.name not in ("config.py", "_modidx.py")
        for line in path.read_text(encoding="utf-8").splitlines() if names & {*re.findall(r"\w+", line)}
    ]  # fmt: skip
    assert elsewhere == [], json.dumps(elsewhere, indent=1)
