"Each figure that halts, on either side of its boundaries: where it halts, where it is fine again, and how long it has to be"
from collections.abc import Callable

import pytest
from msgspec import structs

from kalshi_mm.maker.halting import Watch
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import ClockRead, FeedHealth, Verb, WriteRejected
from kalshi_mm.model.numbers import CONTRACT, DOLLAR, Money
from kalshi_mm.risk.day import new_york_day
from kalshi_mm.risk.exposure import Exposure, Exposures
from kalshi_mm.risk.limits import Limits

T = 1_700_000_000_000
DAY = 86_400_000
CONFIG = Config("s", max_silent_ms=25_000, max_age_ms=3_000, max_skew_ms=2_000)
LIMITS = Limits(max_daily_loss=50 * DOLLAR, max_drawdown=75 * DOLLAR, min_balance=20 * DOLLAR)

Figure = Callable[[Watch, int, int], None]  # (watch, the figure, UTC ms)


def watching() -> tuple[Watch, list[str]]:
    said: list[str] = []
    return Watch(lambda level, text: said.append(f"{level}: {text}")), said


# the rule, the figure, the last that is allowed, the last that is clearly fine, and which way is worse
FOLLOWED: dict[str, tuple[str, Figure, int, int, int]] = {
    "silence": ("stale", lambda w, n, ms: w.feed(FeedHealth(ms, n, 40), CONFIG), 25_000, 20_000, 1),
    "age": ("stale", lambda w, n, ms: w.feed(FeedHealth(ms, 100, n), CONFIG), 3_000, 2_400, 1),
    "behind": ("clock_skew", lambda w, n, ms: w.clock(ClockRead(ms, n), CONFIG), 2_000, 1_600, 1),
    "ahead": ("clock_skew", lambda w, n, ms: w.clock(ClockRead(ms, n), CONFIG), -2_000, -1_600, -1),
    "cash": ("balance", lambda w, n, ms: w.balance(n, LIMITS, ms), 20 * DOLLAR, 25 * DOLLAR, -1),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_figure_halts_beyond_its_limit_and_ends_the_halt_once_it_has_been_fine_for_two_seconds(name: str):
    rule, take, last, fine, worse = FOLLOWED[name]
    watch, said = watching()
    take(watch, last, T)
    assert not watch.halts
    take(watch, last + worse, T + 1)
    assert list(watch.halts.active) == [rule] and watch.halts.active[rule].since_ms == T + 1
    for ms in (10_000, 20_000): take(watch, fine + worse, T + ms)  # within the limit, but not clearly
    for n, ms in ((fine, 30_000), (fine, 31_999), (fine + worse, 31_999), (fine, 32_000), (fine, 33_999)): take(watch, n, T + ms)
    assert watch.halts  # it was not fine for two seconds without a break
    take(watch, fine, T + 34_000)
    assert not watch.halts and said[1:] == [f"info: {rule} has passed"]


def test_the_reason_names_what_is_wrong_and_by_how_much():
    def said(*, silent: int = 0, age: int = 0, off: int = 0) -> str:
        watch = watching()[0]
        watch.feed(FeedHealth(T, silent, age), CONFIG)
        watch.clock(ClockRead(T, off), CONFIG)
        (halt,) = watch.halts.active.values()
        return f"{halt.reason}; {halt.value} of {halt.limit}"

    assert said(silent=25_001) == "nothing heard for 25001 ms; 25001 ms of 25000 ms"
    assert said(age=3001) == "messages are 3001 ms old when they come; 3001 ms of 3000 ms"
    assert said(off=2001) == "our clock is 2001 ms behind the exchange's; 2001 ms of 2000 ms"
    assert said(off=-2001) == "our clock is 2001 ms ahead of the exchange's; 2001 ms of 2000 ms"


# ---- counts in a window

@pytest.mark.parametrize("window_ms", [15_000, 500])
def test_fills_are_a_burst_if_as_many_as_the_limit_come_within_the_window(window_ms: int):
    for count, apart_ms, halts in ((500, window_ms - 1, True), (499, window_ms - 1, False), (500, window_ms, False)):
        watch = watching()[0]
        watch.burst_ms = window_ms
        for n, ms in ((500, T), (count, T + apart_ms)): watch.filled(n, Limits(max_burst=1000), ms)
        assert bool(watch.halts) == halts
        window = "15 seconds" if window_ms == 15_000 else "500 ms"
        if halts: assert f"10 contracts filled in {window}, the limit is 10" in watch.halts.why


@pytest.mark.parametrize(("last_ms", "halts"), [(9_999, True), (10_000, False)])
def test_refusals_are_a_storm_if_as_many_as_the_limit_come_within_ten_seconds(last_ms: int, halts: bool):
    watch = watching()[0]
    for ms in (0, 5000, last_ms): watch.refused(WriteRejected(T + ms, "a", Verb.PLACE, "c", "m"), Config("s", reject_limit=3))
    assert bool(watch.halts) == halts


# ---- the day

def lost(watch: Watch, profit: Money, ms: int = T) -> list[str]:
    "The halts after a valuation"
    watch.measure([], profit, LIMITS, ms)
    return list(watch.halts.active)


def test_a_loss_and_a_fall_halt_at_their_limits_and_a_release_counts_from_there_anew():
    "From 100 dollars: 50 may not be lost in a day, nor 75 below its peak"
    watch = watching()[0]
    assert lost(watch, 100 * DOLLAR) == lost(watch, 50 * DOLLAR + 1) == []
    assert lost(watch, 50 * DOLLAR) == ["daily_loss"]
    watch.release("daily_loss", "a person")
    assert watch.day and (watch.day.pnl, watch.day.drawdown) == (0, 0)
    assert lost(watch, 1) == [] and lost(watch, 0) == ["daily_loss"]
    watch.release("daily_loss", "a person")
    assert lost(watch, 60 * DOLLAR) == lost(watch, -15 * DOLLAR + 1) == []
    assert lost(watch, -15 * DOLLAR) == ["drawdown"]
    watch.release("drawdown", "a person")
    assert (watch.day.pnl, watch.day.drawdown) == (-15 * DOLLAR, 0)  # the loss goes on
    assert lost(watch, -50 * DOLLAR + 1) == [] and lost(watch, -50 * DOLLAR) == ["daily_loss"]
    assert (watch.halts.active["daily_loss"].value, watch.halts.active["daily_loss"].limit) == ("$50.00", "$50.00")


@pytest.mark.parametrize("rule", ["fill_burst", "rejects", "kill"])
def test_another_release_forgives_no_loss_and_no_other_count(rule: str):
    watch = watching()[0]
    lost(watch, 0)
    lost(watch, 20 * DOLLAR)
    lost(watch, -49 * DOLLAR)
    watch.filled(999, Limits(max_burst=1000), T)
    for _ in range(2): watch.refused(WriteRejected(T, "a", Verb.PLACE, "c", "m"), Config("s", reject_limit=3))
    watch.set(rule, "why", T)
    watch.release(rule, "a person")
    assert watch.day and (watch.day.open, watch.day.peak, watch.day.pnl) == (0, 20 * DOLLAR, -49 * DOLLAR)
    watch.filled(1, Limits(max_burst=1000), T)
    watch.refused(WriteRejected(T, "a", Verb.PLACE, "c", "m"), Config("s", reject_limit=3))
    assert set(watch.halts.active) == {"fill_burst", "rejects"} - {rule}


def test_a_position_without_a_price_halts_and_the_day_waits_for_one():
    watch, said = watching()
    lost(watch, 0)
    watch.measure(["X", "Y"], -60 * DOLLAR, LIMITS, T + 1)
    assert watch.halts.why == "unmarked: no price to value the position in X, Y" and watch.day and watch.day.pnl == 0
    assert lost(watch, -DOLLAR) == [] and watch.day.pnl == -DOLLAR
    assert said == ["error: halted, unmarked: no price to value the position in X, Y", "info: unmarked has passed"]


@pytest.mark.parametrize(("off_ms", "begins"), [(2000, True), (-2000, True), (2001, False), (-2001, False)])
def test_a_day_begins_by_a_clock_that_is_off_by_no_more_than_the_limit(off_ms: int, begins: bool):
    watch = watching()[0]
    watch.clock(ClockRead(T, 0), CONFIG)
    watch.measure([], 0, LIMITS, T)
    watch.clock(ClockRead(T + DAY, off_ms), CONFIG)
    watch.measure([], 0, LIMITS, T + DAY)
    assert watch.day and (watch.day.day == new_york_day(T + DAY)) == begins


def test_a_clock_that_never_agreed_names_the_first_day_and_no_other():
    watch = watching()[0]
    watch.clock(ClockRead(T, 9999), CONFIG)
    for ms in (T, T + DAY): watch.measure([], 0, LIMITS, ms)
    assert watch.day and watch.day.day == new_york_day(T)


# ---- the worst case

def test_a_worst_case_halts_its_market_or_all_of_them_beyond_the_limit_and_no_longer_than_that():
    watch, said = watching()
    limits = Limits(max_position=10 * CONTRACT, max_total=15 * CONTRACT)
    def halted(x: int, y: int) -> list[str]:
        watch.exposure(Exposures({"X": Exposure(x), "Y": Exposure(-y)}), "XY", limits, T)
        return sorted(watch.halts.active)

    assert halted(1000, 500) == []
    assert halted(1001, 0) == ["exposure:X"]
    assert halted(1000, 501) == ["exposure"]
    assert halted(100, 1400) == ["exposure:Y"]
    assert halted(1001, 1001) == ["exposure", "exposure:X", "exposure:Y"]
    assert halted(1000, 500) == []
    assert said[-3:] == ["info: exposure has passed", "info: exposure of X has passed", "info: exposure of Y has passed"]


def test_a_limit_that_is_lowered_reaches_the_figures_at_once():
    watch = watching()[0]
    book = Exposures({"X": Exposure(0, 700, 0)})
    for most, halts in ((700, False), (699, True)):
        watch.exposure(book, ["X"], structs.replace(LIMITS, max_position=most), T)
        assert bool(watch.halts) == halts
    assert watch.halts.active["exposure:X"].value == "7"
