"What a stranger finds in the repository: commands of one line, settings that are true, and nothing that should not be there."
import os
import re
import shlex
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path

import pytest
from nbdev.config import get_config

import kalshi_mm
from kalshi_mm.config import Settings, load_settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INI = ConfigParser(delimiters=["="])
INI.read(ROOT / "settings.ini", encoding="utf-8")


def git(*args: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *args], cwd=ROOT, input=text, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", "-z")
    if listed.returncode: pytest.skip(f"not a git repository: {listed.stderr.strip()}")
    return [ROOT / f for f in listed.stdout.split("\0") if (ROOT / f).is_file()]


@pytest.mark.parametrize(("heading", "ends"), [
    ("Run it", ".venv/bin/kalshi-mm run"),
    ("Test it", ".venv/bin/python tools/test.py"),
])
def test_a_readme_command_is_one_line_that_does_its_own_set_up(heading: str, ends: str):
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    command = re.findall(r"^``` ?\w*\n(.*?)\n```$", section, flags=re.M | re.S)[0]
    assert "\n" not in command
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ") and command.endswith(ends)


def test_the_links_of_the_readme_lead_to_files():
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets and [t for t in targets if not (ROOT / t).exists()] == []


def test_every_requirement_of_the_package_has_a_lower_bound_and_says_it_without_a_path():
    wanted = shlex.split(INI["DEFAULT"]["requirements"], comments=True)
    assert wanted
    assert [r for r in wanted if not re.fullmatch(r"[a-z0-9-]+>=[\d.]+(,<[\d.]+)?", r)] == []


def test_settings_ini_and_pyproject_toml_say_the_same():
    ini, nbdev, project = INI["DEFAULT"], get_config(ROOT), tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == nbdev.lib_name == ini["lib_name"]
    assert (nbdev.lib_path, nbdev.nbs_path) == (ROOT / ini["lib_path"], ROOT / ini["nbs_path"])
    assert project["urls"] == {"Repository": ini["git_url"]} and (nbdev.user, nbdev.repo) == (ini["user"], ini["repo"])
    assert kalshi_mm.__version__ == nbdev.version == ini["version"]
    assert set(project) - {"name", "urls", "dynamic"} == set(), "setup.py says it, from settings.ini"


def test_nbdev_is_pinned_exactly():
    wanted = shlex.split(INI["DEFAULT"]["dev_requirements"])
    assert f"nbdev=={version('nbdev')}" in wanted


def test_the_licence_is_mit_everywhere():
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    assert INI["DEFAULT"]["license"] == "mit"


def test_the_example_env_names_every_setting_with_its_default(monkeypatch: pytest.MonkeyPatch):
    for name in Settings.model_fields: monkeypatch.delenv(name.upper(), raising=False)
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    named = [line.split("=")[0] for line in lines if line and not line.startswith("#")]
    assert named == [n.upper() for n in Settings.model_fields]
    given, plain = load_settings(ROOT / ".env.example"), Settings()
    assert given.model_dump(exclude={"kalshi_private_key_file"}) == plain.model_dump(exclude={"kalshi_private_key_file"})
    assert given.kalshi_private_key_file == ROOT / plain.kalshi_private_key_file  # meant from the folder of the file


@pytest.mark.parametrize("name", [
    "private_key.pem", "keys/demo.key", ".env", "journal.db", "journal.db-wal", "state.sqlite3", ".kalshi_mm/kill",
    "data/bbo.parquet", "trades.csv.gz", "stream.jsonl.gz", "_docs/index.html", ".venv/bin/python",
])
def test_git_ignores_keys_databases_recordings_and_what_tools_make(name: str, tracked: list[Path]):
    assert git("check-ignore", "-q", name).returncode == 0


@pytest.mark.parametrize("name", [".env.example", "kalshi_mm/sandbox/calibration.json", "nbs/images/session.png"])
def test_git_takes_what_belongs_to_the_project(name: str, tracked: list[Path]):
    assert git("check-ignore", "-q", name).returncode == 1


SECRETS = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s*\\?n?\s*[A-Za-z0-9+/]{40}"),
    "a token": re.compile(r"\b(gh[pousr]_\w{30}|sk-[A-Za-z0-9]{30}|AKIA[A-Z0-9]{16}|xox[bp]-\w{20})"),
    "an address with a password": re.compile(r"://[^/\s:@'\"{}]+:[^/\s@'\"{}]+@"),
    "a path of somebody's machine": re.compile(r"(?<![\w./])/(home|Users|root|work|tmp|mnt|opt)/\w|[A-Z]:\\\\?Users"),
}


@pytest.mark.parametrize("what", SECRETS)
def test_no_file_holds(what: str, tracked: list[Path]):
    found = {}
    for path in tracked:
        if path.suffix in (".png", ".svg") or path == Path(__file__): continue
        if m := SECRETS[what].search(path.read_text(encoding="utf-8")): found[path.name] = m[0]
    assert found == {}


def test_no_large_file_is_in_the_repository(tracked: list[Path]):
    assert [(p.name, p.stat().st_size) for p in tracked if p.stat().st_size > 1_500_000] == []


@pytest.mark.parametrize("word", ["kill", "stop", "status"])
def test_what_is_typed_in_a_hurry_loads_no_more_than_it_needs(word: str):
    code = f"import sys; from kalshi_mm.cli.main import command; command({word!r}); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "typer" in loaded and loaded & {"kalshi_python", "pandas", "pyarrow", "fastapi", "aiohttp"} == set()


def test_a_session_and_a_recorder_need_no_pandas_and_no_pyarrow_and_what_does_says_so(tmp_path: Path):
    for name in ("pandas", "pyarrow"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('as if it were not installed')")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "STATE_DIR": str(tmp_path / "state"), "CONTROL_PORT": "0"}

    def done(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kalshi_mm.cli.main", *words]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)

    session, recorder = done("run", "--for", "2s", "--quiet"), done("record", "--for", "2s")
    assert (session.returncode, recorder.returncode) == (0, 0), session.stderr + recorder.stderr
    assert list(tmp_path.glob("data/frames/*.gz")) and list(tmp_path.glob("state/*/records/*.gz"))
    for words in (("run", "--data", "x.parquet", "--day", "2025-12-10"), ("record", "export"),
                  ("history", "KXHIGHNY", "--from", "2026-09-01", "--rest", "http://127.0.0.1:9")):
        refused = done(*words)
        assert refused.returncode == 1 and 'pip install "kalshi_mm[research]"' in refused.stderr, refused.stderr


def test_the_package_has_every_file_of_the_page(tmp_path: Path):
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    page = Path("kalshi_mm/panel/static")
    assert sorted(p.name for p in (tmp_path / page).iterdir()) == sorted(p.name for p in (ROOT / page).iterdir())
