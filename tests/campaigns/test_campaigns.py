"A smoke of each campaign: short, and with everything that the long ones have"
import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from kalshi_mm.model.numbers import CENT, CONTRACT, ONE
from kalshi_mm.model.types import Side
from kalshi_mm.sandbox.fault_catalogue import CATALOGUE
from kalshi_mm.sandbox.matching import NewOrder
from kalshi_mm.sandbox.server import ACCOUNT
from tests.campaigns import crash, faults, kill, reach, shadow, soak, used
from tests.campaigns.stage import Stage, Story, Wrong


def ran(work: Callable[[Path, Random, Story], Awaitable[dict[str, Any]]], folder: Path) -> dict[str, Any]:
    "A run's figures; fails with its story"
    story = Story()

    async def run() -> dict[str, Any]: return await work(folder, Random(1), story)

    try: figures = asyncio.run(run())
    except Wrong as e: raise AssertionError("\n".join([*story.lines, str(e)])) from e
    assert not story.wrong, "\n".join(story.lines)
    return figures


def test_the_same_seed_chooses_the_same_runs():
    for campaign in (faults, crash, kill, shadow, soak, used):
        chosen = [[(c.name, c.seed) for c in campaign.cases(campaign.USUAL, 5)] for _ in range(2)]
        assert chosen[0] == chosen[1] and len({seed for _, seed in chosen[0]}) == campaign.USUAL
    assert set(CATALOGUE) <= {c.name for c in faults.cases(faults.USUAL, 5)}


def test_what_a_maker_keeps_is_counted_by_hand():
    "Bought 2 at 40 with the middle at 42, which was 41 after ten seconds, 39 after five minutes; it paid nothing"
    middles, day = reach.Middles(), type("Day", (), {})()
    for ms, bid in ((0, 41), (60_000, 40), (300_000, 38)):
        day.makers = {"X": type("Rivals", (), {"best": {Side.BID: bid * CENT, Side.ASK: (bid + 2) * CENT}})()}
        middles.note(day, ["X"], ms)
    gains = middles.gains([(50_500, "X", 1, 40 * CENT, 2 * CONTRACT)], {"X": 0})
    assert gains == (4.0, 2.0, 2.0, -2.0, -2.0, -80.0)
    kept = reach.shares([reach.Run("joiner", "wide", str(n), 2.0, gains) for n in range(3)])["joiner wide"]
    assert kept["at once, c"] == [2.0, 2.0, 2.0] and kept["kept after 10 s"] == [0.5, 0.5, 0.5]
    told = reach.misses({"joiner wide": kept})
    assert len(told) == 4 and told[0] == "joiner wide, 10 s: 0.50, the tape has 0.91"


def test_the_joiner_trades_an_afternoon_and_the_same_afternoon_again():
    runs = [reach.one("joiner", "wide", "7", skip_hours=27) for _ in range(2)]
    assert runs[0] == runs[1] and runs[0].contracts > 100 and runs[0].gains[0] > 0


def test_the_judge_sees_a_limit_that_was_passed_for_a_moment(tmp_path: Path):
    async def work(folder: Path, rng: Random, story: Story) -> dict[str, Any]:
        async with Stage(folder, story) as stage:
            x, now = stage.sandbox.exchange, stage.sandbox.now()
            ticker = next(m.ticker for m in x.markets() if m.active)
            placed = x.place(NewOrder(account=ACCOUNT, ticker=ticker, side=Side.BID, price=ONE // 100, count=31 * CONTRACT), now)
            x.cancel(ACCOUNT, placed.order_id, now)
            stage.sandbox.day.publish()
            assert not stage.judge.resting and "can become 31 contracts" in stage.judge.wrong[0]
            return {}

    ran(work, tmp_path)


def test_a_session_under_faults_ends_with_three_books_that_agree(tmp_path: Path):
    assert ran(partial(faults.session, ("lose_answer", "lose_fill"), seconds=9), tmp_path)["placed"]


def test_a_used_account_ends_with_three_books_that_agree(tmp_path: Path):
    assert ran(partial(used.session, "crash", seconds=6), tmp_path)["fills"]


def test_a_killed_engine_loses_and_doubles_nothing(tmp_path: Path):
    assert ran(partial(crash.kills, 2), tmp_path)["kills"] == 2


def test_a_kill_leaves_nothing_resting_and_its_time_is_told(tmp_path: Path):
    assert len(ran(partial(kill.drill, "control API", "idle", 2), tmp_path)["took_ms"]) == 2


def test_hours_pass_in_seconds_and_the_process_is_looked_at(tmp_path: Path):
    figures = ran(partial(soak.week, 4, 1440.0), tmp_path)
    assert figures["looks"][-1]["rss_mb"] > 0 and figures["looks"][-1]["tasks"] > 0


def test_a_shadow_has_the_books_of_its_source_after_every_message(tmp_path: Path):
    figures = ran(partial(shadow.books, 2_000), tmp_path)
    assert figures["messages"] >= 2_000 and figures["prints"] and figures["whole_books"] >= 6


def test_a_shadow_hears_the_life_of_markets(tmp_path: Path):
    assert len(ran(shadow.life, tmp_path)["seconds"]) == 9
