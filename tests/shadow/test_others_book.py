"Others' orders beside ours: whatever the source says and whatever we do, others show what the source shows, and money is kept"
from collections import Counter
from functools import partial
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from kalshi_mm.model.numbers import CENT, CONTRACT, DOLLAR, ONE, cost
from kalshi_mm.model.types import Market, Side, TickGrid
from kalshi_mm.sandbox.execution import Refusal, TradePrint
from kalshi_mm.sandbox.matching import Exchange, NewOrder
from kalshi_mm.shadow.others_book import OTHERS, WINDOW_MS, FillKind, OthersBook

MARKET = Market("X", "E", "S", "", "active", 0, 10**13, TickGrid.of([(0, ONE, CENT)]))
SIZES = st.integers(1, 30)
SIDES = st.sampled_from([(Side.BID, -1), (Side.ASK, 1)])


def opened(ahead: int = 100) -> tuple[Exchange, OthersBook]:
    exchange = Exchange([MARKET], ids=(f"id{n}" for n in range(10**9)).__next__)
    exchange.open_account("us", 1000 * DOLLAR)
    return exchange, OthersBook(exchange, ahead)


def bid(exchange: Exchange, cents: int, contracts: int, **more: Any) -> Any:
    price, count = cents * CENT, contracts * CONTRACT
    return exchange.place(NewOrder(account="us", ticker="X", side=Side.BID, price=price, count=count, **more), 1)


@st.composite
def steps(draw: Any) -> list[tuple[Any, ...]]:
    "What the source says, and what we do"
    kinds = ["add", "cut", "print", "print", "ours", "ours", "takes", "cancel", "snapshot", "wait"]
    found = []
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=15, max_size=40)):
        side, away = draw(SIDES)
        price = (45 + away * draw(st.integers(0, 2))) * CENT
        ours = (45 + away * draw(st.integers(-1, 2))) * CENT  # at a price of others', in between, or across
        found.append((kind, side, price, draw(SIZES) * CONTRACT, ours, draw(st.booleans())))
    return found


@given(steps(), st.sampled_from([0, 50, 100]))
def test_others_show_what_the_source_shows_less_what_we_took_and_money_is_kept(found: list[tuple[Any, ...]], ahead: int):
    exchange, others = opened(ahead)
    source: dict[Side, Counter[int]] = {side: Counter() for side in Side}
    for side, away in ((Side.BID, -1), (Side.ASK, 1)):
        for ticks in (1, 2): source[side][(45 + away * ticks) * CENT] = 10 * CONTRACT
    others.snapshot("X", source[Side.BID].items(), source[Side.ASK].items(), 1)
    now, printed = 1, 0
    for n, (kind, side, price, count, ours, first) in enumerate(found):
        now += 10
        if kind in ("add", "snapshot") and any(side.sign * (price - p) >= 0 for p in +source[side.opposite]): continue
        match kind:
            case "add":
                source[side][price] += count
                others.change("X", side, price, count, now)
            case "cut":
                gone = min(count, source[side][price])
                source[side][price] -= gone
                others.change("X", side, price, -gone, now)
            case "print":
                n_printed = min(count, source[side][price])
                if not n_printed: continue
                source[side][price] -= n_printed
                printed += n_printed
                says = [partial(others.trade, "X", price, n_printed, side.opposite, f"t{n}", now),
                        partial(others.change, "X", side, price, -n_printed, now)]
                for say in says if first else says[::-1]: say()
            case "ours":
                try: exchange.place(NewOrder(account="us", ticker="X", side=side, price=ours, count=count, post_only=True), now)
                except Refusal: pass
            case "takes":
                try: exchange.place(NewOrder(account="us", ticker="X", side=side, price=ours, count=count,
                                             time_in_force="immediate_or_cancel"), now)
                except Refusal: pass
            case "cancel":
                for o in exchange.orders("us"):
                    if o.resting: exchange.cancel("us", o.order_id, now)
            case "snapshot":
                source[side][price] = count
                bids, asks = ([(p, c) for p, c in source[s].items() if c] for s in Side)
                others.snapshot("X", bids, asks, now)
            case "wait":
                now += WINDOW_MS + 1
                others.settle_cancelled(now)
        for s in Side:
            there, shown, missing = +source[s], others.levels.shown("X", s), others.levels.missing("X", s)
            assert others.levels.source("X", s) == there
            assert {p: c for p in there if (c := shown.get(p, 0) + missing.get(p, 0))} == there, (kind, s)
            levels = dict(exchange.levels("X")[s is Side.ASK])
            own = Counter[int]()
            for o in exchange.orders("us"):
                if o.resting and o.side is s: own[o.price] += o.remaining
            assert levels == {p: c for p in levels if (c := shown.get(p, 0) + own[p])}  # the queue's sums are those of its orders
        bids, asks = exchange.best("X")
        assert bids is None or asks is None or bids < asks  # nobody stands across
    ledger, crowd = exchange.ledger("us"), exchange.records.accounts[OTHERS]
    fees = sum(f.fee for f in ledger.fills) + sum(h.position.fees for h in crowd.holdings.values())
    assert ledger.cash + ledger.locked + crowd.cash + fees == 1000 * DOLLAR
    position = ledger.positions["X"].net if "X" in ledger.positions else 0
    assert position == sum(f.side.sign * f.count for f in ledger.fills)
    assert all((f.trade_id in others.kinds) != f.is_taker for f in ledger.fills)
    for f in ledger.fills: event(f"a fill: {others.kinds.get(f.trade_id, FillKind.TAKEN)}")
    by_print = sum(f.count for f in ledger.fills if others.kinds.get(f.trade_id) in (FillKind.QUEUE, FillKind.THROUGH))
    assert by_print <= printed


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(1, 15), st.booleans()), max_size=8), st.integers(1, 20))
def test_the_queue_by_counting(ahead: int, prints: list[tuple[int, bool]], size: int):
    "With prints alone, our fills are what was printed beyond what stood before us, whichever message came first"
    exchange, others = opened()
    others.snapshot("X", [(43 * CENT, ahead * CONTRACT)], [], 1)
    ours = bid(exchange, 43, size)
    others.change("X", Side.BID, 43 * CENT, 500 * CONTRACT, 1)  # behind us
    total = 0
    for n, (contracts, first) in enumerate(prints):
        total += contracts
        says = [partial(others.trade, "X", 43 * CENT, contracts * CONTRACT, Side.ASK, f"t{n}", 2),
                partial(others.change, "X", Side.BID, 43 * CENT, -contracts * CONTRACT, 2)]
        for say in says if first else says[::-1]: say()
        assert ours.filled == min(max(total - ahead, 0), size) * CONTRACT
        assert ours.remaining == 0 or exchange.queue_ahead(ours.order_id) == max(ahead - total, 0) * CONTRACT
    told = sum(h.count for h in exchange.take() if isinstance(h, TradePrint))
    assert told == total * CONTRACT  # as much is printed here as there


def test_two_orders_of_ours_at_a_price_fill_in_turn():
    exchange, others = opened()
    others.snapshot("X", [(43 * CENT, 20 * CONTRACT)], [], 1)
    one = bid(exchange, 43, 5)
    others.change("X", Side.BID, 43 * CENT, 4 * CONTRACT, 1)
    two = bid(exchange, 43, 5)
    others.trade("X", 43 * CENT, 26 * CONTRACT, Side.ASK, "t", 2)  # 20 others, 5 of ours, 1 other
    assert (one.filled, two.filled, exchange.queue_ahead(two.order_id)) == (5 * CONTRACT, 0, 3 * CONTRACT)
    others.trade("X", 43 * CENT, 5 * CONTRACT, Side.ASK, "u", 2)
    assert two.filled == 2 * CONTRACT
    others.change("X", Side.BID, 43 * CENT, -24 * CONTRACT, 2)
    assert (others.levels.shown("X", Side.BID), two.remaining) == ({}, 3 * CONTRACT)


def test_a_message_that_is_late_by_more_than_a_second_is_another_one():
    exchange, others = opened()
    others.snapshot("X", [(43 * CENT, 20 * CONTRACT)], [], 1)
    ours = bid(exchange, 43, 5)
    others.trade("X", 43 * CENT, 15 * CONTRACT, Side.ASK, "t", 10)
    others.change("X", Side.BID, 43 * CENT, -5 * CONTRACT, 10 + WINDOW_MS + 1)  # not that print's: cancelled, and so in parts
    others.settle_cancelled(10 + 2 * WINDOW_MS + 2)
    assert exchange.queue_ahead(ours.order_id) == 5 * CONTRACT - 5 * 5 * CONTRACT // 20


def test_an_order_that_joins_between_a_change_and_its_print_keeps_its_place():
    exchange, others = opened()
    others.snapshot("X", [(43 * CENT, 20 * CONTRACT)], [], 1)
    others.change("X", Side.BID, 43 * CENT, -15 * CONTRACT, 2)
    ours = bid(exchange, 43, 5)
    others.trade("X", 43 * CENT, 15 * CONTRACT, Side.ASK, "t", 3)  # of those 15
    assert (ours.filled, exchange.queue_ahead(ours.order_id)) == (0, 5 * CONTRACT)


def test_an_order_that_joins_between_a_print_and_its_change_is_behind_what_was_printed():
    exchange, others = opened()
    others.snapshot("X", [(43 * CENT, 20 * CONTRACT)], [], 1)
    others.trade("X", 43 * CENT, 15 * CONTRACT, Side.ASK, "t", 2)
    ours = bid(exchange, 43, 5)
    others.change("X", Side.BID, 43 * CENT, -15 * CONTRACT, 3)
    assert exchange.queue_ahead(ours.order_id) == 5 * CONTRACT


def test_a_group_that_is_full_takes_the_rest_of_ours_away():
    exchange, others = opened()
    group = exchange.create_group("us", 2 * CONTRACT, 1)
    best, next_ = bid(exchange, 44, 2, group_id=group), bid(exchange, 43, 5, group_id=group)
    others.trade("X", 43 * CENT, 6 * CONTRACT, Side.ASK, "t", 2)
    assert (best.filled, next_.filled, next_.remaining) == (2 * CONTRACT, 0, 0)
    assert sum(h.count for h in exchange.take() if isinstance(h, TradePrint)) == 6 * CONTRACT


def test_the_account_can_lock_what_it_has_and_no_more():
    exchange = Exchange([MARKET], ids=(f"id{n}" for n in range(99)).__next__)
    exchange.open_account("us", 10 * DOLLAR)
    OthersBook(exchange)
    bid(exchange, 43, 20)  # $8.60
    try: bid(exchange, 43, 20)
    except Refusal as e: assert e.code == "insufficient_balance"
    else: raise AssertionError("it was accepted")
    assert exchange.ledger("us").cash == 10 * DOLLAR - cost(43 * CENT, 20 * CONTRACT)
