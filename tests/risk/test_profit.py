"The parts of a profit add up to it, whatever happens; what is realised and what leaving would bring are counted apart"
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from kalshi_mm.maker.market_state import MarketState
from kalshi_mm.model.fees import FeeSchedule
from kalshi_mm.model.numbers import CENT, ONE, cost
from kalshi_mm.model.types import Fill, Market, Position, Side, TickGrid
from kalshi_mm.orderbook import OrderBook
from kalshi_mm.risk.profit import way_out

MARKET = Market("X", "E", "S", "", "active", 0, 1, TickGrid.of([(0, ONE, CENT)]))
PRICES = st.integers(1, ONE - 1)
FILLS = st.tuples(st.sampled_from(Side), PRICES, st.integers(1, 5_000), st.integers(0, 50_000))  # side, price, count, fee
STEPS = st.one_of(FILLS.map(lambda f: ("fill", f)), PRICES.map(lambda p: ("mark", p)))


def state(position: Position, mark: int | None) -> MarketState:
    return MarketState(MARKET, FeeSchedule.of("quadratic"), OrderBook("X"), position, mark)


def play(slot: MarketState, steps) -> list[Fill]:
    fills = []
    for n, (kind, what) in enumerate(steps):
        if kind == "mark": slot.mark = what
        else:
            side, price, count, fee = what
            fills.append(Fill(f"t{n}", "o", "X", side, price, count, fee, False, 0))
            slot.take(fills[-1])
        assert slot.split.total == slot.pnl
    return fills


@given(st.integers(-3_000, 3_000), st.integers(-10**8, 10**8), st.none() | PRICES, st.lists(STEPS, max_size=30),
       st.sampled_from([0, 2_400, ONE]), st.lists(STEPS, max_size=3))  # fmt: skip
def test_the_parts_add_up_to_the_profit_and_so_do_realised_and_open(net, cash, mark, steps, paid, late):
    slot = state(Position("X", net, cash, 70), mark)
    before = slot.pnl
    fills = play(slot, steps)
    p = slot.profit
    assert p.net == slot.position.net
    assert p.before + p.realised - p.fees + p.unrealised(cost(slot.value, p.net)) == slot.pnl
    slot.market = structs.replace(MARKET, paid=paid)
    slot.settle(paid)
    fills += play(slot, [s for s in late if s[0] == "fill"])
    assert (p.net, p.open_cash) == (0, 0) == (slot.position.net, 0)
    assert slot.split.total == slot.pnl == before + p.realised - p.fees
    assert p.fees == sum(f.fee for f in fills)


@given(st.lists(FILLS, min_size=1, max_size=20), PRICES)
def test_captured_and_exits_are_the_edges_of_all_fills(fills, middle):
    slot = state(Position("X"), middle)
    play(slot, [("fill", f) for f in fills])
    edges = sum(side.sign * cost(middle - price, count) for side, price, count, _ in fills)
    assert slot.split.captured + slot.split.exits == edges
    assert (slot.split.drift, slot.split.settlement) == (0, 0)


@given(st.lists(FILLS, min_size=1, max_size=20))
def test_one_side_alone_only_opens_and_realises_nothing(fills):
    slot = state(Position("X"), 5_000)
    play(slot, [("fill", (Side.ASK, *f[1:])) for f in fills])
    assert (slot.split.exits, slot.profit.realised) == (0, 0)
    assert slot.profit.open_cash == sum(cost(price, count) for _, price, count, _ in fills)


@given(st.integers(-5_000, 5_000), st.lists(st.tuples(PRICES, st.integers(1, 2_000)), max_size=6, unique_by=lambda x: x[0]))
def test_a_way_out_meets_contract_after_contract(net, levels):
    levels = sorted(levels, reverse=net > 0)
    each = [price for price, count in levels for _ in range(count)][: abs(net)]
    worst = 0 if net > 0 else ONE
    out = way_out(net, levels, FeeSchedule.of(""))
    assert out.stuck == abs(net) - len(each)
    assert out.proceeds == (1 if net > 0 else -1) * (sum(each) + worst * out.stuck)
