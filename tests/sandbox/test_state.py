"""That an exchange survives its own end: whenever it is cut off, what is built again is what gave the last answer.

A run with KALSHI_MM_NIGHTLY set plays longer.
"""
import json
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from copy import deepcopy
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, ONE
from kalshi_mm.model.types import Market, OrderStatus, Programme, Side, TickGrid
from kalshi_mm.sandbox.auth import ApiKeys
from kalshi_mm.sandbox.incentives import Incentives
from kalshi_mm.sandbox.matching import Exchange, NewOrder, Refusal
from kalshi_mm.sandbox.rest import Rest
from kalshi_mm.sandbox.state import OPERATIONS, VERSION, Ids, State, StateError, made_by
from kalshi_mm.sandbox.tape import Tape
from kalshi_mm.sandbox.trading_day import TradingDay
from kalshi_mm.sandbox.traffic import MarketClock

NIGHTLY = bool(os.environ.get("KALSHI_MM_NIGHTLY"))
CENTS = TickGrid.of([(0, ONE, CENT)])
MEMBERS = ("ann", "bob", "crowd")


def brackets(event: str, open_ms: int = 0, close_ms: int = 10**13) -> tuple[Market, ...]:
    return tuple(Market(f"{event}-B{n}", event, "S", f"{n}", "active", open_ms, close_ms, CENTS) for n in range(3))


def whole(x: Exchange, tape: Tape) -> list[Any]:
    "All there is of an exchange, in a form that can be compared; the queues order by order"
    ids = x.records.ids
    assert isinstance(ids, Ids)
    queues = {t: [[(o.order_id, o.remaining) for o in q.meets(worst)] for q, worst in ((b.bids, 0), (b.asks, ONE))]
              for t, b in x.records.books.items()}
    orders = {o.order_id: (o.status, o.price, o.filled, o.remaining, o.expiration_ms, o.client_order_id, o.maker_fees)
              for o in x.records.orders.values()}
    return deepcopy([
        x.markets(), queues, orders, {a: (x.ledger(a), acc.client_ids, acc.nets) for a, acc in x.records.accounts.items()},
        [(g.group_id, g.triggered, g.matched, g.window_ms, list(g.orders)) for a in x.records.accounts for g in x.groups(a)],
        x.exchange_active, x.trading_active, x.records.window_ms, sorted(x.records.expiries), x.records.clock,
        ids._random.getstate(),
        [(b.interest, b.fees) for b in x.records.books.values()], x.records.events, list(x.records.orders), x.records.orders,
        [(a.cash, a.precision, a.unlimited, list(a.orders), list(a.holdings)) for a in x.records.accounts.values()],
        [(list(h.orders), h.resting, h.locked) for a in x.records.accounts.values() for h in a.holdings.values()],
        [(g.limit, list(g.trades)) for g in x.records.groups.values()],
        tape.prints, dict(tape._histories), tape._lives, list(tape._changes), dict(tape._seen)])


def joined(x: Exchange) -> bool:
    "Whether an order is one and the same in all its places, and the events are the exchange's own"
    r = x.records
    places = [o for a in r.accounts.values() for o in a.orders.values()]
    places += [o for a in r.accounts.values() for h in a.holdings.values() for o in h.orders.values()]
    places += [o for g in r.groups.values() for o in g.orders.values()]
    places += [o for b in r.books.values() for q, worst in ((b.bids, 0), (b.asks, ONE)) for o in q.meets(worst)]
    return all(r.orders[o.order_id] is o for o in places) and all(a.events is r.events for a in r.accounts.values())


class Chance:
    "Calls of all kinds, some of them refused"

    def __init__(self, seed: int):
        self.rng, self.now, self.events, self.n = Random(seed), 0, 0, count()

    def call(self, x: Exchange) -> None:
        rng, member = self.rng, self.rng.choice(MEMBERS)
        self.now += rng.choice([0, 1, 500, 20_000])
        if not x.markets() or self.events and rng.random() < 0.01:
            self.events += 1
            for m in brackets(f"E{self.events}"): x.list_market(m, self.now)
        for name in MEMBERS:
            if not x.has_account(name): x.open_account(name, 50 * DOLLAR, unlimited=name == "crowd")
        resting = [o for o in x.records.orders.values() if o.resting] or [None]
        order, ticker = rng.choice(resting), rng.choice(x.markets()).ticker
        groups = [g.group_id for g in x.groups(member)] or ["none"]
        new = NewOrder(
            account=member, ticker=ticker, side=rng.choice(list(Side)), price=rng.randint(45, 55) * CENT,
            count=rng.randint(1, 900), client_order_id=rng.choice(["", f"c{next(self.n)}", "again"]),
            group_id=rng.choice(["", groups[-1]]),
            expiration_ms=rng.choice([None, self.now + 300]), cancel_on_pause=rng.random() < 0.2)
        verbs: dict[str, Any] = {
            "place": lambda: x.place(new, self.now),
            "take": lambda: x.place(replace(new, time_in_force="fill_or_kill", expiration_ms=None), self.now),
            "cancel": lambda: order and x.cancel(rng.choice([order.account, member]), order.order_id, self.now),
            "amend": lambda: order and x.amend(
                order.account, order.order_id, ticker=order.ticker, side=order.side, price=new.price, count=new.count,
                now_ms=self.now),
            "decrease": lambda: order and x.decrease(order.account, order.order_id, self.now, reduce_by=50),
            "all": lambda: x.cancel_all(member, self.now), "group": lambda: x.create_group(member, 300, self.now),
            "trigger": lambda: x.trigger_group(member, groups[0], self.now),
            "reset": lambda: x.reset_group(member, groups[0], self.now),
            "limit": lambda: x.set_group_limit(member, groups[0], 200, self.now),
            "delete": lambda: x.delete_group(member, groups[0], self.now),
            "pause": lambda: x.set_trading(exchange_active=True, trading_active=rng.random() < 0.7, now_ms=self.now),
            "net": lambda: x.set_netting(member, rng.random() < 0.5, self.now),
            "revise": lambda: x.revise(replace(x.market(ticker), fee_multiplier="0.5"), self.now),
            "halt": lambda: x.set_status(ticker, rng.choice(["inactive", "active"]), self.now),
            "settle": lambda: [x.settle(m.ticker, ONE * m.ticker.endswith("B1"), self.now) for m in x.markets()
                               if m.status != "finalized"],
            "wait": lambda: x.advance(self.now)}
        weights = [30, 10, 8, 8, 4] + [1] * (len(verbs) - 5)
        try: verbs[rng.choices(list(verbs), weights)[0]]()
        except (Refusal, ValueError): pass


@pytest.mark.parametrize("seed", range(30 if NIGHTLY else 3))
@pytest.mark.parametrize("every", [50, 10**9])
def test_cut_off_after_any_commit_the_exchange_is_the_one_that_was(tmp_path: Path, seed: int, every: int):
    "With and without snapshots; and what is asked from then on has the same outcome"
    state, chance = State(tmp_path / "whole", every), Chance(seed)
    x, tape = state.load(f"seed {seed}")
    was = [whole(x, tape)]
    for _ in range(120):
        for _ in range(chance.rng.randint(1, 4)): chance.call(x)
        state.commit(x.take())
        rows = state._db.execute("SELECT count(*) FROM log").fetchone()[0]
        was[rows:] = [whole(x, tape)]
    state._db.close()  # no goodbye, no snapshot
    cut = Random(seed)
    for n in [len(was) - 1, *cut.sample(range(len(was)), 12)]:
        shutil.rmtree(tmp_path / "cut", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "cut")
        with sqlite3.connect(tmp_path / "cut" / "exchange.sqlite") as db:
            db.execute("DELETE FROM log WHERE n > ?", (n,))
            db.execute("DELETE FROM snapshots WHERE n > ?", (n,))
        db.close()
        state = State(tmp_path / "cut", every)
        y, its_tape = state.load("another seed")
        assert whole(y, its_tape) == was[n]
        state.close()
        state = State(tmp_path / "cut", every)  # from the snapshot that a quiet end leaves
        assert whole(*(loaded := state.load())) == was[n] and joined(loaded[0])
        assert state._since == 0  # it was used
        state._db.close()


def test_every_way_to_change_the_exchange_is_written_down():
    "A new public method of the exchange must be named here or there"
    reads = {"take", "market", "markets", "lists", "levels", "best", "top", "order", "orders", "queue_ahead", "ledger", "due",
             "open_interest", "group", "groups", "has_account", "nets"}
    public = {name for name in dir(Exchange) if not name.startswith("_") and callable(getattr(Exchange, name))}
    assert public == reads | set(OPERATIONS)


class Hostile:
    "What a pickle would run when it is read"

    def __init__(self, leaves: Path): self.leaves = leaves
    def __reduce__(self) -> tuple[Any, ...]: return os.mkdir, (str(self.leaves),)


def filled(folder: Path) -> list[Any]:
    "A state with some calls and a snapshot; what the exchange was"
    state, chance = State(folder), Chance(3)
    x, tape = state.load("some seed")
    for _ in range(200): chance.call(x)
    state.commit(x.take())
    was = whole(x, tape)
    state.close()
    return was


def edited(folder: Path, *sql: tuple[str, tuple[object, ...]]) -> None:
    with closing(sqlite3.connect(folder / "exchange.sqlite", isolation_level=None)) as db:
        for line, row in sql: db.execute(line, row)


def test_a_file_with_code_in_its_place_of_data_runs_nothing(tmp_path: Path):
    "In the snapshot, in the table that held pickles once, and as a whole file"
    trap = tmp_path / "trap"
    code = pickle.dumps(Hostile(trap))
    was = filled(tmp_path / "s")
    old = "CREATE TABLE snapshot (n INTEGER PRIMARY KEY, made_by TEXT NOT NULL, state BLOB NOT NULL)"
    edited(tmp_path / "s", ("UPDATE snapshots SET state = ?", (code,)), (old, ()),
           ("INSERT INTO snapshot VALUES (10000, ?, ?)", (made_by(), code)))
    state = State(tmp_path / "s")
    assert whole(*state.load()) == was and not trap.exists()
    state.close()
    edited(tmp_path / "s", ("UPDATE log SET asked = ? WHERE n = 1", (code,)), ("DELETE FROM snapshots", ()))
    state = State(tmp_path / "s")
    with pytest.raises(StateError, match="row 1 of the calls in .* can't be read"): state.load()
    state._db.close()
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "exchange.sqlite").write_bytes(code)
    with pytest.raises(StateError, match="file is not a database"): State(tmp_path / "whole")
    assert (tmp_path / "whole" / "exchange.sqlite").read_bytes() == code and not trap.exists()
    pickle.loads(code)
    assert trap.exists()  # the trap works


@pytest.mark.parametrize("state", ["", "{}", "[1]", "null", '{"ids": 7}', "\x00", "{" * 5_000])
def test_a_snapshot_that_cannot_be_read_costs_time_only(tmp_path: Path, state: str):
    was = filled(tmp_path)
    edited(tmp_path, ("UPDATE snapshots SET state = ?", (state,)))
    kept = State(tmp_path)
    assert whole(*kept.load()) == was
    kept.close()


def test_a_snapshot_without_one_of_its_orders_is_not_half_used(tmp_path: Path):
    was = filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / "exchange.sqlite")) as db:
        s = json.loads(db.execute("SELECT state FROM snapshots").fetchone()[0])
    lost = next(i for m in s["members"] for i in m["orders"])
    s["orders"] = [o for o in s["orders"] if o["order_id"] != lost]
    edited(tmp_path, ("UPDATE snapshots SET state = ?", (json.dumps(s),)))
    kept = State(tmp_path)
    assert whole(*kept.load()) == was
    kept.close()


def test_a_state_of_version_1_goes_on(tmp_path: Path):
    "It has the same calls; its snapshot isn't looked at, even if the same code made it"
    was = filled(tmp_path)
    edited(tmp_path, ("UPDATE facts SET value = '1' WHERE name = 'version'", ()),
           ("ALTER TABLE snapshots RENAME TO snapshot", ()), ("UPDATE snapshot SET state = 'not read'", ()))
    for _ in range(2):
        kept = State(tmp_path)
        assert whole(*kept.load()) == was and kept.fact("version", "") == VERSION
        kept.close()


@pytest.mark.parametrize("sql", [
    "UPDATE facts SET value = '3' WHERE name = 'version'", "UPDATE facts SET value = '' WHERE name = 'version'",
    "DROP TABLE facts; CREATE TABLE fills (id TEXT)",
])
def test_a_file_of_another_version_or_program_is_refused_and_left_alone(tmp_path: Path, sql: str):
    filled(tmp_path)
    file = tmp_path / "exchange.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as db: db.executescript(sql)
    before = file.read_bytes()
    with pytest.raises(StateError, match="is of version|is no state of a sandbox") as e: State(tmp_path)
    assert "left as it was. Choose another folder" in str(e.value)
    assert file.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["exchange.sqlite"]


PLACES = """
import sys
from pathlib import Path
from kalshi_mm.model.numbers import DOLLAR
from kalshi_mm.model.types import Side
from kalshi_mm.sandbox.matching import NewOrder
from kalshi_mm.sandbox.state import State
from tests.sandbox.test_state import brackets
state = State(Path(sys.argv[1]), every=300)
x, _ = state.load("kill")
if not x.markets():
    for m in brackets("E"): x.list_market(m)
    for name in ("ann", "bob"): x.open_account(name, 1_000_000 * DOLLAR)
for n in range(100_000):
    side = (Side.BID, Side.ASK)[n % 3 == 0]
    order = x.place(NewOrder(account=("ann", "bob")[n % 2], ticker="E-B0", side=side, price=(40 + n % 20) * 100, count=100), n)
    state.commit(x.take())
    print(order.order_id, order.filled, flush=True)  # the answer
"""


def test_a_killed_process_has_lost_no_order_that_it_answered_and_doubled_none(tmp_path: Path):
    answered: list[str] = []
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", PLACES, str(tmp_path)], stdout=subprocess.PIPE, text=True,
                                 cwd=Path(__file__).parents[2])
        assert child.stdout
        answered += [child.stdout.readline().split()[0] for _ in range(450)]
        child.send_signal(signal.SIGKILL)
        answered += [line.split()[0] for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        child.wait(10)
        child.stdout.close()
    state = State(tmp_path)
    x, tape = state.load()
    kept = [o.order_id for name in ("ann", "bob") for o in x.orders(name)]
    assert len(kept) == len(set(kept)) and len(answered) == len(set(answered)) and set(answered) <= set(kept)
    assert len(kept) <= len(answered) + 3  # of each life one may have been written down and not answered
    nets = [x.ledger(name).positions["E-B0"].net for name in ("ann", "bob")]
    assert sum(nets) == 0 and all(sum(f.side.sign * f.count for f in x.ledger(n).fills) == net
                                  for n, net in zip(("ann", "bob"), nets, strict=True))
    assert sum(t.count for t in tape.prints) * 2 == sum(o.filled for name in ("ann", "bob") for o in x.orders(name))
    state.close()


# ---- a sandbox without its sockets

HOUR = 3_600_000


class OneMaker:
    "Traffic of an event: a maker who offers ten contracts of each market at 40 when it opens"

    def __init__(self, n: int):
        open_ms = n * 24 * HOUR + 10 * HOUR
        self.markets = brackets(f"D-{n}", open_ms, open_ms + 38 * HOUR)
        self.due: int | None = open_ms

    def next_ms(self) -> int | None: return self.due
    def result(self) -> dict[str, int]: return {m.ticker: ONE * m.ticker.endswith("B1") for m in self.markets}

    def act(self, exchange: Exchange, day_ms: int, now_ms: int) -> None:
        self.due = None
        if not exchange.has_account("maker"): exchange.open_account("maker", 0, unlimited=True)
        if exchange.orders("maker", ticker=self.markets[0].ticker): return  # a restart: they are still there
        for m in filter(lambda m: exchange.market(m.ticker).active, self.markets):
            exchange.place(NewOrder(account="maker", ticker=m.ticker, side=Side.ASK, price=4000, count=10 * CONTRACT), now_ms)


class Venue:
    "An exchange with one member, day after day, on a clock that the test turns"

    def __init__(self, directory: Path, wall: list[int], first: int = 0):
        self.wall, self.state = wall, State(directory / "state")
        self.clock = MarketClock(*json.loads(self.state.fact("clock", json.dumps([wall[0], 0, 60.0]))))
        x, tape = self.state.load("venue")
        if not x.has_account("ann"): x.open_account("ann", 100 * DOLLAR)
        keys = ApiKeys()
        self.key = keys.make("ed25519", directory, "ann")
        incentives = Incentives(x, "venue")
        incentives.restore(self.state.kept)
        self.state.beside = incentives.to_keep
        self.day = TradingDay(x, OneMaker(first), self.clock, lambda: wall[0], following=map(OneMaker, count(first + 1)),
                              tape=tape, commit=self.state.commit, incentives=incentives)
        self.rest = Rest(self.day, keys, "prestige")
        keys.caller = lambda *_: "ann"  # type: ignore[method-assign]  # signatures are another test's

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        raw = b"" if body is None else json.dumps(body).encode()
        return self.rest.answer(method, f"/trade-api/v2{path}", {k: [str(v)] for k, v in query.items()}, {}, raw)

    def buy(self, ticker: str, price: str, count: str, name: str) -> tuple[int, Any]:
        return self.ask("POST", "/portfolio/events/orders", {
            "ticker": ticker, "side": "bid", "price": price, "count": count, "client_order_id": name,
            "time_in_force": "good_till_canceled", "self_trade_prevention_type": "taker_at_cross"})

    def pass_hours(self, hours: float) -> None:
        "Of market time"
        end = self.wall[0] + round(hours * HOUR / 60)
        while self.wall[0] < end:
            self.wall[0] = min(end, self.wall[0] + 10_000)
            while self.day.step(): pass


READS = ("/portfolio/orders", "/portfolio/fills", "/portfolio/positions", "/portfolio/settlements", "/portfolio/balance",
         "/markets", "/markets/trades", "/portfolio/order_groups", "/portfolio/orders/queue_positions")


def test_a_client_reads_the_same_before_and_after_a_restart(tmp_path: Path):
    wall = [1_700_000_000_000]
    venue = Venue(tmp_path, wall)
    venue.pass_hours(11)
    assert venue.buy("D-0-B1", "0.40", "4", "taken")[1]["fill_count"] == "4.00"
    resting = venue.buy("D-0-B1", "0.39", "3", "rests")[1]["order_id"]
    before = {path: venue.ask("GET", path) for path in READS}
    venue.state._db.close()  # killed
    again = Venue(tmp_path, wall)
    assert {path: again.ask("GET", path) for path in READS} == before
    assert again.buy("D-0-B1", "0.39", "3", "rests")[0] == 409  # it was used before
    assert again.ask("DELETE", f"/portfolio/events/orders/{resting}")[1]["reduced_by"] == "3.00"
    assert again.day.exchange.levels("D-0-B1")[1] == [(4000, 600)]
    again.state.close()


def test_programmes_pay_the_same_to_the_cent_and_once_however_often_the_exchange_is_killed(tmp_path: Path):
    def paid(folder: Path, kills: set[int]) -> tuple[int, dict[str, Any]]:
        "What a programme of an hour has brought by the end, with a kill after each of these minutes of market time"
        wall = [1_700_000_000_000]
        venue = Venue(folder, wall)
        venue.pass_hours(11)
        first, _ = (venue.buy("D-0-B2", "0.39", n, f"of-{n}")[1]["order_id"] for n in ("7", "6"))
        begin = venue.clock.day_ms(wall[0]) + 600_000
        hour = Programme("hour", "D-0-B2", begin, begin + HOUR, 20 * DOLLAR, 10 * CONTRACT, 5000)
        venue.day.incentives.add(hour, pay_after_ms=HOUR // 4)
        venue.day.publish()
        if kills:  # a programme that somebody has added isn't lost either
            venue.state._db.close()
            venue = Venue(folder, wall)
        for minute in range(110):
            wall[0] += 1000
            while venue.day.step(): pass
            if minute == 30: assert venue.ask("DELETE", f"/portfolio/events/orders/{first}")[1]["reduced_by"] == "7.00"
            if minute in kills:
                venue.state._db.close() if minute % 3 else venue.state.close()
                venue = Venue(folder, wall)
        cash, plan = venue.day.exchange.ledger("ann").cash + 6 * CONTRACT * 39 * CENT, venue.day.incentives.plans["hour"]
        assert plan.looks == 3600 and plan.programme.paid_out
        venue.state.close()
        return cash, plan.paid

    once = paid(tmp_path / "once", set())
    assert 3 * DOLLAR < once[1]["ann"] < 4 * DOLLAR and once[0] == 100 * DOLLAR + once[1]["ann"]
    assert paid(tmp_path / "often", set(range(110))) == once
    assert all(paid(tmp_path / f"at-{n}", {n}) == once for n in (9, 10, 40, 69, 70, 84, 85, 86, 100))


def test_what_came_due_while_the_exchange_was_down_happens_when_it_is_back(tmp_path: Path):
    wall = [1_700_000_000_000]
    venue = Venue(tmp_path, wall)
    venue.pass_hours(11)
    venue.buy("D-0-B1", "0.40", "4", "taken")
    venue.buy("D-0-B2", "0.10", "3", "rests")
    venue.state._db.close()
    wall[0] += 60 * HOUR // 60  # past the close, the result and the payment
    again = Venue(tmp_path, wall)
    while again.day.step(): pass
    x = again.day.exchange
    assert [s.paid for s in x.ledger("ann").settlements] == [4 * DOLLAR]
    assert [o.last_update_reason for o in x.orders("ann")] == ["Trade", "CloseCancel"]
    assert {m.status for m in x.markets() if m.event_ticker == "D-0"} == {"finalized"}
    assert any(m.active for m in x.markets())  # the next days have gone on
    again.state.close()


def test_days_follow_each_other_two_are_open_at_once_and_each_pays_one_bracket(tmp_path: Path):
    wall = [1_700_000_000_000]
    venue = Venue(tmp_path, wall)
    paid, together = 0, set[int]()
    for hour in range(24 * 6):
        venue.pass_hours(1)
        opened = {m.event_ticker for m in venue.day.exchange.markets() if m.active}
        together.add(len(opened))
        if hour == 8 + 24 * 2:  # a restart in the middle
            venue.state._db.close()
            venue = Venue(tmp_path, wall, first=0)
        if hour % 24 == 12:
            event = max(opened, key=lambda e: int(e.split("-")[1]))
            for n in range(3): assert venue.buy(f"{event}-B{n}", "0.40", "1", f"{event}-{n}")[1]["fill_count"] == "1.00"
            paid += 1
    x = venue.day.exchange
    assert together == {0, 1, 2}  # none before the first opens
    settled = x.ledger("ann").settlements
    assert sum(s.paid for s in settled) * 3 == len(settled) * DOLLAR and len(settled) == 3 * 4
    assert venue.day.exchange.open_interest("D-5-B0") == CONTRACT and paid == 6
    assert not [o for o in x.orders("maker", status=OrderStatus.RESTING) if not x.market(o.ticker).active]
    venue.state.close()


def test_trading_stops_on_thursday_mornings(tmp_path: Path):
    "Market time begins on Thursday, January 1st 1970, at midnight UTC; the pause is from 8 to 10"
    venue = Venue(tmp_path, [1_700_000_000_000])
    open_ = []
    for _ in range(11):
        open_.append(venue.day.exchange.trading_active)
        venue.pass_hours(1)
    assert open_ == [True] * 8 + [False] * 2 + [True]
    assert venue.ask("GET", "/exchange/status")[1]["trading_active"]
    venue.state.close()


def test_an_event_is_decided_early_or_late(tmp_path: Path):
    venue = Venue(tmp_path, [1_700_000_000_000])
    venue.pass_hours(36)
    venue.day.decide("D-0")
    venue.pass_hours(0.5)
    assert {m.status for m in venue.day.exchange.markets() if m.event_ticker == "D-0"} == {"determined"}
    venue.pass_hours(1)
    assert {m.status for m in venue.day.exchange.markets() if m.event_ticker == "D-0"} == {"finalized"}
    venue.day.calendar.postpone("D-1", 5 * HOUR)
    venue.pass_hours(24 + 10 + 38 - 37.5 + 2)  # when it would have been paid
    assert {m.status for m in venue.day.exchange.markets() if m.event_ticker == "D-1"} == {"closed"}
    venue.pass_hours(5.5)
    assert {m.status for m in venue.day.exchange.markets() if m.event_ticker == "D-1"} == {"finalized"}
    venue.state.close()
