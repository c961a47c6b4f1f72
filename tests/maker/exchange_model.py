"""A small model of an exchange and of the wire to it, in which everything that may happen late, twice or never does so on demand.

The core learns of it by the events that a real line would bring: answers in any order or none, a stream that repeats, lags
and loses, and lists that are up to 1.4 seconds old (FACTS 3.7).
"""
from bisect import bisect_right
from collections import Counter, deque
from dataclasses import dataclass, field, replace

from msgspec import structs

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.orders import Orders, State
from kalshi_mm.maker.parameters import Config
from kalshi_mm.maker.reconcile import Kind
from kalshi_mm.model.messages import (
    AccountRead,
    AccountUnread,
    Action,
    Amend,
    BookSnapshot,
    Cancel,
    CancelAll,
    Command,
    Connection,
    Decide,
    Event,
    FillSeen,
    MarketListed,
    MarketSettled,
    MarketStatus,
    Notify,
    OrderAmended,
    OrderCanceled,
    OrderGone,
    OrderPlaced,
    OrderSeen,
    Place,
    ReadAccount,
    Restored,
    Verb,
    WriteRejected,
    WriteUnknown,
)
from kalshi_mm.model.numbers import CENT, ONE, Count, Money, Price
from kalshi_mm.model.types import OVER, Fill, Market, Order, OrderStatus, Position, Side, TickGrid, is_ours
from kalshi_mm.risk.day import new_york_day
from kalshi_mm.risk.exposure import Exposure
from kalshi_mm.risk.halts import RULES
from kalshi_mm.risk.limits import Limits
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

T = 1_700_000_000_000
TICKERS = ("A", "B")
GRID = TickGrid.of([(0, ONE, CENT)])
LIMITS = Limits(max_position=3000, max_total=4500, max_daily_loss=10**12, max_drawdown=10**12, max_burst=10**9, min_balance=0)
PARAMS = Params(default_order_size=1000, min_spread=2 * CENT)
LAG_MS = 1_400  # of a list, at most
POLL_MS = 5_000  # after which the core is told of a payment at the latest
STRAY_MS = 1_500  # after we gave a request up, it is at the exchange or never will be
Write = Place | Amend | Cancel


@dataclass
class Request:
    "A write on its way to the exchange"

    action: Write
    given_up_ms: int | None = None  # when the core was told that no answer will come
    stray_ms: int = STRAY_MS  # for how long it may still arrive after that


@dataclass
class Truth:
    "What the exchange knows at one moment"

    orders: dict[str, Order] = field(default_factory=dict)  # by order_id, ended ones too
    created_ms: dict[str, int] = field(default_factory=dict)
    fills: tuple[Fill, ...] = ()
    paid: dict[str, Price] = field(default_factory=dict)  # by ticker, of the markets that have settled

    def net(self, ticker: str) -> Count:
        return 0 if ticker in self.paid else sum(f.side.sign * f.count for f in self.fills if f.ticker == ticker)

    def resting(self) -> list[Order]: return [o for o in self.orders.values() if o.status is OrderStatus.RESTING]

    def worst(self, ticker: str) -> Count:
        "The largest position that our own orders can lead to"
        side = {s: sum(o.remaining for o in self.resting() if o.ticker == ticker and o.side is s and is_ours(o.client_order_id))
                for s in Side}
        return max(abs(self.net(ticker)), self.net(ticker) + side[Side.BID], side[Side.ASK] - self.net(ticker))


class Model:
    "An exchange, the wire, and the core at its end"

    def __init__(self) -> None:
        self.now, self.session, self.n = T, 0, 0
        self.killed = False
        self.excused: set[str] = set()  # orders that came through later than anybody can wait for
        self.truth = Truth()
        self.past: list[tuple[int, Truth]] = [(0, Truth())]
        self.used: set[str] = set()  # client_order_ids
        self.news: list[MarketSettled] = []  # payments that nobody has told the core yet
        self.begin()
        self.tell(Command(self.now, "start", "test"))

    # the core's life
    def begin(self) -> None:
        self.session += 1
        self.requests: list[Request] = []
        self.reads: list[tuple[ReadAccount, int]] = []
        self.answers: list[Event] = []
        self.frames: deque[Event] = deque()  # of orders
        self.fill_frames: deque[Event] = deque()
        self.connected = True
        self.maker = MarketMaker(SpreadCapture(PARAMS), Config(f"s{self.session}", LIMITS))
        for ticker in TICKERS:
            market = Market(ticker, "E", "S", ticker, "active", 0, T + 10**10, GRID)
            if self.told(ticker): market = structs.replace(market, status="finalized", paid=self.truth.paid[ticker])
            elif ticker in self.truth.paid: market = structs.replace(market, status="determined")
            self.tell(MarketListed(self.now, market))
        for ticker in TICKERS: self.book(ticker, 4200, 4800)
        self.tell(Connection(self.now, True))

    def crash(self) -> None:
        "The process dies; what it had sent may still arrive"
        old, stray = self.maker, [replace(r, given_up_ms=self.now) for r in self.requests]
        positions = tuple(s.position for s in old.slots.values())
        marks = tuple((t, s.mark) for t, s in old.slots.items() if s.mark is not None)
        day, latched = old.day, tuple((h.rule, h.reason, h.since_ms) for h in old.halts.active.values() if h.latched)
        self.begin()
        self.requests = stray
        figures = (day.day, day.open, day.peak, day.now) if day else (new_york_day(self.now), 0, 0, 0)
        sessions = tuple(f"s{n}" for n in range(1, self.session))
        self.tell(Restored(self.now, positions, tuple(old.orders.trade_ids), *figures, marks, latched, True, sessions=sessions))
        self.tell(Command(self.now, "start", "test"))

    def tell(self, event: Event) -> None:
        if isinstance(event, Command) and event.verb in ("kill", "rearm"): self.killed = event.verb == "kill"
        for action in self.maker.handle(event): self.carry(action)

    def carry(self, a: Action) -> None:
        match a:
            case Place() | Amend() | Cancel():
                assert isinstance(a, Cancel) or not self.killed, f"sent after a kill: {a}"
                if isinstance(a, Place): assert self.unknown() == [], f"{a.client_order_id} placed, not knowing of these"
                # one that comes so late is refused for its timestamp (FACTS 3.2, five seconds): nobody needs to wait for it
                waiting = [r.action for r in self.requests
                           if r.action.client_order_id == a.client_order_id and not self.too_late(r)]
                assert not waiting or not self.mine(a), f"two writes in flight for one order: {waiting} and {a}"
                assert not isinstance(a, Place) or a.client_order_id not in self.used, f"an id used twice: {a}"
                self.requests.append(Request(a))
            case CancelAll(): self.cancel_all(a.foreign)
            case ReadAccount(): self.reads.append((a, self.now))
            case Notify(): assert "unexplained" not in a.reason, a.reason

    def mine(self, a: Write | Order) -> bool: return a.client_order_id.startswith(f"kmm-s{self.session}-")

    # time
    def advance(self, ms: int) -> None:
        "Time passes: orders expire, requests that were given up arrive now or never, the core decides"
        self.now += ms
        for o in self.truth.resting():
            if o.expiration_ms is not None and o.expiration_ms <= self.now: self.change(o, OrderStatus.CANCELED)
        self.requests = [r for r in self.requests if r.given_up_ms is None or self.now <= r.given_up_ms + r.stray_ms]
        while self.news and self.news[0].ts_ms < self.now - POLL_MS: self.tell(self.news.pop(0))
        self.tell(Decide(self.now))

    # the exchange
    def remember(self) -> None:
        t = self.truth
        self.past.append((self.now, Truth(dict(t.orders), dict(t.created_ms), t.fills, dict(t.paid))))

    def change(self, o: Order, status: OrderStatus) -> None:
        "An order has a new state; its owner is told"
        o = structs.replace(o, remaining=o.remaining if status is OrderStatus.RESTING else 0, status=status)
        self.truth.orders[o.order_id] = o
        if self.connected: self.frames.append(OrderSeen(self.now, o))
        self.remember()

    def place(self, client_order_id: str, ticker: str, side: Side, price: Price, count: Count, expiration_ms: int | None) -> str:
        self.n += 1
        order_id = f"o{self.n}"
        self.truth.created_ms[order_id] = self.now
        self.change(Order(order_id, client_order_id, ticker, side, price, 0, count, OrderStatus.RESTING, expiration_ms),
                    OrderStatus.RESTING)
        return order_id

    def trade(self, o: Order, count: Count) -> None:
        "Somebody takes a part of an order, or all of it"
        count = min(count, o.remaining)
        n, whose = len(self.truth.fills), o.client_order_id
        fill = Fill(f"t{n}", o.order_id, o.ticker, o.side, o.price, count, 0, False, self.now, whose)
        self.truth.fills += (fill,)
        if self.connected: self.fill_frames.append(FillSeen(self.now, fill))
        left = o.remaining - count
        self.change(structs.replace(o, filled=o.filled + count, remaining=left),
                    OrderStatus.RESTING if left else OrderStatus.EXECUTED)

    def pay(self, ticker: str, value: Price) -> None:
        "A market ends: its orders are cancelled, its contracts are paid; the core hears of it within some seconds"
        for o in self.truth.resting():
            if o.ticker == ticker: self.change(o, OrderStatus.CANCELED)
        self.truth.paid[ticker] = value
        self.remember()
        self.tell(MarketStatus(self.now, ticker, "determined"))  # which in truth is hours before
        self.news.append(MarketSettled(self.now, ticker, value))

    def told(self, ticker: str) -> bool:
        "Whether the core knows what a market has paid"
        return ticker in self.truth.paid and ticker not in {e.ticker for e in self.news}

    def cancel_all(self, foreign: bool) -> None:
        for o in self.truth.resting():
            if foreign or is_ours(o.client_order_id): self.change(o, OrderStatus.CANCELED)

    # requests
    def arrive(self, r: Request) -> None:
        "A request is processed; whether its answer will be heard is another matter"
        self.requests.remove(r)
        if self.too_late(r): self.excused.add(r.action.client_order_id)
        answer = self.process(r.action)
        if r.given_up_ms is None: self.answers.append(answer)

    def too_late(self, r: Request) -> bool:
        "Whether nobody would wait for it any more"
        return r.given_up_ms is not None and self.now > r.given_up_ms + STRAY_MS

    def process(self, a: Write) -> Event:
        if isinstance(a, Place):
            if a.client_order_id in self.used: return WriteRejected(0, a.client_order_id, Verb.PLACE, "order_already_exists", "")
            self.used.add(a.client_order_id)
            if a.expiration_s * 1000 <= self.now: return WriteRejected(0, a.client_order_id, Verb.PLACE, "expired", "")
            if a.ticker in self.truth.paid: return WriteRejected(0, a.client_order_id, Verb.PLACE, "exchange_closed", "")
            order_id = self.place(a.client_order_id, a.ticker, a.side, a.price, a.count, a.expiration_s * 1000)
            return OrderPlaced(0, a.client_order_id, order_id, 0, a.count)
        o, verb = self.truth.orders[a.order_id], Verb.AMEND if isinstance(a, Amend) else Verb.CANCEL
        if o.status is not OrderStatus.RESTING: return OrderGone(0, a.client_order_id, a.order_id, verb)
        if isinstance(a, Cancel):
            self.change(o, OrderStatus.CANCELED)
            return OrderCanceled(0, a.client_order_id, a.order_id, o.remaining)
        if a.count <= o.filled: return WriteRejected(0, a.client_order_id, verb, "invalid_order", "nothing would rest")
        left = a.count - o.filled
        self.change(structs.replace(o, price=a.price, remaining=left, expiration_ms=a.expiration_s * 1000), OrderStatus.RESTING)
        return OrderAmended(0, a.client_order_id, a.order_id, left)

    def give_up(self, r: Request, arrives: bool, stray_ms: int = STRAY_MS) -> None:
        "No answer will come; the request is lost, or still on its way"
        if arrives: r.given_up_ms, r.stray_ms = self.now, stray_ms
        else: self.requests.remove(r)
        self.tell(WriteUnknown(self.now, r.action.client_order_id, verb_of(r.action), "timed out"))

    def lose(self, event: Event) -> None:
        "An answer never comes: the core is told that it doesn't know"
        self.answers.remove(event)
        self.tell(WriteUnknown(self.now, event.client_order_id, answered(event), "timed out"))

    def refuse(self, r: Request, code: str) -> None:
        self.requests.remove(r)
        self.tell(WriteRejected(self.now, r.action.client_order_id, verb_of(r.action), code, ""))

    def answer(self, event: Event, again: bool = False) -> None:
        if not again: self.answers.remove(event)
        self.tell(type(event)(self.now, *[getattr(event, f) for f in event.__struct_fields__[1:]]))

    # reading
    def at(self, lag_ms: int) -> Truth:
        return self.past[bisect_right(self.past, self.now - lag_ms, key=lambda p: p[0]) - 1][1]

    def read(self, n: int, lags_ms: tuple[int, int, int, int]) -> None:
        "The answer to a read: each of its lists as old as it likes"
        a, asked_ms = self.reads.pop(n)
        listed, resting, held, filled = (self.at(lag) for lag in lags_ms)
        rows = {i: o for i, o in listed.orders.items() if 0 < a.since_ms <= listed.created_ms[i]}
        rows |= {o.order_id: o for o in resting.resting()}
        positions = tuple((t, held.net(t)) for t in TICKERS if held.net(t))
        fills = tuple(Fill(f.trade_id, f.order_id, f.ticker, f.side, f.price, f.count, 0, False, f.ts_ms) for f in filled.fills)
        self.tell(AccountRead(self.now, asked_ms, a.since_ms, tuple(rows.values()), positions, fills, 10**10))

    def unread(self, n: int) -> None:
        self.reads.pop(n)
        self.tell(AccountUnread(self.now, "timed out"))

    # the stream
    def stream(self, frames: deque[Event], again: bool = False) -> None:
        event = frames[0] if again else frames.popleft()
        self.tell(type(event)(self.now, *[getattr(event, f) for f in event.__struct_fields__[1:]]))

    def disconnect(self) -> None:
        self.connected = False
        self.frames.clear()
        self.fill_frames.clear()
        self.tell(Connection(self.now, False, "reset by peer"))

    def reconnect(self) -> None:
        self.connected = True
        self.tell(Connection(self.now, True))
        for ticker in TICKERS: self.book(ticker, 4200, 4800)

    def book(self, ticker: str, bid: Price, ask: Price) -> None:
        self.tell(BookSnapshot(self.now, ticker, ((bid, 2500),), ((ask, 2500),)))

    # judging
    def unknown(self) -> list[str]:
        "Orders of earlier sessions that rest, or are on their way, and the core has not been told of"
        strays = [r.action.client_order_id for r in self.requests if isinstance(r.action, Place) and not self.mine(r.action)]
        known = self.maker.orders.foreign.keys()
        left = [o for o in self.truth.resting() if is_ours(o.client_order_id) and not self.mine(o) and o.order_id not in known]
        return strays + [o.client_order_id for o in left if o.client_order_id not in self.excused]

    def covered(self) -> None:
        "Whatever an order of this session may still do, or has done unheard, is in the core's exposure"
        heard: dict[str, Count] = {}
        for f in self.truth.fills:
            if f.trade_id in self.maker.orders.trade_ids: heard[f.order_id] = heard.get(f.order_id, 0) + f.count
        may = {o.client_order_id: o.filled + o.remaining - heard.get(o.order_id, 0) for o in self.truth.orders.values()}
        for r in self.requests:
            if self.too_late(r): continue
            if isinstance(r.action, Place): may[r.action.client_order_id] = r.action.count
            elif isinstance(r.action, Amend) and self.truth.orders[r.action.order_id].remaining:
                may[r.action.client_order_id] = r.action.count - heard.get(r.action.order_id, 0)
        for client_order_id, count in may.items():
            if client_order_id in self.excused or not client_order_id.startswith(f"kmm-s{self.session}-"): continue
            w = self.maker.orders.all.get(client_order_id)
            assert (w.open if w else 0) >= count, f"{client_order_id} may trade {count}: {w}"

    def added_up(self) -> None:
        "The core's running totals are the sums"
        profit, worst, busy = sums(self.maker)
        self.maker.markets.expose(self.maker.orders)
        assert self.maker.profit == profit, f"{self.maker.profit} in the core, {profit} in its markets"
        totals, own = self.maker.markets.totals, self.maker.orders.own
        relieved = 0  # of events that only wait for their payment: what can't be lost any more
        for event in totals.events.values():
            if not all(self.maker.slots[t].market.status in OVER for t in event.legs): continue
            loss = -(min(event.held, event.if_filled, 0) // ONE)  # contracts that lose a dollar each
            relieved += max(sum(totals.exposures.of(t).worst for t in event.legs) - loss, 0)
        assert totals.exposures.relieved == relieved, f"{totals.exposures.relieved} in the core, {relieved} in its events"
        assert totals.exposures.total == worst - relieved, f"{totals.exposures.total} in the core, {worst} in its markets"
        assert len(own.busy) == busy, f"{own.busy} in flight in the core, {own.pending()}"
        assert own.open_in == Counter(w.ticker for w in self.maker.orders.all.values() if w.state is not State.DONE or w.open)
        dark = [t for t, s in self.maker.slots.items() if s.position.net and s.market.active
                and (s.mark is None or self.now - s.marked_ms > 60_000)]
        assert totals.unmarked.at(self.now) == dark
        for slot in self.maker.slots.values():
            for side, best in zip(Side, self.maker.books.others(slot), strict=True):
                assert best == slot.book.best_others(side, self.maker.books.own(slot, side)), f"{slot.market.ticker} {side}"

    def judge(self) -> None:
        "What holds at every moment"
        self.added_up()
        self.covered()
        if self.excused: return self.counted()
        worst = {t: self.truth.worst(t) for t in TICKERS}
        for ticker in TICKERS: assert worst[ticker] <= LIMITS.max_position, f"{ticker} may come to {worst[ticker]}"
        assert sum(worst.values()) <= LIMITS.max_total, f"all markets may come to {worst}"
        self.counted()
        assert "drift" not in self.maker.halts.active, self.maker.halts.why
        assert not [d for d in self.maker.reconciler.found if d.kind is Kind.UNEXPLAINED]

    def counted(self) -> None:
        "The core's positions are the fills that it was told, each once, and what it was told that they were paid"
        known = self.maker.orders.trade_ids
        for ticker, slot in self.maker.slots.items():
            counted = Position(ticker)
            for f in self.truth.fills:
                if f.ticker == ticker and f.trade_id in known: counted = counted.after(f)
            if self.told(ticker): counted = counted.settled(self.truth.paid[ticker])
            assert slot.position == counted, f"{slot.position} in the core, {counted} in its fills"

    def settle(self) -> None:
        "Everything on its way arrives, and the account is read until nothing is open: then the core is the exchange"
        if not self.connected: self.reconnect()
        self.tell(Command(self.now, "stop", "test"))
        for _ in range(60):
            self.drain()
            self.advance(1000)
            self.judge()
        core, truth = self.maker, self.truth
        assert {f.trade_id for f in truth.fills} == core.orders.trade_ids
        assert {t: s.position.net for t, s in core.slots.items()} == {t: truth.net(t) for t in TICKERS}
        assert not core.orders.own.doubtful and core.reconciler.reads.ready and core.resting == 0, core.orders.own.pending()
        assert not [o for o in truth.resting() if is_ours(o.client_order_id)], "left behind"
        assert {o.order_id for o in truth.resting()} == set(core.orders.foreign)
        still = {h.rule for h in core.halts.active.values() if not RULES[h.rule].latched}
        assert still <= {"exposure"}, core.halts.why  # a person's orders may be too many

    def calm(self) -> None:
        "For a while all is heard at once, and the account is read"
        for _ in range(8):
            self.drain()
            self.now += 1000
            self.tell(Command(self.now, "reconcile", "test"))
            self.advance(1)

    def owned(self) -> None:
        "After a clean reconcile each resting order of ours is in the core, as it is"
        self.calm()
        self.drain_requests()
        while self.frames: self.stream(self.frames)
        ours = [o for o in self.truth.resting() if is_ours(o.client_order_id)]
        truth = {o.client_order_id: (o.side, o.price, o.remaining) for o in ours}
        resting = [w for w in self.maker.orders.own.pending() if w.state is State.RESTING]
        assert {w.client_order_id: (w.side, w.price, w.remaining) for w in resting} == truth

    def start(self) -> None:
        "A person wants quotes again"
        for verb, detail in (("rearm", ""), ("reduce_only", "off"), ("reset", "rejects"), ("start", "")):
            self.tell(Command(self.now, verb, "test", detail))

    def drain(self) -> None:
        self.drain_requests()
        while self.frames: self.stream(self.frames)
        while self.fill_frames: self.stream(self.fill_frames)
        while self.reads: self.read(0, (0, 0, 0, 0))

    def drain_requests(self) -> None:
        while self.requests: self.arrive(self.requests[0])
        while self.answers: self.answer(self.answers[0])


def sums(maker: MarketMaker) -> tuple[Money, Count, int]:
    "What the core's running totals have to be, added up: profit, worst cases of all markets, orders with a write in flight"
    markets, orders = maker.markets, maker.orders
    elsewhere = sum(p.pnl(0 if p.net > 0 else ONE) for p in markets.elsewhere.values())
    profit = markets.totals.earlier + elsewhere + sum(s.pnl for s in markets.listed.values())
    worst = sum(Exposure(s.position.net, *plainly_open(orders, t)).worst for t, s in markets.listed.items())
    return profit, worst, sum(not w.idle for w in orders.own.pending())


def plainly_open(orders: Orders, ticker: str) -> tuple[Count, Count]:
    "What may still be bought and sold in a market, by a walk through all orders"
    may = dict.fromkeys(Side, 0)
    for w in orders.all.values(): may[w.side] += w.open if w.ticker == ticker else 0
    for o in orders.foreign.values(): may[o.side] += o.remaining if o.ticker == ticker else 0
    return may[Side.BID], may[Side.ASK]


def verb_of(a: Write) -> Verb:
    return Verb.PLACE if isinstance(a, Place) else Verb.AMEND if isinstance(a, Amend) else Verb.CANCEL


def answered(e: Event) -> Verb:
    "Which write an answer belongs to"
    match e:
        case OrderPlaced(): return Verb.PLACE
        case OrderAmended(): return Verb.AMEND
        case OrderCanceled(): return Verb.CANCEL
    return e.verb
