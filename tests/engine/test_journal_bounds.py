"What the journal carries to the disk itself, what it hands to the next session, and from when on fills and records are old"
import os
from pathlib import Path

import pytest

from kalshi_mm.engine.journal import Journal, Resting, fold, forget_records
from kalshi_mm.model.messages import AccountRead, FillSeen, MarketSettled
from kalshi_mm.model.numbers import ONE
from kalshi_mm.model.types import Fill, Position, Side
from kalshi_mm.risk.day import Day
from kalshi_mm.risk.halts import Halt
from kalshi_mm.risk.tie_out import Statement

T = 1_700_000_000_000
DAY_MS = 86_400_000


def fill(n: int, ts_ms: int = T, ticker: str = "X") -> Fill:
    return Fill(f"t{n}", "o", ticker, Side.BID, 4300, 100, 5, False, ts_ms)


def opened(folder: Path, session: str = "s") -> Journal:
    journal = Journal(folder / "journal.db")
    journal.begin(session, "sandbox", T)
    return journal


def traced(journal: Journal) -> list[str]:
    "What reaches the database from now on"
    said: list[str] = []
    journal._database.connection.set_trace_callback(said.append)
    return said


def test_what_nobody_could_compute_again_goes_to_the_disk_itself_and_the_rest_with_the_next_write(tmp_path: Path):
    journal = opened(tmp_path)
    said = traced(journal)
    def through() -> bool:
        found = any("synchronous=FULL" in sql for sql in said)
        assert any("COMMIT" in sql for sql in said) == bool(said) and (not said or "NORMAL" in said[-1] or not found)
        said.clear()
        return found

    day, halt = Day("2023-11-14", 1, 2, 3), Halt("daily_loss", "why", T)
    journal.remember(day, {"X": 4500}, [], resting=[Resting("X", Side.BID, 4300, 100, 60)], odd={"a": 1})
    assert through()  # the first time everything is new
    journal.remember(day, {"X": 4500}, [], resting=[Resting("X", Side.BID, 4300, 100, 60)], odd={"a": 1})
    assert not said  # nothing has changed
    journal.remember(Day("2023-11-14", 1, 2, 4), {"X": 4600}, [], resting=[], odd={"a": 2})
    assert said and not through()
    more = {"halts": [halt], "paused": {"X": "alice"}, "reduce_only": True, "parameters": {"min_spread": ("5", "7")}}
    for name in more:  # each of them alone
        kept = {n: value for n, value in more.items() if n <= name and list(more).index(n) <= list(more).index(name)}
        journal.remember(day, {}, **{"halts": [], **kept})  # type: ignore[arg-type]
        assert through(), name
    journal.keep_statement(Statement(T, 5, {}), [])
    assert through() and journal.restart.statement() == Statement(T, 5, {})
    journal.record(FillSeen(T, fill(1)), [])
    journal.commit()
    assert said and not through()
    journal.close()


@pytest.mark.parametrize("clean", [True, False])
def test_the_next_session_gets_what_this_one_kept_and_how_it_ended(tmp_path: Path, clean: bool):
    first = opened(tmp_path, "one")
    first.record(FillSeen(T, fill(1)), [])
    first.record(FillSeen(T, fill(1)), [])  # told twice
    first.record(AccountRead(T, T, 0, (), (), (fill(1), fill(2, ticker="Y"), fill(3, ticker="Z")), 0), [])
    first.record(MarketSettled(T, "Z", ONE), [])
    halts = [Halt("daily_loss", "lost", T), Halt("kill", "by alice", T), Halt("canceled_elsewhere", "why", T + 1, "X")]
    first.remember(Day("2023-11-14", 1, 2, 3), {"X": 4500}, halts, {"Y": "alice"}, True)
    if clean: first.end(T + 9)
    first.close()
    second = Journal(tmp_path / "journal.db")
    left = second.restart.restored(T + 20, parameters={"min_spread": "7"})
    assert {p.ticker: p for p in left.positions} == {t: Position(t, 100, -430_000, 5) for t in "XY"}
    assert left.profit == 1_000_000 - 430_000 - 5  # of Z, which has paid
    assert left.trade_ids == ("t1", "t2", "t3") and left.unclean != clean
    assert (left.day, left.day_open, left.day_peak, left.day_now) == ("2023-11-14", 1, 2, 3)
    assert (left.marks, left.paused, left.reduce_only) == ((("X", 4500),), (("Y", "alice"),), True)
    assert left.halts == (("daily_loss", "lost", T), ("canceled_elsewhere:X", "why", T + 1))  # a kill is the latch's to tell
    assert (left.parameters, left.sessions) == ((("min_spread", "7"),), ("one",))
    killed = second.restart.restored(T + 20, killed="by bob")
    assert killed.halts[-1] == ("kill", "by bob", T + 20) and len(killed.halts) == 3
    second.close()


def test_a_journal_without_a_past_restores_nothing(tmp_path: Path):
    journal = Journal(tmp_path / "journal.db")
    left = journal.restart.restored(T)
    assert (left.positions, left.trade_ids, left.halts, left.marks, left.day, left.unclean) == ((), (), (), (), "", False)
    assert (left.reduce_only, left.profit, left.sessions) == (False, 0, ())
    assert (journal.past.count(), journal.past.last_fill_ms()) == (0, 0)
    journal.close()


@pytest.mark.parametrize(("older_ms", "folded"), [(7 * DAY_MS, 0), (7 * DAY_MS + 1, 1)])
def test_fills_are_folded_once_they_are_older_than_a_week_before_the_newest(tmp_path: Path, older_ms: int, folded: int):
    journal = opened(tmp_path)
    for n, ms in ((1, T - older_ms), (2, T)): journal.record(FillSeen(ms, fill(n, ms)), [])
    journal.commit()
    before = journal.past.positions()
    assert fold(journal._database.connection) == folded
    assert journal.past.positions() == before == {"X": Position("X", 200, -860_000, 10)}
    assert [journal.past.counted(fill(n)) for n in (1, 2, 3)] == [bool(folded), False, False]
    assert (len(journal.past.recent()), journal.past.count(), journal.past.last_fill_ms()) == (2 - folded, 2, T)
    assert fold(journal._database.connection) == 0  # each once
    journal.close()


def test_the_fills_of_a_session_are_its_own(tmp_path: Path):
    for session, n in (("one", 1), ("two", 2)):
        journal = opened(tmp_path, session)
        journal.record(FillSeen(T, fill(n)), [])
        journal.end(T + n)
        assert [f.trade_id for f in journal.past.fills(session)] == [f"t{n}"]
        assert len(journal.past.fills()) == n
        journal.alert(T + n, "error", f"of {session}")
        journal.commit()
        assert journal.past.alerts()[-1] == (T + n, session, "error", f"of {session}")
        assert journal.past.sessions()[-1] == (session, "sandbox", T, T + n)
        journal.close()


@pytest.mark.parametrize(("later_ms", "gone"), [(0, False), (1, True)])
def test_a_record_is_removed_a_month_after_its_last_line_but_not_the_one_being_written(tmp_path: Path, later_ms: int, gone: bool):
    for session in ("old", "now"):
        journal = opened(tmp_path, session)
        journal.record(FillSeen(T, fill(1)), [])
        if session == "old":
            journal.end(T)
            journal.close()
        else: journal.commit()
    for file in journal.records.files(): os.utime(file, (T // 1000, T // 1000))
    removed, size = forget_records(journal, T + 30 * DAY_MS + later_ms)
    assert (removed, bool(size)) == (int(gone), gone)
    assert {f.name.removesuffix(".gz") for f in journal.records.files()} == ({"now"} if gone else {"now", "old"})
    assert forget_records(journal, T + 999 * DAY_MS)[0] == (0 if gone else 1)
    assert [f.name.removesuffix(".gz") for f in journal.records.files()] == ["now"]
    journal.close()
