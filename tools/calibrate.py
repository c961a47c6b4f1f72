"""Fit kalshi_mm/calibration.json to the recordings.

The recordings are not part of the repository: their folder is $KALSHI_MM_DATA or, by default, ../shared/data beside the repository.
"""
import csv
import json
import os
import sys
from datetime import date
from math import cos, hypot, log, log1p, pi, sin
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("KALSHI_MM_DATA", ROOT.parent / "shared" / "data"))
STATISTICS = DATA / "sim_calibration_kxhighny.json"
TEMPERATURES = DATA / "knyc_daily_high.csv"
ORIGIN = ("Fitted by tools/calibrate.py to recordings of KXHIGHNY: best prices and their moves December 2025, contracts traded November 2025 "
          "to February 2026, taker sides and sizes December 2024 to March 2025, book depth July 2026, daily highs of Central Park "
          "2022 to 2026. Times are New York's; an hour is of the market day, which begins at 10:00 the day before.")
HOURS = [f"D-1_{h}" for h in range(10, 24)] + [f"D_{h:02}" for h in range(24)]
SPREADS = {"p_1": 1, "p_2": 2, "p_3": 3, "p_4": 4, "p_5": 5, "p_6_7": 6, "p_8_9": 8, "p_10_14": 10, "p_15_plus": 15}  # lowest of each class
WIDEST = 25  # cents: the class of 15 and more is drawn up to here


def quantiles(table: dict[str, float]) -> dict[str, list[float]]:
    return {"at": [float(q) for q in table], "value": list(table.values())}


def mean(table: dict[str, float]) -> float:
    "The mean of a distribution given by its quantiles, straight lines between them"
    points = [(0.0, 0.0), *((float(q), v) for q, v in table.items())]
    return sum((q1 - q0) * (v0 + v1) / 2 for (q0, v0), (q1, v1) in zip(points, points[1:], strict=False))


def carried(rows: dict[str, dict[str, float]], key: str) -> list[float]:
    "A figure hour by hour; an hour without one has that of the hour before"
    out: list[float] = []
    for h in HOURS: out.append(rows[h][key] if h in rows else out[-1])
    return out


def climate(path: Path) -> dict[str, float]:
    "The yearly wave of the daily high, by least squares over whole years"
    with open(path) as f: rows = [(date.fromisoformat(r["date"]), float(r["high_f"])) for r in csv.DictReader(f)]
    by_day: dict[int, list[float]] = {}
    for d, high in rows: by_day.setdefault(d.timetuple().tm_yday, []).append(high)
    days = {d: sum(v) / len(v) for d, v in by_day.items() if d <= 365}
    a = sum(v * cos(2 * pi * d / 365) for d, v in days.items()) * 2 / len(days)
    b = sum(v * sin(2 * pi * d / 365) for d, v in days.items()) * 2 / len(days)
    coldest = max(range(1, 366), key=lambda d: -a * cos(2 * pi * d / 365) - b * sin(2 * pi * d / 365))
    return {"mean": round(sum(days.values()) / len(days), 1), "amplitude": round(hypot(a, b), 1), "coldest_day": coldest}


def fit(s: dict) -> dict:
    spread, moves = s["spread_time_weighted_2025-12"], s["mid_moves_2025-12"]
    trades, sums = s["trades_2024-12_to_2025-03"], s["sum_over_6_markets_2025-12"]
    prices = list(spread["by_mid"])
    taking = {p: trades["share_of_sweeps_by_price"][p] / spread["by_mid"][p]["market_hours"] for p in prices}
    stirring = {p: -log1p(-moves["by_mid"][p]["p_any_move_1m"]) for p in prices}
    middle = [p for p in prices if 10 <= int(p.split("-")[0]) < 90]
    usual = sum(stirring[p] * moves["by_mid"][p]["minutes"] for p in middle) / sum(moves["by_mid"][p]["minutes"] for p in middle)
    size = mean(trades["sweep_size_quantiles"])
    wide = spread["wide_ge5_episode_seconds_quantiles"]
    depth = s["depth_2026-07"]
    return {
        "origin": ORIGIN,
        "spreads": list(SPREADS.values()),
        "widest": WIDEST,
        "spread_by_hour": [[spread["by_phase"][h][k] for k in SPREADS] for h in HOURS],
        "updates_by_hour": [s["bbo_updates_per_market_hour_2025-12"][h] for h in HOURS],
        "hold_log_sd": round(log(wide["0.99"] / wide["0.5"]) / 2.3263, 2),
        "move_by_hour": carried(moves["by_phase"], "sd_60m"),
        "news_by_hour": [round(-60 * log1p(-p), 1) for p in carried(moves["by_phase"], "p_any_move_1m")],
        "overround": round((sums["sum_yes_bids_quantiles"]["0.5"] + sums["sum_yes_asks_quantiles"]["0.5"]) / 2 - 100, 2),
        "takers_by_hour": [round(s["volume_2025-11_to_2026-02"]["contracts_per_event_day_by_phase"][h] / size, 1) for h in HOURS],
        "prices": [int(p.split("-")[1]) for p in prices],
        "spread_by_price": [[1.0 if p in middle else round(spread["by_mid"][p][k] / spread["all_mid_10_90"][k], 3) for k in SPREADS] for p in prices],
        "updates_by_price": [1.0 if p in middle else round(stirring[p] / usual, 3) for p in prices],
        "takers_by_price": [round(taking[p] / max(taking.values()), 3) for p in prices],
        "buyers_by_price": [trades["p_taker_buys_yes_by_price"][p] for p in prices],
        "taker_size": quantiles(trades["sweep_size_quantiles"]),
        "best_size": quantiles(depth["best_level_size_quantiles"]),
        "depth": [[d["p_nonzero"], d["median_if_nonzero"], d["mean"]] for d in depth["size_by_ticks_behind_best"].values()],
        "climate": climate(TEMPERATURES),
        "recorded": {
            "spread": {**{p: spread["by_mid"][p]["mean"] for p in prices}, "10-90": spread["all_mid_10_90"]["mean"]},
            "wide": {p: round(sum(list(row.values())[-5:]), 3) for p, row in [*spread["by_mid"].items(), ("10-90", spread["all_mid_10_90"])]},
            "hours": {p: spread["by_mid"][p]["market_hours"] for p in prices},
            "moves": {p: [moves["by_mid"][p][k] for k in ("sd_1m", "sd_5m", "sd_30m")] for p in prices},
            "sum_bids": list(sums["sum_yes_bids_quantiles"].values()),
            "sum_asks": list(sums["sum_yes_asks_quantiles"].values()),
        },
    }


def main() -> int:
    for path in (STATISTICS, TEMPERATURES):
        if not path.exists():
            print(f"the recordings are needed for this, and {path.name} is not in {DATA}; set KALSHI_MM_DATA to their folder", file=sys.stderr)
            return 1
    fitted = fit(json.loads(STATISTICS.read_text()))
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in fitted.items())
    (ROOT / "kalshi_mm" / "calibration.json").write_text("{\n" + lines + "\n}\n")
    return 0


if __name__ == "__main__": sys.exit(main())
