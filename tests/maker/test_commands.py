"What each command does, what people are told of it, and what it does not do"
import pytest

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import (
    AccountRead,
    BookSnapshot,
    CancelAll,
    Command,
    Connection,
    Decide,
    FillSeen,
    FillUnread,
    MarketListed,
    Notify,
    OrderPlaced,
    Place,
    ReadAccount,
    Verb,
    WriteUnknown,
)
from kalshi_mm.model.numbers import CENT, ONE
from kalshi_mm.model.types import Fill, Market, Side, TickGrid, UnreadFill
from kalshi_mm.risk.limits import Limits
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

T = 1_700_000_000_000
FREE = Limits(10**9, 10**9, 10**15, 10**15, 10**12, 0)


def maker() -> MarketMaker:
    found = MarketMaker(SpreadCapture(Params()), Config("s", FREE))
    found.handle(Connection(T, True))
    for t in "XY":
        found.handle(MarketListed(T, Market(t, "E", "S", t, "active", 0, T + 10**9, TickGrid.of([(0, ONE, CENT)]))))
        found.handle(BookSnapshot(T, t, ((4200, 2500),), ((4800, 2500),)))
    found.handle(AccountRead(T, T, 0, (), (), (), 10**10))
    return found


def told(m: MarketMaker, verb: str, detail: str = "", ms: int = 0) -> list[tuple[str, str]]:
    "What people are told about a command"
    return [(a.level, a.reason) for a in m.handle(Command(T + ms, verb, "alice", detail)) if isinstance(a, Notify)]


SAID: list[tuple[str, str, str, str]] = [  # verb, detail, level, text
    ("reduce_only", "on", "info", "reduce only is on, by alice"),
    ("reduce_only", "off", "info", "reduce only is off, by alice"),
    ("pause", "X", "info", "X paused by alice"),
    ("resume", "X", "info", "X resumed by alice"),
    ("set", '{"min_spread": "7"}', "info", "set by alice: min_spread 5 -> 7"),
    ("set", "{}", "info", "set by alice: nothing new"),
    ("flatten", "[60, 300]", "info",
     "alice leaves 0 positions: quotes at the touch for 60 s, then takes others' quotes up to 3c from the middle"),
    ("halt", "a fault", "error", "halted, error: a fault"),
    ("kill", "drill", "error", "halted, kill: by alice: drill"),
    ("kill_all", "", "error", "halted, kill: by alice"),
    ("reduce_only", "maybe", "warning", "'reduce_only maybe' from alice does nothing"),
    ("pause", "Z", "warning", "'pause Z' from alice does nothing"),
    ("accept", "", "warning", "'accept' from alice does nothing"),
    ("dance", "", "warning", "'dance' from alice does nothing"),
    ("reset", "kill", "warning", "'reset kill' from alice does nothing"),
    ("reset", "drawdown", "warning", "there is no halt named 'drawdown' for alice to release"),
    ("rearm", "", "warning", "there is no halt named 'kill' for alice to release"),
]


@pytest.mark.parametrize(("verb", "detail", "level", "text"), SAID)
def test_people_are_told_what_a_command_has_done_or_that_it_does_nothing(verb: str, detail: str, level: str, text: str):
    assert told(maker(), verb, detail) == [(level, text)]


@pytest.mark.parametrize("verb", ["start", "stop", "reconcile"])
def test_what_shows_by_itself_is_not_told(verb: str):
    assert told(maker(), verb) == []


def test_switches_are_as_the_last_command_has_set_them():
    m, states = maker(), []
    for command in ("start", "reduce_only on", "pause X", "flatten [60,300]", "start", "resume X", "reduce_only off", "stop"):
        verb, _, detail = command.partition(" ")
        told(m, verb, detail)
        now = {"quotes": m.quoting, "reduces": m.reduce_only, "leaves": m.controls.flatten is not None,
               "pauses X": m.slots["X"].paused == "alice", "pauses Y": m.slots["Y"].paused != ""}  # fmt: skip
        states.append(", ".join(name for name, on in now.items() if on))
    assert states == ["quotes", "quotes, reduces", "quotes, reduces, pauses X", "reduces, leaves, pauses X",
                      "quotes, reduces, pauses X", "quotes, reduces", "quotes", ""]  # fmt: skip


def test_while_killed_nothing_starts_and_a_second_kill_cancels_again():
    m = maker()
    told(m, "start")
    for everything in (False, True):
        actions = m.handle(Command(T + 1, "kill_all" if everything else "kill", "alice"))
        assert [(a.foreign, a.reason) for a in actions if isinstance(a, CancelAll)] == [(everything, "killed by alice")]
        assert isinstance(actions[0], CancelAll)  # first of all
        assert m.killed and not m.quoting
    for verb, detail in (("start", ""), ("flatten", "[60, 300]")):
        assert told(m, verb, detail) == [("warning", f"'{f'{verb} {detail}'.strip()}' from alice does nothing while killed")]
    assert not m.controls.sending
    assert told(m, "rearm") == [("info", "kill released by alice")] and not m.killed and not m.quoting
    told(m, "start")
    assert m.quoting


def test_a_kill_asks_for_a_read_back_to_the_first_order_that_may_rest_unless_one_is_under_way():
    m = maker()
    told(m, "start")
    for n, a in enumerate(a for a in m.handle(Decide(T + 20_000)) if isinstance(a, Place)):
        m.handle(OrderPlaced(T + 20_000, a.client_order_id, f"o{n}", 0, a.count))
    (read,) = (a for a in m.handle(Command(T + 25_000, "kill", "alice")) if isinstance(a, ReadAccount))
    assert (read.reason, read.since_ms) == ("to see that nothing rests after the kill", T + 10_000)
    assert not [a for a in m.handle(Command(T + 25_001, "kill", "alice")) if isinstance(a, ReadAccount)]
    again = m.handle(AccountRead(T + 26_000, T + 25_000, 0, (), (), (), 0))
    assert [a.reason for a in again if isinstance(a, CancelAll)] == ["4 orders still rest after the kill"]


def test_leaving_counts_the_positions_in_markets_that_are_traded_here():
    m = maker()
    m.handle(FillSeen(T, Fill("t", "h", "X", Side.BID, 4300, 100, 0, False, T)))
    assert told(m, "flatten", "[5, 250]")[0][1].startswith("alice leaves 1 positions: quotes at the touch for 5 s")
    flatten = m.controls.flatten
    assert flatten and (flatten.since_ms, flatten.patience_ms, flatten.cost) == (T, 5000, 250)
    m.handle(MarketListed(T, m.slots["X"].market, False))
    assert told(m, "flatten", "[5, 250]")[0][1].startswith("alice leaves 0 positions")
    assert told(m, "flatten", "soon")[0][1].startswith("flatten by alice refused: ") and m.controls.flatten


def test_the_exchanges_count_is_accepted_for_what_is_unexplained_and_asked_for_at_once():
    m = maker()
    m.handle(FillUnread(T, UnreadFill("t9", "no count", "X")))
    assert told(m, "accept") == [("warning", "alice: the exchange's count is accepted")]
    assert [a.reason for a in m.handle(Decide(T + 260)) if isinstance(a, ReadAccount)]


def test_an_order_that_the_exchange_owes_us_is_given_up_when_its_count_is_accepted():
    m = maker()
    told(m, "start")
    a = next(a for a in m.handle(Decide(T + 10)) if isinstance(a, Place))
    m.handle(OrderPlaced(T + 10, a.client_order_id, "o1", 0, 1000))
    m.orders.own.doubt(m.orders.all[a.client_order_id], "why", T + 10)
    for ms in (20_000, 23_000, 26_000): m.handle(AccountRead(T + ms, T + ms, T, (), (), (), 10**10))
    assert "drift" in m.halts.active and a.client_order_id in m.halts.why
    assert told(m, "accept") == [("warning", f"alice: the exchange's count is accepted; {a.client_order_id} is given up")]
    assert a.client_order_id not in {w.client_order_id for w in m.orders.own.pending()}


def test_a_resume_ends_the_halt_of_a_market_whose_orders_somebody_cancelled_and_a_pause_does_not():
    m = maker()
    for t in "XY": m.watch.set("canceled_elsewhere", "why", T, t)
    assert told(m, "pause", "X") == [("info", "X paused by alice")] and len(m.halts.active) == 2
    said = [("info", "canceled_elsewhere:X released by alice"), ("info", "X resumed by alice")]
    assert told(m, "resume", "X") == said and list(m.halts.active) == ["canceled_elsewhere:Y"]


def test_a_stop_is_due_once_lists_have_had_their_time_and_a_lost_answer_keeps_it_open():
    m = maker()
    told(m, "start")
    a = next(a for a in m.handle(Decide(T + 10)) if isinstance(a, Place))
    m.handle(WriteUnknown(T + 20, a.client_order_id, Verb.PLACE, "no answer"))
    told(m, "stop", ms=1000)
    m.handle(AccountRead(T + 4100, T + 4000, 0, (), (), (), 10**10))
    assert (m.controls.stop_due_ms, m.controls.stop_confirmed_ms) == (T + 4000, 0) and m.resting
