"""The book against the plainest book there is: two dicts, sorted anew for each question."""
from hypothesis import given
from hypothesis import strategies as st

from kalshi_mm.model.types import Side
from kalshi_mm.orderbook import BookError, OrderBook

prices, counts = st.integers(1, 12).map(lambda n: 100 * n), st.integers(1, 5)
levels = st.dictionaries(prices, counts)
changes = st.lists(st.tuples(st.sampled_from(list(Side)), prices, st.integers(-5, 5)), max_size=60)


@given(levels, levels, changes, levels, levels)
def test_a_book_answers_as_two_dicts_sorted_anew_would(
    bids: dict[int, int], asks: dict[int, int], changed: list[tuple[Side, int, int]],
    our_bids: dict[int, int], our_asks: dict[int, int],
):
    book, plain, ours = OrderBook("X"), {Side.BID: dict(bids), Side.ASK: dict(asks)}, {Side.BID: our_bids, Side.ASK: our_asks}
    book.apply_snapshot(bids.items(), asks.items(), 0)
    for side, price, delta in changed:
        left = plain[side].pop(price, 0) + delta
        if left < 0:
            try: book.apply_delta(side, price, delta, 1)
            except BookError: assert not book.live
            else: raise AssertionError("a level fell below zero")
            book.apply_snapshot(plain[Side.BID].items(), plain[Side.ASK].items(), 0)
            continue
        if left: plain[side][price] = left
        book.apply_delta(side, price, delta, 1)
    assert (book.bids, book.asks) == (plain[Side.BID], plain[Side.ASK])
    for side in Side:
        best_first = sorted(plain[side].items(), reverse=side is Side.BID)
        assert book.best(side) == (best_first[0][0] if best_first else None)
        left_of = ((p, c - ours[side].get(p, 0)) for p, c in best_first)
        others = tuple(level for level in left_of if level[1] > 0)
        for n in range(15):
            assert book.depth(side, n) == best_first[:n]
            assert book.others(side, ours[side], n) == others[:n]
        assert book.best_others(side, ours[side]) == (others[0] if others else None)
