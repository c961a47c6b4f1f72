"""What the panel says in each state, kept word for word in `golden/`.

`KMM_GOLDEN=new pytest tests/panel/test_view_model.py` writes it anew. The goldens hold everything but the columns of the charts.
"""

import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kalshi_mm.engine import status as status_room
from kalshi_mm.engine.status import status
from kalshi_mm.panel import view_model
from kalshi_mm.panel.incentives import incentives
from kalshi_mm.panel.view_model import build_vm, no_engine
from tests.maker.test_incentives import Session, T, programme
from tests.panel.pictures import NOW, changed, session, states

GOLDEN = Path(__file__).parent / "golden"
SMALL = session(markets=4, steps=6)
CASES = {name: build_vm(s, NOW) for name, s in states(SMALL).items()} | {"no engine": no_engine("Nothing trades.")}


def without_columns(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_columns(v) for k, v in value.items() if k not in ("t", "lines", "spark", "marks")}
    return [without_columns(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", CASES)
def test_each_state_is_told_as_it_was(name: str):
    said = json.dumps(without_columns(CASES[name]), indent=1, ensure_ascii=False) + "\n"
    path = GOLDEN / f"{name.replace(' ', '_').replace(',', '')}.json"
    if os.environ.get("KMM_GOLDEN") == "new":
        path.parent.mkdir(exist_ok=True)
        path.write_text(said, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == said


def test_every_state_has_its_case():
    assert {vm["state"] for vm in CASES.values()} == {
        "NO ENGINE",
        "STOPPED",
        "STARTING",
        "RUNNING",
        "REDUCING", "FLATTENING",
        "STOPPING",
        "HALTED",
        "KILLING",
        "KILLED",
    }


def test_nothing_of_ours_is_shown_as_live_when_nothing_rests():
    for name in ("stopped", "halted", "killed", "starting"):
        assert {(m["bid"]["ours"], m["ask"]["ours"]) for m in CASES[name]["markets"]} == {("—", "—")}, name


def test_in_a_long_table_what_needs_a_look_comes_first():
    fifty = session(markets=50, steps=6)
    fifty["markets"][33]["live"] = False
    assert [m["word"] for m in build_vm(fifty, NOW)["markets"]][:2] == ["STALE", "QUOTING"]


def test_markets_that_have_paid_are_counted_and_not_listed():
    s = session(markets=6, steps=6)
    assert build_vm(s, NOW)["settled"] == ""
    s["markets"], rows = s["markets"][:4], s["engine"]["maker"]["markets"]
    for row, pnl in zip(rows[4:], ("-1.220000", "3.000000"), strict=True): row |= {"status": "finalized", "pnl": pnl}
    vm = build_vm(s, NOW)
    assert [m["ticker"] for m in vm["markets"]] == [m["ticker"] for m in rows[:4]]
    assert vm["settled"] == "2 settled, +$1.78" and "of 4 markets" in vm["note"]


def test_a_picture_is_plain_json():
    for vm in CASES.values():
        assert json.loads(json.dumps(vm)) == vm


def test_the_page_and_the_view_model_find_a_kill_late_at_the_same_time():
    script = (Path(view_model.__file__).parent / "static" / "kill.js").read_text(encoding="utf-8")
    for name in ("CONFIRM_LATE_MS", "VERIFY_LATE_MS"):
        assert re.findall(rf"^const {name} = (\d+);", script, re.M) == [str(getattr(view_model, f"_{name}"))]


def test_every_word_of_the_engines_state_has_a_picture():
    "A state without an icon would end the page's pictures"
    lines = [line for line in inspect.getsource(status_room._state).splitlines() if "return" in line]
    words = [word for line in lines for word in re.findall(r'"(\w+)"', line)]
    assert len(words) >= 6
    for word in words: assert build_vm(changed(SMALL, {"state": word}), NOW)["icon"], word


def test_the_table_of_liquidity_programmes_is_made_of_what_the_core_tells():
    later = msgspec.structs.replace(programme(60), programme_id="q", start_ms=T + 40_000, end_ms=T + 90_000)
    core = Session(programme(20), later)

    def shown(now_ms: int) -> dict[str, Any]:
        return incentives({"engine": {"maker": msgspec.to_builtins(status(core.maker, now_ms))}}, now_ms)

    core.until(T + 10_000)
    running, coming = shown(T + 10_000)["rows"]
    assert running[1:4] == ["10 s", "no", "9.1 %"]  # 100 a tick in front, worth 200, of 2,200
    assert (running[7:10], coming[1:5]) == (["$20.00", "1,000", "40 / 60"], ["in 30 s", "—", "—", "—"])
    core.until(T + 22_000, T + 10_000)
    after = shown(T + 22_000)
    assert [r[1] for r in after["rows"]] == ["in 18 s", "unpaid"]
    assert after["sums"][0] == ["expected an hour", "$0.00"]
