"Snapshots of engines that don't exist: a session with six markets or fifty, in every state; the same on every run"

import copy
from random import Random
from typing import Any

NOW = 1_795_443_600_000  # UTC ms
STEPS = 300  # points of a series, one each three seconds
HALTED = {
    "rule": "daily_loss",
    "reason": "lost $50.10 of $50.00 on 2026-11-23",
    "since_ms": NOW - 154_000,
    "latched": True,
    "market": "",
    "value": "$50.10",
    "limit": "$50.00",
    "todo": "Ends when a person resets it. To do: understand the loss, then reset.",
}
LINE = {
    "rule": "disconnected",
    "reason": "the stream is down: no close frame",
    "since_ms": NOW - 4_000,
    "latched": False,
    "market": "",
    "value": "",
    "limit": "",
    "todo": "Ends when the stream is up and the account read. To do: look at the line; it reconnects by itself.",
}
OUTCOMES = ["53° or below", "54° to 55°", "56° to 57°", "58° to 59°", "60° to 61°", "62° or above"]
WIDE = "others {}c/{}c, spread {}c, earns $0.28 a round trip of 10, 1 ticks down for the position of 30"
NARROW = "spread 2c is under the minimum of 5c"


SPLIT = {"captured": "6.100000", "exits": "2.300000", "drift": "-1.950000", "settlement": "0.000000", "fees": "0.120000"}
DAY = {
    "day": "2026-11-23", "event": "KXHIGHNY-26NOV23", "over": True, "profit": "6.330000", "split": SPLIT, "between": "0.000000",
    "contracts": "412.00", "fills": 51, "held": "0.00", "worst": "-14.200000", "quoting_s": 88_200, "accrued": "0.000000",
    "hour_quoted": "", "cents_a_dollar": "", "sessions": 2,
}  # fmt: skip
TODAY = {"day": "2026-11-24", "event": "KXHIGHNY-26NOV24", "over": False, "profit": "-1.400000", "held": "60.00", "fills": 12,
         "accrued": "3.200000", "hour_quoted": "1.600000", "cents_a_dollar": "0.80", "sessions": 1}  # fmt: skip
DAYS = {"rule": "calm 5c0f1a22", "verdict": "Realised +1.54 c a contract, 1 day: too few days for an interval",
        "days": [DAY, DAY | TODAY], "profit": "4.930000", "count": 2}  # fmt: skip


def dollars(price: int) -> str:
    return f"{price / 100:.4f}"


def _walk(random: Random, start: int, n: int) -> list[int]:
    "Cents, from 3 to 97"
    path = [start]
    while len(path) < n:
        path.append(min(97, max(3, path[-1] + random.choice((-1, 0, 0, 0, 0, 0, 1)))))
    return path


def _side(others: int | None, ours: int | None, why: str, size: str = "10.00") -> dict[str, str]:
    quote = (
        {"ours": dollars(ours), "size": size, "state": "resting", "wanted": dollars(ours)}
        if ours
        else dict.fromkeys(("ours", "size", "state", "wanted"), "")
    )
    return {"others": dollars(others) if others else "", "others_size": "120.00" if others else "", "why": why, **quote}


def _ticker(n: int) -> str:
    return (
        f"KXHIGHNY-26NOV24-{('T54', 'B54.5', 'B56.5', 'B58.5', 'B60.5', 'T61')[n]}"
        if n < 6
        else f"KXHIGHCITY{n // 6:02d}-26NOV24-B{50 + n % 6 * 2}.5"
    )


def _fill(
    n: int, ticker: str, at_ms: int, side: str, cents: int, edge: str, markout: list[str | None], why: str
) -> dict[str, Any]:
    return {
        "trade_id": f"t{n}",
        "ts_ms": at_ms,
        "ticker": ticker,
        "side": side,
        "price": dollars(cents),
        "count": "5.00",
        "fee": "0.020000",
        "is_taker": False,
        "ours": True,
        "reason": why,
        "middle": dollars(cents),
        "edge": edge,
        "markout": dict(zip(("1", "10", "60", "300"), markout, strict=True)),
    }


def session(markets: int = 6, steps: int = STEPS) -> dict[str, Any]:
    "A session in the middle of its day"
    random = Random(7)
    times = [NOW - 3_000 * (steps - 1 - i) for i in range(steps)]
    looks, rows, walks = [], [], []
    for n in range(markets):
        walk = _walk(random, (12, 43, 38, 22, 8, 4)[n % 6] + n // 6, steps)
        bid, ask, wide = walk[-1], walk[-1] + (2 if n % 3 == 2 else 5), n % 3 != 2
        net = (15, -31, 56, 8, 0, 0)[n % 6]
        why = WIDE.format(bid, ask, ask - bid) if wide else NARROW
        sell = bid + 4 if wide else ask if net > 0 else None
        rows.append(
            {
                "ticker": _ticker(n),
                "title": OUTCOMES[n % 6],
                "status": "active",
                "book": "live",
                "bid": _side(bid, bid + 1 if wide else None, why),
                "ask": _side(ask, sell, why),
                "net": f"{net}.00",
                "mark": dollars(bid + 2),
                "pnl": f"{(n * 37 % 11 - 4) * 0.61:.6f}",
                "event": _ticker(n).rpartition("-")[0],
                "split": dict.fromkeys(("exits", "drift", "settlement", "before"), "0.000000")
                | {"captured": "0.800000", "fees": "0.100000"},
                "realised": "0.000000",
                "fees": "0.100000",
                "unrealised": "0.000000",
                "way_out": dollars(bid if net > 0 else ask) if net else "",
                "fills": n * 5 % 9,
                "traded": "60.00",
                "worst": "60.00",
                "exposure": f"{abs(net) + 10}.00",
                "quoting_s": "900.0",
                "paused": False,
            }
        )
        looks.append(
            {
                "ticker": _ticker(n),
                "event": "KXHIGHNY-26NOV24",
                "close_ms": NOW + 7_200_000,
                "live": True,
                "book_age_ms": (620, 2_400, 90, 12_000, 300, 45_000)[n % 6],
                "best_bid": dollars(bid + wide),
                "best_ask": dollars(sell or ask),
                "middle": dollars(bid + 2),
                "spread": dollars((sell or ask) - bid - wide),
                "fair": dollars(bid + 2),
                "paused": False,
                "bid_ahead": "0.00" if wide else "",
                "ask_ahead": "35.00" if sell else "",
                "spark": [p * 100 for p in walk[:: max(steps // 60, 1)]],
            }
        )
        walks.append(walk)
    profit = _walk(random, 30, steps)
    fees = [i * 900 for i in range(steps)]
    drift = [(p - 30) * 60_000 for p in profit]
    captured = [i * 9_000 for i in range(steps)]
    held = [abs(w - 43) * 400 for w in walks[min(1, markets - 1)]]
    fills = [
        _fill(
            i,
            _ticker(i % min(markets, 6)),
            NOW - 9_000 * (12 - i),
            "bid" if i % 2 else "ask",
            walks[i % min(markets, 6)][-1 - 3 * (12 - i)] if steps > 40 else 40,
            ("0.0150", "0.0050", "-0.0050")[i % 3],
            [("0.0100", "-0.0050")[i % 2], "0.0050" if i < 10 else None, "-0.0100" if i < 6 else None, None],
            rows[i % min(markets, 6)]["bid"]["why"],
        )
        for i in range(12)
    ]
    orders = [
        {
            "order_id": f"5f0c-{n}{s[0]}",
            "client_order_id": f"kmm-a-{n}",
            "ticker": r["ticker"],
            "side": s,
            "price": r[s]["ours"],
            "remaining": "10.00",
            "filled": "0.00",
            "state": "resting",
            "why": r[s]["why"],
            "ours": True,
        }
        for n, r in enumerate(rows)
        for s in ("bid", "ask")
        if r[s]["ours"]
    ]
    maker = {
        "ts_ms": NOW,
        "session": "a1b2c3d4",
        "state": "quoting",
        "halts": [],
        "resting": len(orders),
        "foreign": 0,
        "profit": "12.400000",
        "day": "2026-11-23",
        "day_pnl": "4.370000",
        "drawdown": "1.200000",
        "exposure": "252.00",
        "event_worst": "-31.000000",
        "balance": "1204.310000",
        "fills": 12,
        "markets": rows,
        "reconciled_ms": NOW - 2_000,
    }
    parameters = [
        ("min_spread", "5", "cents", "of the others, from which it pays to quote", "0.01", "99.99"),
        ("default_order_size", "10", "contracts", "in each quote", "1", "10000"),
        ("improve_ticks", "1", "ticks", "inside the others' best price; 0 joins it", "0", "10"),
        ("skew_ticks", "4", "ticks", "that both quotes move against a full position", "0", "50"),
        ("max_position_per_market", "100", "contracts", "held in one market, as if every order filled", "1", "25000"),
        ("max_total_position", "300", "contracts", "held in all markets, as if every order filled", "1", "150000"),
        ("max_daily_loss", "50", "dollars", "that a New York day may lose", "0.01", "25000"),
    ]
    return {
        "n": 812,
        "ts_ms": NOW,
        "session": "a1b2c3d4",
        "env": "sandbox",
        "series": "KXHIGHNY",
        "account": "0123abcd",
        "log": "engine.log",
        "engine": {
            "env": "sandbox",
            "rest": "",
            "strategy": "spread_capture",
            "days": DAYS,
            "pid": 1,
            "began_ms": NOW - 8_047_000,
            "now_ms": NOW,
            "connected": True,
            "message_age_ms": 8,
            "silent_ms": 97,
            "gaps": 0,
            "reconnects": 1,
            "error": "",
            "notes": [
                "14:59:31 place refused: 429, waits 1 s",
                "14:59:32 place refused: 429, waits 1 s",
                "14:59:40 gap in B58.5, book asked for again",
            ],
            "kill": None,
            "maker": maker,
        },
        "reduce_only": False,
        "markets": looks,
        "orders": orders,
        "fills": fills,
        "session_pnl": {
            "captured": f"{captured[-1] / 1e6:.6f}",
            "exits": "0.000000",
            "settlement": "0.000000",
            "drift": f"{drift[-1] / 1e6:.6f}",
            "fees": f"{fees[-1] / 1e6:.6f}",
            "profit": f"{(captured[-1] + drift[-1] - fees[-1]) / 1e6:.6f}",
        },
        "pnl": {
            "ts_ms": times,
            "captured": captured,
            "drift": drift,
            "fees": fees,
            "profit": [c + d - f for c, d, f in zip(captured, drift, fees, strict=True)],
            "held": held,
            "exposure": [h + 2_000 for h in held],
        },
        "at_risk": {"positions": "-31.000000", "if_filled": "-74.300000", "limit": "-300.000000", "daily_loss": "50.000000"},
        "limits": {"max_position_per_market": "100", "max_total_position": "300", "max_daily_loss": "50"},
        "parameters": [dict(zip(("name", "value", "unit", "meaning", "lowest", "highest"), p, strict=True)) for p in parameters],
        "commands": [
            {"ts_ms": NOW - 8_000_000, "who": "notebook", "verb": "start", "detail": "", "old": {}, "new": {}, "refused": ""},
            {
                "ts_ms": NOW - 600_000,
                "who": "web",
                "verb": "set",
                "detail": "",
                "old": {"min_spread": "4"},
                "new": {"min_spread": "5"},
                "refused": "",
            },
        ],
        "kill": None,
        "differences": [],
        "market": _detail(rows[0], walks[0], times, [f for f in fills if f["ticker"] == rows[0]["ticker"]]),
    }


def _detail(row: dict[str, Any], walk: list[int], times: list[int], fills: list[dict[str, Any]]) -> dict[str, Any]:
    bid, prices = walk[-1], [p * 100 for p in walk]

    def level(p: int, n: str, ours: str = "0.00") -> dict[str, str]:
        return {"price": dollars(p), "count": n, "ours": ours}

    return {
        "ticker": row["ticker"],
        "title": row["title"],
        "event": "KXHIGHNY-26NOV24",
        "status": "active",
        "close_ms": NOW + 7_200_000,
        "book": "live",
        "book_age_ms": 620,
        "bids": [level(bid + 1, "10.00", "10.00"), level(bid, "338.00"), level(bid - 1, "449.00"), level(bid - 2, "130.00")],
        "asks": [level(bid + 4, "10.00", "10.00"), level(bid + 5, "325.00"), level(bid + 6, "102.00"), level(bid + 7, "352.00")],
        "orders": [],
        "quotes": {
            s: [
                {
                    "ts_ms": NOW - 60_000 + 15_000 * i,
                    "price": dollars(bid + d) if i else "",
                    "size": "10.00",
                    "why": row[s]["why"] if i else NARROW,
                    "ahead": "0.00",
                }
                for i in range(4)
            ]
            for s, d in (("bid", 1), ("ask", 4))
        },
        "series": {
            "ts_ms": times,
            "bid": prices,
            "ask": [p + 500 for p in prices],
            "our_bid": [None if i % 90 < 12 else p + 100 for i, p in enumerate(prices)],
            "our_ask": [None if i % 120 < 20 else p + 400 for i, p in enumerate(prices)],
            "middle": [p + 250 for p in prices],
            "net": [1500] * len(prices),
        },
        "fills": fills,
    }


def changed(
    s: dict[str, Any], maker: dict[str, Any] | None = None, engine: dict[str, Any] | None = None, **top: Any
) -> dict[str, Any]:
    "The same session with something else about it"
    s = copy.deepcopy(s) | top
    s["engine"] |= engine or {}
    s["engine"]["maker"] |= maker or {}
    return s


def unquoted(s: dict[str, Any], why: str) -> dict[str, Any]:
    "The same session with none of our quotes out"
    s = changed(s, {"resting": 0}, orders=[])
    for row in s["engine"]["maker"]["markets"]:
        for side in ("bid", "ask"):
            row[side] |= {"ours": "", "size": "", "state": "", "wanted": "", "why": why}
    for level in (*s["market"]["bids"], *s["market"]["asks"]):
        level["ours"] = "0.00"
    return s


def states(s: dict[str, Any]) -> dict[str, dict[str, Any]]:
    "A session in each state that the engine can tell"
    off, halted, killed = (
        unquoted(s, why) for why in ("not started", f"halted, daily_loss: {HALTED['reason']}", "killed by web")
    )
    kill = {"who": "web", "sent_ms": NOW - 4_200, "verified_ms": 0, "resting": 2, "empty_looks": 0, "of": len(s["orders"])}
    starting = changed(off, {"balance": ""}, {"began_ms": NOW - 2_000})
    for look in starting["markets"][1:]:
        look |= {"live": False, "best_bid": "", "best_ask": "", "middle": "", "spread": "", "fair": "", "book_age_ms": -1}
    for row in starting["engine"]["maker"]["markets"][1:]:
        row["book"] = "no snapshot yet"
    stale = changed(s)
    stale["markets"][3] |= {"live": False, "book_age_ms": 7_300}
    stale["engine"]["maker"]["markets"][3] |= {"book": "a gap in its sequence"}
    return {
        "stopped": changed(off, {"state": "stopped"}),
        "starting": starting,
        "running": s,
        "a book is stale": stale,
        "reducing": changed(s, reduce_only=True),
        "flattening": changed(s, {"state": "flattening"}),
        "stopping": changed(s, {"state": "stopping"}),
        "halted": changed(halted, {"state": "halted", "halts": [HALTED], "day_pnl": "-50.100000"}),
        "disconnected stream": changed(off, {"state": "halted", "halts": [LINE]}, {"connected": False}),
        "broken": changed(s, engine={"error": "the disk is full"}),
        "killing": changed(s, {"state": "killed"}, kill=kill | {"sent_ms": NOW - 900}),
        "kill is late": changed(s, {"state": "killed"}, kill=kill, orders=s["orders"][:2]),
        "killed": changed(killed, {"state": "killed"}, kill=kill | {"verified_ms": NOW - 3_790, "resting": 0}),
        "live, stopped": changed(off, {"state": "stopped"}, env="prod"),
        "shadow, running": changed(s, env="shadow"),
    }
