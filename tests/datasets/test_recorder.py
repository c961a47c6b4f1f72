"A recorder that is killed again and again: what it kept is true, what it missed is a gap, and no cut makes a log unreadable."
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from time import monotonic, sleep
from urllib.request import ProxyHandler, build_opener

import pytest

from kalshi_mm.datasets.dataset import Dataset
from kalshi_mm.datasets.export import export_frames
from kalshi_mm.datasets.layout import DepthRow, TradeRow
from kalshi_mm.feed.frame_log import Condition, What, condition, entries, segments
from kalshi_mm.model.numbers import count_str, price_str
from kalshi_mm.model.types import Side
from kalshi_mm.orderbook import OrderBook

COMMAND = (sys.executable, "-m", "kalshi_mm.cli.main")


@contextmanager
def process(*words: str, env: dict[str, str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    p = subprocess.Popen([*COMMAND, *words], env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try: yield p
    finally:
        p.kill()
        p.communicate(timeout=20)


def frames(folder: Path) -> int:
    return sum(e.what is What.FRAME for p in segments(folder) for e in entries(p))


def until(done: object, wait_s: float = 30) -> None:
    "Wait for a condition of another process"
    end = monotonic() + wait_s
    while not done():  # type: ignore[operator]
        assert monotonic() < end, "it never came to that"
        sleep(0.05)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    "The folder of a recorder that was killed three times and then ended in order, and the exchange's address"
    here = tmp_path_factory.mktemp("killed")
    env = {**os.environ, "STATE_DIR": str(here / "state")}
    words = ("--port", "0", "--seed", "7", "--speed", "2000", "--ed25519", "--json")
    with process("exchange", *words, env=env, cwd=here) as exchange:
        assert exchange.stdout
        where = json.loads(exchange.stdout.readline())
        env |= {"KALSHI_REST_URL": where["rest"], "KALSHI_WS_URL": where["ws"], "KALSHI_API_KEY_ID": where["key_id"],
                "KALSHI_PRIVATE_KEY_FILE": where["key_file"]}
        draw, folder = Random(5), here / "data" / "frames"
        for _ in range(3):
            before = frames(folder)
            enough = before + draw.randrange(50, 400)
            with process("record", env=env, cwd=here) as recorder:
                until(lambda enough=enough: frames(folder) > enough)
                recorder.kill()
        before = frames(folder)
        with process("record", env=env, cwd=here) as recorder:
            until(lambda: frames(folder) > before + 300)
            recorder.send_signal(signal.SIGINT)
            told, wrong = recorder.communicate(timeout=20)
            assert recorder.returncode == 0 and "bytes on the disk" in told, wrong
        yield here, where["rest"]


def test_what_a_killed_recorder_kept_is_true_and_what_it_missed_is_a_gap(killed: tuple[Path, str], tmp_path: Path):
    here, rest = killed
    report = export_frames(here / "data" / "frames", tmp_path, "recorder")
    assert (report.files, report.problems["segments that were cut off, or are still written"]) == (4, 3)
    rows, books, gaps = list(Dataset(tmp_path).events("depth", "trades")), dict[str, OrderBook](), Counter[str]()
    for r in rows:
        if not isinstance(r, DepthRow): continue
        if r.change == "clear": books[r.ticker] = OrderBook(r.ticker)
        if r.change == "clear": books[r.ticker].apply_snapshot((), (), 0)
        elif r.change == "gap":
            gaps[r.ticker] += 1
            del books[r.ticker]
        else: books[r.ticker].apply_delta(Side(r.side), r.price, r.count, 0)  # raises if a level would fall below zero
    assert books == {} and max(gaps.values()) >= 4, "each run ends with a gap"
    with build_opener(ProxyHandler({})).open(f"{rest}/markets/trades?limit=1000", timeout=10) as answer:
        known = {t["trade_id"]: t for t in json.load(answer)["trades"]}
    trades = [r for r in rows if isinstance(r, TradeRow)]
    assert trades and len({t.trade_id for t in trades}) == len(trades)
    told = {t.trade_id: (t.ticker, price_str(t.price), count_str(t.count), t.taker_side) for t in trades if t.trade_id in known}
    theirs = {i: (t["ticker"], t["yes_price_dollars"], t["count_fp"], t["taker_book_side"]) for i, t in known.items()}
    assert told == {i: theirs[i] for i in told}
    assert len(told) > len(trades) // 2


def test_a_log_that_is_cut_anywhere_is_exported_up_to_there(killed: tuple[Path, str], tmp_path: Path):
    last = segments(killed[0] / "data" / "frames")[-1]
    whole = last.read_bytes()

    def exported(size: int) -> list[DepthRow]:
        folder = tmp_path / f"{size}"
        (folder / "frames").mkdir(parents=True)
        (folder / "frames" / last.name).write_bytes(whole[:size])
        export_frames(folder / "frames", folder, "recorder")
        return [r for r in Dataset(folder).events("depth") if isinstance(r, DepthRow)]

    every = exported(len(whole))
    for size in Random(3).sample(range(len(whole)), 12):
        rows = exported(size)
        kept = [r for r in rows if r.change != "gap"]
        assert kept == [r for r in every if r.change != "gap"][: len(kept)]
        open_books = {r.ticker for r in kept} - {r.ticker for r in rows if r.change == "gap"}
        assert not open_books, "a log that was cut off must end with a gap"


def test_a_segment_of_which_the_disk_has_changed_a_byte_is_named_and_left_out(killed: tuple[Path, str], tmp_path: Path):
    last = segments(killed[0] / "data" / "frames")[-1]
    whole = bytearray(last.read_bytes())
    for at in Random(4).sample(range(10, len(whole)), 20):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        (tmp_path / last.name).write_bytes(damaged)
        assert condition(tmp_path / last.name) is not Condition.WHOLE
    (tmp_path / last.name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    report = export_frames(tmp_path, tmp_path / "data", "recorder")
    assert report.problems == {f"{last.name} was left out: it is damaged": 1} and report.files == 0
