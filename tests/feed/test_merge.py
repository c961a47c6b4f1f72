"Two lines merged: whose word is passed on, and how long a book may be ahead of the lines or contradict one of them"
import pytest
from msgspec import json

from kalshi_mm.feed.merge import Merge, clock_of
from kalshi_mm.model.messages import BookDelta, BookSnapshot, BookStale, Connection, Event, Trade
from kalshi_mm.model.types import Side

T = 1_700_000_000_000
Levels = tuple[tuple[int, int], ...]


def raw(clock: int | None) -> bytes: return json.encode({"msg": {} if clock is None else {"clock": clock}})


class Lines:
    def __init__(self, patience_ms: int = 2000): self.merge = Merge(patience_ms)

    def whole(self, line: int, clock: int | None, bids: Levels = ((4200, 500),)) -> list[Event]:
        return self.merge.receive(line, BookSnapshot(T, "X", bids, ()), raw(clock))

    def change(self, line: int, clock: int | None, delta: int = 100, price: int = 4200) -> list[Event]:
        return self.merge.receive(line, BookDelta(T, "X", Side.BID, price, delta), raw(clock))


def bids(events: list[Event]) -> list[dict[int, int]]: return [dict(e.bids) for e in events if isinstance(e, BookSnapshot)]


def test_each_change_is_passed_on_once_whichever_line_tells_it_first():
    x = Lines()
    assert [len(x.whole(line, 1)) for line in (0, 1)] == [1, 0]
    order = ((0, 2), (0, 2), (1, 2), (1, 2), (1, 2), (0, 2), (0, 5), (1, 5))
    said = [(line, clock, x.change(line, clock)) for line, clock in order]
    assert [(line, clock) for line, clock, events in said if events] == [(0, 2), (0, 2), (1, 2), (0, 5)]
    assert all(isinstance(e, BookDelta | BookSnapshot) for _, _, events in said for e in events)


def test_a_change_that_follows_what_was_shown_is_passed_on_alone_and_any_other_with_its_whole_book():
    x = Lines()
    for line in (0, 1): x.whole(line, 1)
    assert [type(e) for e in x.change(0, 2)] == [BookDelta]
    x.change(1, 2)
    assert [type(e) for e in x.change(1, 3)] == [BookDelta]  # both stand at the same place
    (whole,) = x.change(0, 4, 1000)  # line 0 never told of 3
    assert isinstance(whole, BookSnapshot) and dict(whole.bids) == {4200: 500 + 100 + 1000}


def test_a_book_may_be_ahead_of_every_line_that_is_left_as_long_as_the_setting_says():
    x = Lines()
    for line in (0, 1): x.whole(line, 1)
    x.change(0, 2)
    assert x.merge.tick(T) == []
    assert x.merge.receive(0, BookStale(T, ("X",), "a gap")) == []  # line 1 still has one
    assert [bids(x.merge.tick(T + ms)) for ms in (10, 2010, 2011, 9000)] == [[], [], [{4200: 500}], []]


def test_a_line_that_catches_up_in_time_ends_the_wait():
    x = Lines()
    for line in (0, 1): x.whole(line, 1)
    x.change(0, 2)
    x.merge.receive(0, BookStale(T, ("X",), "a gap"))
    assert x.merge.tick(T) == []
    x.change(1, 2)
    assert x.merge.tick(T + 1000) == []
    x.whole(0, 9)
    x.merge.receive(0, BookStale(T, ("X",), "a gap"))
    assert [bids(x.merge.tick(T + ms)) for ms in (2001, 4001, 4002)] == [[], [], [{4200: 600}]]  # counted from then


@pytest.mark.parametrize("agree", [False, True])
def test_lines_may_contradict_each_other_at_one_clock_as_long_as_the_setting_says(agree: bool):
    x = Lines()
    for line, count in ((0, 500), (1, 700)): x.whole(line, 1, ((4200, count),))
    assert x.merge.tick(T) == x.merge.tick(T + 2000) == [] and x.merge.live == {"X"}
    if agree:
        for line, delta in ((0, 300), (1, 100)): x.change(line, 1, delta)
        assert x.merge.tick(T + 2001) == []
        x.change(0, 1, 5)
        assert x.merge.tick(T + 3000) == x.merge.tick(T + 5000) == []
        assert x.merge.tick(T + 5001) != []
    else:
        assert x.merge.tick(T + 2001) == [BookStale(T + 2001, ("X",), "X: the lines have different books at one clock")]
        assert not x.merge.live and x.merge.wrong == [("X", "X: the lines have different books at one clock")]


@pytest.mark.parametrize("kind", ["whole", "change"])
def test_a_clock_that_goes_back_makes_a_book_wrong_and_one_that_stands_does_not(kind: str):
    x = Lines()
    x.whole(0, 5)
    tell = x.whole if kind == "whole" else x.change
    tell(0, 5)
    assert tell(0, 6) and not x.merge.wrong
    assert tell(0, 5) == [BookStale(T, ("X",), "clock back from 6 to 5")]
    assert x.merge.wrong == [("X", "clock back from 6 to 5")] and not x.merge.live
    assert x.change(0, 7) == []  # it waits for a snapshot
    assert x.whole(0, 1)  # whose clock may be any


@pytest.mark.parametrize("kind", ["whole", "change"])
def test_a_message_without_a_clock_can_not_be_merged_and_is_told_once(kind: str):
    x = Lines()
    for _ in range(2):
        x.whole(0, 0)
        (gone,) = x.whole(0, None) if kind == "whole" else x.change(0, None)
        assert isinstance(gone, BookStale) and not x.merge.live
    assert len(x.merge.warnings) == 1 and "without a clock" in x.merge.warnings[0] and not x.merge.wrong
    assert [clock_of(text) for text in (b"no json", b"{}", raw(None), raw(0), raw(7))] == [-1, -1, -1, 0, 7]


def test_a_change_below_nothing_makes_a_book_wrong():
    x = Lines()
    x.whole(0, 1)
    (stale,) = x.change(0, 2, -600)
    assert isinstance(stale, BookStale) and [t for t, _ in x.merge.wrong] == ["X"]


def test_a_book_is_stale_when_the_last_line_has_lost_it_and_the_stream_is_down_with_the_last_line():
    x = Lines()
    for line in (0, 1): x.whole(line, 1)
    lost = [x.merge.receive(line, BookStale(T, ("X", "Y"), "a gap")) for line in (0, 1, 1)]
    assert lost == [[], [BookStale(T, ("X",), "a gap")], []]
    ups = [(0, True), (1, True), (0, False), (0, False), (1, False), (1, True)]
    told = [bool(x.merge.receive(line, Connection(T, up, "why"))) for line, up in ups]
    assert told == [True, False, False, False, True, True]
    trade = Trade(T, "t", "X", 4200, 100, Side.BID)
    assert x.merge.receive(1, trade) == [trade]


def test_a_market_that_is_not_followed_any_more_leaves_nothing():
    x = Lines()
    x.whole(0, 1)
    x.merge.forget(["X", "Y"])
    assert not x.merge.live and x.merge.tick(T + 10**6) == [] and x.change(0, 2) == []
