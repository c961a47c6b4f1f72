"That a newer specification is compared in what we use: each kind of change is seen, and what doesn't concern us changes nothing"
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import yaml

TOOL = Path(__file__).resolve().parents[1] / "tools" / "spec_diff.py"
ORDER = {"type": "object", "required": ["order_id", "side"], "properties": {
    "order_id": {"type": "string"}, "side": {"type": "string", "enum": ["bid", "ask"]},
    "price": {"$ref": "#/components/schemas/Price"}, "mood": {"type": "string"}}}  # fmt: skip
A_LIST = {"type": "object", "properties": {"orders": {"type": "array", "items": {"$ref": "#/components/schemas/Order"}}}}


def answer(schema: Any) -> Any: return {"content": {"application/json": {"schema": schema}}}


REST: dict[str, Any] = {
    "paths": {
        "/portfolio/events/orders": {"post": {
            "parameters": [{"in": "query", "name": "subaccount", "schema": {"type": "integer"}}],
            "requestBody": answer({"$ref": "#/components/schemas/Order"}),
            "responses": {"201": answer({"allOf": [{"$ref": "#/components/schemas/Order"}]})}}},
        "/portfolio/orders": {"get": {"responses": {"200": answer(A_LIST)}}},
        "/milestones": {"get": {"responses": {}}},
    },
    "components": {"schemas": {"Order": ORDER, "Price": {"type": "string"}}},
}
STREAM: dict[str, Any] = {
    "channels": {"fill": {}, "pyth_value": {}},
    "components": {"messages": {"fill": {"payload": {"type": "object", "required": ["type", "msg"], "properties": {
        "type": {"const": "fill"}, "msg": {"type": "object", "required": ["trade_id"], "properties": {
            "trade_id": {"type": "string"}, "count_fp": {"type": "string"}, "astrology": {"type": "string"}}}}}}}},
}
Change = Callable[[Any, Any, Any], object]  # of the REST document, its orders, and the document of the stream


def said(folder: Path, change: Change, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    "The status of the tool, and what it says of a change"
    rest, stream = deepcopy(REST), deepcopy(STREAM)
    change(rest, rest["components"]["schemas"]["Order"], stream)
    files = []
    for name, document in (("old", REST), ("new", rest), ("old-ws", STREAM), ("new-ws", stream)):
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump(document))
    monkeypatch.setattr(sys, "argv", [TOOL.name, *map(str, files[:2]), "--asyncapi", *map(str, files[2:])])
    return int(run_path(str(TOOL))["main"]()), capsys.readouterr().out


def message(stream: Any) -> Any: return stream["components"]["messages"]["fill"]["payload"]["properties"]["msg"]


OURS: list[tuple[str, Change]] = [
    ("GET /portfolio/orders: is gone", lambda r, o, s: r["paths"].pop("/portfolio/orders")),
    ("GET /portfolio/orders, answer orders.*.side: is gone", lambda r, o, s: o["properties"].pop("side")),
    ("answer order_id: was string, is integer", lambda r, o, s: o["properties"]["order_id"].update(type="integer")),
    ("answer orders.*.price: was string, is number", lambda r, o, s: r["components"]["schemas"]["Price"].update(type="number")),
    ("answer side: can be both", lambda r, o, s: o["properties"]["side"].update(enum=["ask", "bid", "both"])),
    ("body side: can no longer be ask", lambda r, o, s: o["properties"]["side"].update(enum=["bid"])),
    ("answer orders.*.order_id: may be missing now", lambda r, o, s: o["required"].remove("order_id")),
    ("body price: is required now", lambda r, o, s: o["required"].append("price")),
    ("body passport: is new and required", lambda r, o, s: (o["properties"].update(passport={"type": "string"}),
                                                           o["required"].append("passport"))),
    ("query subaccount: is required now",
     lambda r, o, s: r["paths"]["/portfolio/events/orders"]["post"]["parameters"][0].update(required=True)),
    ("channel fill: is gone", lambda r, o, s: s["channels"].pop("fill")),
    ("message fill: is gone", lambda r, o, s: s["components"]["messages"].pop("fill")),
    ("message fill, answer msg.count_fp: was string, is number",
     lambda r, o, s: message(s)["properties"]["count_fp"].update(type="number")),
    ("message fill, answer msg.trade_id: may be missing now", lambda r, o, s: message(s).update(required=[])),
]
OTHERS: list[tuple[str, Change]] = [
    ("nothing has changed", lambda r, o, s: None),
    ("nothing has changed", lambda r, o, s: o.update(description="An order")),
    ("GET /milestones: is gone", lambda r, o, s: r["paths"].pop("/milestones")),
    ("GET /weather: is new", lambda r, o, s: r["paths"].update({"/weather": {"get": {}}})),
    ("answer mood: is gone", lambda r, o, s: o["properties"].pop("mood")),
    ("answer colour: is new", lambda r, o, s: o["properties"].update(colour={"type": "string"})),
    ("channel pyth_value: is gone", lambda r, o, s: s["channels"].pop("pyth_value")),
    ("answer msg.astrology: is gone", lambda r, o, s: message(s)["properties"].pop("astrology")),
]


@pytest.mark.parametrize(("text", "change"), OURS, ids=[text for text, _ in OURS])
def test_what_we_use_and_has_changed_is_named_and_the_status_is_1(
        tmp_path: Path, text: str, change: Change, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    code, words = said(tmp_path, change, monkeypatch, capsys)
    assert code == 1 and text in words.split("other changes")[0], words


@pytest.mark.parametrize(("text", "change"), OTHERS)
def test_what_does_not_concern_us_is_status_0(
        tmp_path: Path, text: str, change: Change, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    code, words = said(tmp_path, change, monkeypatch, capsys)
    assert code == 0 and text in words, words


def test_a_file_that_is_no_specification_is_refused_in_a_sentence(tmp_path: Path):
    (bad := tmp_path / "bad.yaml").write_text("a: [")
    done = subprocess.run([sys.executable, TOOL, bad, bad], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "a specification can't be read" in done.stderr and "Traceback" not in done.stderr
