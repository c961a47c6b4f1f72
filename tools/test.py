"""Everything that must hold before a change lands, step by step; ends at the first step that fails.

`python tools/test.py`             all steps
`python tools/test.py types wheel` only these

The panel is tested in Chromium where there is one. CI installs the distribution's package if it may; without it those tests are
left out, and the step says so.

It can be run with uncommitted work, and leaves no tracked file changed.
"""
import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from venv import EnvBuilder
from xml.etree import ElementTree

from kalshi_mm.cli.main import ROOMS

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
LIMIT_S = 1000  # for one command
FLOOR_TESTS = ("tests/client", "tests/feed/test_book.py", "tests/feed/test_feed.py", "tests/feed/test_odd_frames.py")
IMPORT_ALL = """
import importlib, pkgutil, kalshi_mm
names = [m.name for m in pkgutil.walk_packages(kalshi_mm.__path__, "kalshi_mm.")]
lab = {"kalshi_mm.jupyter.widget", "kalshi_mm.jupyter.server_extension"}  # which need the extra of that name
for name in sorted({*names} - lab): importlib.import_module(name)
print(len(names), "modules are in", kalshi_mm.__version__, "and all but", *sorted(lab), "import without the extra `lab`")
"""


tested: Counter[str] = Counter()  # by outcome: ran, or why not


def run(*command, cwd: Path = ROOT, limit_s: float = LIMIT_S) -> None:
    "Run a command with the tools of this environment first on the path; CalledProcessError or TimeoutExpired if it fails"
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "MPLBACKEND": "agg"}
    subprocess.run([str(c) for c in command], cwd=cwd, env=env, check=True, stdin=subprocess.DEVNULL, timeout=limit_s)


def wheel() -> None:
    "Build the source archive, the wheel from it, and use that in an environment that holds nothing else"
    with TemporaryDirectory() as tmp:
        dist, home = Path(tmp) / "dist", Path(tmp) / "venv"
        run(sys.executable, "-m", "build", "-q", "--outdir", dist, ".")
        EnvBuilder(with_pip=True).create(home)
        archive, program = next(dist.glob("*.whl")), home / "bin/kalshi-mm"
        run(home / "bin/python", "-m", "pip", "install", "-q", archive)
        words = [program, "--help"], *([program, w, "--help"] for names in ROOMS.values() for w in names)
        for command in words: run(*command, cwd=Path(tmp))
        os.environ["STATE_DIR"] = f"{tmp}/state"  # a whole session, far from the repository
        run(program, "run", "--for", "5s", "--control-port", "0", cwd=Path(tmp))
        run(home / "bin/python", "-m", "pip", "install", "-q", f"{archive}[research]")  # what needs it comes last
        run(home / "bin/python", "-I", "-c", IMPORT_ALL, cwd=Path(tmp))


def floors() -> None:
    """Install the lowest versions that settings.ini allows, as far as they fit together, and use them: every import, the client's
    and the feed's tests, and a session. The tools of the tests are the newest: nobody installs them with the package."""
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    needed = shlex.split(settings["DEFAULT"]["requirements"]) + shlex.split(settings["DEFAULT"]["research_requirements"])
    with TemporaryDirectory() as tmp:
        python = Path(tmp) / "venv/bin/python"
        run("uv", "venv", "-q", "--python", sys.executable, python.parents[1])
        install = ("uv", "pip", "install", "-q", "--no-progress", "--only-binary", ":all:", "--python", python)
        try: run(*install, "--resolution", "lowest-direct", *needed)
        except subprocess.CalledProcessError as e:
            if e.returncode != 2: raise  # 2: no index answers; 1: nothing fits together
            print("   NOT RUN " * 10, "\n   no package index can be asked, so the lowest versions are not tested")
            return
        run("uv", "pip", "freeze", "--python", python)
        run(*install, "pytest", "pytest-timeout", "hypothesis", "jsonschema")
        os.environ["PYTHONPATH"] = str(ROOT)
        try:
            run(python, "-c", IMPORT_ALL, cwd=Path(tmp))
            run(python, "-m", "pytest", "-p", "no:cacheprovider", "-W", "ignore", *FLOOR_TESTS)
            os.environ["STATE_DIR"] = f"{tmp}/state"
            run(python, "-m", "kalshi_mm.cli.main", "run", "--quiet", "--for", "2s", "--control-port", "0", cwd=Path(tmp))
        finally:
            for name in ("PYTHONPATH", "STATE_DIR"): os.environ.pop(name, None)


def pytest(*words: str, limit_s: float = LIMIT_S) -> None:
    "Run tests, and count those that ran and those that were skipped, by reason"
    with TemporaryDirectory() as tmp:
        run(sys.executable, "-m", "pytest", *words, f"--junitxml={tmp}/tests.xml", limit_s=limit_s)
        for case in ElementTree.parse(f"{tmp}/tests.xml").iter("testcase"):
            skipped = case.find("skipped")
            tested["ran" if skipped is None else skipped.get("message", "")] += 1


def counted() -> str:
    "How many tests ran, and how many did not and why"
    left = "; ".join(f"{n}: {why}" for why, n in sorted(tested.items(), key=lambda row: -row[1]) if why != "ran")
    if not tested: return ""
    return f" {tested['ran']} tests ran, {tested.total() - tested['ran']} were skipped{f' ({left})' if left else ''}."


def has_chromium() -> bool:
    "Whether the tests will find one"
    return bool(os.environ.get("KMM_CHROMIUM") or any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))


def browser() -> None:
    "The tests that need a browser; CI installs one if the machine lets it"
    if not has_chromium() and os.environ.get("CI") and shutil.which("apt-get") and os.geteuid() == 0:
        try:
            run("apt-get", "update", "-qq", limit_s=60)
            run("apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium", limit_s=180)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e: print(f"   Chromium can't be installed: {e}")
    if not has_chromium():
        print("   NOT RUN " * 10, "\n   there is no Chromium here, so the panel is not tested in a browser")
        return
    os.environ["KALSHI_MM_BROWSER"] = "1"
    pytest("tests/browser", "-n", "2", "--dist", "loadfile", limit_s=400)


STEPS = {  # name: (what it shows, how)
    "install": ("the installed packages agree", lambda: run(sys.executable, "-m", "pip", "check")),
    "style": ("ruff finds nothing, in notebooks either", lambda: run("ruff", "check", ".")),
    "types": ("mypy --strict finds nothing", lambda: run("mypy")),
    "rooms": ("imports go downwards within and between wings, pure rooms stay pure", lambda: run("lint-imports", "--no-logo")),
    # Running each cell and comparing its output is what nbdev-test does and more, so that is not run besides.
    "notebooks": ("cells run and give what they store; clean; exported", lambda: run(sys.executable, "tools/nb.py", "check")),
    "tests": ("pytest passes", lambda: pytest("-n", "4", "--dist", "loadfile", "--no-loadscope-reorder")),
    "browser": ("the panel and the documentation work in Chromium, the panel in JupyterLab too", browser),
    "readme": ("README.md is made from nbs/index.ipynb", lambda: run(sys.executable, "tools/docs.py", "readme", "--check")),
    "site": ("the documentation builds and its links lead somewhere", lambda: run(sys.executable, "tools/docs.py", "site")),
    "floors": ("the lowest versions of the dependencies that settings.ini allows do", floors),
    "wheel": ("the wheel installs and imports in an empty environment", wheel),
}


BESIDE = ("site", "floors", "wheel")  # they wait for installations in part, so they go side by side


def beside(names: list[str]) -> list[str]:  # those that have failed
    "Run steps at the same time, each by a command of its own; what each says comes when it has ended"
    def alone(name: str) -> int:
        done = subprocess.run([sys.executable, __file__, name], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")
        print(done.stdout, flush=True)
        return done.returncode

    with ThreadPoolExecutor(len(names)) as pool: ended = dict(zip(names, pool.map(alone, names), strict=True))
    return [name for name, status in ended.items() if status]


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("steps", nargs="*", metavar="step", help=", ".join(STEPS))
    chosen = p.parse_args().steps or list(STEPS)
    unknown = [s for s in chosen if s not in STEPS]
    if unknown: p.error(f"no such step: {', '.join(unknown)}; there are {', '.join(STEPS)}")
    begun, together = monotonic(), [s for s in chosen if s in BESIDE]
    if len(together) < 2: together = []
    for n, name in enumerate(chosen, 1):
        if name in together: continue
        print(f"\n== {n}/{len(chosen)} {name}: {STEPS[name][0]}", flush=True)
        start = monotonic()
        try: STEPS[name][1]()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as e:
            why = f"exit status {e.returncode}" if isinstance(e, subprocess.CalledProcessError) else e
            print(f"\nFAILED at {name} ({why}). This step alone: python tools/test.py {name}", file=sys.stderr)
            return 1
        print(f"   ok, {monotonic() - start:.1f} s", flush=True)
    if together:
        print(f"\n== {', '.join(together)}: side by side", flush=True)
        if failed := beside(together):
            print(f"\nFAILED at {' and '.join(failed)}, see above", file=sys.stderr)
            return 1
    print(f"\nAll {len(chosen)} steps passed in {monotonic() - begun:.0f} s.{counted()}")
    return 0


if __name__ == "__main__": sys.exit(main())
