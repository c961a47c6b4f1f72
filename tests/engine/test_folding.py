"""Old fills folded into totals: profit, positions and what counts as known are the same before and after.

Two journals get the same fills, payments and corrections. One folds, again and again and at any age, and is closed and opened
in between; the other never does. Each starts a core, and the exchange sends every fill once more.
"""
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.engine.journal import Journal, fold
from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import FillSeen, MarketSettled, Restored
from kalshi_mm.model.types import Fill, Position, Side
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

NEVER = 1 << 60  # ms
TICKERS = ("X-1", "X-2", "Y-1")
fills = st.builds(
    Fill, st.uuids().map(str), st.sampled_from(["o1", "o2", ""]), st.sampled_from(TICKERS), st.sampled_from(list(Side)),
    st.integers(1, 99).map(lambda n: 100 * n), st.integers(1, 10_000), st.integers(-50, 20_000), st.booleans(),
    st.integers(0, 1_000),  # out of order, too
)  # fmt: skip
payments = st.tuples(st.sampled_from(TICKERS), st.sampled_from([0, 5_000, 10_000]))  # again for one market: a corrected payment
folds = st.integers(0, 1_000)  # how old what is folded must be, ms
again = st.tuples(st.just("again"), st.integers(0, 100))  # a fill comes a second time
steps = st.lists(st.one_of(fills, payments, folds, again, st.just("reopen")), max_size=40)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name: yield Path(name)


def connection(journal: Journal) -> sqlite3.Connection: return journal._database.connection


def told(journal: Journal, steps: list[object], folding: bool) -> tuple[Journal, list[Fill]]:
    "A journal after these steps, and the fills that it was told"
    known: list[Fill] = []
    journal.begin("s0", "sandbox", 0)
    for n, step in enumerate(steps, 1):
        match step:
            case Fill(): known.append(step)
            case ("again", int(which)) if known: step = known[which % len(known)]
            case int() if folding: fold(connection(journal), step)
            case "reopen":
                journal.end(n)
                journal.close()
                journal = Journal(journal.path)
                journal.begin(f"s{n}", "sandbox", n)
        if isinstance(step, Fill) and not journal.past.counted(step): journal.record(FillSeen(n, step), [])
        elif isinstance(step, tuple) and step[0] in TICKERS: journal.record(MarketSettled(n, *step), [])
        journal.commit()
    return journal, known


def started(journal: Journal, fills: list[Fill]) -> tuple[object, dict[str, Position]]:
    "Profit and positions of a core that begins with what the journal has left, and is told every fill once more"
    maker = MarketMaker(SpreadCapture(Params()), Config("next"))
    maker.handle(journal.restart.restored(5_000))
    for f in fills:
        if not journal.past.counted(f): maker.handle(FillSeen(5_001, f))
    return maker.profit, {t: p for t, p in maker.elsewhere.items() if p != Position(t)}


def without_ids(left: Restored) -> Restored: return msgspec.structs.replace(left, trade_ids=(), positions=())


@given(steps, folds)
def test_a_journal_that_folds_leaves_the_same_profit_positions_and_known_fills(steps: list[object], last: int):
    with folder() as a, folder() as b:
        plain, known = told(Journal(a / "journal.db"), steps, folding=False)
        folded, _ = told(Journal(b / "journal.db"), steps, folding=True)
        fold(connection(folded), last)
        left, left_plain = folded.restart.restored(5_000), plain.restart.restored(5_000)
        assert set(left.positions) == set(left_plain.positions)
        assert without_ids(left) == without_ids(left_plain)  # the profit among them
        assert folded.past.positions() == plain.past.positions()
        assert folded.past.fills() == plain.past.fills()  # for reports, all of them
        assert folded.past.count() == len({f.trade_id for f in known})
        assert folded.past.last_fill_ms() == plain.past.last_fill_ms()
        in_core, in_totals = set(left.trade_ids), {f.trade_id for f in known if folded.past.counted(f)}
        assert in_core | in_totals == set(left_plain.trade_ids) and not in_core & in_totals
        assert started(folded, known) == started(plain, known)
        for journal in (plain, folded): journal.close()


def test_a_journal_of_before_is_migrated_when_it_is_opened(tmp_path: Path):
    "Without the two tables, as an earlier version has left it; read only, nothing is changed and everything is shown"
    day_ms = 86_400_000
    journal = Journal(tmp_path / "journal.db")
    journal.begin("s", "sandbox", 0)
    made = [Fill(f"t{n}", "o", f"X-{n % 3}", Side.BID, 4_000 + n, 100, 10, False, n * day_ms) for n in range(30)]
    for f in made: journal.record(FillSeen(f.ts_ms, f), [])
    journal.record(MarketSettled(30 * day_ms, "X-0", 10_000), [])
    journal.end(30 * day_ms)
    db = connection(journal)
    for table in ("totals", "folded"): db.execute(f"DROP TABLE {table}")
    db.execute("PRAGMA user_version = 0")
    journal.close()

    reader = Journal(tmp_path / "journal.db", writes=False)
    before, held = reader.restart.restored(0), reader.past.positions()
    assert (len(before.trade_ids), reader.past.count(), reader.past.counted(made[0])) == (30, 30, False)
    reader.close()

    for _ in range(2):  # and once more, which changes nothing
        journal = Journal(tmp_path / "journal.db")
        after = journal.restart.restored(0)
        assert after.trade_ids == tuple(f.trade_id for f in made[-8:])  # a week before the newest
        assert set(after.positions) == set(before.positions) and after.profit == before.profit
        assert (journal.past.positions(), journal.past.fills()) == (held, made)
        assert [journal.past.counted(f) for f in made] == [True] * 22 + [False] * 8
        journal.close()


def test_a_fold_that_breaks_off_leaves_everything_as_it_was(tmp_path: Path):
    journal = Journal(tmp_path / "journal.db")
    journal.begin("s", "sandbox", 0)
    for n in range(5): journal.record(FillSeen(n, Fill(f"t{n}", "o", "X", Side.BID, 4_000, 100, 10, False, n)), [])
    journal.commit()
    held, db = journal.past.positions(), connection(journal)
    db.execute("CREATE TRIGGER broken BEFORE INSERT ON folded BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
    with pytest.raises(sqlite3.Error, match="the disk is full"): fold(db, 0)
    assert list(db.execute("SELECT * FROM totals")) == [] and journal.past.positions() == held
    db.execute("DROP TRIGGER broken")
    assert fold(db, 0) == 4 and journal.past.positions() == held
    journal.close()
