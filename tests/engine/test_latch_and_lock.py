"The kill on disk and the lock of an account: whatever stands where they should be"
import os
import stat
from pathlib import Path

import pytest

from kalshi_mm.engine.kill_latch import Latch, Stamp
from kalshi_mm.engine.lock import Held, Lock, Owner, held_by


def mode(path: Path) -> int: return stat.S_IMODE(path.stat().st_mode)


def test_the_first_reason_of_a_kill_stays_and_a_re_arm_ends_all(tmp_path: Path):
    latch = Latch(tmp_path / "state" / "killed")
    assert latch.reason == ""
    latch.clear()  # nothing to clear
    for reason in ("by alice: drill\nand a second line", "by bob"): latch.set(reason)
    assert latch.reason == "by alice: drill" and latch.path.read_text() == "by alice: drill\nby bob\n"
    assert (mode(latch.path), mode(latch.path.parent)) == (0o600, 0o700)
    latch.clear()
    assert latch.reason == "" and not latch.path.exists()


@pytest.mark.parametrize("odd", ["empty", "bytes", "folder", "link", "dangling"])
def test_what_can_not_be_read_counts_as_a_kill_and_one_can_be_set_all_the_same(tmp_path: Path, odd: str):
    path, elsewhere = tmp_path / "killed", tmp_path / "elsewhere"
    if odd == "empty": path.touch()
    if odd == "bytes": path.write_bytes(b"\xff\xfe")
    if odd == "folder": path.mkdir()
    if odd == "link": elsewhere.write_text("theirs\n")
    if odd in ("link", "dangling"): path.symlink_to(elsewhere)
    latch = Latch(path)
    if odd == "empty": assert latch.reason == "killed, without a reason"
    if odd in ("bytes", "folder"): assert latch.reason.startswith(f"the latch {path} can't be read: ")
    latch.set("by alice")
    assert latch.reason and not path.is_symlink()
    if odd != "bytes": assert latch.reason == "by alice"
    assert elsewhere.exists() == (odd == "link") and (odd != "link" or elsewhere.read_text() == "theirs\n")
    if odd == "folder":
        path.unlink()
        path.mkdir()
        latch.set("by bob")
        assert latch.reason == "by bob" and {p.name for p in tmp_path.iterdir()} == {"killed", "killed.odd-1", "killed.odd-2"}


def test_a_time_on_disk_is_nothing_if_it_can_not_be_read(tmp_path: Path):
    stamp = Stamp(tmp_path / "state" / "swept")
    assert stamp.ms == 0
    for ms in (5, 1_700_000_000_000):
        stamp.set(ms)
        assert stamp.ms == ms
    stamp.path.write_text("soon")
    assert stamp.ms == 0 and mode(stamp.path.parent) == 0o700


def test_one_process_holds_an_account_and_the_file_says_which(tmp_path: Path):
    path, me = tmp_path / "state" / "lock", Owner.me("s", "sandbox", 1_700_000_000_999)
    assert held_by(path) is None
    lock = Lock(path, me)
    assert held_by(path) == me and me.here and (mode(path), mode(path.parent)) == (0o600, 0o700)
    with pytest.raises(Held, match=f"another engine trades this account: session s on sandbox, process {os.getpid()} on"):
        Lock(path, Owner(session="other"))
    assert held_by(path) == me  # whoever came in vain changes nothing
    assert str(me).endswith("since 2023-11-14 22:13:20 UTC")
    lock.release()
    assert held_by(path) is None
    second = Lock(path, other := Owner(7, "far", "t", "demo", 0))
    assert held_by(path) == other and not other.here  # the first one's words are gone
    path.write_bytes(b"odd")
    assert held_by(path) == Owner() and not Owner().here
    second.release()


def test_a_lock_follows_no_link(tmp_path: Path):
    path, elsewhere = tmp_path / "lock", tmp_path / "elsewhere"
    path.symlink_to(elsewhere)
    with pytest.raises(OSError): Lock(path, Owner())
    assert not elsewhere.exists() and held_by(path) is None
