"The exchange-side guard: one group a shard, with the limit of now; and a sweep that tries every way"
import asyncio
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.client.order_groups import Breaker, kept_groups, sweep
from kalshi_mm.client.portfolio import Canceled, OrderGroup
from kalshi_mm.client.transport import ApiError, NotFound, Unreachable
from kalshi_mm.model.messages import Cancel
from kalshi_mm.model.types import Order, OrderStatus, Side


class Groups:
    "The order groups of an account, and a note of what was asked"

    def __init__(self, *known: str) -> None:
        self.known, self.asked = list(known), list[tuple[Any, ...]]()

    async def groups(self) -> list[OrderGroup]:
        self.asked.append(("list",))
        return [OrderGroup(g, None, 0) for g in self.known]

    async def create_group(self, limit: int, shard: int) -> str:
        self.asked.append(("create", limit, shard))
        self.known.append(f"g{len(self.known) + 1}")
        return self.known[-1]

    async def reset_group(self, group: str, shard: int) -> None: self.asked.append(("reset", group, shard))
    async def limit_group(self, group: str, limit: int, shard: int) -> None: self.asked.append(("limit", group, limit, shard))


def breaker(client: Groups, path: Path, limit: int = 500) -> tuple[Breaker, list[str]]:
    adopted: list[str] = []
    return Breaker(client, limit, path, adopted.append), adopted  # type: ignore[arg-type]


def test_each_shard_has_a_group_of_its_own_made_once_and_an_unknown_shard_is_the_first(tmp_path: Path):
    async def drill() -> None:
        client = Groups()
        ours, adopted = breaker(client, tmp_path / "new" / "groups.json")
        found = [await ours.group(shard) for shard in (0, 2, 0, -1, 2)]
        assert found == ["g1", "g2", "g1", "g1", "g2"] and adopted == ["g1", "g2"]
        assert client.asked == [("list",), ("create", 500, 0), ("list",), ("create", 500, 2)]
        assert kept_groups(ours.path) == {0: "g1", 2: "g2"} and not list(ours.path.parent.glob("*.new"))
        await ours.open([2, 0, -1])
        assert len(client.asked) == 4  # nothing is missing

    asyncio.run(drill())


def test_a_group_of_an_earlier_session_is_reset_before_its_first_order_and_one_that_is_gone_is_made_anew(tmp_path: Path):
    async def drill() -> None:
        path = tmp_path / "groups.json"
        path.write_bytes(b'{"0": "old", "1": "gone"}')
        client = Groups("old", "others")
        ours, adopted = breaker(client, path)
        await ours.open([1, 0])
        assert client.asked == [("list",), ("reset", "old", 0), ("limit", "old", 500, 0), ("create", 500, 1)]
        assert ours.ids == kept_groups(path) == {0: "old", 1: "g3"} and adopted == ["old", "g3"]

    asyncio.run(drill())


def test_a_limit_that_a_person_changes_reaches_the_group_with_the_next_order_and_no_order_is_cancelled_for_it(tmp_path: Path):
    async def drill() -> None:
        client = Groups()
        ours, _ = breaker(client, tmp_path / "groups.json")
        await ours.group(0)
        ours.limit = 400
        for _ in range(2): await ours.group(0)
        assert client.asked[2:] == [("list",), ("limit", "g1", 400, 0)]  # no reset
        ours.released()  # a kill has triggered it
        await ours.group(0)
        assert client.asked[4:] == [("list",), ("reset", "g1", 0), ("limit", "g1", 400, 0)]

    asyncio.run(drill())


@pytest.mark.parametrize("text", [None, b"", b"odd", b"[]", b'{"0": 7}'])
def test_groups_that_can_not_be_read_are_none(tmp_path: Path, text: bytes | None):
    path = tmp_path / "groups.json"
    if text is not None: path.write_bytes(text)
    assert kept_groups(path) == {}


# ---- the sweep

def order(order_id: str, whose: str = "kmm-s-1") -> Order:
    return Order(order_id, whose, "X", Side.BID, 4300, 0, 100, OrderStatus.RESTING)


class Exchange:
    "Resting orders, and calls that fail where they are told to"

    def __init__(self, *orders: Order, **trouble: ApiError) -> None:
        self.orders, self.trouble, self.asked = list(orders), trouble, list[tuple[str, Any]]()

    def _asked(self, name: str, about: Any = None) -> None:
        self.asked.append((name, about))
        if name in self.trouble: raise self.trouble[name]

    async def trigger_group(self, group: str, shard: int) -> None: self._asked("trigger", (group, shard))
    async def cancel_all(self) -> None: self._asked("all")

    async def resting_orders(self) -> list[Order]:
        self._asked("list")
        return list(self.orders)

    async def cancel_many(self, cancels: list[Cancel]) -> list[Canceled]:
        self._asked("cancel", [c.order_id for c in cancels])
        self.orders = [o for o in self.orders if o.order_id not in {c.order_id for c in cancels}]
        return [Canceled(c.order_id, 100) for c in cancels]


def swept(exchange: Exchange, *known: str, groups: dict[int, str] | None = None, everything: bool = False) -> Any:
    return asyncio.run(sweep(exchange, groups or {}, [Cancel("", "", i, "X") for i in known], everything))  # type: ignore[arg-type]


def test_a_sweep_triggers_the_groups_cancels_what_is_known_and_then_what_is_listed_as_ours():
    exchange = Exchange(order("a"), order("b"), order("theirs", "by-hand"))
    done = swept(exchange, "a", "", groups={0: "g0", 3: "g3"})
    assert sorted(exchange.asked[:3], key=str) == [("cancel", ["a"]), ("trigger", ("g0", 0)), ("trigger", ("g3", 3))]
    assert exchange.asked[3:] == [("list", None), ("cancel", ["b"])]
    assert ([c.order_id for c in done.canceled], [o.order_id for o in done.left], done.trouble) == (["a", "b"], ["b"], [])
    assert not done.clean and swept(exchange).clean and [o.order_id for o in exchange.orders] == ["theirs"]


def test_a_sweep_of_everything_takes_the_orders_of_others_too():
    exchange = Exchange(order("a"), order("theirs", "by-hand"))
    done = swept(exchange, everything=True)
    assert exchange.asked == [("all", None), ("list", None), ("cancel", ["a", "theirs"])] and not exchange.orders
    assert len(done.left) == 2


@pytest.mark.parametrize("fails", ["trigger", "list", "cancel", "all"])
def test_what_fails_is_told_and_keeps_nothing_else_from_being_tried(fails: str):
    exchange = Exchange(order("a"), **{fails: Unreachable("the line is down")})
    done = swept(exchange, "a", groups={0: "g0"}, everything=True)
    assert done.trouble == ["the line is down"] * (2 if fails == "cancel" else 1) and not done.clean
    assert {name for name, _ in exchange.asked} == {"trigger", "all", "list", "cancel"}


def test_a_group_that_is_gone_is_no_trouble():
    assert swept(Exchange(trigger=NotFound("gone", 404, "not_found")), groups={0: "g0"}).clean
