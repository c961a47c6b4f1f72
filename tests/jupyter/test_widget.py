"The widget without a browser: what goes to the page and what comes from it, recorded at the comm"

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import comm
import pytest
from comm.base_comm import BaseComm

import kalshi_mm.jupyter.widget as room
from kalshi_mm.config import load_settings
from kalshi_mm.control.remote import NoEngine, Refused, adds_risk
from kalshi_mm.jupyter.widget import ControlPanel, PanelWidget
from kalshi_mm.panel.view_model import build_vm
from tests.panel.pictures import NOW, session
from tests.sessions.process import until

VM = build_vm(session(markets=2, steps=6), NOW)
TOKEN, COMMAND_TOKEN = "the-whole-token", "only-commands"
SOON = {"deadline_ms": 10**15}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    "Every message that goes to the page"
    messages: list[dict[str, Any]] = []

    class Recording(BaseComm):
        def publish_msg(self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any) -> None:
            messages.append(data or {})

    monkeypatch.setattr(comm, "create_comm", Recording)
    return messages


class Engine:
    "Stands for `Running` and its client"

    control, command_token, token = "http://127.0.0.1:5000", COMMAND_TOKEN, TOKEN
    env, series, listens = "sandbox", "KXHIGHNY", True
    session, port = "a1b2c3d4", 5000

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def client(self, who: str, deadline_ms: int | None = None) -> "Engine":
        return self

    def post(self, path: str, body: Any = None, **query: str) -> Any:
        self.asked.append((path, body or query or None))
        if path.endswith("start"):
            raise Refused("killed, by cli: rearm first", 409)
        if path.endswith("stop"):
            raise NoEngine("no engine listens")
        return {"sent_ms": 1}

    def put(self, path: str, body: Any) -> Any:
        raise Refused("refused", 422, {"min_spread": "too small"})


@pytest.fixture
def panel(told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., ControlPanel]]:
    "Makes a panel that finds an engine whose stream tells what is given"
    panels = []

    def made(*stream: dict[str, Any], engine: Engine | None = None) -> ControlPanel:
        end = threading.Event()

        def watched(*_: Any, **__: Any) -> Iterator[dict[str, Any]]:
            yield from stream
            end.wait(5)
            raise NoEngine("the line is down")

        monkeypatch.setattr(room, "watch", watched)
        monkeypatch.setattr(room.Running, "matching", lambda settings, session: [engine] if engine else [])
        found = ControlPanel(load_settings(state_dir=tmp_path))
        panels.append((found, end))
        return found

    yield made
    for found, end in panels:
        found.stop()
        end.set()


def test_the_newest_picture_is_on_the_page_and_the_same_one_is_not_sent_twice(told: list[dict[str, Any]]):
    view = PanelWidget()
    del told[:]
    view.vm = VM
    view.vm = dict(VM)
    assert [m["state"]["vm"]["n"] for m in told if m.get("method") == "update"] == [812]


def test_building_a_panel_starts_nothing(panel: Callable[..., ControlPanel]):
    engine = Engine()
    found = panel(VM, engine=engine)
    until(lambda: found.view.vm.get("n") == 812, "the picture")
    assert engine.asked == []


def test_no_token_is_in_what_a_notebook_may_save(panel: Callable[..., ControlPanel], told: list[dict[str, Any]]):
    found = panel(VM, engine=Engine())
    until(lambda: found.view.vm.get("n") == 812, "the picture")
    state = json.dumps([w.get_state() for w in (found, found.view)], default=str)
    assert TOKEN not in state and COMMAND_TOKEN not in state
    said = json.dumps(told, default=str)
    assert TOKEN not in said and COMMAND_TOKEN in said  # the page is given the commands, in a message of its own, and never more


def test_what_is_pressed_reaches_the_engine_and_its_words_come_back(
    panel: Callable[..., ControlPanel], told: list[dict[str, Any]]
):
    engine = Engine()
    found = panel(VM, engine=engine)
    until(lambda: found.engine, "the engine")
    for n, m in enumerate(
        ({"do": "reduce", "on": True}, {"do": "start"} | SOON, {"do": "set", "values": {"min_spread": "0"}} | SOON, {"do": "?"}),
        1,
    ):
        found.view._handle_custom_msg({**m, "id": n}, [])
    until(lambda: len([m for m in told if m.get("method") == "custom" and "id" in m["content"]]) == 4, "four answers")
    said = {m["content"]["id"]: m["content"] for m in told if m.get("method") == "custom" and "id" in m["content"]}
    assert said[1]["ok"] and not said[2]["ok"] and said[2]["said"] == "killed, by cli: rearm first"
    assert said[3]["fields"] == {"min_spread": "too small"} and "?" in said[4]["said"]


def test_a_market_that_is_picked_is_asked_for(panel: Callable[..., ControlPanel]):
    found = panel(VM, engine=Engine())
    found.view._handle_custom_msg({"do": "look", "market": "T", "range": "day"}, [])
    assert found.feed.wants == {"market": "T", "range": "day"}


def test_a_kill_that_the_engine_does_not_take_goes_to_the_exchange(
    panel: Callable[..., ControlPanel], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "kill_command", lambda settings, session: (0, "Killed: nothing of ours rests"))
    assert panel().order({"do": "kill"}) == {"ok": True, "said": "Killed: nothing of ours rests", "kill": {}}


def test_without_an_engine_the_page_says_so_and_when_one_comes_it_is_there(
    panel: Callable[..., ControlPanel], monkeypatch: pytest.MonkeyPatch
):
    found = panel(VM)
    until(lambda: found.view.vm["state"] == "NO ENGINE" and "launch" in found.view.vm, "no engine")
    monkeypatch.setattr(room.Running, "matching", lambda settings, session: [Engine()])
    until(lambda: found.view.vm["state"] == "RUNNING", "the engine that came")


def test_the_next_panel_ends_the_feed_of_the_last(panel: Callable[..., ControlPanel]):
    first = panel(VM, engine=Engine())
    panel(VM, engine=Engine())
    until(lambda: first.feed._closed.is_set(), "the first feed is closed")


@pytest.mark.parametrize("m", [
    {"do": "start"}, {"do": "launch", "env": "sandbox"}, {"do": "resume", "market": "T"}, {"do": "reset", "rule": "drift"},
    {"do": "rearm"}, {"do": "accept"}, {"do": "set", "values": {"min_spread": "3"}}, {"do": "reduce", "on": False},
])
def test_what_adds_risk_and_was_held_up_in_the_kernel_is_not_carried_out(m: dict[str, Any], panel: Callable[..., ControlPanel]):
    engine = Engine()
    found = panel(VM, engine=engine)
    until(lambda: found.engine, "the engine")
    for late in ({}, {"deadline_ms": 1}):
        said = found.order({**m, **late})
        assert not said["ok"] and ("too late" in said["said"] or "no deadline" in said["said"])
    assert engine.asked == []


def test_what_takes_risk_away_never_expires(panel: Callable[..., ControlPanel]):
    engine = Engine()
    found = panel(VM, engine=engine)
    until(lambda: found.engine, "the engine")
    safe = {"do": "end"}, {"do": "pause", "market": "T"}, {"do": "reduce", "on": True}, {"do": "kill"}
    for m in safe: found.order({**m, "deadline_ms": 1})
    assert [path for path, _ in engine.asked] == [
        "/api/strategy/end", "/api/markets/T/pause", "/api/strategy/reduce-only", "/api/risk/kill-switch"]


def test_the_page_the_widget_and_the_client_agree_on_what_adds_risk():
    "The page names verbs and paths in JavaScript, the widget verbs, the client paths"
    script = (room.STATIC / "connection.js").read_text(encoding="utf-8")
    listed = re.search(r"adds_risk = m => (\[[^]]*\])", script)
    assert listed and json.loads(listed[1]) == list(room._RISKY)
    paths = dict(re.findall(r'(\w+): (?:m|\(\)) => \[["`]([^"`?]*)', script[script.index("const PATHS"):]))
    for verb, path in paths.items(): assert adds_risk(f"/api/{path}") == room.is_risky({"do": verb}), verb
    assert re.findall(r"const PATIENCE_MS = (\d+);", script) == [str(room._PATIENCE_MS)]
