"""The judge: sees what happens at the exchange before anybody is told, and compares three books to the last decimal.

It shares no arithmetic of limits with the program that it judges: positions and resting orders are kept here, from the exchange's
own happenings, and checked after each of them.
"""
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kalshi_mm.config import Settings, load_settings
from kalshi_mm.engine.journal import Journal
from kalshi_mm.engine.strategies import make_maker
from kalshi_mm.model.numbers import CONTRACT, count_str, money_str, parse_price
from kalshi_mm.model.types import Fill, OrderStatus, Position, is_ours
from kalshi_mm.sandbox.execution import AccountFill, Happening, OrderChange, PositionChange
from kalshi_mm.sandbox.server import ACCOUNT, Sandbox


@dataclass
class Resting:
    "An order of the account, as far as limits care"

    ticker: str
    sign: int  # 1 buys, -1 sells
    remaining: int  # hundredths of a contract
    ours: bool  # or of somebody else on the account


class Judge:
    "Watches one account of a sandbox in this process"

    def __init__(
        self,
        sandbox: Sandbox,
        max_position: int,  # contracts, of one market
        max_total: int,  # contracts, of all markets
        lifetime_s: float = 0,  # within which each order must expire; 0 doesn't look
    ):
        self.sandbox, self.exchange = sandbox, sandbox.exchange
        self.max_position, self.max_total, self.lifetime_s = max_position * CONTRACT, max_total * CONTRACT, lifetime_s
        self.wrong: list[str] = []
        self.by_hand: set[str] = set()  # client ids of orders that somebody else cancels, too
        self.resting: dict[str, Resting] = {}
        self.happenings = self.placed = self.fills = 0
        self.most_in_market = self.most_in_all = self.most_resting = 0
        self.emptied_s = time.monotonic()  # since when nothing rests
        self._net: dict[str, int] = {}
        self._worst: dict[str, int] = {}
        self._take = self.exchange.take
        self.exchange.take = self._taken  # type: ignore[method-assign]

    def _taken(self) -> list[Happening]:
        "What the exchange has to tell, looked at first"
        happenings, touched = self._take(), False
        for h in happenings:
            if not isinstance(h, AccountFill | OrderChange | PositionChange) or h.account != ACCOUNT: continue
            touched = True
            self.happenings += 1
            self._limits(self._follow(h), h.ts_ms)
        if touched: self._same_as_the_exchange()
        return happenings

    def _follow(self, h: AccountFill | OrderChange | PositionChange) -> str:
        "Bring our account up to date; the market that changed"
        if isinstance(h, PositionChange):
            self._net[h.ticker] = h.position
            return h.ticker
        if isinstance(h, AccountFill):
            f = h.fill
            self.fills += 1
            self._net[f.ticker] = h.post_position
            if (order := self.resting.get(f.order_id)) is not None: order.remaining -= f.count
            return f.ticker
        o, rested = h.order, bool(self.resting)
        if o.resting:
            if o.order_id not in self.resting: self._new(h)
            self.resting[o.order_id] = Resting(o.ticker, o.side.sign, o.remaining, is_ours(o.client_order_id))
        elif (gone := self.resting.pop(o.order_id, None)) and not gone.ours and o.status is OrderStatus.CANCELED and not h.reason:
            if o.client_order_id not in self.by_hand: self.wrong.append(f"{o.client_order_id} isn't ours and was cancelled")
        self.most_resting = max(self.most_resting, len(self.resting))
        if rested and not self.resting: self.emptied_s = time.monotonic()
        return o.ticker

    def _new(self, h: OrderChange) -> None:
        o = h.order
        self.placed += is_ours(o.client_order_id)
        if not self.lifetime_s or not is_ours(o.client_order_id): return
        if o.expiration_ms is None: self.wrong.append(f"{o.order_id} never expires")
        elif o.expiration_ms > h.ts_ms + 1000 * self.lifetime_s + 1500:
            self.wrong.append(f"{o.order_id} expires {o.expiration_ms - h.ts_ms} ms after it was placed")

    def _limits(self, ticker: str, ts_ms: int) -> None:
        "The worst case of one market, and of all, against the limits"
        net, here = self._net.get(ticker, 0), [o for o in self.resting.values() if o.ticker == ticker]
        buying, selling = (sum(o.remaining for o in here if o.sign == sign) for sign in (1, -1))
        self._worst[ticker] = max(abs(net), abs(net + buying), abs(net - selling))
        total = sum(self._worst.values())
        self.most_in_market, self.most_in_all = max(self.most_in_market, self._worst[ticker]), max(self.most_in_all, total)
        if self._worst[ticker] > self.max_position:
            self.wrong.append(f"{ts_ms}: {ticker} can become {self._worst[ticker] / CONTRACT:g} contracts "
                              f"(net {net / CONTRACT:g}, buying {buying / CONTRACT:g}, selling {selling / CONTRACT:g})")
        if total > self.max_total: self.wrong.append(f"{ts_ms}: all markets can become {total / CONTRACT:g} contracts")

    def _same_as_the_exchange(self) -> None:
        "The judge's own account is the exchange's"
        holdings = self.exchange.ledger(ACCOUNT).holdings
        orders = {i: o.remaining for h in holdings.values() for i, o in h.orders.items()}
        if orders != {i: o.remaining for i, o in self.resting.items()}:
            self.wrong.append(f"the judge has other orders than the exchange: {orders} and {self.resting}")
        nets = {t: h.position.net for t, h in holdings.items() if h.position.net}
        if nets != {t: n for t, n in self._net.items() if n}:
            self.wrong.append(f"the judge has other positions than the exchange: {nets} and {self._net}")

    def allow(self, count: int) -> None:
        "Somebody trades by hand on the account: so many more hundredths of a contract aren't the program's doing"
        self.max_position, self.max_total = self.max_position + count, self.max_total + count

    @property
    def figures(self) -> dict[str, Any]:
        return {"placed": self.placed, "fills": self.fills, "happenings": self.happenings, "most_resting": self.most_resting,
                "most_in_market": self.most_in_market / CONTRACT, "most_in_all": self.most_in_all / CONTRACT,
                "limits": [self.max_position // CONTRACT, self.max_total // CONTRACT]}

    def ended(self) -> list[str]:
        "What is wrong at the exchange once a session has ended"
        left = [f"{o.remaining / CONTRACT:g} of {i} still rest in {o.ticker}" for i, o in self.resting.items() if o.ours]
        return self.wrong[:5] + left


def three_books(
    sandbox: Sandbox,
    journal_file: Path,
    summary: dict[str, Any] | None,  # what the session said at its end; None if it was killed
    counts: Callable[[Fill], bool] = lambda fill: True,  # which of the account's fills the journal must know
) -> list[str]:  # empty if all agree
    "Where the exchange's ledger, the journal and the core differ"
    ledger = sandbox.exchange.ledger(ACCOUNT)
    journal = Journal(journal_file)
    try: kept, held = {f.trade_id: f for f in journal.past.fills()}, journal.past.positions()
    finally: journal.close()
    theirs, wrong = {f.trade_id: f for f in ledger.fills if counts(f)}, []
    lost, extra = sorted(theirs.keys() - kept.keys()), sorted(kept.keys() - theirs.keys())
    if lost: wrong.append(f"{len(lost)} of {len(theirs)} fills are not in the journal: {lost[:3]}")
    if extra: wrong.append(f"{len(extra)} fills are only in the journal: {extra[:3]}")

    def terms(f: Fill) -> tuple[object, ...]: return f.ticker, f.side, f.price, f.count, f.fee

    wrong += [f"{theirs[i]} is kept as {kept[i]}" for i in theirs.keys() & kept.keys() if terms(theirs[i]) != terms(kept[i])]
    paid = {s.ticker for s in ledger.settlements}
    positions = {t: p for t, p in ledger.positions.items() if t in {f.ticker for f in theirs.values()}}
    for t, p in positions.items():
        if t not in paid and held.get(t, Position(t)) != p: wrong.append(f"the journal has {held.get(t)}, the exchange {p}")
    return wrong + (_core(summary, positions, paid) if summary else [])


def _core(summary: dict[str, Any], positions: dict[str, Position], paid: set[str]) -> list[str]:
    "Where what the core said last differs from the exchange"
    wrong, said = [], {m["ticker"]: m for m in summary["status"]["maker"]["markets"]}
    for t, p in positions.items():
        if t in paid or t not in said: continue
        m = said[t]
        ours = (m["net"], m["fees"], m["pnl"])
        exact = (count_str(p.net), money_str(p.fees), money_str(p.pnl(parse_price(m["mark"]))))
        if ours != exact: wrong.append(f"the core says {ours} of {t}, the exchange {exact}")
    if summary["resting"]: wrong.append(f"the session said at its end that these rest: {summary['resting'][:3]}")
    return wrong


def replayed(journal_file: Path, session: str, env: dict[str, str]) -> list[str]:
    "Where a new core, fed with the journal, does otherwise than the one that was"
    given = {k.lower(): v for k, v in env.items() if k.lower() in Settings.model_fields and k != "STATE_DIR"}
    journal = Journal(journal_file)
    try:
        again, events = make_maker(load_settings(None, {}, **given), session)[0], 0
        for event, actions in journal.records.read(session):
            events += 1
            if (now := again.handle(event)) != actions:
                return [f"event {events} of the journal, {event}, led to {actions}, and now to {now}"[:600]]
        return [] if events else ["the journal has no events of the session"]
    finally: journal.close()


def words(summary: dict[str, Any] | None) -> str:
    "A summary in a line, for the story"
    if summary is None: return "no summary"
    return json.dumps({"why": summary["why"], "resting": summary["resting"], "error": summary["status"]["error"],
                       "notes": summary["status"]["notes"][-8:]})
