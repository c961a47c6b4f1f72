"The kill chain in real processes: each layer alone, other people's orders spared, and nothing left or sent afterwards"
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.client.credentials import Credentials
from kalshi_mm.client.rest import Client
from kalshi_mm.client.transport import ApiError, RateLimited
from kalshi_mm.engine.journal import Journal
from kalshi_mm.model.messages import Action, Cancel, Event, OrderSeen, Place
from kalshi_mm.model.numbers import CONTRACT
from kalshi_mm.model.types import OrderStatus, Side
from tests.sessions.process import Process, get, ledger, until
from tests.sessions.test_sessions import engine_on, said, trading
from tests.sessions.test_sessions import exchange as exchange  # the fixture
from tests.sessions.test_sessions import start as start  # the fixture

Start = Callable[..., Process]


@pytest.fixture
def account(exchange: dict[str, Any], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    "Calls a method of a client with the account's key, as a person beside the engine would: again where both ask too much"
    import asyncio

    def call(method: str, *args: Any) -> Any:
        async def work() -> Any:
            client = Client(exchange["rest"], Credentials.load(exchange["key_id"], tmp_path / exchange["key_file"]))
            try: return await getattr(client, method)(*args)
            finally: await client.close()

        end = time.monotonic() + 20
        while True:  # the engine on the account takes its share of what the account may ask in a second
            try: return asyncio.run(work())
            except RateLimited:
                if time.monotonic() > end: raise
                time.sleep(0.2)  # a fifth of a second's tokens are back

    yield call


def by_hand(account: Callable[..., Any], exchange: dict[str, Any]) -> None:
    "A person places an order: one contract at a cent, in a market whose bids are far above it"
    bids = {t: (account("orderbook", t)[0] or [(0, 0)])[0][0] for t in exchange["markets"]}
    ticker = max(bids, key=lambda t: bids[t])
    account("place", Place("", "by-hand", ticker, Side.BID, 100, CONTRACT, int(time.time()) + 600))


def resting(exchange: dict[str, Any]) -> list[str]:
    "The client order ids that rest, as the exchange's own ledger has it"
    return [o["client_order_id"] for o in ledger(exchange)["resting"]]


def folder(where: dict[str, Any]) -> Path: return Path(where["journal"]).parent


def test_every_order_joins_the_group_and_the_exchange_stops_it_alone(exchange, start: Start, tmp_path: Path, account):
    _, where = engine_on(exchange, start, tmp_path)
    until(trading(where), "quotes")
    group = next(iter(json.loads((tmp_path / folder(where) / "groups.json").read_text()).values()))
    until(lambda: {o.group_id for o in account("resting_orders")} == {group}, "orders in the group")
    account("trigger_group", group)  # what the exchange does when its limit is passed
    until(lambda: not resting(exchange), "nothing rests")
    until(lambda: halted(where, "group"), "the halt")
    assert resting(exchange) == []
    assert said(tmp_path, "reset", "group", "--control-port", str(where["port"]))[0] == 0
    until(lambda: {o.group_id for o in account("resting_orders")} == {group}, "orders in the group again")


def halted(where: dict[str, Any], rule: str) -> bool:
    return rule in [h["rule"] for h in get(f"{where['control']}/api/risk/status", where)["halts"]]


@pytest.mark.parametrize("everything", [False, True], ids=["ours", "all"])
@pytest.mark.parametrize("how", ["engine", "frozen", "dead"])
def test_a_kill_spares_others_orders_unless_all_are_asked_for(how, everything, exchange, start: Start, tmp_path: Path, account):
    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where), "quotes")
    by_hand(account, exchange)
    if how != "engine": os.kill(process.popen.pid, signal.SIGSTOP if how == "frozen" else signal.SIGKILL)
    began = time.monotonic()
    code, words = said(tmp_path, "kill", *(["--all"] if everything else []))
    assert code == 0 and "rests, seen twice at the exchange" in words, words
    assert ("acknowledged the kill and keeps running" in words) == (how == "engine"), words
    assert time.monotonic() - began < 30
    assert resting(exchange) == ([] if everything else ["by-hand"])
    if how == "frozen": assert process.wait(10)[0] == -signal.SIGKILL and "did not answer and was terminated" in words


@pytest.mark.parametrize("how", ["engine", "dead"])
def test_settings_that_are_wrong_do_not_stop_a_kill(how: str, exchange, start: Start, tmp_path: Path):
    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where), "quotes")
    if how == "dead": os.kill(process.popen.pid, signal.SIGKILL)
    (tmp_path / ".env").write_text("MIN_SPREAD=wide\nMAX_POSITON=3\n")
    code, words = said(tmp_path, "kill")
    assert code == 0 and "MIN_SPREAD=wide" in words and "MAX_POSITON is not a setting" in words
    assert resting(exchange) == []
    assert said(tmp_path, "status")[0] == (0 if how == "engine" else 1)


def test_an_engine_that_wakes_up_after_a_kill_sends_nothing(exchange, start: Start, tmp_path: Path):
    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where), "quotes")
    os.kill(process.popen.pid, signal.SIGSTOP)
    (tmp_path / folder(where) / "killed").write_text("by another process\n")  # what a kill from elsewhere leaves
    known = len(ledger(exchange)["fills"])
    os.kill(process.popen.pid, signal.SIGCONT)
    until(lambda: get(f"{where['control']}/api/risk/status", where)["state"] == "killed", "it finds the latch")
    until(lambda: not resting(exchange), "nothing rests")
    before = newest(tmp_path / where["journal"])
    time.sleep(1.5)
    assert resting(exchange) == [] and newest(tmp_path / where["journal"]) == before, known


def newest(journal: Path) -> int:
    "How many orders the session has placed"
    return sum(isinstance(a, Place) for _, actions in record(journal) for a in actions)


def record(journal: Path) -> list[tuple[Event, list[Action]]]:
    "The record of the newest session, as far as it is written"
    j = Journal(journal, writes=False)
    try: return [row for s in j.past.sessions()[-1:] for row in j.records.read(s[0])]
    finally: j.close()


def ended(journal: Path, order_id: str) -> bool:
    "Whether the stream has told the engine that an order rests no more"
    seen = [e.order for e, _ in record(journal) if isinstance(e, OrderSeen)]
    return any(o.order_id == order_id and o.status is not OrderStatus.RESTING for o in seen)


def own_cancel(journal: Path, order_id: str) -> bool:
    "Whether the engine itself was cancelling an order"
    return any(isinstance(a, Cancel) and a.order_id == order_id for _, actions in record(journal) for a in actions)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda s: s.name)
def test_every_signal_to_end_is_a_clean_stop(sig, exchange, start: Start, tmp_path: Path):
    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where), "quotes")
    code, errors = process.end(sig)
    assert (code, errors) == (0, "") and resting(exchange) == []
    summary = json.loads(process.lines[-1])["summary"]
    assert summary["why"] == f"by {sig.name}" and summary["resting"] == []


def test_quotes_wait_out_the_minute_after_a_cancel_all(exchange, start: Start, tmp_path: Path):
    process, where = engine_on(exchange, start, tmp_path)
    until(trading(where), "quotes")
    assert said(tmp_path, "kill", "--all")[0] == 0
    assert said(tmp_path, "rearm", "--control-port", str(where["port"]))[0] == 0
    until(lambda: get(f"{where['control']}/api/risk/status", where)["state"] != "killed", "re-armed")
    said(tmp_path, "start", "--control-port", str(where["port"]))
    status = f"{where['control']}/api/strategy/status"
    notes = until(lambda: [n for n in get(status, where)["notes"] if "quotes wait" in n], "the note")
    assert "orders placed in the minute after a cancel-all" in notes[-1]
    assert resting(exchange) == []


@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_what_a_person_cancels_elsewhere_stays_so_until_a_person_resumes(several, exchange, start: Start, tmp_path, account):
    _, where = engine_on(exchange, start, tmp_path)
    until(trading(where), "quotes")

    def halts() -> list[str]:
        found = get(f"{where['control']}/api/risk/status", where)["halts"]
        return [h["market"] for h in found if h["rule"] == "canceled_elsewhere"]

    def by_hand_canceled(fits: Callable[[str], bool] = lambda ticker: True) -> tuple[str, str] | None:
        "(market, order_id) of an order of ours, after it was cancelled as the app would; None if it was moved first"
        for order in account("resting_orders"):
            if not fits(order.ticker) or not order.client_order_id.startswith("kmm-"): continue
            try: account("cancel", Cancel("", order.client_order_id, order.order_id, order.ticker))
            except ApiError: continue
            return order.ticker, order.order_id
        time.sleep(0.3)  # the account's calls are counted
        return None

    def canceled_against_us(fits: Callable[[str], bool] = lambda ticker: True) -> str:
        "The market of an order that a person cancelled and we did not; a cancel that meets one of ours is explained by it"
        while True:
            market, order_id = until(lambda: by_hand_canceled(fits), "one is cancelled")
            until(partial(ended, tmp_path / where["journal"], order_id), "the engine knows it")
            if not own_cancel(tmp_path / where["journal"], order_id): return str(market)

    market = canceled_against_us()
    if several: canceled_against_us(lambda ticker: ticker != market)
    until(lambda: ("" if several else market) in halts(), "it halts, or everything does")
    if several: until(lambda: not resting(exchange), "nothing rests")
    assert market not in {o.ticker for o in account("resting_orders")}
    assert said(tmp_path, *(["reset", "canceled_elsewhere"] if several else ["resume", market]))[0] == 0
    until(lambda: not halts(), "a person has resumed")
    until(trading(where), "quotes")
