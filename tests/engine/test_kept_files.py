"""That every file which a session finds on the disk is read or refused in a sentence, whatever is in it.

A journal of another version; values, records, presets, recordings and keys that somebody has changed or another program has made.
"""
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kalshi_mm.client.order_groups import kept_groups
from kalshi_mm.config import load_settings
from kalshi_mm.control.crash_report import CrashReport
from kalshi_mm.control.runtime import Running
from kalshi_mm.engine.database import VERSION, Database, JournalError, OtherVersion
from kalshi_mm.engine.journal import Journal
from kalshi_mm.engine.kill_latch import Latch, Stamp
from kalshi_mm.engine.lock import held_by
from kalshi_mm.feed.recorder import Record
from kalshi_mm.model.messages import FillSeen
from kalshi_mm.model.numbers import KalshiMMError
from kalshi_mm.model.types import Fill, Position, Side
from kalshi_mm.research.data import DataError, days
from kalshi_mm.research.replay import find_journals
from kalshi_mm.risk.day import Day
from kalshi_mm.risk.halts import Halt
from kalshi_mm.sandbox.auth import ApiKeys
from kalshi_mm.strategy.parameters import StrategyError
from kalshi_mm.strategy.presets import parse_preset

FIRST = """
CREATE TABLE sessions (id TEXT PRIMARY KEY, env TEXT NOT NULL, began_ms INTEGER NOT NULL, ended_ms INTEGER);
CREATE TABLE fills (trade_id TEXT PRIMARY KEY, session TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE settlements (ticker TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE alerts (n INTEGER PRIMARY KEY, ts_ms INTEGER NOT NULL, session TEXT NOT NULL, level TEXT NOT NULL,
                     text TEXT NOT NULL);
CREATE TABLE state (name TEXT PRIMARY KEY, body TEXT NOT NULL);
INSERT INTO sessions VALUES ('s', 'sandbox', 1, 9);
INSERT INTO settlements VALUES ('Y', 10000);
INSERT INTO state VALUES ('halts', '[{"rule":"daily_loss","reason":"lost","since_ms":4,"latched":true,"market":""}]');
"""
BOUGHT = [Fill(f"t{n}", f"o{n}", t, Side.BID, 4_000, 100, 10, False, n) for n, t in enumerate("XXY")]


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db: yield db


def by_hand(path: Path, version: int = 0) -> None:
    "A journal as the first version of this program has left it"
    with raw(path) as db:
        db.executescript(FIRST)
        for f in BOUGHT: db.execute("INSERT INTO fills VALUES (?, 's', ?)", (f.trade_id, msgspec.json.encode(f)))
        db.execute(f"PRAGMA user_version = {version}")


def test_a_journal_without_a_version_is_brought_up_and_kept_beside(tmp_path: Path):
    by_hand(tmp_path / "journal.db")
    for _ in range(2):
        journal = Journal(tmp_path / "journal.db")
        left = journal.restart.restored(10)
        assert left.positions == (Position("X", 200, -800_000, 20),)
        assert left.profit == 600_000 - 10  # Y paid a dollar for 40 cents
        assert journal.past.fills() == BOUGHT and left.halts == (("daily_loss", "lost", 4),) and journal.repaired == ""
        journal.close()
    with raw(tmp_path / "journal.db") as db: assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    kept = [p.name for p in tmp_path.iterdir() if "version" in p.name]
    assert kept == ["journal.db.version-0"]
    with raw(tmp_path / kept[0]) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (0,)
        assert {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")} == {
            "sessions", "fills", "settlements", "alerts", "state"}
        assert db.execute("SELECT count(*) FROM fills").fetchone() == (3,)


def test_a_copy_that_is_there_already_is_not_overwritten(tmp_path: Path):
    by_hand(tmp_path / "journal.db")
    (tmp_path / "journal.db.version-0").write_text("an older copy")
    Journal(tmp_path / "journal.db").close()
    assert (tmp_path / "journal.db.version-0").read_text() == "an older copy"
    with raw(tmp_path / "journal.db.version-0-1") as db: assert db.execute("SELECT count(*) FROM fills").fetchone() == (3,)


def test_a_new_journal_has_the_version_and_no_copy(tmp_path: Path):
    Journal(tmp_path / "journal.db").close()
    with raw(tmp_path / "journal.db") as db: assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("journal")] == ["journal.db"]


def test_a_step_that_breaks_off_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    by_hand(tmp_path / "journal.db")
    monkeypatch.setattr("kalshi_mm.engine.database._STEPS", ("CREATE TABLE taken (n); SELECT * FROM nowhere;",))
    with raw(tmp_path / "journal.db") as db:
        from kalshi_mm.engine.database import _brought_up
        with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"): _brought_up(db, tmp_path / "journal.db")
    with raw(tmp_path / "journal.db") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (0,)
        assert not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'taken'").fetchone()


@pytest.mark.parametrize("version", [VERSION + 1, 2**31 - 1, -1])
@pytest.mark.parametrize("in_log", [False, True])
def test_a_journal_of_a_later_version_is_refused_and_nothing_is_touched(tmp_path: Path, version: int, in_log: bool):
    "Also if its newest pages are still in the write-ahead log of a session that crashed"
    path = tmp_path / "journal.db"
    by_hand(path)
    with raw(path) as db:
        if in_log: db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA user_version = {version}")
        before = {p.name: p.read_bytes() for p in tmp_path.glob("journal.db*") if not p.name.endswith("-shm")}
        assert ("journal.db-wal" in before) == in_log
        for writes in (True, False):
            with pytest.raises(OtherVersion, match=f"is of version {version}, and this kalshi-mm knows those up to {VERSION}: "
                                                   "install the version that made it, or choose another STATE_DIR"):
                Journal(path, writes=writes)
        assert {p.name: p.read_bytes() for p in tmp_path.glob("journal.db*") if not p.name.endswith("-shm")} == before


def test_what_only_reads_refuses_a_file_that_is_no_database(tmp_path: Path):
    path = tmp_path / "a" / "journal.db"
    path.parent.mkdir()
    path.write_text("no database, " * 500)
    with pytest.raises(JournalError, match="can't be opened: file is not a database"): Journal(path, writes=False)
    told: list[str] = []
    assert find_journals(tmp_path, told.append) == [] and path.read_text().startswith("no database")
    assert told == [f"the journal {path} can't be opened: file is not a database"]


VALUES = ["day", "marks", "halts", "paused", "reduce_only", "parameters", "resting", "odd", "earned", "incentives", "judged_ms"]


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("body", ["", "7.5", "[[", '"x"', '[{"rule": 1}]', '{"a": {"b": null}}', b"\x80\x04"])
def test_a_value_that_cannot_be_read_is_refused_and_not_taken_for_none(tmp_path: Path, name: str, body: object):
    "A latched halt that is lost unseen would let the next session quote"
    journal = Journal(tmp_path / "journal.db")
    journal.begin("s", "sandbox", 0)
    journal.remember(Day("2025-12-10", 0, 2, 1), {"X": 4_500}, [Halt("daily_loss", "lost", 3)], {"X": "cli"}, True,
                     {"min_spread": ("5", "7")})
    journal.end(4)  # otherwise the next start takes the values from the record
    journal.close()
    kept = Database(tmp_path / "journal.db", writes=False).connection.execute("SELECT name FROM state")
    assert {found for (found,) in kept} == set(VALUES)
    with raw(tmp_path / "journal.db") as db: db.execute("UPDATE state SET body = ? WHERE name = ?", (body, name))
    journal = Journal(tmp_path / "journal.db")

    def everything() -> None:
        journal.restart.restored(0)
        journal.restart.resting()
        journal.restart.parameters()
        journal.restart.odd()

    with pytest.raises(JournalError, match=f"kept as '{name}' can't be read"): everything()
    journal.close()


def test_lines_of_a_record_that_cannot_be_read_are_told_and_the_others_kept(tmp_path: Path):
    record = Record(tmp_path / "records" / "later.gz")
    odd = b'{"t":"FillSeen"}', b'{"t":"FillSeen","ts_ms":1,"fill":7}', b'{"t":"AccountRead","fills":{}}', b"#"
    for n, body in enumerate(odd):
        record.add(b"#" if body == b"#" else b"<", body)
        record.add(b"<", msgspec.json.encode(FillSeen(n, BOUGHT[n % 3])))
    record.add(b".", b"{}")
    record.close()
    journal = Journal(tmp_path / "journal.db")
    assert journal.past.fills() == BOUGHT
    assert journal.repaired == "5 lines of the record later.gz can't be read and were left out"
    journal.close()
    again = Journal(tmp_path / "journal.db")
    assert again.repaired == "" and again.past.fills() == BOUGHT
    again.close()


# ---- the small files

ODD = [b"", b"\0" * 50, b"\x80\x04\x95", b"{", b"null", b"[]", b'{"a": 1}', b"\xff\xfe", b"9" * 400, b"{" * 3000, b"-1"]


def a_runtime_file(folder: Path, odd: bytes) -> None:
    (folder / "account").mkdir(mode=0o700)
    (folder / "account" / "engine.json").write_bytes(odd)
    assert Running.at(folder / "account") is None
    assert Running.all(load_settings(None, {}, state_dir=str(folder))) == []


def a_latch(folder: Path, odd: bytes) -> None:
    (folder / "killed").write_bytes(odd)
    assert Latch(folder / "killed").reason  # whatever is in it, it is a kill


def a_stamp(folder: Path, odd: bytes) -> None:
    (folder / "swept").write_bytes(odd)
    assert isinstance(Stamp(folder / "swept").ms, int)


def order_groups(folder: Path, odd: bytes) -> None:
    (folder / "groups.json").write_bytes(odd)
    assert kept_groups(folder / "groups.json") == {}


def a_lock(folder: Path, odd: bytes) -> None:
    (folder / "lock").write_bytes(odd)
    assert held_by(folder / "lock") is None


def a_recording(folder: Path, odd: bytes) -> None:
    (folder / "bbo.parquet").write_bytes(odd)
    with pytest.raises(DataError, match=r"bbo\.parquet"): days(folder / "bbo.parquet")


def a_preset(folder: Path, odd: bytes) -> None:
    try: parse_preset(odd.decode("latin-1"), "mine.toml")
    except StrategyError as e: assert "mine.toml" in str(e)


def a_sandbox_key(folder: Path, odd: bytes) -> None:
    (folder / "trader.pem").write_bytes(odd)
    with pytest.raises(ValueError, match=r"trader\.pem") as e: ApiKeys().make("rsa", folder, "trader")
    assert (folder / "trader.pem").read_bytes() == odd and "\n" not in str(e.value)


def a_crash_report(folder: Path, odd: bytes) -> None:
    (folder / "journal.db").write_bytes(odd or b"x")
    (folder / "engine.log").write_bytes(odd)
    running = Running("", 1, 1, "s", "sandbox", "S", "", "", "k", "", str(folder / "journal.db"), str(folder / "engine.log"), "")
    assert CrashReport.of(running).resting == ()


READERS: list[Callable[[Path, bytes], Any]] = [
    a_runtime_file, a_latch, a_stamp, order_groups, a_lock, a_recording, a_preset, a_sandbox_key, a_crash_report]


@pytest.mark.parametrize("odd", ODD, ids=lambda b: repr(b[:12]))
@pytest.mark.parametrize("reader", READERS, ids=lambda f: f.__name__)
def test_a_small_file_with_anything_in_it_is_read_or_refused(tmp_path: Path, reader: Callable[[Path, bytes], Any], odd: bytes):
    reader(tmp_path, odd)


def test_the_refusals_are_sentences_of_ours():
    assert all(issubclass(e, KalshiMMError) for e in (JournalError, OtherVersion, DataError, StrategyError))
