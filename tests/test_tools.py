"The maintainers' commands start, and those of the study play the rules that the stored results name"
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from msgspec import convert, to_builtins

from kalshi_mm.strategy.presets import Preset

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "nbs" / "research" / "results"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import study  # noqa: PLC0415
    import turning_day  # noqa: PLC0415

    return study, turning_day


def test_the_rules_are_those_of_the_stored_results(tools: tuple[ModuleType, ModuleType]):
    study, turning_day = tools
    stored = json.loads((RESULTS / "study.json").read_text())
    rules = {name: to_builtins(preset) for name, preset in (study.rules() | study.parts() | study.guards()).items()}
    played = {name: to_builtins(convert(preset, Preset)) for name, preset in stored["rules"].items()}  # with what came since
    for of in (rules, played):
        for rule in of.values(): rule.pop("provenance")
    assert rules == played
    turned = json.loads((RESULTS / "turning_day.json").read_text())
    assert {row["rule"] for row in turned["rows"]} == set(turning_day.RULES) <= study.rules().keys()


TOOLS = ["study.py", "turning_day.py", "first_hour.py", "own_error.py", "shadow_error.py", "spec_diff.py", "docs.py", "nb.py",
         "screenshots.py", "test.py"]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_command_says_what_it_does(tool: str):
    done = subprocess.run([sys.executable, ROOT / "tools" / tool, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "usage" in done.stdout.lower() and not done.stderr


def test_a_command_without_what_it_needs_says_what_that_is():
    done = subprocess.run([sys.executable, ROOT / "tools" / "spec_diff.py"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "required: old, new" in done.stderr and "Traceback" not in done.stderr
