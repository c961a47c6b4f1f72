"The backtest of a session knows the stream alone, looks at nothing that comes later, and tells an error that is there"
from collections.abc import Sequence
from functools import lru_cache
from random import Random

import pytest
from msgspec import structs

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import BookDelta, BookSnapshot, Trade
from kalshi_mm.model.numbers import CENT
from kalshi_mm.model.types import Fill
from kalshi_mm.research.backtest import Backtest
from kalshi_mm.research.session_backtest import (
    _OURS,
    Record,
    Recorded,
    SessionBacktest,
    compare,
    final_values,
    order_delays,
    own_error,
    real_fills,
)
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.simulated import SimulatedDay
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture
from tests.research.test_budgets import CALIBRATION, TEN
from tests.research.test_budgets import date as day_of

RULES = {"improves": Params(), "joins": Params(min_spread=3 * CENT, improve_ticks=0)}


def core(rule: str = "improves") -> MarketMaker: return MarketMaker(SpreadCapture(RULES[rule]), Config("s"))


@lru_cache(2)
def traded(rule: str = "improves") -> Record:
    traffic, ids = SimulatedDay(CALIBRATION, day_of(2025, 12, 10), 3, start_ms=TEN), Random(3)
    session = Recorded(core(rule))
    exchange = Exchange(traffic.markets, ids=lambda: f"{ids.getrandbits(64):016x}")
    Backtest(session, exchange, traffic, data_ms=20, order_ms=70).run(TEN + 60 * 60_000)  # type: ignore[arg-type]
    return session.record


def played(record: Record, rule: str = "improves", delays: Sequence[tuple[int, int]] = ()) -> SessionBacktest:
    return SessionBacktest(core(rule), record, Random(1), delays=delays).run()


@pytest.mark.parametrize("rule", RULES)
def test_a_session_fills_again_as_it_did(rule: str):
    error = own_error(core(rule), traded(rule), Random(1))
    assert error.real > 10_000 and abs(error.error) <= 0.15
    assert error.missed <= 0.1 * error.real and error.extra <= 0.1 * error.backtest


def test_it_knows_nothing_of_what_became_of_the_real_orders():
    record = traded()
    stripped = [(e, ()) for e, _ in record if type(e) not in _OURS]
    delays = order_delays(record)
    whole, blind = played(record, delays=delays), played(stripped, delays=delays)
    assert blind.exchange.fills == whole.exchange.fills and blind.actions == whole.actions


def test_nothing_fills_where_nobody_trades():
    assert not played([(e, a) for e, a in traded() if not isinstance(e, Trade)]).exchange.fills


@pytest.mark.parametrize("minutes", [7, 23, 41])
def test_two_recordings_that_are_alike_until_a_time_give_the_same_actions_until_then(minutes: int):
    until_ms, delays = TEN + minutes * 60_000, order_delays(traded())
    other = [(e, a) if e.ts_ms < until_ms else (_moved(e), a) for e, a in traded()]

    def actions(record: Record) -> list: return [x for x in played(record, delays=delays).actions if x[0] < until_ms]

    assert actions(traded()) == actions(other) != []


def _moved(e):
    "The same with all bids a cent lower"
    match e:
        case BookSnapshot(): return structs.replace(e, bids=tuple((max(p - CENT, 100), n) for p, n in e.bids))
        case BookDelta() if e.side.sign > 0: return structs.replace(e, price=max(e.price - CENT, 100))
    return e


def test_fills_that_are_a_cent_better_move_the_error_by_a_cent():
    record = traded()
    fills, values, mine = real_fills(record), final_values(record), played(record).exchange.fills
    better = [structs.replace(f, price=f.price - f.side.sign * CENT) for f in fills]
    error, moved = compare(fills, mine, values), compare(better, mine, values)
    assert moved.error - error.error == pytest.approx(-1)
    assert moved.price_off == pytest.approx(1, abs=0.05) and moved.matched == error.matched


def test_another_rule_is_another_session():
    error = own_error(core("joins"), traded("improves"), Random(1))
    assert error.missed > 0.3 * error.real and error.extra > 0.3 * error.backtest


def test_each_real_contract_is_counted_once():
    fills: list[Fill] = real_fills(traded())
    assert len({f.trade_id for f in fills}) == len(fills)
    twice = compare(fills, [*fills, *fills], final_values(traded()))
    assert twice.matched == twice.real and twice.extra == twice.real
