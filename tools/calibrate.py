"""Fit kalshi_mm/sandbox/calibration.json, which the sandbox's traffic is drawn from, to the recordings.

They are not part of the repository: their folder is $KALSHI_MM_DATA or, by default, ../shared/data beside the repository.
"""
import csv
import gzip
import json
import os
import sys
from collections import defaultdict
from datetime import date
from itertools import pairwise
from math import atan2, cos, hypot, log, log1p, pi, sin
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("KALSHI_MM_DATA", ROOT.parent / "shared" / "data"))
STATISTICS, TEMPERATURES = DATA / "sim_calibration_kxhighny.json", DATA / "knyc_daily_high.csv"
QUOTES, TRADES = DATA / "bbo_kxhighny_2025-12.parquet", DATA / "trades_kxhighny_2023-12_2025-03.parquet"
VOLUMES, BOOKS = DATA / "hourly_bbo_kxhighny_2025-11_2026-02.parquet", DATA / "depth_kxhighny_2026-07.jsonl.gz"
FITTED = ROOT / "kalshi_mm" / "sandbox" / "calibration.json"

# Set so that a quote that joins the best price keeps what the tape's makers kept of their gain, and on recorded days so that
# makers at the recorded prices do: shares of takers and mean seconds that they see ahead. `python -m tests.campaigns reach`
# measures it on days that were not used for that.
INFORMED = {
    "wide": {"insight": [[0.02, 20], [0.3, 180], [0.1, 1800]],
             "insight_recorded": [[0.65, 45], [0.2, 240], [0.05, 1800]], "snipers": 0.1},
    "tight": {"insight": [[0.01, 20], [0.17, 180], [0.035, 1800]], "snipers": 0.06},
}  # fmt: skip
ORIGIN = """Fitted by tools/calibrate.py to recordings of KXHIGHNY: best prices, their moves and makers' answers, December 2025;
contracts traded, November 2025 to February 2026; sides and sizes of takers and what they leave to makers, December 2024 to
March 2025; sizes at the best prices, March 2026; depth of books, and all that the tight regime has of its own, July 2026; daily
highs of Central Park, 2022 to 2026. Times are New York's; an hour is of the market day, which begins at 10:00 the day before."""
HOURS = [f"D-1_{h}" for h in range(10, 24)] + [f"D_{h:02}" for h in range(24)]
SPREADS = {"p_1": 1, "p_2": 2, "p_3": 3, "p_4": 4, "p_5": 5, "p_6_7": 6, "p_8_9": 8, "p_10_14": 10, "p_15_plus": 15}
WIDEST = 25  # cents: spreads of 15 and more are drawn up to here


def quantiles(table: dict) -> dict:
    return {"at": [float(q) for q in table], "value": list(table.values())}


def mean(table: dict) -> float:
    "The mean of a distribution given by its quantiles, straight lines between them"
    points = [(0.0, 0.0), *((float(q), v) for q, v in table.items())]
    return sum((q1 - q0) * (v0 + v1) / 2 for (q0, v0), (q1, v1) in pairwise(points))


def by_hour(rows: dict, key: str) -> list:
    "A figure of each hour; an hour without one has that of the hour before"
    out = []
    for h in HOURS: out.append(rows[h][key] if h in rows else out[-1])
    return out


def climate() -> dict:
    "The yearly wave of the daily high: the first harmonic of its mean by calendar day"
    highs = defaultdict(list)
    with open(TEMPERATURES) as f:
        for row in csv.DictReader(f): highs[date.fromisoformat(row["date"]).timetuple().tm_yday].append(float(row["high_f"]))
    means = {d: sum(v) / len(v) for d, v in highs.items() if d <= 365}
    a, b = (sum(v * wave(2 * pi * d / 365) for d, v in means.items()) * 2 / len(means) for wave in (cos, sin))
    coldest = round(atan2(-b, -a) / (2 * pi) * 365) % 365
    return {"mean": round(sum(means.values()) / len(means), 1), "amplitude": round(hypot(a, b), 1), "coldest_day": coldest}


def answers() -> dict:
    "How often a quote that improves a wide market by a cent is outbid, and the other side leaves: rates from 1 s to 10 s after"
    quotes, alone_s, seen = pd.read_parquet(QUOTES), 0.0, {"jump": 0, "fade": 0}
    for _, f in quotes.groupby("ticker", observed=True):
        ms, bid, ask = f.ts.astype("int64").to_numpy() / 1000, f.yes_bid.to_numpy(int), f.yes_ask.to_numpy(int)
        for own, other, sign in ((bid, ask, 1), (ask, bid, -1)):
            wide = (abs(other[1:] - own[1:]) >= 4) & (own[1:] >= 10) & (own[1:] <= 90)
            i = np.flatnonzero((np.diff(own) * sign == 1) & (np.diff(other) == 0) & wide)[:-1] + 1
            i = i[i + 1 < len(own)]
            lasted = (ms[i + 1] - ms[i]) / 1000
            alone_s += (lasted.clip(1, 10) - 1).sum()
            then = (lasted >= 1) & (lasted < 10)
            seen["jump"] += int((then & ((own[i + 1] - own[i]) * sign > 0)).sum())
            seen["fade"] += int((then & ((other[i + 1] - other[i]) * sign > 0)).sum())
    return {f"{k}_per_s": round(n / alone_s, 3) for k, n in seen.items()}


def kept() -> list:
    "Cents that makers gain on a trade from 10 to 90, against the middle of the newest buyer's and seller's prices"
    t = pd.read_parquet(TRADES)
    t = t[t.ts >= "2024-12-01"].sort_values(["ticker", "ts"], kind="stable")
    t = t.assign(ms=t.ts.astype("int64") / 1000, sign=np.where(t.taker_side == "yes", 1, -1), paid=t.yes_price * t["count"])
    new = (t.ticker != t.ticker.shift()) | (t.sign != t.sign.shift()) | (t.ms - t.ms.shift() > 50)
    first = {k: (k, "first") for k in ("ticker", "ms", "sign")}
    sweeps = t.groupby(new.cumsum()).agg(**first, paid=("paid", "sum"), size=("count", "sum"), last=("yes_price", "last"))
    gains = []
    for _, f in sweeps.groupby("ticker", observed=True):
        ms, price, at = f.ms.to_numpy(), (f.paid / f["size"]).to_numpy(), np.arange(len(f))
        middle = (f["last"].where(f.sign > 0).ffill() + f["last"].where(f.sign < 0).ffill()).to_numpy() / 2
        marks = [np.r_[np.nan, middle[:-1]]]
        for minutes in (1, 5, 30):
            i = np.searchsorted(ms, ms + minutes * 60_000, side="right") - 1
            marks.append(np.where(i == at, np.nan, middle[i]))
        gains.append(pd.DataFrame([f.sign.to_numpy() * (price - m) for m in marks]).T[(price >= 10) & (price < 90)])
    return pd.concat(gains).mean().round(2).tolist()


def busy() -> float:
    "How much the contracts traded differ from day to day: standard deviation of their logarithm"
    days = pd.read_parquet(VOLUMES).groupby("event_date", observed=True).volume.sum()
    return round(float(np.log(days[days > 0]).std()), 2)


def july() -> pd.DataFrame:
    "Best prices of the depth captures, cents"
    with gzip.open(BOOKS, "rt") as f: captures = [json.loads(line) for line in f]
    rows = []
    for c in captures:
        yes, no = c["orderbook_fp"]["yes_dollars"], c["orderbook_fp"]["no_dollars"]
        rows.append((c["captured_at"], c["ticker"].rsplit("-", 1)[0], round(100 * float(yes[-1][0])) if yes else 0,
                     100 - round(100 * float(no[-1][0])) if no else 100))
    books = pd.DataFrame(rows, columns=["at", "event", "bid", "ask"])
    return books.assign(mid=(books.bid + books.ask) / 2, spread=books.ask - books.bid)


def tight(s: dict, prices: list) -> dict:
    "What differs in July 2026; what wasn't recorded then stays as it was in December 2025"
    books = july()
    two = books[(books.bid > 0) & (books.ask < 100)]
    middle = two[two.mid.between(10, 90, inclusive="left")].spread
    ladders = books.groupby(["at", "event"])[["bid", "ask"]].agg(["sum", "size"])
    whole = ladders[ladders["bid"]["size"] == 6]
    sums = {side: [int(x) for x in whole[side]["sum"].quantile([0.05, 0.5, 0.95])] for side in ("bid", "ask")}
    held = {p: two[two.mid.between(*map(float, p.split("-")), inclusive="left")].spread for p in prices}
    return {
        "spread_by_hour": [[round(float((middle == cents).mean()), 3) for cents in SPREADS.values()]],
        "spread_by_price": [[1.0] * len(SPREADS)] * len(prices),
        "best_size": quantiles(s["depth_2026-07"]["best_level_size_quantiles"]),
        "overround": (sums["bid"][1] + sums["ask"][1]) / 2 - 100,
        "recorded": {
            "spread": {p: round(float(v.mean()), 3) for p, v in [*held.items(), ("10-90", middle)] if len(v)},
            "wide": {p: round(float((v >= 5).mean()), 3) for p, v in [*held.items(), ("10-90", middle)] if len(v)},
            "hours": {p: len(v) for p, v in held.items() if len(v)},
            "moves": {},
            "sum_bids": sums["bid"],
            "sum_asks": sums["ask"],
            "contracts": None,
            "kept": [],
        },
    }


def fit(s: dict) -> dict:
    "The figures that `kalshi_mm.sandbox.traffic.Calibration` describes, from the statistics of the recordings"
    spread, moves = s["spread_time_weighted_2025-12"], s["mid_moves_2025-12"]
    by_price, everywhere = spread["by_mid"], spread["all_mid_10_90"]
    trades, sums, depth = s["trades_2024-12_to_2025-03"], s["sum_over_6_markets_2025-12"], s["depth_2026-07"]
    volume, wide = s["volume_2025-11_to_2026-02"], spread["wide_ge5_episode_seconds_quantiles"]
    prices = list(by_price)
    middle = [p for p in prices if 10 <= int(p.split("-")[0]) < 90]  # where the hour explains spreads and updates well enough
    stir = {p: -log1p(-moves["by_mid"][p]["p_any_move_1m"]) for p in prices}
    usual = sum(stir[p] * by_price[p]["market_hours"] for p in middle) / sum(by_price[p]["market_hours"] for p in middle)
    taken = {p: trades["share_of_sweeps_by_price"][p] / by_price[p]["market_hours"] for p in prices}
    size, shown = mean(trades["sweep_size_quantiles"]), s["bbo_sizes_polls_2026-03-31"]
    return {
        "origin": " ".join(ORIGIN.split()),
        "spreads": list(SPREADS.values()),
        "widest": WIDEST,
        "spread_by_hour": [[spread["by_phase"][h][k] for k in SPREADS] for h in HOURS],
        "updates_by_hour": [s["bbo_updates_per_market_hour_2025-12"][h] for h in HOURS],
        "hold_log_sd": round(log(wide["0.99"] / wide["0.5"]) / 2.3263, 2),
        "move_by_hour": by_hour(moves["by_phase"], "sd_60m"),
        "news_by_hour": [round(-60 * log1p(-p), 1) for p in by_hour(moves["by_phase"], "p_any_move_1m")],
        "overround": round((sums["sum_yes_bids_quantiles"]["0.5"] + sums["sum_yes_asks_quantiles"]["0.5"]) / 2 - 100, 2),
        "takers_by_hour": [round(volume["contracts_per_event_day_by_phase"][h] / size, 1) for h in HOURS],
        "busy_log_sd": busy(),
        "prices": [int(p.split("-")[1]) for p in prices],
        "spread_by_price": [[1.0 if p in middle else round(by_price[p][k] / everywhere[k], 3) for k in SPREADS] for p in prices],
        "updates_by_price": [1.0 if p in middle else round(stir[p] / usual, 3) for p in prices],
        "takers_by_price": [round(taken[p] / max(taken.values()), 3) for p in prices],
        "buyers_by_price": [trades["p_taker_buys_yes_by_price"][p] for p in prices],
        "taker_size": quantiles(trades["sweep_size_quantiles"]),
        "best_size": quantiles({q: (shown["yes_bid_size"][q] + shown["yes_ask_size"][q]) / 2 for q in shown["yes_bid_size"]}),
        "depth": [[d["p_nonzero"], d["median_if_nonzero"], d["mean"]] for d in depth["size_by_ticks_behind_best"].values()],
        **INFORMED["wide"],
        **answers(),
        "climate": climate(),
        "recorded": {
            "spread": {**{p: by_price[p]["mean"] for p in prices}, "10-90": everywhere["mean"]},
            "wide": {p: round(sum(row[k] for k, cents in SPREADS.items() if cents >= 5), 3)
                     for p, row in [*by_price.items(), ("10-90", everywhere)]},
            "hours": {p: by_price[p]["market_hours"] for p in prices},
            "moves": {p: [moves["by_mid"][p][k] for k in ("sd_1m", "sd_5m", "sd_30m")] for p in prices},
            "sum_bids": list(sums["sum_yes_bids_quantiles"].values()),
            "sum_asks": list(sums["sum_yes_asks_quantiles"].values()),
            "contracts": round(volume["contracts_per_event_day"]["median"]),
            "kept": kept(),
        },
        "regimes": {"wide": {}, "tight": {**tight(s, prices), **INFORMED["tight"]}},
    }


def main() -> int:
    for path in (STATISTICS, TEMPERATURES, QUOTES, TRADES, VOLUMES, BOOKS):
        if not path.exists():
            print(f"this needs the recordings: no {path.name} in {DATA}; KALSHI_MM_DATA may name their folder", file=sys.stderr)
            return 1
    fitted = fit(json.loads(STATISTICS.read_text()))
    FITTED.write_text("{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in fitted.items()) + "\n}\n")
    return 0


if __name__ == "__main__": sys.exit(main())
