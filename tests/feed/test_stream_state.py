"The patience of a stream, to the millisecond, and its figures; no socket, time is an argument"
from typing import Any

import pytest
from msgspec import json

from kalshi_mm.feed.stream_state import STRIKES, StreamState
from kalshi_mm.feed.subscriptions import BOOKS, CHANNELS, LIFECYCLE
from kalshi_mm.model.messages import BookStale, Connection, Event

T = 1_700_000_000_000
SIDS = {channel: sid for sid, channel in enumerate(CHANNELS, 1)}


def frame(kind: str, _sid: int = 0, _seq: int = 0, stamp: int | None = None, **msg: Any) -> bytes:
    return json.encode({"type": kind, "sid": _sid, "seq": _seq, "msg": msg} | ({"sending_ts_ms": stamp} if stamp else {}))


def acknowledged(state: StreamState, now_ms: int, *but: str) -> None:
    "The exchange takes all subscriptions but some"
    for channel, sid in SIDS.items():
        if channel not in but: state.receive(frame("subscribed", channel=channel, sid=sid), now_ms)


def opened(now_ms: int = T, **options: Any) -> StreamState:
    "A connection on which all channels are subscribed"
    state = StreamState(["A", "B"], **options)
    state.on_connect(now_ms)
    acknowledged(state, now_ms)
    state.take()
    return state


@pytest.mark.parametrize("heard", ["opening", "message", "ping"])
def test_a_connection_is_silent_after_as_long_as_the_setting_says_since_anything_was_heard(heard: str):
    state = opened(silence_ms=9000, patience_ms=10**9)
    last = T
    if heard == "message": state.receive(frame("ticker"), last := T + 5000)
    if heard == "ping": state.on_ping(last := T + 5000)
    assert state.tick(last + 9000) == [] and not state.broken
    events = state.tick(last + 9001)
    assert events[0] == Connection(last + 9001, False, "nothing heard for 9001 ms") and state.broken == events[0].reason
    assert state.tick(last + 99_000) == []  # told once


def test_a_subscription_without_an_answer_is_given_up_after_the_time_of_the_setting_and_no_sooner():
    state = StreamState(["A"], patience_ms=5000, silence_ms=10**9)
    state.on_connect(T)
    acknowledged(state, T, LIFECYCLE)
    assert state.tick(T + 5000) == [] and not state.health.connected
    assert state.tick(T + 5001)[0] == Connection(T + 5001, False, f"no answer to the subscription of {LIFECYCLE}")


def test_snapshots_that_do_not_come_are_asked_for_again_after_the_time_of_the_setting_each_time():
    state = opened(patience_ms=5000, silence_ms=10**9)
    state.receive(frame("orderbook_snapshot", SIDS[BOOKS], 1, market_ticker="A"), T + 1)
    asked = []
    for ms in (5000, 5001, 10_001, 10_002):
        assert state.tick(T + ms) == []
        asked += [(ms, [t for t in "AB" if f'"{t}"' in command]) for command in state.take()]
    assert asked == [(5001, ["B"]), (10_002, ["B"])]


def test_a_connection_may_have_as_many_troubles_as_are_allowed_and_one_more_ends_it():
    state = opened()
    for n in range(STRIKES):
        ended = state.receive(frame("error", SIDS[BOOKS] + 100 * n, code=25, msg="overflow"), T)
        assert [type(e) for e in ended] == ([BookStale] if state.live else []) and not state.broken
        state.receive(frame("subscribed", channel=BOOKS, sid=SIDS[BOOKS] + 100 * (n + 1)), T)
    last = state.receive(frame("error", SIDS[BOOKS] + 100 * STRIKES, code=25, msg="overflow"), T)
    assert last[0] == Connection(T, False, f"{BOOKS}: error 25 overflow, and {STRIKES} troubles before")
    assert state.on_disconnect("closed", T) == []  # its end is told already
    state.on_connect(T + 1000)  # on a new one they are forgotten
    acknowledged(state, T + 1000)
    state.receive(frame("error", SIDS[BOOKS], code=25, msg="overflow"), T + 1000)
    assert state.health.connected and not state.broken


def test_the_figures_of_a_connection_begin_anew_and_connections_are_counted():
    state = opened()
    health = state.health
    figures = [(health.reconnects, health.age_ms, health.max_age_ms)]
    for age in (40, 700, -5, 90): state.receive(frame("ticker", stamp=T - age), T)
    figures.append((health.reconnects, health.age_ms, health.max_age_ms))
    for n in (1, 2):
        assert [e.reason for e in state.on_disconnect("cut", T + n) if isinstance(e, Connection)] == ["cut"]
        assert not health.connected
        state.on_connect(T + n)
        figures.append((health.reconnects, health.age_ms, health.max_age_ms))
    assert figures == [(0, -1, 0), (0, 90, 700), (1, -1, 0), (2, -1, 0)]


@pytest.mark.parametrize(("offset_ms", "age_ms"), [(0, 40), (30, 70), (-40, 0), (-41, 0)])
def test_an_age_is_by_the_exchanges_clock_and_never_below_nothing(offset_ms: int, age_ms: int):
    state = opened()
    state.offset_ms = offset_ms
    state.receive(frame("ticker", stamp=T - 40), T)
    assert (state.health.age_ms, state.health.max_age_ms, state.health.sent_ms) == (age_ms, age_ms, T - 40)


def test_markets_are_read_again_when_news_of_them_may_have_been_missed_and_not_on_the_first_connection():
    state = opened()
    assert not state.changed
    state.on_disconnect("cut", T)
    state.on_connect(T + 1)
    assert not state.changed
    acknowledged(state, T + 1)
    assert state.changed == {"A", "B"}


def test_a_lifecycle_subscription_that_was_renewed_may_have_missed_news_too():
    state = opened()
    assert state.receive(frame("error", SIDS[LIFECYCLE], code=25, msg="overflow"), T) == [
        Connection(T, False, f"{LIFECYCLE}: error 25 overflow")]
    events: list[Event] = state.receive(frame("subscribed", channel=LIFECYCLE, sid=99), T)
    assert events == [Connection(T, True)] and state.changed == {"A", "B"}
