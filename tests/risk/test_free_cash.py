"Free cash is never overestimated before it is known how the exchange reports it, and then it is exact"
from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.messages import AccountRead, Connection, MarketListed
from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, ONE
from kalshi_mm.model.types import Market, Order, OrderStatus, Side, TickGrid
from kalshi_mm.risk.free_cash import FreeCash
from kalshi_mm.risk.limits import Limits
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

reads = st.lists(st.tuples(st.integers(0, 50), st.integers(-20, 20), st.booleans()), min_size=1, max_size=40)


@given(reads, st.booleans())
def test_it_never_says_too_much_and_learns_which_of_the_two_it_is(drawn, gross):  # type: ignore[no-untyped-def]
    free, cash = FreeCash(), 1000
    told, last, before = 0, 0, None
    for reserved, gain, fresh in drawn:
        cash += gain
        said = free.take((cash if gross else cash - reserved) * DOLLAR, reserved * DOLLAR, gain != 0, fresh)
        assert said <= (cash - reserved) * DOLLAR
        if before is not None and fresh and not gain and reserved != last: told += 1
        before, last = (reserved, reserved) if fresh else (None, 0)
        assert free.gross in (None, gross) and (free.gross is None) == (told < 3)
        if free.gross is not None: assert said == (cash - reserved) * DOLLAR


def test_what_resting_orders_reserve_is_not_free_whoever_placed_them():
    t = 1_700_000_000_000
    maker = MarketMaker(SpreadCapture(Params()), Config("s", Limits()))
    maker.handle(Connection(t, True))
    maker.handle(MarketListed(t, Market("X", "E", "S", "", "active", 0, t + 10**9, TickGrid.of([(0, ONE, CENT)]))))
    by_hand = Order("o", "by-hand", "X", Side.BID, 4500, 0, 200 * CONTRACT, OrderStatus.RESTING, None)
    maker.handle(AccountRead(t, t, 0, (), (), (), 100 * DOLLAR))
    assert maker.balance == 100 * DOLLAR and "balance" not in maker.halts.active
    maker.handle(AccountRead(t + 1, t + 1, 0, (by_hand,), (), (), 100 * DOLLAR))  # 200 at 45 cents
    assert maker.balance == 10 * DOLLAR and "balance" in maker.halts.active  # MIN_BALANCE is $20
    sold = Order("o", "by-hand", "X", Side.ASK, 4500, 0, 200 * CONTRACT, OrderStatus.RESTING, None)
    maker.handle(AccountRead(t + 2, t + 2, 0, (sold,), (("X", 200 * CONTRACT),), (), 100 * DOLLAR))
    assert maker.balance == 100 * DOLLAR  # it leaves a position, and reserves nothing
