"A session keeps the stream twice, as it came and as the core saw it: as data, both are the same books and trades."
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kalshi_mm.datasets.dataset import Dataset
from kalshi_mm.datasets.export import account_csv, export_frames, export_records
from kalshi_mm.datasets.layout import DepthRow, FillRow, SettlementRow, TradeRow
from kalshi_mm.engine.journal import Journal


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The folder of an account after a session of some fills"
    here = tmp_path_factory.mktemp("session")
    env = {**os.environ, "STATE_DIR": str(here / "state"), "CONTROL_PORT": "0", "REDUNDANT_FEED": "false"}
    command = (sys.executable, "-m", "kalshi_mm.cli.main", "run", "--for", "5s", "--speed", "1000", "--seed", "5", "--quiet")
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    account, = here.glob("state/sandbox-*")
    return account


def test_frames_and_record_of_a_session_are_the_same_books_and_trades(session: Path, tmp_path: Path):
    raw = export_frames(session / "frames", tmp_path / "raw", "frames")
    seen = export_records(session / "records", tmp_path / "seen")
    assert raw.problems == seen.problems == {}

    def books(folder: str) -> dict[str, list[tuple[object, ...]]]:
        found: dict[str, list[tuple[object, ...]]] = {}
        for r in Dataset(tmp_path / folder).events("depth"):
            if isinstance(r, DepthRow): found.setdefault(r.ticker, []).append((r.change, r.side, r.price, r.count))
        return found

    def trades(folder: str) -> list[tuple[object, ...]]:
        rows = [r for r in Dataset(tmp_path / folder).events("trades") if isinstance(r, TradeRow)]
        return [(r.ticker, r.trade_id, r.price, r.count, r.taker_side) for r in rows]

    frames, record = books("raw"), books("seen")
    assert frames.keys() == record.keys() and len(frames) >= 6
    for ticker, rows in frames.items():
        left = record[ticker]  # which may end before the connection did, and leaves a market that has paid
        assert [r for r in rows if r[0] != "gap"][: len(left)] == [r for r in left if r[0] != "gap"], ticker
    assert trades("seen") and trades("raw")[: len(trades("seen"))] == trades("seen")


def test_own_fills_and_settlements_are_those_of_the_journal(session: Path, tmp_path: Path):
    export_records(session / "records", tmp_path / "data")
    export_records(session / "records", tmp_path / "data")  # again changes nothing
    journal = Journal(session / "journal.db", writes=False)
    fills, paid, positions = journal.past.fills(), journal.past.settlements(), journal.past.positions()
    journal.close()
    data = Dataset(tmp_path / "data")
    rows = [r for r in data.events("fills") if isinstance(r, FillRow)]
    assert fills and {r.trade_id: (r.ticker, r.price, r.count, r.fee, r.side) for r in rows} == {
        f.trade_id: (f.ticker, f.price, f.count, f.fee, str(f.side)) for f in fills}
    assert {r.ticker: r.value for r in data.events("settlements") if isinstance(r, SettlementRow)} == {
        t: 100 * v for t, v in paid.items()}
    lines, settled = account_csv(data, tmp_path / "fills.csv", tmp_path / "paid.csv")
    assert lines == len(fills)
    with open(tmp_path / "paid.csv", newline="") as f: told = {r["market"]: r["profit_dollars"] for r in csv.DictReader(f)}
    assert settled == len(told) and told == {
        t: f"{p.pnl(0) / 1e6:.6f}" for t, p in positions.items() if t in paid and t in {f.ticker for f in fills}}
