"One odd fact stops one market or one order, not the connection: every field of every message, replaced by what it can't be"
from typing import Any

import pytest
from msgspec import json

from kalshi_mm.feed.stream_state import StreamState
from kalshi_mm.feed.subscriptions import CHANNELS
from kalshi_mm.model.messages import BookDelta, BookSnapshot, BookStale, Connection, Event, FillUnread, OrderUnclear

LEVELS = {"yes_dollars_fp": [["0.4700", "3.00"]], "no_dollars_fp": [["0.5200", "2.00"]]}
MESSAGES: dict[str, dict[str, Any]] = {
    "orderbook_snapshot": {"market_ticker": "A", **LEVELS},
    "orderbook_delta": {"market_ticker": "A", "price_dollars": "0.4700", "delta_fp": "1.00", "side": "yes", "ts_ms": 5,
                        "client_order_id": None},
    "trade": {"trade_id": "t", "market_ticker": "A", "yes_price_dollars": "0.4700", "count_fp": "1.00", "taker_book_side": "ask",
              "is_block_trade": False, "ts_ms": 5},
    "fill": {"trade_id": "t", "order_id": "o1", "market_ticker": "A", "is_taker": False, "yes_price_dollars": "0.4700",
             "count_fp": "1.00", "fee_cost": "0.00", "book_side": "bid", "ts_ms": 5, "client_order_id": "kmm-s-1"},
    "user_order": {"order_id": "o1", "ticker": "A", "status": "resting", "book_side": "bid", "yes_price_dollars": "0.4700",
                   "fill_count_fp": "0.00", "remaining_count_fp": "1.00", "client_order_id": "kmm-s-1", "expiration_ts_ms": 5},
    "market_position": {"market_ticker": "A", "position_fp": "1.00"},
    "market_lifecycle_v2": {"event_type": "activated", "market_ticker": "A", "settlement_value": "1.00", "result": "yes"},
    "event_fee_update": {"event_ticker": "A"},
}  # fmt: skip
SIDS = {"orderbook_snapshot": 1, "orderbook_delta": 1, "trade": 2, "fill": 3, "user_order": 4, "market_position": 5,
        "market_lifecycle_v2": 6, "event_fee_update": 6}  # fmt: skip
ODD = [7, 7.5, True, None, "odd", "", "2026-11-26T22:00:00.043421Z", "1e5", "-1.00", "9" * 40, [], {}, [["x", 1]]]
WHO = {"market_ticker", "ticker", "order_id", "event_ticker"}  # by these it is known whom a message is about


class Stream:
    "An open connection with the books of A and B"

    def __init__(self) -> None:
        self.state, self.seq = StreamState(["A", "B"]), dict.fromkeys(SIDS.values(), 0)
        self.state.on_connect(0)
        for sid, channel in enumerate(CHANNELS, 1): self.say("subscribed", {"channel": channel, "sid": sid}, counted=False)
        for ticker in "AB": self.say("orderbook_snapshot", {"market_ticker": ticker, **LEVELS})
        assert self.state.live == {"A", "B"}

    def say(self, kind: str, msg: Any, counted: bool = True) -> list[Event]:
        frame: dict[str, Any] = {"type": kind, "msg": msg}
        if counted:
            self.seq[SIDS[kind]] += 1
            frame |= {"sid": SIDS[kind], "seq": self.seq[SIDS[kind]]}
        return self.state.receive(json.encode(frame), 10)


CASES = [(kind, field) for kind, msg in MESSAGES.items() for field in msg]


@pytest.mark.parametrize("kind, field", CASES, ids=[f"{kind}.{field}" for kind, field in CASES])
def test_an_odd_field_stops_its_market_or_order_at_most(kind: str, field: str):
    for odd in ODD:
        stream = Stream()
        events = stream.say(kind, MESSAGES[kind] | {field: odd})
        if field in WHO and stream.state.broken: continue  # nobody can tell whom it is about
        assert stream.state.broken == "", (odd, stream.state.broken)
        assert not [e for e in events if isinstance(e, Connection)], (odd, events)
        for e in events:
            if isinstance(e, BookStale): assert e.tickers == ("A",), (odd, e)
        assert "B" in stream.state.live, odd
        [change] = stream.say("orderbook_delta", MESSAGES["orderbook_delta"] | {"market_ticker": "B"})
        assert isinstance(change, BookDelta), odd  # the count has gone on, and B with it
        if kind in ("fill", "user_order") and stream.state.health.decode_errors:
            if kind == "fill" and field != "trade_id":
                unread, *events = events
                assert isinstance(unread, FillUnread) and unread.fill.trade_id == MESSAGES["fill"]["trade_id"], (odd, unread)
                assert unread.fill.ticker == ("" if field == "market_ticker" else "A"), (odd, unread)
            [unclear] = events
            assert isinstance(unclear, OrderUnclear) and "o1" in (unclear.order_id, odd) or field == "order_id", (odd, events)


def test_a_book_that_was_odd_is_asked_for_again_and_comes_back():
    stream = Stream()
    stream.say("orderbook_delta", MESSAGES["orderbook_delta"] | {"price_dollars": "odd"})
    assert stream.state.live == {"B"} and stream.state.take() != []
    assert stream.state.tick(5_100) == [] and any("get_snapshot" in command for command in stream.state.take())
    [whole] = stream.say("orderbook_snapshot", MESSAGES["orderbook_snapshot"])
    assert isinstance(whole, BookSnapshot) and stream.state.live == {"A", "B"}


def test_each_kind_is_told_once_and_counted():
    stream = Stream()
    stream.state.warnings.clear()
    for n in range(3): stream.say("market_lifecycle_v2", {"event_type": n, "market_ticker": "Z"})
    said = "a message that can't be read, market_lifecycle_v2: Expected `str`, got `int` - at `$.msg.event_type`"
    assert stream.state.warnings == [said]
    assert [*stream.state.health.odd.values()] == [3] and stream.state.health.not_ours == 3
