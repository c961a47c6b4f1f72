"The report and the store of days, from real sessions: to the millionth of a dollar, once each, and a rule that stands down"
import asyncio
import json
import re
import signal
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.config import load_settings
from kalshi_mm.engine.journal import Journal
from kalshi_mm.engine.strategies import choose
from kalshi_mm.model.numbers import CONTRACT, DOLLAR, ONE, Money
from kalshi_mm.research.replay import core_of, replay
from kalshi_mm.research.report import session_report, stored_days
from kalshi_mm.research.report_page import page
from kalshi_mm.risk.event_days import SessionDay, event_days
from kalshi_mm.risk.profit import Split
from kalshi_mm.sandbox.server import ACCOUNT
from tests.campaigns.stage import Command, Stage, Story
from tests.sessions.test_sessions import said


def marked(journal: Journal) -> Money:
    "The profit of all time, from the fills and payments alone, with what is held at its last mark"
    marks = dict(journal.restart.restored(0).marks)
    return sum(p.pnl(marks.get(t, 0 if p.net >= 0 else ONE)) for t, p in journal.past.positions().items())


def money(rows: Iterable[SessionDay]) -> list[tuple[object, ...]]:
    "What of some lines has to be exact"
    return [(r.event, r.split, r.contracts, r.fills, r.held) for r in rows]


async def traded(stage: Stage, fills: int) -> Command:
    "An engine that has traded so much"
    engine, before = await stage.engine(), stage.judge.fills
    await engine.hear("started")
    await stage.until(lambda: stage.judge.fills >= before + fills, f"{fills} fills")
    return engine


def kept(stage: Stage, engine: Command) -> bool:
    "Whether the journal has fills of this session"
    journal = Journal(stage.copied(), writes=False)
    try: return len(journal.past.fills(engine.said["started"]["session"])) > 0
    finally: journal.close()


async def told_days(stage: Stage, engine: Command) -> Any: return (await stage.ask(engine, "/api/strategy/status"))["days"]


def decided(stage: Stage) -> None:
    "The events that we have traded are over, and pay soon"
    x = stage.sandbox.exchange
    traded = {m.event_ticker for f in x.ledger(ACCOUNT).fills if (m := x.market(f.ticker)).active}
    assert traded
    for event in traded: stage.sandbox.day.decide(event)


async def over(stage: Stage, engine: Command) -> Any:
    "Wait until an event day is over; what is told of the days then"
    for _ in range(3000):
        try: told = await told_days(stage, engine)
        except FileNotFoundError:  # its token isn't there: it has ended
            assert engine.process.returncode is None, engine.trouble()
            await asyncio.sleep(0.1)  # between looks at a condition
            continue
        if any(d["over"] and d["fills"] for d in told["days"]): return told
        await asyncio.sleep(0.1)  # between looks at a condition
    raise AssertionError(f"no event day was over: {told}")


def test_days_add_up_over_sessions_one_of_which_is_killed(tmp_path: Path) -> None:
    async def session() -> tuple[list[str], Any]:
        async with Stage(tmp_path, Story(), speed=600, skip_hours=2) as stage:  # so early that nothing pays by itself meanwhile
            first = await traded(stage, 3)
            first.signal(signal.SIGINT)
            assert await first.wait() == 0, first.trouble()
            second = await traded(stage, 2)
            await stage.until(lambda: kept(stage, second), "its fills are in the journal")
            second.signal(signal.SIGKILL)
            await second.wait()
            died = Journal(stage.copied(), writes=False)  # its days are there before anybody starts again
            assert sum(r.fills for r in died.days.rows()) == died.past.count() >= 3
            died.close()
            third = await traded(stage, 1)
            decided(stage)
            told = await over(stage, third)
            third.signal(signal.SIGINT)
            assert await third.wait() == 0, third.trouble()
            ids = [engine.said["started"]["session"] for engine in (first, second, third)]
            assert Journal(stage.copied(), writes=False).past.count() == len(stage.sandbox.exchange.ledger(ACCOUNT).fills)
            return ids, told

    sessions, told = asyncio.run(session())
    journal = Journal(next(tmp_path.glob("state/*/journal.db")), writes=False)
    rows = journal.days.rows()
    assert max(Counter((r.session, r.event) for r in rows).values()) == 1
    assert list(dict.fromkeys(r.session for r in rows)) == sessions and {r.rule for r in rows} == {told["rule"]}
    days = event_days(rows)
    assert [d.between for d in days] == [0] * len(days)  # each session begins with the value at which the one before ended
    assert sum(d.profit for d in days) == sum(r.split.session for r in rows) == marked(journal)
    assert sum(r.fills for r in rows) == journal.past.count()

    report = session_report([journal], sessions)
    assert report.profit == marked(journal) and report.days == days
    assert [money(s.days) for s in report.sessions] == [money(r for r in rows if r.session == s) for s in sessions]  # by replay
    assert len(report.fills) == journal.past.count() and all(f.middle is not None for f in report.fills if f.spread is not None)
    assert [s.whole for s in report.sessions] == [True, False, True] and not any("other actions" in n for n in report.notes)
    journal.close()
    again = Journal(journal.path)  # the next start adds nothing
    assert again.days.rows() == rows and again.days.missing() == []
    again._database.connection.execute("DELETE FROM days WHERE session = ?", (sessions[1],))
    assert again.days.missing() == [sessions[1]]
    found = event_days(stored_days(again, [])[0])  # from its record, which goes on a little beyond its last line
    assert [(d.profit, d.fills, d.contracts) for d in found] == [(d.profit, d.fills, d.contracts) for d in days]
    again.close()
    cut_short(journal.path, sessions)
    written(tmp_path, sessions)


def cut_short(path: Path, sessions: list[str]) -> None:
    "A session that was killed at any moment, at its first as well, has a report and a page"
    for session in sessions:
        for events in (0, 1, 2, 5, 12, 30, 80, 200):
            journal = Journal(path, writes=False)
            read = journal.records.read
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(journal.records, "read", lambda name, n=events, all_of=read: islice(all_of(name), n))
                report = session_report([journal], [session])
                text = page(report)
                assert session in text and "{{" not in text[text.index("<main>"):]
            journal.close()


def written(tmp_path: Path, sessions: list[str]) -> None:
    "The command writes one file that needs nothing and tells nothing"
    code, text = said(tmp_path, "report", *sessions, "--out", "report.html")
    assert code == 0 and "ealised" in text and "report.html" in text, text
    page = (tmp_path / "report.html").read_text()
    body = page[page.index("<main>"):]
    assert 4_000_000 < len(page) < 12_000_000 and page.count("<script>") == 2
    assert not re.search(r"(src|href)=.?(https?:|//)", body) and "default-src 'none'" in page and str(tmp_path) not in page
    for figure in re.findall(r'<script type="application/json">(.*?)</script>', body, re.S): assert json.loads(figure)["data"]
    code, text = said(tmp_path, "report", "--json")
    tables = {t["name"]: t for t in map(json.loads, text.splitlines())}
    assert code == 0 and [r[0] for r in tables["sessions"]["rows"]] == sessions[-1:] and tables["days"]["rows"]
    assert "not both" in said(tmp_path, "report", sessions[0], "--days", "2")[1]


CALM = """
strategy = "spread_capture"
[parameters]
min_spread = 2
[stand_down]
days = 12
below = 0
[provenance]
promised = "+1.27 [0.62, 1.86]"
"""


def lose(path: Path, rule: str) -> None:
    "Twelve event days of an earlier session in the journal, a dollar lost on each"
    journal = Journal(path)
    journal.begin("earlier", "sandbox", 1)
    journal.remember(None, {}, [], days=[SessionDay("earlier", f"KXHIGHNY-25OCT{n:02d}", f"2025-10-{n:02d}", rule,
                                                    Split(0, 0, -DOLLAR), 100 * CONTRACT, 9, 0, 1000) for n in range(1, 13)])
    journal.end(2)
    journal.close()


Heard = tuple[str, list[Any]]


def test_a_rule_that_has_not_paid_stands_down_tells_and_goes_on_after_a_reset(tmp_path: Path, hook: Heard) -> None:
    url, heard = hook
    preset = tmp_path / "calm.toml"
    preset.write_text(CALM)
    rule = choose(load_settings(None, {}, preset=str(preset), state_dir=tmp_path / "state"), "x").rule

    async def session() -> None:
        async with Stage(tmp_path, Story(), env={"PRESET": str(preset), "ALERT_WEBHOOK_URL": url}) as stage:
            async def quotes(engine: Command) -> None:
                before = stage.judge.placed
                await stage.until(lambda: stage.judge.placed > before, "quotes")

            first = await stage.engine()
            await first.hear("started")
            await quotes(first)
            assert (await told_days(stage, first))["verdict"].startswith("Nothing is realised yet; its study promised +1.27 c")
            await stage.finish(first, replay=False)
            lose(stage.journal, rule)
            second = await stage.engine()
            await second.hear("started")
            placed = stage.judge.placed
            await stage.until(lambda: any("stand_down" in json.dumps(message) for message in heard), "people are told")
            now = await stage.ask(second, "/api/strategy/status")
            (halt,) = now["maker"]["halts"]
            assert halt["latched"] and halt["reason"].startswith("after 12 event days -1.00 c a contract [-1.00, -1.00]"), halt
            assert now["days"]["verdict"].startswith("It loses: realised -1.00 c a contract") and now["maker"]["resting"] == 0
            assert stage.judge.placed == placed  # nothing has left before the halt
            await stage.ask(second, "/api/risk/reset?rule=stand_down", "POST")
            await quotes(second)
            await stage.finish(second, replay=False)
            third = await stage.engine()  # a restart doesn't forget the reset
            await third.hear("started")
            await quotes(third)
            assert (await stage.ask(third, "/api/strategy/status"))["maker"]["halts"] == []
            await stage.finish(third, replay=False)
            assert not stage.story.wrong, stage.story.wrong

    asyncio.run(session())
    journal = Journal(next(tmp_path.glob("state/*/journal.db")), writes=False)
    for name in [s for s, *_ in journal.past.sessions() if s != "earlier"]:
        began = journal.records.began(name)
        assert began and replay(core_of(began), journal.records.read(name)).differences == []
    journal.close()


def test_without_plotly_the_command_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "plotly.py").write_text("raise ImportError('not here')\n")
    code, text = said(tmp_path, "report", PYTHONPATH=str(tmp_path))
    assert code == 1 and 'pip install "kalshi_mm[research]"' in text and "Traceback" not in text, text
    code, text = said(tmp_path, "report", "--json", PYTHONPATH=str(tmp_path))
    assert code == 1 and "there is no session yet" in text
