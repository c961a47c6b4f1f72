"Single changes that all tests let pass once. Each has a test now, and must be noticed for ever."
from msgspec import Struct

from .faults import Fault


class Known(Struct, frozen=True):
    "A fault by its text, wherever the line is now"

    room: str
    why: str  # what it would do
    old: str
    new: str

    def fault(self, text: str) -> Fault:
        "Where it is in the module; ValueError if the text isn't there once"
        if text.count(self.old) != 1: raise ValueError(f"{self.room}: {text.count(self.old)} times `{self.old}`")
        begin = text.index(self.old)
        before = text[:begin]
        return Fault(self.room, "known", before.count("\n") + 1, len(before.rpartition("\n")[2].encode()), self.old, self.new)


KNOWN = [
    Known("maker.target_quotes", "the stop before the close is ignored",
          "market.close_ms - 1000 * config.stop_before_close_s", "market.close_ms"),
    Known("maker.decisions", "no decision wakes at the stop before the close",
          "market.close_ms - 1000 * config.stop_before_close_s", "market.close_ms"),
    Known("maker.order_gate", "no pause after the exchange asked us to wait",
          "if e.code in _RETRY_LATER: self.left_over.hold_ms = e.ts_ms + self._live.config.retry_ms",
          "if e.code in _RETRY_LATER: pass"),
    Known("client.budget", "a bucket stays full after the exchange has found it empty",
          "self._levels[kind] = (-idle_ms * self._rates[kind].refill, now_ms)", "pass"),
    Known("maker.orders", "an order that did arrive is taken for one that ended",
          'self.unsure("an order with its id exists already", e.ts_ms)', "self.rests(False)"),
    Known("maker.markets", "a position whose book is dark keeps its old mark for ever",
          "bool(held) and (s.mark is None or now_ms - s.marked_ms > _UNMARKED_MS)", "bool(held) and s.mark is None"),
    Known("maker.account", "fills that only the lists show don't count for the burst",
          "if f.ts_ms > e.asked_ms - self._watch.burst_ms: self._filled(f, e.ts_ms)", "pass"),
    Known("maker.markets", "a position elsewhere is marked at its best", "p.pnl(0 if p.net > 0 else ONE)",
          "p.pnl(ONE if p.net > 0 else 0)"),
    Known("maker.books", "a mark is taken from a crossed book",
          "if slot.mark is None or not (bid and ask and bid[0] >= ask[0]):", "if True:"),
    Known("client.order_groups", "one empty list proves a kill", "elif self.first_s is None: self.first_s = now_s",
          "elif self.first_s is None: return True"),
    Known("client.order_groups", "two empty lists at once prove a kill, though lists lag",
          "else: return now_s - self.first_s >= LIST_LAG_S", "else: return True"),
    Known("engine.kill_switch", "a kill is verified by the first empty list",
          "if looks.add(empty, time.monotonic()):", "if empty:"),
    Known("engine.verification", "the end is verified by the first empty list",
          "if looks.add(not orders, time.monotonic()): return []", "if not orders: return []"),
    Known("engine.kill_switch", "the answer to a look counts though somebody has re-armed meanwhile",
          "if self.report is not report: continue", "if self.report is not report: pass"),
    Known("engine.journal", "each fold counts the fills of all folds but the first once more",
          'db.execute("DELETE FROM folded")', "pass"),
    Known("engine.journal", "what the database refuses is lost in silence",
          "self._database.commit(through) or wrong", "self._database.commit(through) and wrong"),
    Known("maker.orders", "an order of which an amend leaves nothing rests for ever",
          "self.rests(e.remaining != 0)", "self.rests(True)"),
    Known("maker.order_gate", "a market that a limit has refused isn't looked at when there is room again",
          "self._limited[ticker] = self._markets.totals.exposures.total", "pass"),
    Known("sandbox.ledger", "orders that rest don't count for what another one can close",
          "return max(0, -side.sign * self.position.net - resting)", "return max(0, -side.sign * self.position.net)"),
    Known("maker.halting", "a clock that is off by exactly the limit begins no day",
          "e.ts_ms if off <= limit", "e.ts_ms if off < limit"),
    Known("maker.market_state", "what was traded shrinks with each fill", "self.traded + fill.count", "self.traded - fill.count"),
    Known("maker.external_cancels", "two cancels within a minute halt one market each, if the second comes late in it",
          "end.ts_ms > self._open[ripe[0]].ts_ms - _MINUTE_MS", "end.ts_ms > now_ms - _MINUTE_MS"),
    Known("maker.maker", "nobody is told of another machine's session",
          "return self.account.unknown_session(order)", 'return ""'),
    Known("feed.stream_state", "an age that isn't known yet is another number",
          "self._connects - 1, -1, 0", "self._connects - 1, -2, 0"),
    Known("maker.commands", "nobody is told that only reducing orders leave",
          'self._outbox.notify("info", f"reduce only is {e.detail}, by {e.who}")', "pass"),
    Known("maker.maker", "a pause of the exchange never ends for us", 'return self._watch.clear("paused")', "return"),
]
