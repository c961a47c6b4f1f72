"What all tests share"
import atexit
import os
import shutil
from tempfile import mkdtemp

from hypothesis import settings

# whoever runs the tests may have engines of their own: nothing here looks into their state folder, or reads their `.env`
os.environ["STATE_DIR"] = mkdtemp(prefix="kalshi_mm-tests-")
atexit.register(shutil.rmtree, os.environ["STATE_DIR"], ignore_errors=True)
os.environ["KALSHI_MM_ENV_FILE"] = ""

# without it each run draws the same cases, so that a red test is a fault of the tree at hand
EXPLORE = bool(os.environ.get("KALSHI_MM_EXPLORE"))

# no test asserts a time: a busy machine is slow, not wrong
settings.register_profile("gate", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("explore" if EXPLORE else "gate")


def pytest_report_header() -> str:
    "What the property tests draw"
    return "property tests draw " + ("new cases" if EXPLORE else "the same cases each time (KALSHI_MM_EXPLORE=1 draws new ones)")
