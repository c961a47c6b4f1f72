"The proof that nothing rests at the end, and the wait after a cancel of everything; the clock is the test's"
import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from kalshi_mm.client.order_groups import LIST_LAG_S
from kalshi_mm.client.transport import ApiError, Unreachable
from kalshi_mm.engine import verification
from kalshi_mm.engine.fault import Fault
from kalshi_mm.engine.verification import verify_empty
from kalshi_mm.model.messages import CancelAll, Command
from kalshi_mm.model.types import Order, OrderStatus, Side


def order(n: int, whose: str = "kmm-s") -> Order:
    return Order(f"o{n}", f"{whose}-{n}", "X", Side.BID, 4300, 0, 250, OrderStatus.RESTING)


class Exchange:
    "What each look finds, one after the other, the last one for ever; and at which second each call came"

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *looks: list[Order] | ApiError):
        self.looks, self.now_s, self.looked, self.cancelled = list(looks), 100.0, list[float](), list[tuple[float, list[str]]]()
        async def sleep(s: float) -> None: self.now_s += s

        monkeypatch.setattr(verification, "asyncio", SimpleNamespace(sleep=sleep))
        monkeypatch.setattr(verification, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    async def resting_orders(self) -> list[Order]:
        self.looked.append(self.now_s)
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(found, ApiError): raise found
        return found

    async def cancel_many(self, cancels: list[Any]) -> list[Any]:
        self.cancelled.append((self.now_s, [c.order_id for c in cancels]))
        return []

    def verified(self, foreign: str = "") -> list[str]:
        return asyncio.run(verify_empty(self, lambda o: o.client_order_id == foreign))  # type: ignore[arg-type]


def test_two_empty_looks_as_far_apart_as_lists_lag_prove_that_nothing_rests(monkeypatch: pytest.MonkeyPatch):
    exchange = Exchange(monkeypatch, [])
    assert exchange.verified() == [] and exchange.looked == [100.0, 100.0 + LIST_LAG_S] and not exchange.cancelled


@pytest.mark.parametrize("between", [[order(1)], Unreachable("the line is down")])
def test_a_look_that_finds_something_or_fails_begins_the_proof_anew(monkeypatch: pytest.MonkeyPatch, between: Any):
    exchange = Exchange(monkeypatch, [], between, [])
    assert exchange.verified() == []
    assert exchange.looked == [100.0, 101.5, 101.75, 103.25]


def test_what_rests_is_cancelled_with_each_fifth_look_and_named_in_the_end(monkeypatch: pytest.MonkeyPatch):
    exchange = Exchange(monkeypatch, [order(1), order(2, "by-hand"), order(3), order(4, "kmm-other")])
    assert exchange.verified("kmm-other-4") == ["bid 2.50 X (o1)", "bid 2.50 X (o3)"]
    assert exchange.looked == [100.0 + 0.25 * n for n in range(24)]
    assert exchange.cancelled == [(100.0 + 0.25 * n, ["o1", "o3"]) for n in (4, 9, 14, 19)]


def test_orders_of_others_alone_are_nothing_of_ours(monkeypatch: pytest.MonkeyPatch):
    exchange = Exchange(monkeypatch, [order(2, "by-hand"), order(4, "kmm-other")])
    assert exchange.verified("kmm-other-4") == [] and len(exchange.looked) == 2


def test_what_could_never_be_asked_is_unknown_and_no_proof(monkeypatch: pytest.MonkeyPatch):
    exchange = Exchange(monkeypatch, Unreachable("the line is down"))
    assert exchange.verified() == ["unknown: the line is down"] and len(exchange.looked) == 24


def test_a_fault_blocks_writes_halts_cancels_and_tells_once():
    done, told, events, client = list[Any](), list[Any](), list[Any](), SimpleNamespace(blocked="")
    inbox, notices = SimpleNamespace(put=events.append), SimpleNamespace(note=lambda text, level: told.append((level, text)))
    fault = Fault(client, inbox, notices, done.append, lambda: 7)  # type: ignore[arg-type]
    for text in ("first", "second"): fault.declare(text)
    assert (fault.text, client.blocked, told) == ("first", "first", [("error", "first")])
    assert (events, done) == ([Command(7, "halt", "engine", "first")], [CancelAll("first")])


def test_work_that_ends_with_an_error_is_a_fault_and_work_that_is_cancelled_is_none():
    async def drill(fails: bool) -> str:
        async def work() -> None:
            if fails: raise OSError("gone")
            await asyncio.Event().wait()

        nowhere: Any = SimpleNamespace(blocked="", put=lambda e: None, note=lambda text, level: None)
        fault = Fault(nowhere, nowhere, nowhere, lambda a: None, lambda: 7)
        async with fault.watching(work()):
            for _ in range(5): await asyncio.sleep(0)
        return fault.text

    assert (asyncio.run(drill(True)), asyncio.run(drill(False))) == ("OSError: gone", "")
