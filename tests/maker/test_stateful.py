"""The core against a model of the exchange: whatever comes late, twice or never, in whatever order.

Two thousand short stories here; `KALSHI_MM_NIGHTLY=1` tells three thousand long ones, new ones each time. What it finds becomes
a named test at the end.
"""
import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kalshi_mm.maker.orders import State
from kalshi_mm.model.messages import Cancel, Command, ReadAccount
from kalshi_mm.model.numbers import ONE
from kalshi_mm.model.types import OrderStatus, Side
from tests.maker.exchange_model import LAG_MS, TICKERS, Model

NIGHTLY = bool(os.environ.get("KALSHI_MM_NIGHTLY"))
lag = st.integers(0, LAG_MS)
pick = st.integers(0, 10**6)


class CoreAndExchange(RuleBasedStateMachine):
    "Each rule is one thing that may happen next"

    def __init__(self) -> None:
        super().__init__()
        self.m = Model()

    @initialize()
    def quotes_are_out(self) -> None: self.m.calm()

    @rule(ms=st.sampled_from([1, 40, 250, 700, 1000, 3100]), moves=st.booleans(),
          bid=st.integers(20, 50), width=st.integers(3, 20))
    def time_passes(self, ms: int, moves: bool, bid: int, width: int) -> None:
        if moves and self.m.connected: self.m.book(TICKERS[bid % 2], 100 * bid, 100 * (bid + width))
        self.m.advance(ms)

    @rule(ms=st.sampled_from([9000, 31_000, 61_000]))
    def much_time_passes(self, ms: int) -> None: self.m.advance(ms)

    @precondition(lambda self: self.m.requests)
    @rule(n=pick, fate=st.sampled_from(["arrives"] * 4 + ["lost", "late", "late", "very late", "too_many_requests", "bad"]))
    def a_request_meets_its_fate(self, n: int, fate: str) -> None:
        r = self.m.requests[n % len(self.m.requests)]
        if fate == "arrives" or r.given_up_ms is not None: self.m.arrive(r)
        elif fate == "lost": self.m.give_up(r, False)
        elif fate == "late": self.m.give_up(r, True)
        elif fate == "very late": self.m.give_up(r, True, 30_000)
        else: self.m.refuse(r, fate)

    @precondition(lambda self: self.m.requests or self.m.answers)
    @rule()
    def all_requests_are_answered(self) -> None: self.m.drain_requests()

    @precondition(lambda self: self.m.answers)
    @rule(n=pick, fate=st.sampled_from(["heard"] * 4 + ["heard twice", "lost"]))
    def an_answer_meets_its_fate(self, n: int, fate: str) -> None:
        event = self.m.answers[n % len(self.m.answers)]
        if fate == "lost": self.m.lose(event)
        else: self.m.answer(event)
        if fate == "heard twice": self.m.answer(event, again=True)

    @precondition(lambda self: self.m.frames or self.m.fill_frames)
    @rule(fills=st.booleans(), fate=st.sampled_from(["told"] * 4 + ["told twice", "lost"]), some=st.integers(1, 5))
    def the_stream_tells(self, fills: bool, fate: str, some: int) -> None:
        frames = self.m.fill_frames if fills else self.m.frames
        for _ in range(min(some, len(frames))):
            if fate == "told twice": self.m.stream(frames, again=True)
            if fate == "lost": frames.popleft()
            else: self.m.stream(frames)

    @precondition(lambda self: self.m.reads)
    @rule(n=pick, lags=st.tuples(lag, lag, lag, lag), read=st.sampled_from([True] * 5 + [False]))
    def the_account_is_read(self, n: int, lags: tuple[int, int, int, int], read: bool) -> None:
        if read: self.m.read(n % len(self.m.reads), lags)
        else: self.m.unread(n % len(self.m.reads))

    @precondition(lambda self: self.m.truth.resting())
    @rule(n=pick, count=st.sampled_from([100, 400, 1000, 10_000]))
    def somebody_trades_with_us(self, n: int, count: int) -> None:
        if resting := [o for o in self.m.truth.resting() if o.client_order_id]: self.m.trade(resting[n % len(resting)], count)

    @rule(what=st.sampled_from(["cancels"] * 3 + ["by hand", "breaks", "dies", "kill", "stop", "reduce_only on", "pays"]), n=pick)
    def something_rare_happens(self, what: str, n: int) -> None:
        m, resting = self.m, self.m.truth.resting()
        match what:
            case "cancels" if resting: m.change(resting[n % len(resting)], OrderStatus.CANCELED)
            case "by hand" if len(resting) < 12: m.place("", TICKERS[n % 2], Side.BID, 2000, 300, None)
            case "breaks" if m.connected: m.disconnect()
            case "dies": m.crash()
            case "pays" if left := [t for t in TICKERS if t not in m.truth.paid]:
                m.pay(left[n % len(left)], (0, 3700, ONE)[n % 3])
            case "kill" | "stop" | "reduce_only on":
                verb, _, detail = what.partition(" ")
                m.tell(Command(m.now, verb, "test", detail))

    @precondition(lambda self: not self.m.connected)
    @rule()
    def the_line_comes_back(self) -> None: self.m.reconnect()

    @precondition(lambda self: self.m.maker.killed or not self.m.maker.quoting or self.m.maker.reduce_only)
    @rule()
    def a_person_starts_again(self) -> None: self.m.start()

    @precondition(lambda self: self.m.connected)
    @rule()
    def all_comes_right_for_a_moment(self) -> None: self.m.owned()

    @invariant()
    def limits_hold_and_each_fill_counts_once(self) -> None: self.m.judge()

    def teardown(self) -> None: self.m.settle()


TestCoreAndExchange = CoreAndExchange.TestCase
TestCoreAndExchange.settings = settings(  # here the same two thousand each time, so that a change alone can turn it red
    max_examples=3000 if NIGHTLY else 2000, stateful_step_count=120 if NIGHTLY else 25, derandomize=not NIGHTLY, deadline=None,
    suppress_health_check=list(HealthCheck),
)


# What was found once, or is too rare to be met by chance
def quoting() -> Model:
    "A session whose first orders have left and not arrived"
    m = Model()
    m.advance(300)
    m.read(0, (0, 0, 0, 0))
    m.advance(300)
    assert len(m.requests) == 4
    return m


def test_an_order_by_hand_without_an_id_does_not_hide_one_of_ours_that_never_arrived():
    m = quoting()
    m.place("", "A", Side.BID, 2000, 300, None)
    for r in list(m.requests): m.give_up(r, arrives=False)
    for _ in range(10):
        m.advance(1000)
        while m.reads: m.read(0, (0, 0, 0, 0))
    assert not m.maker.orders.own.doubtful


def test_after_a_crash_nothing_is_placed_while_a_write_of_the_dead_process_may_still_arrive():
    m = quoting()
    m.crash()
    for n in range(40):  # `Model.carry` fails if an order leaves too early
        m.advance(100)
        while m.reads: m.read(0, (LAG_MS, LAG_MS, LAG_MS, LAG_MS))
        if n == 13:
            while m.requests: m.arrive(m.requests[0])
    assert [r.action for r in m.requests if isinstance(r.action, Cancel)], "the orphans are cancelled"
    m.settle()


def test_a_kill_and_a_rearm_after_a_crash_do_not_cut_that_wait_short():
    m = quoting()
    m.crash()
    m.tell(Command(m.now, "kill", "test"))  # which reads the account at once
    for verb in ("rearm", "start"): m.tell(Command(m.now, verb, "test"))
    while m.reads: m.read(0, (0, 0, 0, 0))
    for _ in range(40): m.advance(100)  # `Model.carry` fails if an order leaves too early
    m.settle()


def test_an_order_that_arrives_after_it_was_given_up_for_lost_finds_its_owner():
    m = quoting()
    r = m.requests[0]
    m.give_up(r, arrives=True, stray_ms=30_000)
    for _ in range(10):
        m.advance(1000)
        while m.reads: m.read(0, (0, 0, 0, 0))
    assert m.maker.orders.all[r.action.client_order_id].state is State.DONE
    m.arrive(r)
    m.stream(m.frames)
    assert m.maker.orders.all[r.action.client_order_id].state is State.RESTING
    m.settle()


def test_the_answer_to_a_placement_that_comes_after_its_amend_has_left_changes_nothing():
    m = quoting()
    r = next(r for r in m.requests if r.action.ticker == "A")
    m.arrive(r)
    m.stream(m.frames)  # the stream is faster than the answer
    m.book("A", 4000, 5000)
    m.advance(300)
    w = m.maker.orders.all[r.action.client_order_id]
    assert w.state is State.AMENDING
    m.answer(m.answers[0])
    assert w.state is State.AMENDING and w.amend
    m.settle()


def test_a_fill_that_the_list_tells_long_before_the_placement_is_answered_belongs_to_its_order():
    m = quoting()
    m.arrive(m.requests[0])
    [o] = m.truth.resting()
    m.trade(o, 1000)
    for _ in range(4):
        m.advance(31_000)
        while m.reads: m.read(0, (0, 0, 0, 0))
    m.answer(m.answers[0])
    assert not m.maker.orders.own.doubtful
    m.settle()


def test_a_later_read_with_an_older_list_does_not_raise_the_dead():
    m = quoting()
    m.arrive(m.requests[0])
    [o] = m.truth.resting()
    m.frames.clear()
    m.advance(62_000)
    assert not m.truth.resting()  # it has expired
    m.reads = [(ReadAccount("twice", 1), m.now)] * 2
    m.read(0, (0, 0, 0, 0))
    m.read(0, (LAG_MS, LAG_MS, LAG_MS, LAG_MS))
    assert m.maker.orders.all[o.client_order_id].state is State.DONE
    m.settle()


def test_three_reads_in_one_moment_after_a_restart_are_no_drift():
    m = quoting()
    for r in list(m.requests): m.arrive(r)
    m.advance(3000)
    m.trade(m.truth.resting()[0], 1000)
    m.stream(m.fill_frames)
    m.crash()
    for _ in range(4):
        m.tell(Command(m.now, "kill", "test"))
        while m.reads: m.read(0, (LAG_MS, LAG_MS, LAG_MS, LAG_MS))
        m.start()
    m.judge()
    m.settle()


def test_a_fill_that_is_told_after_its_market_has_paid_is_paid_too():
    m = quoting()
    for r in list(m.requests): m.arrive(r)
    [o, *_] = [o for o in m.truth.resting() if o.ticker == "A"]
    m.trade(o, 400)
    m.pay("A", 3700)
    m.tell(m.news.pop(0))
    assert m.maker.slots["A"].position.cash == 0
    m.stream(m.fill_frames)
    m.counted()  # 400 at the price of the order, paid with 37 cents
    assert m.maker.slots["A"].position.net == 0 and m.maker.slots["A"].position.cash
    m.settle()
