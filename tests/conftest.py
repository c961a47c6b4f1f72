"What all tests share"
import atexit
import os
import shutil
from tempfile import mkdtemp

import pytest
from hypothesis import settings

# whoever runs the tests may have engines of their own: nothing here looks into their state folder, or reads their `.env`
os.environ["STATE_DIR"] = mkdtemp(prefix="kalshi_mm-tests-")
atexit.register(shutil.rmtree, os.environ["STATE_DIR"], ignore_errors=True)
os.environ["KALSHI_MM_ENV_FILE"] = ""
os.environ["GUARDS"] = "none"  # a session that is tested quotes at once; tests of the guards name them

# without it each run draws the same cases, so that a red test is a fault of the tree at hand
EXPLORE = bool(os.environ.get("KALSHI_MM_EXPLORE"))

# no test asserts a time: a busy machine is slow, not wrong
settings.register_profile("gate", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("explore" if EXPLORE else "gate")


# these files take longest, so they begin first: at the end no worker is left alone with one of them
LONG = (
    "sessions/test_kill_everywhere", "sessions/test_sessions", "sessions/test_record", "sessions/test_kill_chain",
    "test_strangers", "test_campaigns", "test_stateful", "test_nb_tool", "sessions/",
    "control/test_launch", "test_traffic", "test_conform",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    "Put the tests of long files first; `--no-loadscope-reorder` keeps this order"
    items.sort(key=lambda item: next((n for n, part in enumerate(LONG) if part in item.path.as_posix()), len(LONG)))


def pytest_report_header() -> str:
    "What the property tests draw"
    return "property tests draw " + ("new cases" if EXPLORE else "the same cases each time (KALSHI_MM_EXPLORE=1 draws new ones)")
