"What all tests share"
import os
from tempfile import mkdtemp

from hypothesis import settings

# whoever runs the tests may have engines of their own: nothing here looks into their state folder, or reads their `.env`
os.environ["STATE_DIR"] = mkdtemp(prefix="kalshi_mm-tests-")
os.environ["KALSHI_MM_ENV_FILE"] = ""

# no test asserts a time: a busy machine is slow, not wrong
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
