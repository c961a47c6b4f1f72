"What an answer means for an order, and what a read of the account asks for"
import asyncio
from typing import Any

import pytest

from kalshi_mm.client.transport import (
    Ambiguous,
    ApiError,
    AuthFailed,
    ExchangeClosed,
    NotFound,
    RateLimited,
    Rejected,
    Unreachable,
)
from kalshi_mm.engine.gateway import Gateway, failure
from kalshi_mm.model.messages import (
    AccountRead,
    AccountUnread,
    Amend,
    BookRead,
    Cancel,
    Event,
    OrderAmended,
    OrderCanceled,
    OrderGone,
    OrderPlaced,
    Place,
    ReadAccount,
    ReadBooks,
    Verb,
    WriteRejected,
    WriteUnknown,
)
from kalshi_mm.model.types import Fill, Order, OrderStatus, Side, UnreadFill


@pytest.mark.parametrize("verb", list(Verb))
@pytest.mark.parametrize(("error", "code"), [
    (Ambiguous("?"), None), (RateLimited("r", 429, "x"), "too_many_requests"),
    (AuthFailed("a", 401, "x"), "authentication_error"),
    (ExchangeClosed("c", 409, "x"), "exchange_closed"), (Rejected("no", 400, "invalid_price"), "invalid_price"),
    (Unreachable("u"), "unreachable")])
def test_each_failure_of_a_write_says_whether_the_order_may_have_changed(
        verb: Verb, error: ApiError, code: str | None):
    found = failure(verb, "kmm-s-1", "o1", error, 7)
    if code is None: assert found == WriteUnknown(7, "kmm-s-1", verb, str(error))
    else: assert found == WriteRejected(7, "kmm-s-1", verb, code, str(error))


@pytest.mark.parametrize("verb", [Verb.AMEND, Verb.CANCEL])
def test_an_order_that_the_exchange_does_not_know_any_more_is_gone(verb: Verb):
    assert failure(verb, "kmm-s-1", "o1", NotFound("n", 404, "not_found"), 7) == OrderGone(7, "kmm-s-1", "o1", verb)


def test_a_placement_in_a_market_that_the_exchange_does_not_know_is_a_refusal_with_its_code():
    found = failure(Verb.PLACE, "kmm-s-1", "", NotFound("n", 404, "market_not_found"), 7)
    why = "the exchange knows nothing by that name: 404 market_not_found n"
    assert found == WriteRejected(7, "kmm-s-1", Verb.PLACE, "market_not_found", why)


def order(n: int) -> Order: return Order(f"o{n}", f"kmm-s-{n}", "X", Side.BID, 4300, 0, 100, OrderStatus.RESTING)


def fill(n: int, ts_ms: int) -> Fill: return Fill(f"t{n}", "o1", "X", Side.BID, 4300, 100, 0, False, ts_ms)


class Account:
    "An account as its lists tell it, and a note of what they were asked for"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.listed: list[Fill | UnreadFill] = []
        self.trouble: ApiError | None = None

    async def _answer(self, name: str, about: Any, answer: Any) -> Any:
        self.asked.append((name, about))
        if self.trouble: raise self.trouble
        return answer

    async def fills(self, since_s: int) -> Any: return await self._answer("fills", since_s, self.listed)
    async def orders(self, since_s: int) -> Any: return await self._answer("orders", since_s, [order(1), order(2)])
    async def resting_orders(self) -> Any: return await self._answer("resting", None, [order(2), order(3)])
    async def positions(self) -> Any: return await self._answer("positions", None, {"X": 700})
    async def balance(self) -> Any: return await self._answer("balance", None, 5)
    async def orderbook(self, ticker: str) -> Any: return await self._answer("book", ticker, ([(4200, 5)], [(4800, 6)]))
    async def amend(self, a: Amend, recalled: Any) -> Any: return await self._answer("amend", recalled(), 300)
    async def cancel(self, a: Cancel) -> Any: return await self._answer("cancel", None, 400)

    async def place(self, a: Place, group: str, recalled: Any) -> Any:
        return await self._answer("place", (group, recalled()), type("Took", (), {"order_id": "o1", "filled": 1, "remaining": 2}))


def gateway(account: Account, told: list[Event], **more: Any) -> Gateway:
    return Gateway(account, told.append, lambda: 1_000_000, told.append, **more)  # type: ignore[arg-type]


def test_a_read_asks_two_minutes_further_back_than_the_last_fill_and_for_orders_only_if_some_are_in_doubt():
    account, told = Account(), list[Event]()
    gate = gateway(account, told, fills_since_ms=500_999)
    account.listed = [fill(1, 700_000), fill(2, 640_500)]
    for since_ms in (0, 1999): asyncio.run(gate.read(ReadAccount("why", since_ms)))
    assert [about for name, about in account.asked if name == "fills"] == [380, 580]
    assert [about for name, about in account.asked if name == "orders"] == [1]
    first, second = told
    assert isinstance(first, AccountRead) and isinstance(second, AccountRead)
    assert ([o.order_id for o in first.orders], [o.order_id for o in second.orders]) == (["o2", "o3"], ["o1", "o2", "o3"])
    assert (first.positions, first.balance, first.since_ms, second.since_ms, len(first.fills)) == ((("X", 700),), 5, 0, 1999, 2)
    assert gate.fills_since_ms == 700_000
    account.listed = [fill(3, 650_000)]
    asyncio.run(gate.read(ReadAccount("why")))
    assert gate.fills_since_ms == 700_000  # never back
    asyncio.run(gateway(account, told, fills_since_ms=60_000).read(ReadAccount("why")))
    assert [about for name, about in account.asked if name == "fills"][-1] == 0


def test_fills_that_are_not_ours_are_left_out_and_those_that_can_not_be_read_are_told_apart():
    account, told = Account(), list[Event]()
    odd, others = UnreadFill("t8", "no count", "X"), UnreadFill("t9", "no count", "Y")
    account.listed = [fill(1, 10), fill(2, 20), odd, others]
    gate = gateway(account, told, counts=lambda f: f.trade_id == "t2", doubts=lambda f: f.ticker == "X")
    asyncio.run(gate.read(ReadAccount("why")))
    (read,) = told
    assert isinstance(read, AccountRead) and ([f.trade_id for f in read.fills], read.unread) == (["t2"], (odd,))


def test_a_read_that_fails_is_told_and_moves_nothing():
    account, told = Account(), list[Event]()
    gate, account.trouble = gateway(account, told, fills_since_ms=5), Unreachable("the line is down")
    asyncio.run(gate.read(ReadAccount("why")))
    assert told == [AccountUnread(1_000_000, "the line is down")] and gate.fills_since_ms == 5


def test_each_write_has_its_answer_and_is_recalled_by_its_market():
    async def drill() -> None:
        account, told = Account(), list[Event]()
        gate = gateway(account, told, recalled=lambda ticker: f"halted {ticker}")
        for a in (Place("", "kmm-s-1", "X", Side.BID, 4300, 3, 60), Amend("", "kmm-s-2", "o2", "Y", Side.BID, 4300, 3, 60),
                  Cancel("", "kmm-s-3", "o3", "X"), ReadBooks("", ("X", "Y"))):  # fmt: skip
            gate.do(a)
            await asyncio.gather(*gate._tasks)
        assert account.asked[:3] == [("place", ("", "halted X")), ("amend", "halted Y"), ("cancel", None)]
        now = 1_000_000
        assert told == [OrderPlaced(now, "kmm-s-1", "o1", 1, 2), OrderAmended(now, "kmm-s-2", "o2", 300),
                        OrderCanceled(now, "kmm-s-3", "o3", 400), BookRead(now, now, "X", ((4200, 5),), ((4800, 6),)),
                        BookRead(now, now, "Y", ((4200, 5),), ((4800, 6),))]  # fmt: skip

    asyncio.run(drill())
