"""Chance plays against the exchange: whatever accounts do, cash and contracts, priority and the told book hold.

A run with KALSHI_MM_NIGHTLY set plays much longer.
"""
import json
import os
import random
from collections import OrderedDict, defaultdict
from copy import copy
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from kalshi_mm.model.numbers import CENT, DOLLAR, ONE, cost, parse_money
from kalshi_mm.model.types import Market, OrderStatus, Side, TickGrid
from kalshi_mm.sandbox.matching import (
    AccountFill,
    BookChange,
    Exchange,
    GroupChange,
    NewOrder,
    OrderChange,
    PositionChange,
    Refusal,
    StatusChange,
    TradePrint,
)

NIGHTLY = bool(os.environ.get("KALSHI_MM_NIGHTLY"))
CENTS = TickGrid.of([(0, ONE, CENT)])
TAPERED = TickGrid.of([(0, 1000, 10), (1000, 9000, 100), (9000, ONE, 10)])
DEPOSITS = {"ann": 100 * DOLLAR, "bob": 60 * DOLLAR, "cy": 3_210_000, "crowd": 0}
WINDOW_MS = 15_000


def brackets(n: int) -> list[Market]:
    "An event of three markets; one charges makers, and has prices in tenths of a cent"
    def market(k: int, grid: TickGrid, fee_type: str) -> Market:
        return Market(f"E{n}-B{k}", f"E{n}", "E", "", "active", 0, 10**15, grid, fee_type=fee_type)
    return [market(0, CENTS, "quadratic"), market(1, CENTS, "quadratic"), market(2, TAPERED, "quadratic_with_maker_fees")]


class ToldBook:
    "A market's orders as its changes tell them, each side's in priority order; orders are known by their client order ids"

    def __init__(self):
        self.sides = {side: defaultdict(OrderedDict) for side in Side}
        self.clock = 0

    def apply(self, change: BookChange) -> None:
        assert change.clock >= self.clock
        self.clock = change.clock
        orders, key = self.sides[change.side][change.price], (change.account, change.client_order_id)
        orders[key] = orders.get(key, 0) + change.delta
        assert orders[key] >= 0
        if not orders[key]: del orders[key]
        if not orders: del self.sides[change.side][change.price]

    def first(self, side: Side) -> tuple[int, tuple[str, str], int]:
        "Price, order and size of the one that must trade next"
        price = max(self.sides[side], key=lambda p: side.sign * p)
        return price, *next(iter(self.sides[side][price].items()))

    def depth(self, side: Side) -> list[tuple[int, int]]:
        prices = sorted(self.sides[side], key=lambda p: -side.sign * p)
        return [(p, sum(self.sides[side][p].values())) for p in prices]


accounts, sides = st.sampled_from(list(DEPOSITS)), st.sampled_from(Side)
counts = st.one_of(st.sampled_from([100, 200, 500, 1000]), st.integers(1, 1500))
prices = st.sampled_from([c * CENT for c in (1, 10, 40, *[44, 45, 46, 47, 48] * 6, 60, 90, 99)] + [990, 4550])
picks = st.integers(0, 10**6)  # which of the things that there are


class AnyExchange(RuleBasedStateMachine):
    @initialize()
    def open(self):
        counter = iter(range(10**9))
        self.x = Exchange(brackets(0), ids=lambda: f"id{next(counter)}")
        for name, cash in DEPOSITS.items(): self.x.open_account(name, cash, unlimited=name == "crowd")
        self.now, self.events, self.n, self.disturbed = 0, 0, 0, 0
        self.books = defaultdict(ToldBook)
        self.told = {}  # order id -> the order as last told
        self.fills = defaultdict(list)
        self.positions = {}
        self.paid = dict.fromkeys(DEPOSITS, 0)
        self.groups = {}  # group id -> [(ms, contracts)] since it was made or reset
        self.hear()

    # What is told

    def hear(self) -> list:
        "Take what has happened, and check each trade against the book that was told before it"
        happenings = self.x.take()
        for h, after in zip_longest(happenings, happenings[1:]):
            if isinstance(h, BookChange): self.books[h.ticker].apply(h)
            if isinstance(h, TradePrint):
                price, (account, client_id), size = self.books[h.ticker].first(h.taker_side.opposite)
                assert (after.account, after.client_order_id, after.delta) == (account, client_id, -h.count)
                assert price == h.price and size >= h.count
            if isinstance(h, OrderChange): self.told[h.order.order_id] = h.order
            if isinstance(h, PositionChange): self.positions[h.account, h.ticker] = h.position
            if isinstance(h, AccountFill):
                self.fills[h.account].append(h.fill)
                group_id = self.x.order(h.fill.order_id).group_id
                if group_id in self.groups: self.groups[group_id].append((h.ts_ms, h.fill.count))
            if isinstance(h, GroupChange) and h.change in ("created", "reset"): self.groups[h.group_id] = []
        return happenings

    def ask(self, call):
        "Ask the exchange for something; if it refuses, nothing may have changed"
        self.x.advance(self.now)
        self.hear()
        before = self.state()
        try:
            return call()
        except Refusal:
            assert self.x.take() == [] and self.state() == before
            return None
        finally:
            self.hear()

    def state(self):
        return [self.x.levels(t) for t in self.tickers()], [self.x.ledger(a) for a in DEPOSITS], [copy(o) for o in self.orders()]

    def tickers(self) -> list[str]: return [m.ticker for m in self.x.markets()]

    def orders(self): return [o for a in DEPOSITS for o in self.x.orders(a)]

    def quiet(self, orders: int) -> bool:
        "Whether that many orders were placed since the books were last disturbed"
        return self.n - self.disturbed > orders

    def pick(self, things: list, k: int): return things[k % len(things)] if things else None

    # What accounts do

    def place_one(self, account, *, market=0, side=Side.BID, price=4500, count=100, group=0, reuse=False, expires=None, **terms):
        if not reuse: self.n += 1
        groups = ["", *(g.group_id for g in self.x.groups(account))]
        new = NewOrder(
            account=account, ticker=self.pick(self.tickers()[-3:], market), side=side, price=price, count=count,
            client_order_id=f"{account}-{self.n}", group_id=self.pick(groups, group),
            expiration_ms=self.now + expires if expires else None, **terms)
        return self.ask(lambda: self.x.place(new, self.now))

    @rule(account=accounts, side=sides, price=prices, count=counts, market=picks, group=picks, post_only=st.booleans(),
          expires=st.sampled_from([None, 1, 4_000]), cancel_on_pause=st.booleans())
    def quote(self, account, post_only, **terms):
        placed = self.place_one(account, post_only=post_only, **terms)
        if placed: assert not (post_only and placed.filled)

    @rule(account=accounts, market=picks, group=picks, centre=st.integers(44, 48), count=counts)
    def make_a_market(self, account, market, group, centre, count):
        for k in (1, 2, 3):
            for side in Side:
                price = (centre - side.sign * k) * CENT
                self.place_one(account, market=market, group=group, side=side, price=price, count=count)

    @rule(account=accounts, order=picks, count=counts, group=picks, through=st.booleans(),
          self_trade=st.sampled_from(["taker_at_cross", "maker"]))
    def hit(self, account, order, count, group, through, self_trade):
        "Trade with an order that rests, and with what is before it"
        if (o := self.pick([o for o in self.orders() if o.resting], order)) is None: return
        market = self.tickers()[-3:].index(o.ticker)
        price = o.price - 2 * CENT * o.side.sign if through else o.price
        self.place_one(account, market=market, side=o.side.opposite, price=price, count=count, group=group, self_trade=self_trade)

    @rule(account=accounts, side=sides, price=prices, count=counts, market=picks, group=picks,
          self_trade=st.sampled_from(["taker_at_cross", "maker"]),
          time_in_force=st.sampled_from(["good_till_canceled", "immediate_or_cancel", "fill_or_kill"]))
    def take(self, account, count, time_in_force, **terms):
        placed = self.place_one(account, count=count, time_in_force=time_in_force, **terms)
        if placed is None: return
        if time_in_force != "good_till_canceled": assert placed.remaining == 0
        if placed.time_in_force == "fill_or_kill": assert placed.filled == count or placed.group_id
        assert self.place_one(account, reuse=True) is None  # the same client order id again

    @rule(account=accounts, side=sides, count=counts, market=picks)
    def reduce(self, account, side, count, market):
        ticker = self.pick(self.tickers()[-3:], market)
        held = lambda: p.net if (p := self.x.ledger(account).positions.get(ticker)) else 0  # noqa: E731
        before = held()
        placed = self.place_one(account, side=side, price=9_000 if side is Side.BID else 1_000, count=count, market=market,
                                time_in_force="immediate_or_cancel", reduce_only=True)
        if placed: assert min(0, before) <= held() <= max(0, before)

    @rule(account=accounts, order=picks)
    def cancel(self, account, order):
        if (o := self.pick(self.orders(), order)) is None: return
        before, allowed = o.remaining, o.resting and o.account == account
        reduced = self.ask(lambda: self.x.cancel(account, o.order_id, self.now))
        assert reduced is None or (allowed and reduced == before and o.status is OrderStatus.CANCELED)

    @rule(account=accounts)
    def cancel_all(self, account):
        if self.ask(lambda: self.x.cancel_all(account, self.now)) is not None:
            assert not self.x.orders(account, status=OrderStatus.RESTING)

    @rule(order=picks, count=counts, price=st.one_of(st.none(), prices), expires=st.sampled_from([None, 0, 4_000]))
    def amend(self, order, count, price, expires):
        if (o := self.pick([o for o in self.orders() if o.resting], order)) is None: return
        price, keeps = price or o.price, (price or o.price) == o.price and count <= o.filled + o.remaining
        ahead = self.x.queue_ahead(o.order_id)
        amended = self.ask(lambda: self.x.amend(
            o.account, o.order_id, ticker=o.ticker, side=o.side, price=price, count=count, now_ms=self.now,
            expiration_ms=self.now + expires if expires else expires))
        if amended is None: return
        if keeps: assert self.x.queue_ahead(o.order_id) <= ahead and o.filled + o.remaining == count
        elif o.resting: assert (o.account, o.client_order_id) == list(self.books[o.ticker].sides[o.side][o.price])[-1]

    @rule(order=picks, count=counts, to=st.booleans())
    def decrease(self, order, count, to):
        if (o := self.pick([o for o in self.orders() if o.resting], order)) is None: return
        before, by = o.remaining, {"reduce_to": count} if to else {"reduce_by": count}
        if self.ask(lambda: self.x.decrease(o.account, o.order_id, self.now, **by)):
            assert o.remaining == (count if to else max(0, before - count)) < before

    @rule(account=accounts, limit=st.sampled_from([0, 1, 2, 5, 10]), group=picks,
          what=st.sampled_from(["create", "trigger", "reset", "limit", "delete"]))
    def change_a_group(self, account, limit, group, what):
        g = self.pick([g.group_id for g in self.x.groups(account)], group) or "none"
        self.ask(lambda: {
            "create": lambda: self.x.create_group(account, limit * 100, self.now),
            "trigger": lambda: self.x.trigger_group(account, g, self.now),
            "reset": lambda: self.x.reset_group(account, g, self.now),
            "limit": lambda: self.x.set_group_limit(account, g, limit * 100, self.now),
            "delete": lambda: self.x.delete_group(account, g, self.now),
        }[what]())

    @rule(account=accounts, nets=st.booleans())
    def net(self, account, nets):
        "The return of collateral, on or off"
        self.ask(lambda: self.x.set_netting(account, nets, self.now))

    # What time and the exchange do

    @rule(market=picks, grid=st.sampled_from([CENTS, TAPERED]))
    def change_the_grid(self, market, grid):
        m = self.x.market(self.pick(self.tickers()[-3:], market))
        self.x.revise(replace(m, grid=grid), self.now)
        self.hear()
        assert all(grid.allows(o.price) for o in self.orders() if o.resting and o.ticker == m.ticker)

    @rule(ms=st.sampled_from([1, 4_000, WINDOW_MS]))
    def wait(self, ms):
        self.now += ms
        self.x.advance(self.now)
        self.hear()

    @precondition(lambda self: self.quiet(10))
    @rule(account=accounts, whole=st.booleans(), order=picks)
    def pause(self, account, whole, order):
        "Of trading, or of the whole exchange"
        self.disturbed = self.n
        self.x.set_trading(exchange_active=not whole, trading_active=False, now_ms=self.now)
        self.hear()
        assert not any(o.resting and o.cancel_on_pause for o in self.orders())
        placed, resting = self.place_one(account), [o for o in self.orders() if o.resting]
        assert placed is None
        if o := self.pick(resting, order):
            assert (self.ask(lambda: self.x.cancel(o.account, o.order_id, self.now)) is None) == whole
        self.x.set_trading(exchange_active=True, trading_active=True, now_ms=self.now)

    @precondition(lambda self: self.quiet(10))
    @rule(account=accounts, market=picks, order=picks)
    def halt_and_reopen(self, account, market, order):
        ticker = self.pick(self.tickers()[-3:], market)
        self.disturbed = self.n
        self.x.set_status(ticker, "inactive", self.now)
        assert self.place_one(account, market=market) is None
        if o := self.pick([o for o in self.orders() if o.resting], order):
            assert self.ask(lambda: self.x.cancel(o.account, o.order_id, self.now)) is not None
        self.x.set_status(ticker, "active", self.now)
        self.hear()
        assert self.x.levels(ticker) == ([], [])

    @precondition(lambda self: self.quiet(25))
    @rule(winner=st.integers(0, 2), closed_before=st.booleans())
    def settle_the_event(self, winner, closed_before):
        "One bracket pays a dollar, the others nothing; then the next event opens"
        tickers = self.tickers()[-3:]
        before = {a: self.x.ledger(a) for a in DEPOSITS}
        for k, ticker in enumerate(tickers):
            if closed_before: self.x.set_status(ticker, "closed", self.now)
            self.x.settle(ticker, ONE if k == winner else 0, self.now)
        statuses = {h.ticker: (h.status, h.result) for h in self.hear() if isinstance(h, StatusChange)}
        assert statuses == {t: ("finalized", "yes" if k == winner else "no") for k, t in enumerate(tickers)}
        for a, old in before.items():
            new, held = self.x.ledger(a), {t: old.positions[t].net for t in tickers if t in old.positions}
            due = cost(ONE, held.get(tickers[winner], 0))
            assert new.cash + new.locked == old.cash + old.locked + due
            assert all(new.positions[t].net == 0 for t in held)
            self.paid[a] += due
        self.events, self.disturbed = self.events + 1, self.n
        for m in brackets(self.events): self.x.list_market(m, self.now)
        self.hear()

    # What must always hold

    @invariant()
    def no_book_is_crossed_and_changes_tell_it_exactly(self):
        for t in self.tickers():
            bid, ask = self.x.best(t)
            assert bid is None or ask is None or bid < ask
            assert self.x.levels(t) == (self.books[t].depth(Side.BID), self.books[t].depth(Side.ASK))

    @invariant()
    def contracts_and_cash_are_conserved(self):
        ledgers = [self.x.ledger(a) for a in DEPOSITS]
        for t in self.tickers(): assert sum(le.positions[t].net for le in ledgers if t in le.positions) == 0
        fees = sum(p.fees for le in ledgers for p in le.positions.values())
        assert sum(le.cash + le.locked for le in ledgers) == sum(DEPOSITS.values()) - fees

    @invariant()
    def a_ledger_is_the_sum_of_its_fills(self):
        for a, deposit in DEPOSITS.items():
            if a == "crowd": continue
            ledger = self.x.ledger(a)
            assert ledger.fills == self.fills[a]
            assert len({f.trade_id for f in ledger.fills}) == len(ledger.fills)  # nobody trades with himself
            assert ledger.cash + ledger.locked == deposit + sum(f.cash - f.fee for f in ledger.fills) + self.paid[a]
            assert {t: p.net for t, p in ledger.positions.items()} == {t: n for (b, t), n in self.positions.items() if b == a}

    @invariant()
    def accounts_can_pay(self):
        "Nothing is reserved for fees of resting orders, so free cash may lack those, and a step of rounding for each fill"
        for a in DEPOSITS:
            ledger = self.x.ledger(a)
            assert all(h.locked >= 0 and h.locked == h.locks() for h in ledger.holdings.values())
            if a != "crowd": assert ledger.cash >= -sum(100 if f.is_taker else f.fee for f in ledger.fills)

    @invariant()
    def orders_are_what_was_told(self):
        for o in self.orders():
            assert o.resting == (o.remaining > 0) and (o.status is not OrderStatus.EXECUTED or o.filled > 0)
            assert o.expiration_ms is None or o.expiration_ms > self.now or not o.resting
            if o.account == "crowd": continue
            assert o == self.told[o.order_id]
            fills = [f for f in self.fills[o.account] if f.order_id == o.order_id]
            assert o.filled == sum(f.count for f in fills)
            assert o.taker_cost + o.maker_cost == sum(cost(f.price, f.count) for f in fills)
            assert o.taker_fees + o.maker_fees == sum(f.fee for f in fills)

    @invariant()
    def a_full_group_has_no_orders(self):
        for g in (g for a in DEPOSITS if a != "crowd" for g in self.x.groups(a)):
            matched = sum(n for ms, n in self.groups[g.group_id] if ms > self.now - WINDOW_MS)
            assert g.triggered or matched < g.limit
            resting = {o.order_id for o in self.orders() if o.group_id == g.group_id and o.resting}
            assert set(g.orders) == resting and not (g.triggered and resting)


TestAnyExchange = AnyExchange.TestCase
TestAnyExchange.settings = settings(
    max_examples=5000 if NIGHTLY else 400, stateful_step_count=100 if NIGHTLY else 50, deadline=None)


def test_refusals_read_as_the_demo_exchange_recorded_them():
    path = Path(os.environ.get("KALSHI_MM_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = path / "rest_payloads" / "demo_2026-06_request_response.json"
    if not path.exists(): pytest.skip(f"no recording {path.name} (KALSHI_MM_DATA names the folder of recordings)")
    recorded = json.loads(path.read_text())
    x = Exchange(brackets(0), ids=(f"id{n}" for n in range(99)).__next__)
    for name in ("ann", "bob"): x.open_account(name, 100 * DOLLAR)
    terms = {"account": "ann", "ticker": "E0-B0", "side": Side.BID, "count": 100}
    own = x.place(NewOrder(**terms, price=100, client_order_id="a"), 1)
    gone = x.place(NewOrder(**terms, price=100, client_order_id="b"), 1)
    x.cancel("ann", gone.order_id, 1)
    x.place(NewOrder(**terms | {"account": "bob", "side": Side.ASK}, price=5200), 1)
    taken = x.place(NewOrder(**terms, price=9900, time_in_force="immediate_or_cancel"), 2)
    x.place(NewOrder(**terms | {"account": "bob", "side": Side.ASK}, price=5300), 2)
    calls = {
        "orders__duplicate_client_order_id": lambda: x.place(NewOrder(**terms, price=100, client_order_id="a"), 3),
        "orders__reuse_canceled_client_id": lambda: x.place(NewOrder(**terms, price=100, client_order_id="b"), 3),
        "orders__insufficient_balance": lambda: x.place(NewOrder(**terms | {"count": 1_009_900}, price=9900), 3),
        "orders__invalid_price_structure": lambda: x.place(NewOrder(**terms, price=5150, post_only=True), 3),
        "orders__post_only_cross": lambda: x.place(NewOrder(**terms, price=9900, post_only=True), 3),
        "orders__cancel_already_canceled": lambda: x.cancel("ann", gone.order_id, 3),
        "orders__cancel_executed": lambda: x.cancel("ann", taken.order_id, 3),
        "orders__cancel_unknown_id": lambda: x.cancel("ann", "00000000-0000-0000-0000-000000000000", 3),
    }
    for case, call in calls.items():
        with pytest.raises(Refusal) as e: call()
        error = recorded[case]["body"]["error"]
        assert (e.value.status, e.value.code, e.value.message, e.value.details) == (
            recorded[case]["meta"]["status"], error["code"], error["message"], error.get("details", "")), case
    fee = recorded["orders__create_v2_taker_ioc"]["body"]["average_fee_paid"]  # a contract at 52 cents, taken
    assert (own.resting, taken.taker_fees) == (True, parse_money(fee))


def test_the_same_calls_make_the_same_exchange():
    def day() -> list:
        rnd, ids = random.Random(1), random.Random(2)
        x = Exchange(brackets(0), ids=lambda: f"{ids.getrandbits(64):016x}")
        for name in DEPOSITS: x.open_account(name, 0, unlimited=name == "crowd")
        for a in DEPOSITS: x.records.accounts[a].cash = 1000 * DOLLAR
        for now in range(500):
            new = NewOrder(account=rnd.choice(list(DEPOSITS)), ticker=f"E0-B{rnd.randrange(3)}", side=rnd.choice(list(Side)),
                           price=rnd.randrange(40, 60) * CENT, count=rnd.randrange(1, 900), self_trade="maker")
            x.place(new, now)
        return x.take()
    assert day() == day()
