"Promises of the core and of the engine around it that a session broke once, or could break"
import asyncio
import os
from decimal import Decimal
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from pydantic import ValidationError

from kalshi_mm.client.credentials import Credentials
from kalshi_mm.client.rest import Client
from kalshi_mm.client.transport import Unreachable
from kalshi_mm.config import Settings
from kalshi_mm.engine.status import status
from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config, LiveParameters
from kalshi_mm.model.messages import (
    AccountRead,
    Amend,
    BookDelta,
    BookRead,
    BookSnapshot,
    Cancel,
    ClockRead,
    Command,
    Connection,
    Decide,
    Event,
    ExchangeStatus,
    FeedHealth,
    FillSeen,
    FillUnread,
    GroupSeen,
    MarketListed,
    MarketStatus,
    MarketUnclear,
    OrderCanceled,
    OrderPlaced,
    OrderSeen,
    OrderUnclear,
    Place,
    ReadAccount,
    Restored,
    Verb,
    WriteRejected,
)
from kalshi_mm.model.numbers import CENT, DOLLAR, ONE
from kalshi_mm.model.types import Fill, Market, Order, OrderStatus, Position, Side, TickGrid, UnreadFill
from kalshi_mm.research.backtest import Backtest
from kalshi_mm.risk.day import new_york_day
from kalshi_mm.risk.limits import Limits
from kalshi_mm.sandbox.execution import Refusal
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.order_queue import NewOrder
from kalshi_mm.strategy.parameters import UNITS
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

T = 1_700_000_000_000
CENTS = TickGrid.of([(0, ONE, CENT)])


def market(ticker: str = "X") -> Market:
    return Market(ticker, "E", "S", ticker, "active", T - 1000, T + 10**9, CENTS)


def listening() -> MarketMaker:
    "A maker of one market that has read its account and was told to start"
    maker = MarketMaker(SpreadCapture(Params()), Config("s"))
    for event in (Connection(T, True), MarketListed(T, market()), AccountRead(T, T, 0, (), (), (), 10**10),
                  BookSnapshot(T, "X", ((4200, 2500),), ((4800, 2500),)), Command(T, "start", "test")):
        maker.handle(event)
    return maker


def test_a_list_read_before_a_fill_is_no_drift():
    maker = listening()
    maker.handle(FillSeen(T + 5000, Fill("t1", "o1", "X", Side.BID, 4300, 1000, 0, False, T + 5000)))
    for late in (6000, 7000, 8000, 9000):  # lists that were asked for before it, and arrive one after the other
        maker.handle(AccountRead(T + late, T + 4000, 0, (), (), (), 10**10))
    assert "drift" not in maker.halts.active
    for late in (20_000, 24_000, 28_000):
        maker.handle(AccountRead(T + late, T + late, 0, (), (), (), 10**10))
    assert "drift" in maker.halts.active


def test_what_the_exchange_can_not_take_now_is_no_storm_of_refusals():
    maker = listening()
    for n in range(40):
        now = T + 1000 + 300 * n
        for a in maker.handle(Decide(now)):
            if isinstance(a, Place): maker.handle(WriteRejected(now, a.client_order_id, Verb.PLACE, "unreachable", "no route"))
    assert not maker.halts
    for n in range(40):
        now = T + 60_000 + 300 * n
        for a in maker.handle(Decide(now)):
            if isinstance(a, Place): maker.handle(WriteRejected(now, a.client_order_id, Verb.PLACE, "invalid_price", "off grid"))
    assert "rejects" in maker.halts.active


def test_a_loss_of_the_morning_counts_in_the_afternoon_and_after_a_restart():
    maker = MarketMaker(SpreadCapture(Params()), Config("s", Limits(max_daily_loss=50 * DOLLAR)))
    bought = Position("X", 10_000, -10_000 * 4500)  # 100 at 45 cents, marked at 45 when the last session ended
    maker.handle(Restored(T, (bought,), ("t1",), new_york_day(T), 45 * DOLLAR, 50 * DOLLAR, 0, (("X", 4500),), ()))
    for event in (Connection(T, True), MarketListed(T, market()), AccountRead(T, T, 0, (), (("X", 10_000),), (), 10**10),
                  Command(T, "start", "test"), BookSnapshot(T, "X", ((4200, 2500),), ((4800, 2500),)), Decide(T)):
        maker.handle(event)
    assert maker.day and maker.day.pnl == -45 * DOLLAR and not maker.halts  # nothing was lost since the restart
    maker.handle(BookSnapshot(T + 500, "X", ((3700, 2500),), ((4300, 2500),)))  # five cents a contract
    maker.handle(Decide(T + 500))
    assert "daily_loss" in maker.halts.active and "lost $50.00 of $50.00" in maker.halts.why


def test_a_cancel_that_is_refused_is_tried_again_but_not_at_once():
    maker = listening()
    for n, a in enumerate(a for a in maker.handle(Decide(T + 10)) if isinstance(a, Place)):
        maker.handle(OrderPlaced(T + 20, a.client_order_id, f"o{n}", 0, a.count))
    maker.handle(Command(T + 1000, "stop", "test"))
    tries = 0
    for now in range(T + 1000, T + 3000, 10):
        for a in maker.handle(Decide(now)):
            if isinstance(a, Cancel):
                tries += 1
                maker.handle(WriteRejected(now, a.client_order_id, Verb.CANCEL, "exchange_closed", "exchange is paused"))
    assert 2 * 7 <= tries <= 2 * 9  # two orders, two seconds, four times a second


@pytest.mark.parametrize("answer_first", [True, False])
def test_our_own_order_in_the_book_is_never_taken_for_the_others(answer_first: bool):
    maker = listening()
    placed = [a for a in maker.handle(Decide(T + 10)) if isinstance(a, Place)]
    answers = [OrderPlaced(T + 40, a.client_order_id, f"o{n}", 0, a.count) for n, a in enumerate(placed)]
    shown = [BookDelta(T + 40, "X", a.side, a.price, a.count, 0, a.client_order_id) for a in placed]
    for now, events in zip((T + 300, T + 600), (answers, shown) if answer_first else (shown, answers), strict=True):
        for event in events: maker.handle(event)
        assert [a for a in maker.handle(Decide(now)) if isinstance(a, Place | Amend | Cancel)] == []


def test_a_maker_comes_to_rest_however_fast_its_answers_are():
    exchange = Exchange([market("A")], ids=lambda ids=Random(1): f"{ids.getrandbits(64):016x}")  # noqa: B008
    traffic = Chaos(1, 60)
    traffic.markets = (market("A"),)
    test = Backtest(MarketMaker(SpreadCapture(Params(min_spread=2 * CENT)), Config("s")), exchange, traffic, order_ms=1)
    test.run(until_ms=T + 120_000)
    writes = [a for _, a in test.actions if isinstance(a, Place | Amend | Cancel)]
    assert len(writes) < 60 * 6  # a handful for each move of the market, not one for each message


def test_a_blocked_client_places_nothing_and_cancels_still():
    async def drill() -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        client = Client("http://127.0.0.1:1/trade-api/v2", Credentials("k", key))
        client.blocked = "killed by test"
        with pytest.raises(Unreachable, match="killed by test"):
            await client.place(Place("wide", "kmm-s-1", "X", Side.BID, 4300, 1000, T // 1000 + 60))
        with pytest.raises(Unreachable) as refused:
            await client.cancel_all()
        assert "killed" not in str(refused.value)  # it did try: nobody listens there
        await client.close()

    asyncio.run(drill())


def test_a_halt_recalls_what_waits_for_its_turn():
    async def drill() -> None:
        client = Client("http://127.0.0.1:1/trade-api/v2", Credentials("k", ed25519.Ed25519PrivateKey.generate()))
        place, why = Place("wide", "kmm-s-1", "X", Side.BID, 4300, 1000, T // 1000 + 60), ""
        # ten tokens each of a hundred, of which cancels have twenty: the last ones wait for a tenth of a second
        waiting = [asyncio.create_task(client.place(place, recalled=lambda: why)) for _ in range(10)]
        await asyncio.sleep(0)
        why = "halted, group"
        said = [str(e) for e in await asyncio.gather(*waiting, return_exceptions=True)]
        assert sum("halted, group" in text for text in said) >= 2
        await client.close()

    asyncio.run(drill())


class Chaos:
    "Traffic that places, cancels and takes at random, in every market"

    def __init__(self, seed: int, steps: int):
        self.rng, self.steps, self.markets = Random(seed), steps, (market("A"), market("B"))
        self.at_ms, self.opened = T, False

    def next_ms(self) -> int | None: return self.at_ms if self.steps else None

    def result(self) -> dict[str, int]: return {"A": ONE, "B": 0}

    def act(self, exchange: Exchange, day_ms: int, now_ms: int) -> None:
        if not self.opened:
            exchange.open_account("crowd", 0, unlimited=True)
            self.opened = True
        while self.steps and self.at_ms <= day_ms:
            self.steps -= 1
            self.at_ms += self.rng.randrange(1, 1500)
            side = self.rng.choice(list(Side))
            price = CENT * self.rng.randrange(1, 100)
            order = NewOrder(account="crowd", ticker=self.rng.choice("AB"), side=side, price=price, self_trade="maker",
                             count=self.rng.randrange(1, 3000),
                             time_in_force=self.rng.choice(["good_till_canceled", "immediate_or_cancel"]))
            try: exchange.place(order, now_ms)
            except Refusal: continue


EXAMPLES = 500 if os.environ.get("KALSHI_MM_NIGHTLY") else 25


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6), size=st.integers(1, 40), limit=st.integers(5, 60), order_ms=st.integers(1, 3000))
def test_whatever_the_market_does_limits_hold_and_the_books_agree(seed: int, size: int, limit: int, order_ms: int):
    limits = Limits(100 * limit, 150 * limit, 10**12, max_drawdown=10**12, max_burst=10**12)
    params = Params(default_order_size=100 * size, min_spread=2 * CENT)
    maker = MarketMaker(SpreadCapture(params), Config("s", limits))
    traffic = Chaos(seed, 120)
    ids = Random(seed)
    exchange = Exchange(traffic.markets, ids=lambda: f"{ids.getrandbits(64):016x}")
    test = Backtest(maker, exchange, traffic, order_ms=order_ms)
    test.run(until_ms=T + 150_000)
    ledger = test.ledger
    for ticker, slot in maker.slots.items():
        held = ledger.positions.get(ticker)
        if held: assert (slot.position.net, slot.position.cash, slot.position.fees) == (held.net, held.cash, held.fees)
        assert slot.worst <= limits.max_position
    fills = {f.trade_id for f in ledger.fills}
    assert maker.orders.trade_ids == fills


def test_each_parameter_that_may_change_is_a_setting_with_the_same_default_and_range():
    live = LiveParameters(SpreadCapture(Params()), Config("s"))
    now, preset_only = live.values(), {"unwind", "leave_half_spread"}
    assert {p.name for p in live.table} - set(Settings.model_fields) == preset_only
    for p in live.table:
        if p.name in preset_only: continue
        assert Decimal(now[p.name]) == getattr(Settings(), p.name), p.name
        for edge in (p.lowest, p.highest): Settings(**{p.name: edge})
        step = Decimal(1).scaleb(-UNITS.get(p.unit, (1, 0))[1])
        for beyond in (Decimal(p.lowest) - step, Decimal(p.highest) + step):
            with pytest.raises(ValidationError): Settings(**{p.name: str(beyond)})


def quoting() -> MarketMaker:
    "A maker with both its quotes resting"
    maker = listening()
    for n, a in enumerate(a for a in maker.handle(Decide(T + 10)) if isinstance(a, Place)):
        maker.handle(OrderPlaced(T + 20, a.client_order_id, f"o{n}", 0, a.count))
    return maker


def writes(maker: MarketMaker, now: int) -> list[str]:
    return [type(a).__name__ for a in maker.handle(Decide(now)) if isinstance(a, Place | Amend | Cancel)]


def resting(client_order_id: str, order_id: str = "o99", filled: int = 0) -> Order:
    return Order(order_id, client_order_id, "X", Side.BID, 4100, filled, 1000 - filled, OrderStatus.RESTING, T + 60_000)


@pytest.mark.parametrize("whose", ["kmm-probe1a2b3c-1", "by-hand", "", "kmm-dead-7", "kmm-s-99"])
def test_no_order_by_hand_of_a_probe_or_of_an_earlier_session_is_another_engine(whose: str):
    maker = quoting()
    maker.handle(Restored(T + 240, (), (), "", 0, 0, 0, (), (), sessions=("dead",)))
    maker.handle(OrderSeen(T + 250, resting(whose)))
    actions = maker.handle(AccountRead(T + 260, T + 260, 0, (resting(whose),), (), (), 10**10))
    assert "other_engine" not in maker.halts.active
    left = [a for a in actions if isinstance(a, Cancel) and a.reason == "left by an earlier session"]
    assert bool(left) == whose.startswith(("kmm-dead", "kmm-probe", "kmm-s-99"))


@pytest.mark.parametrize(("cause", "rule"), [
    ([FeedHealth(T + 300, 26_000, 40)], "stale"),
    ([FeedHealth(T + 300, 100, 20_000)], "stale"),
    ([ClockRead(T + 300, -4000)], "clock_skew"),
    ([Connection(T + 300, False, "reset by peer")], "disconnected"),
    ([ExchangeStatus(T + 300, True, False)], "paused"),
    ([GroupSeen(T + 200, "g1", "adopted"), GroupSeen(T + 300, "g1", "triggered")], "group"),
    ([FillSeen(T + 300, Fill(f"t{n}", f"h{n}", "X", Side.BID, 4300, 5000, 0, False, T)) for n in range(3)], "fill_burst"),
    ([BookSnapshot(T + 200, "X", ((4200, 2500),), ((4800, 2500),)),
      MarketListed(T + 300, structs.replace(market(), fee_type="flat"))], "terms:X"),
    ([MarketUnclear(T + 300, "X", "its price grid has a gap")], "terms:X"),
    ([OrderSeen(T + 300, resting("kmm-elsewhere-7"))], "other_engine"),
    ([AccountRead(T + 300, T + 300, 0, (resting("kmm-elsewhere-7"),), (), (), 10**10)], "other_session"),
    ([BookSnapshot(T + 300, "X", ((5500, 2500),), ((4300, 2500),))], "mirrored"),
    ([BookRead(T + 300, T + 250, "X", ((4200, 2500),), ((4800, 2500), (5000, 100))),
      BookSnapshot(T + 310, "X", ((4200, 2500),), ((5200, 2500), (5000, 100), (5100, 300))),
      BookRead(T + 320, T + 310, "X", ((4200, 2500),), ((4800, 2500), (4900, 300)))], "mirrored"),
    ([FillUnread(T + 300, UnreadFill("t9", "no count", "X", "o7"))], "unread_fill:X"),
    ([FillUnread(T + 300, UnreadFill("t9", "no count"))], "unread_fill"),
    ([AccountRead(T + 300, T + 300, 0, (), (), (), 10**10, (UnreadFill("t9", "no count", "X"),))], "unread_fill:X"),
])
def test_each_halt_pulls_every_quote_and_fills_go_on_being_counted(cause: list[Event], rule: str):
    maker = quoting()
    for event in cause: maker.handle(event)
    assert rule in maker.halts.active
    assert writes(maker, T + 400) == ["Cancel", "Cancel"]
    before = maker.slots["X"].position.net
    maker.handle(FillSeen(T + 500, Fill("late", "o0", "X", Side.BID, 4300, 400, 0, False, T + 450, "kmm-s-1")))
    assert maker.slots["X"].position.net == before + 400
    shown = status(maker, T + 500)
    assert shown.fills and all(h.todo and h.reason for h in shown.halts)


def test_terms_of_one_market_that_are_not_understood_stop_that_market_alone():
    maker = quoting()
    maker.handle(MarketListed(T + 30, market("Y")))
    maker.handle(BookSnapshot(T + 30, "Y", ((4200, 2500),), ((4800, 2500),)))
    maker.handle(MarketUnclear(T + 40, "X", "no fee type named 'flat'"))
    sent = [a for a in maker.handle(Decide(T + 400)) if isinstance(a, Place | Cancel)]
    assert {(type(a).__name__, a.ticker) for a in sent} == {("Cancel", "X"), ("Place", "Y")}
    maker.handle(MarketListed(T + 500, market()))
    assert not maker.halts


def test_another_group_of_the_account_is_none_of_our_business():
    maker = quoting()
    for event in (GroupSeen(T, "g1", "adopted"), GroupSeen(T + 300, "g2", "triggered")): maker.handle(event)
    assert not maker.halts


def test_a_kill_that_triggers_our_group_is_one_halt_and_not_two():
    maker = quoting()
    for event in (GroupSeen(T, "g1", "adopted"), Command(T + 300, "kill", "test"), GroupSeen(T + 310, "g1", "triggered"),
                  Command(T + 900, "rearm", "test")): maker.handle(event)
    assert not maker.halts


def test_reduce_only_leaves_the_side_that_makes_the_position_smaller():
    maker = quoting()
    maker.handle(FillSeen(T + 100, Fill("t1", "o0", "X", Side.BID, 4300, 400, 0, False, T + 100, "kmm-s-1")))
    maker.handle(Command(T + 200, "reduce_only", "test", "on"))
    sent = [a for a in maker.handle(Decide(T + 400)) if isinstance(a, Place | Amend | Cancel)]
    assert [(type(a).__name__, a.client_order_id) for a in sent] == [("Cancel", "kmm-s-1"), ("Amend", "kmm-s-2")]
    assert isinstance(sent[1], Amend) and sent[1].count == 400  # the ask shrinks to what is held


def test_a_lowered_limit_pulls_what_would_add_and_lets_the_rest_reduce():
    maker = quoting()
    maker.handle(FillSeen(T + 100, Fill("t1", "o0", "X", Side.BID, 4300, 1000, 0, False, T + 100, "kmm-s-1")))
    maker.handle(Command(T + 200, "set", "test", '{"max_position_per_market": "5", "move_tolerance_ticks": "10"}'))
    sent = {(type(a).__name__, a.side) for ms in (400, 700) for a in maker.handle(Decide(T + ms)) if isinstance(a, Place | Amend)}
    assert "exposure:X" in maker.halts.active and ("Place", Side.BID) not in sent
    assert [w.side for w in maker.orders.own.pending()] == [Side.ASK]


def test_a_change_of_parameters_with_one_wrong_changes_none_of_them():
    maker = quoting()
    [refused] = maker.handle(Command(T, "set", "test", '{"skew_ticks": "2", "min_spread": "wide"}'))
    before = LiveParameters(SpreadCapture(Params()), Config("s")).values()
    assert "min_spread" in refused.reason and status(maker, T).parameters == before
    [done] = maker.handle(Command(T, "set", "test", '{"skew_ticks": "2"}'))
    assert done.reason == "set by test: skew_ticks 4 -> 2"


def test_a_paused_market_is_not_quoted_until_it_is_resumed():
    maker = quoting()
    maker.handle(Command(T + 300, "pause", "test", "X"))
    assert writes(maker, T + 400) == ["Cancel", "Cancel"] and status(maker, T + 400).markets[0].paused
    for n in (0, 1): maker.handle(OrderCanceled(T + 450, f"kmm-s-{n + 1}", f"o{n}", 1000))
    maker.handle(Command(T + 500, "resume", "test", "X"))
    assert writes(maker, T + 900) == ["Place", "Place"]


def test_an_unknown_word_for_an_order_puts_it_in_doubt_and_asks():
    maker = quoting()
    maker.handle(OrderUnclear(T + 300, "o0", "kmm-s-1", "hibernating"))
    asked = maker.handle(Decide(T + 600))
    assert [type(a).__name__ for a in asked] == ["ReadAccount"] and maker.orders.exposure("X") == (1000, 1000)
    rows = tuple(Order(f"o{n}", f"kmm-s-{n + 1}", "X", side, price, 0, 1000, OrderStatus.RESTING)
                 for n, (side, price) in enumerate(((Side.BID, 4300), (Side.ASK, 4700))))
    maker.handle(AccountRead(T + 5000, T + 4000, 1, rows, (), (), 10**10))
    assert not maker.orders.own.doubtful


def test_a_book_that_rest_contradicts_for_good_is_not_quoted_on():
    maker = quoting()
    for n in range(3):
        asked = T + 60_000 + 4000 * n
        maker.handle(BookRead(asked + 40, asked, "X", ((4200, 3000), (4300, 1000)), ((4700, 1000), (4800, 2500))))
    assert not maker.slots["X"].book.live and "30 by REST" in maker.slots["X"].book.why_stale


def seen_canceled(maker: MarketMaker, n: int, now: int, ticker: str = "X") -> None:
    w = maker.orders.all[f"kmm-s-{n}"]
    told = Order(f"o{n}", w.client_order_id, ticker, w.side, w.price, w.filled, 0, OrderStatus.CANCELED, ts_ms=now)
    maker.handle(OrderSeen(now, told))


def quoting_both(*tickers: str) -> MarketMaker:
    "A maker whose quotes rest in these markets"
    maker = MarketMaker(SpreadCapture(Params()), Config("s"))
    maker.handle(ClockRead(T, 0))
    for t in tickers: maker.handle(MarketListed(T, market(t)))
    maker.handle(AccountRead(T, T, 0, (), (), (), 10**10))
    maker.handle(Connection(T, True))
    maker.handle(AccountRead(T + 1, T + 1, 0, (), (), (), 10**10))
    for t in tickers: maker.handle(BookSnapshot(T, t, ((4200, 1000),), ((4800, 1000),)))
    maker.handle(Command(T, "start", "cli"))
    for a in maker.handle(Decide(T + 2)):
        if not isinstance(a, Place): continue
        maker.handle(OrderPlaced(T + 3, a.client_order_id, a.client_order_id.replace("kmm-s-", "o"), 0, a.count))
    return maker


def placed(maker: MarketMaker, now: int) -> set[str]:
    "The markets in which a decision places something"
    return {a.ticker for a in maker.handle(Decide(now)) if isinstance(a, Place)}


@pytest.mark.parametrize("explained", ["nothing", "pause", "group", "market", "expiry", "ours", "kill", "filled"])
def test_only_an_end_that_nothing_explains_counts_as_canceled_elsewhere(explained: str):
    maker = quoting_both("X", "Y")
    now = T + 1000
    if explained == "expiry": now = 1000 * maker.orders.all["kmm-s-1"].expiration_s - 1000
    if explained == "ours": maker.handle(Command(now, "stop", "cli"))
    if explained == "filled":
        w = maker.orders.all["kmm-s-1"]
        filled = Order("o1", w.client_order_id, "X", w.side, w.price, w.count, 0, OrderStatus.EXECUTED, ts_ms=now)
        maker.handle(OrderSeen(now, filled))
    else: seen_canceled(maker, 1, now)
    if explained == "pause": maker.handle(ExchangeStatus(now + 4000, True, False))
    if explained == "group":
        maker.handle(GroupSeen(now, "g", "adopted"))
        maker.handle(GroupSeen(now + 4000, "g", "triggered"))
    if explained == "market": maker.handle(MarketStatus(now + 4000, "X", "closed"))
    if explained == "kill": maker.handle(Command(now + 4000, "kill", "cli"))
    maker.handle(Decide(now + 6500))
    halts = [k for k in maker.halts.active if k.startswith("canceled_elsewhere")]
    assert halts == (["canceled_elsewhere:X"] if explained == "nothing" else [])


def test_a_market_waits_at_once_for_the_reason_and_the_others_go_on():
    maker = quoting_both("X", "Y")
    seen_canceled(maker, 1, T + 1000)  # X, bid
    maker.orders.drop(maker.orders.all["kmm-s-3"])  # Y has room for a new one
    assert placed(maker, T + 1300) == {"Y"}
    maker.handle(Decide(T + 8000))
    assert [*maker.halts.active] == ["canceled_elsewhere:X"] and maker.halts.active["canceled_elsewhere:X"].latched
    left = Restored(T, (), (), "", 0, 0, 0, (), (("canceled_elsewhere:X", "canceled elsewhere", T),))
    again = MarketMaker(SpreadCapture(Params()), Config("t"))
    again.handle(left)
    assert [*again.halts.active] == ["canceled_elsewhere:X"]  # a restart is no reason to quote it again
    maker.handle(Command(T + 9000, "resume", "cli", "X"))
    assert not maker.halts.active


def test_several_within_a_minute_halt_everything_and_one_a_minute_later_its_market():
    maker = quoting_both("X", "Y")
    seen_canceled(maker, 1, T + 1000)
    seen_canceled(maker, 3, T + 2000, "Y")
    assert placed(maker, T + 2100) == set()
    maker.handle(Decide(T + 9000))
    assert "canceled_elsewhere" in maker.halts.active
    maker.handle(Command(T + 9500, "reset", "cli", "canceled_elsewhere"))
    assert not maker.halts.active


def test_a_list_tells_of_a_cancel_by_hand_too():
    maker = quoting_both("X")
    w = maker.orders.all["kmm-s-1"]
    gone = Order("o1", "kmm-s-1", "X", w.side, w.price, 0, 0, OrderStatus.CANCELED, ts_ms=T + 1000)
    other = next(o for o in (maker.orders.all["kmm-s-2"],))
    rests = Order("o2", "kmm-s-2", "X", other.side, other.price, 0, other.count, OrderStatus.RESTING, ts_ms=T)
    maker.handle(AccountRead(T + 10_000, T + 9_990, T - 1, (gone, rests), (), (), 10**10))
    maker.handle(Decide(T + 17_000))
    assert "canceled_elsewhere:X" in maker.halts.active


def test_a_stop_asks_the_exchange_after_it():
    maker = quoting_both("X")
    patience = maker.config.patience_ms
    maker.handle(Command(T + 1000, "stop", "cli"))
    for n in (1, 2): maker.handle(OrderCanceled(T + 1100, f"kmm-s-{n}", f"o{n}", 1000))
    maker.handle(AccountRead(T + 1200, T + 1150, 0, (), (), (), 10**10))  # asked too soon: the lists may lag
    assert status(maker, T + 1300).stop_confirmed_ms == 0
    done = [a for at in range(1300, 1000 + patience + 800, 250) for a in maker.handle(Decide(T + at))]
    assert len([a for a in done if isinstance(a, ReadAccount)]) == 1
    maker.handle(AccountRead(T + 1000 + patience + 900, T + 1000 + patience + 300, 0, (), (), (), 10**10))
    assert status(maker, T + 9000).stop_confirmed_ms == T + 1000 + patience + 900
    maker.handle(Command(T + 9000, "start", "cli"))
    assert status(maker, T + 9001).stop_confirmed_ms == 0
