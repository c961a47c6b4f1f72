"Which messages of the stream are ours, and how often and to whom the others are told"
from typing import Any

import pytest

from kalshi_mm.feed.stream_state import StreamState
from kalshi_mm.feed.subscriptions import LIFECYCLE, TRADES
from kalshi_mm.model.messages import Event, FillSeen, GroupSeen, MarketStatus, OrderSeen, OrderUnclear, Trade
from tests.feed.test_odd_frames import MESSAGES
from tests.feed.test_stream_state import SIDS, T, frame, opened

FILL, ORDER = MESSAGES["fill"], MESSAGES["user_order"]


def said(state: StreamState, kind: str, channel: str = "", **msg: Any) -> list[Event]:
    return state.receive(frame(kind, SIDS.get(channel, 0), 0, **msg), T)


@pytest.mark.parametrize(("ours", "theirs", "taken"), [
    (None, 3, True), (None, None, True), (3, 3, True), (3, 4, False), (3, None, True), (0, 0, True), (0, 1, False),
    (1, 0, False)])
def test_messages_of_another_subaccount_are_not_ours_and_those_that_name_none_may_be(
        ours: int | None, theirs: int | None, taken: bool):
    state = opened(subaccount=ours)
    whose = {} if theirs is None else {"subaccount": theirs}
    filled = said(state, "fill", "fill", **FILL, **whose)
    ordered = said(state, "user_order", "user_orders", **ORDER, **{f"{name}_number": n for name, n in whose.items()})
    said(state, "market_position", "market_positions", market_ticker="A", position_fp="7.00", **whose)
    assert ([type(e) for e in filled], [type(e) for e in ordered]) == (([FillSeen], [OrderSeen]) if taken else ([], []))
    assert state.health.positions == ({"A": 700} if taken else {})


def test_the_life_of_a_market_that_is_followed_is_told_or_read_again_and_of_others_counted():
    state = opened()
    def life(event_type: str, ticker: str = "A") -> tuple[list[str], set[str]]:
        state.changed.clear()
        events = said(state, "market_lifecycle_v2", LIFECYCLE, market_ticker=ticker, event_type=event_type)
        return [e.status for e in events if isinstance(e, MarketStatus)], set(state.changed)

    assert life("activated") == (["active"], set()) and life("deactivated") == (["inactive"], set())
    assert life("settled")[1] == {"A"}
    state.warnings.clear()
    for _ in range(2): assert life("dreamt") == ([], {"A"})
    assert state.warnings == ["a word that isn't known, market_lifecycle_v2: event_type 'dreamt'"]
    assert state.health.odd == {"market_lifecycle_v2: event_type 'dreamt'": 2}
    assert state.health.not_ours == 0
    for n in (1, 2): assert life("activated", "Z") == ([], set()) and state.health.not_ours == n


def test_a_trade_off_the_book_or_in_a_market_that_is_not_followed_is_none_of_ours():
    state, trade = opened(), MESSAGES["trade"]
    (told,) = said(state, "trade", TRADES, **trade)
    assert isinstance(told, Trade) and (told.ticker, told.price, told.count) == ("A", 4700, 100)
    assert said(state, "trade", TRADES, **trade | {"is_block_trade": True}) == []
    assert said(state, "trade", TRADES, **trade | {"market_ticker": "Z"}) == []


def test_a_new_fee_is_read_for_the_markets_of_its_event_alone():
    state = StreamState(["E-1", "E-2", "EX-1", "F-1"])
    state.on_connect(T)
    said(state, "event_fee_update", LIFECYCLE, event_ticker="E")
    assert state.changed == {"E-1", "E-2"}


def test_an_order_with_a_status_that_is_not_known_is_in_doubt_and_the_word_is_told_once():
    state = opened()
    state.warnings.clear()
    for _ in range(2):
        (event,) = said(state, "user_order", "user_orders", **ORDER | {"status": "dreaming"})
        assert isinstance(event, OrderUnclear) and (event.order_id, event.said) == ("o1", "dreaming")
    assert state.warnings == ["a word that isn't known, user_order: status 'dreaming'"]


def test_what_becomes_of_an_order_group_is_told_and_an_unknown_word_too():
    state = opened()
    state.warnings.clear()
    assert said(state, "order_group_updates", "order_group_updates", event_type="triggered", order_group_id="g1") == [
        GroupSeen(T, "g1", "triggered")]
    assert not state.warnings
    assert said(state, "order_group_updates", "order_group_updates", event_type="dreamt", order_group_id="g1") == [
        GroupSeen(T, "g1", "dreamt")]
    assert len(state.warnings) == 1


def test_each_unknown_type_is_told_once_and_counted_always():
    state = opened()
    state.warnings.clear()
    for kind in ("news", "news", "weather", "news"): assert said(state, kind) == []
    assert state.health.unknown_types == {"news": 3, "weather": 1} and len(state.warnings) == 2


def test_no_more_than_fifty_kinds_of_what_can_not_be_read_are_told_by_name():
    state = opened()
    state.warnings.clear()
    for n in (*range(51), 0, 50): said(state, "market_lifecycle_v2", LIFECYCLE, market_ticker="A", event_type=f"word {n}")
    assert len(state.warnings) == len(state.health.odd) == 50
    assert sum(state.health.odd.values()) == 51  # the first one twice, the last one never
