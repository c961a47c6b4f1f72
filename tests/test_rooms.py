"""The rule of the rooms, where imports alone don't show it.

`.importlinter` says which rooms there are, in their order, and which of them are pure; here the code of the pure rooms is read.
"""
import ast
import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest
from execnb.nbio import read_nb

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {p.stem: p for p in sorted((ROOT / "kalshi_mm").glob("[!_]*.py"))}
NOTEBOOKS = sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))
RULES = ConfigParser()
RULES.read(ROOT / ".importlinter")
FLOORS = re.findall(r"\w+", RULES["importlinter:contract:floors"]["layers"])[::-1]
PURE = re.findall(r"kalshi_mm\.(\w+)", RULES["importlinter:contract:pure"]["source_modules"])
# pure rooms that may use floats: for probabilities, statistics, degrees and JSON numbers; never for prices, counts or money
FLOATING = {"traffic", "simulated", "recorded", "status", "shapes", "backtest", "report"}


def module_of(notebook: Path) -> str:
    return notebook.stem.split("_", 1)[1]


def offences(code: str, floats: bool) -> Iterator[str]:
    "What a pure room may not do, found in its code"
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Call(func=ast.Name(id="open" | "print" | "input" | "exec" | "eval" | "hash" | "__import__" as name)):
                yield f"calls {name}()"
            case ast.Attribute(value=ast.Name(id="datetime" | "date") | ast.Attribute(attr="datetime" | "date"),
                               attr="now" | "utcnow" | "today" as name):
                yield f"reads the clock with .{name}"
            case ast.Attribute(value=ast.Name(id="random"), attr=name) if name != "Random":
                yield f"uses the shared random.{name}"
            case ast.ImportFrom(module="random", names=names) if any(n.name != "Random" for n in names):
                yield "imports more of random than Random"
            case ast.Attribute(value=ast.Name(id="uuid"), attr="uuid1" | "uuid4") | ast.alias(name="uuid1" | "uuid4"):
                yield "makes a random id"
            case ast.Call(func=ast.Name(id="Random") | ast.Attribute(attr="Random"), args=[]):
                yield "makes a Random without a seed"
            case ast.Global() | ast.Nonlocal():
                yield "rebinds a name outside its function"
            case ast.Constant(value=float()) | ast.Call(func=ast.Name(id="float")) | ast.BinOp(op=ast.Div()) if not floats:
                yield "computes with floats"
            case _:
                continue


def imported(path: Path) -> set[str]:
    "What a room imports: other rooms by their own name, other libraries by their first"
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import): found |= {n.name for n in node.names}
        if isinstance(node, ast.ImportFrom): found.add(node.module or "")
    return {name.removeprefix("kalshi_mm.").split(".")[0] for name in found}


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_has_no_clock_no_files_no_chance_and_no_floats(room: str):
    assert list(offences(ROOMS[room].read_text(encoding="utf-8"), floats=room in FLOATING)) == []


@pytest.mark.parametrize("code", [
    "open('x')", "print(1)", "hash('a')", "datetime.now(UTC)", "date.today()", "random.random()", "from random import choice",
    "random.Random()", "Random()", "global x", "datetime.datetime.utcnow()",
    "uuid.uuid4()", "from uuid import uuid4", "x = 0.5", "x = float(y)", "x = a / b",
])
def test_the_reading_of_pure_rooms_sees(code: str):
    assert list(offences(code, floats=False))


@pytest.mark.parametrize("code", [
    "Random(7)", "random.Random(seed)", "def f(r: Random) -> int: return r.randrange(6)", "a // b", "day.now",
])
def test_the_reading_of_pure_rooms_lets_pass(code: str):
    assert list(offences(code, floats=False)) == []


def test_every_room_that_reaches_out_with_nothing_is_declared_pure():
    outward = set(re.findall(r"\w+", RULES["importlinter:contract:pure"]["forbidden_modules"]))
    inward = {room: imported(path) for room, path in ROOMS.items()}
    impure = {room for room, names in inward.items() if names & outward}
    while more := {room for room, names in inward.items() if names & impure} - impure: impure |= more
    assert set(PURE) == ROOMS.keys() - impure


def test_the_exchange_knows_nothing_of_the_trader():
    floor = FLOORS.index
    trader, exchange = set(FLOORS[floor("strategy"):floor("engine") + 1]), set(FLOORS[floor("priority"):floor("sandbox") + 1])
    assert {room: seen for room in exchange & ROOMS.keys() if (seen := imported(ROOMS[room]) & trader)} == {}


def test_rooms_notebooks_and_floors_are_the_same_in_the_same_order():
    numbered = [module_of(p) for p in NOTEBOOKS]
    assert sorted(numbered) == sorted(ROOMS)
    assert [f for f in FLOORS if f in ROOMS] == numbered


def test_the_architecture_page_has_every_room_and_no_other():
    outputs = [o for c in read_nb(ROOT / "nbs/architecture.ipynb").cells for o in c.get("outputs", [])]
    table = "".join("".join(o["data"]["text/markdown"]) for o in outputs if "text/markdown" in o.get("data", {}))
    assert re.findall(r"^\| \[(\w+)\]", table, flags=re.M) == [module_of(p) for p in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_one_sitting_long(path: Path):
    cells, lines = len(read_nb(path).cells), ROOMS[module_of(path)].read_text(encoding="utf-8").count("\n")
    assert 10 <= cells <= 70
    assert lines < 450


@pytest.mark.parametrize("path", sorted((ROOT / "nbs").glob("**/[!_.]*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_stores_no_error_and_reads_well_in_jupyterlab(path: Path):
    for cell in read_nb(path).cells:
        assert not [o for o in cell.get("outputs", []) if o["output_type"] == "error"]
        if cell.cell_type == "markdown":  # JupyterLab would set the text between two dollar signs as a formula
            prose = re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\\\$", "", cell.source, flags=re.S)
            assert "$" not in prose, f"write \\$ in: {prose}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_swallows_no_errors_and_patches_no_classes(room: str):
    for node in ast.walk(ast.parse(ROOMS[room].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
            broad = isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            silent = all(isinstance(n, (ast.Pass, ast.Continue)) for n in node.body)
            assert not (broad and silent), f"every error is swallowed in line {node.lineno}"
        for mark in getattr(node, "decorator_list", []):
            assert "patch" not in ast.unparse(mark), f"@patch in line {node.lineno}"
