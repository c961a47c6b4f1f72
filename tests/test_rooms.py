"""The rules of the house, where imports alone don't show them.

`.importlinter` says which wings and rooms there are, in their order, and which of them are pure; here the code of the pure rooms
is read.
"""
import ast
import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest
from fastcore.nbio import read_nb

ROOT = Path(__file__).resolve().parents[1]
LIB, NBS = ROOT / "kalshi_mm", ROOT / "nbs"
ROOMS = {".".join(p.relative_to(LIB).with_suffix("").parts): p for p in sorted(LIB.glob("**/[!_]*.py"))
         if ".ipynb_checkpoints" not in p.parts}
EVERY = sorted(p for p in NBS.glob("**/*.ipynb") if ".ipynb_checkpoints" not in p.parts)
RULES = ConfigParser()
RULES.read(ROOT / ".importlinter")


def listed(contract: str, key: str) -> list[str]:
    return RULES[f"importlinter:contract:{contract}"][key].split()


def rooms_of(wing: str) -> list[str]:
    "From the ground up; a module at the top of the package is its own only room"
    return [f"{wing}.{room}" for room in reversed(listed(wing, "layers"))] if (LIB / wing).is_dir() else [wing]


def notebooks_of(wing: str) -> list[Path]:
    "In the order of their numbers, without the wing's index page"
    top = [p for p in sorted(NBS.glob("[0-9]*.ipynb")) if room_of(p) == wing]
    return top + [p for p in sorted((NBS / wing).glob("[0-9]*.ipynb")) if p.stem != "00_index"]


def room_of(notebook: Path) -> str:
    "The room of a notebook, by its place and name"
    return ".".join([*notebook.relative_to(NBS).parent.parts, notebook.stem.split("_", 1)[1]])


WINGS = listed("wings", "layers")[::-1]
FOLDERS = [w for w in WINGS if (LIB / w).is_dir()]
FLOORS = [room for wing in WINGS for room in rooms_of(wing)]
NOTEBOOKS = {room_of(p): p for wing in WINGS for p in notebooks_of(wing)}
PURE_NAMES = {name.removeprefix("kalshi_mm.") for name in listed("pure", "source_modules")}
PURE = [room for room in FLOORS if {room, room.split(".")[0]} & PURE_NAMES]
# pure rooms that may use floats: for probabilities, statistics, degrees and JSON numbers; never for prices, counts or money
FLOATING = {
    "sandbox.traffic", "sandbox.simulated", "sandbox.recorded", "sandbox.responses", "engine.status", "research.backtest",
    "panel.tables",
}


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


def imported(room: str) -> set[str]:
    "What a room imports: rooms and wings of the package by their own name, other libraries by their first"
    found: set[str] = set()
    package = ["kalshi_mm", *room.split(".")[:-1]]
    for node in ast.walk(ast.parse(ROOMS[room].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import): found |= {n.name for n in node.names}
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            rooms = {f"{module}.{n.name}" for n in node.names if f"{module}.{n.name}".removeprefix("kalshi_mm.") in ROOMS}
            found |= rooms or {module}
    return {n.removeprefix("kalshi_mm.") if n.startswith("kalshi_mm.") else n.split(".")[0] for n in found}


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


RUNS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}  # what they read can be a program


def test_no_module_reads_files_that_could_be_programs():
    every = {str(p.relative_to(LIB)): p.read_text(encoding="utf-8") for p in LIB.glob("**/*.py")}
    assert len(every) > len(ROOMS)
    assert [(name, sorted(found)) for name, code in every.items() if (found := runs(code))] == []


def runs(code: str) -> set[str]:
    "What can turn a file into a program: such a library, pandas' reader of pickles, YAML's loaders of objects"
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Import(names=names): found |= {n.name.split(".")[0] for n in names} & RUNS
            case ast.ImportFrom(module=str() as module): found |= {module.split(".")[0]} & RUNS
            case ast.Attribute(value=ast.Name(id="yaml"), attr="load" | "load_all" | "unsafe_load" | "full_load" as name):
                found.add(f"yaml.{name}")
            case ast.Attribute(attr="read_pickle" | "to_pickle" as name): found.add(name)
            case ast.Call(func=ast.Name(id="__import__" | "eval" | "exec" as name)): found.add(name)
            case _: continue
    return found


@pytest.mark.parametrize("code", [
    "import pickle", "import marshal as m", "from shelve import open", "from pickle import loads", "pd.read_pickle(f)",
    "yaml.load(f)", "yaml.unsafe_load(f)", "def f():\n    import pickle", "__import__('pickle')", "eval('1')",
])
def test_the_reading_of_modules_sees_programs_in_files(code: str):
    assert runs(code)


def test_every_room_that_reaches_out_with_nothing_is_declared_pure():
    outward = set(re.findall(r"\w+", RULES["importlinter:contract:pure"]["forbidden_modules"]))
    inward = {room: imported(room) for room in ROOMS}
    impure = {room for room, names in inward.items() if names & outward}
    while more := {room for room, names in inward.items() if names & impure} - impure: impure |= more
    assert set(PURE) == ROOMS.keys() - impure


def test_the_exchange_knows_nothing_of_the_trader_and_the_trader_nothing_of_it():
    trader = set(WINGS[: WINGS.index("sandbox")]) - {"model"}
    assert {f"kalshi_mm.{wing}" for wing in trader} == set(listed("sides", "forbidden_modules"))
    wings = {room: {name.split(".")[0] for name in imported(room)} for room in ROOMS}
    assert {room: seen for room, names in wings.items() if room.startswith("sandbox.") and (seen := names & trader)} == {}
    assert [room for room, names in wings.items() if room.split(".")[0] in trader and "sandbox" in names] == []


def test_one_room_alone_sends_signed_calls_and_by_the_exchanges_own_library():
    libraries = {"kalshi_python", "requests", "httpx", "pycurl"}
    assert {room: seen for room in ROOMS if (seen := imported(room) & libraries)} == {"client.transport": {"kalshi_python"}}


def test_rooms_import_rooms_and_not_the_faces_of_wings():
    assert {room: seen for room in ROOMS if (seen := imported(room) & set(FOLDERS))} == {}


def test_rooms_notebooks_and_floors_are_the_same_in_the_same_order():
    assert sorted(ROOMS) == sorted(FLOORS)
    assert list(NOTEBOOKS) == FLOORS
    for wing in FOLDERS:
        numbers = [p.stem.partition("_")[0] for p in notebooks_of(wing)]
        assert numbers == sorted(set(numbers)), f"two rooms of {wing} have one number"
    top = [room_of(p) for p in sorted(NBS.glob("[0-9]*.ipynb"))]
    assert top == [wing for wing in WINGS if wing not in FOLDERS]


def test_every_notebook_with_a_number_is_a_room_or_the_index_of_a_wing_and_exports_to_its_place():
    indices = {NBS / wing / "00_index.ipynb" for wing in FOLDERS}
    numbered = {p for p in EVERY if p.stem[0].isdigit()}
    assert numbered == indices | set(NOTEBOOKS.values())
    exports = {p: re.findall(r"^#\| default_exp (\S+)", "\n".join(c.source for c in read_nb(p).cells), flags=re.M) for p in EVERY}
    assert {p: names for p, names in exports.items() if names} == {p: [room] for room, p in NOTEBOOKS.items()}


def test_no_module_stands_beside_a_wing_of_its_name():
    assert [wing for wing in FOLDERS if (LIB / f"{wing}.py").exists()] == []
    assert {p.parent.name for p in LIB.glob("*/__init__.py")} == set(FOLDERS)


def tables(notebook: Path) -> list[str]:
    "The first column of the tables of rooms that a page stores"
    outputs = [o for c in read_nb(notebook).cells for o in c.get("outputs", [])]
    text = "\n".join("".join(o["data"]["text/markdown"]) for o in outputs if "text/markdown" in o.get("data", {}))
    return re.findall(r"^\| \[([\w.]+)\]", text, flags=re.M)


def test_the_architecture_page_has_every_room_and_no_other():
    assert tables(NBS / "architecture.ipynb") == FLOORS


def test_the_picture_on_the_architecture_page_has_every_wing_and_room_and_no_other():
    outputs = [o.get("data", {}) for c in read_nb(NBS / "architecture.ipynb").cells for o in c.get("outputs", [])]
    (picture,) = ("".join(data["image/svg+xml"]) for data in outputs if "image/svg+xml" in data)
    drawn: dict[str, list[str]] = {}
    for style, name in re.findall(r'class="(wing|room)">([^<]*)<', picture):
        if style == "wing": drawn[name] = []
        else: drawn[list(drawn)[-1]].append(name)
    assert drawn == {wing: [room.split(".")[1] for room in rooms_of(wing) if "." in room] for wing in WINGS}
    heights = {name: float(y) for y, style, name in re.findall(r'y="(\d+)" class="(wing)">([^<]*)<', picture)}
    trader = [wing for wing in WINGS if wing != "sandbox"]
    assert sorted(trader, key=heights.__getitem__, reverse=True) == trader


@pytest.mark.parametrize("wing", FOLDERS)
def test_the_index_page_of_a_wing_has_its_rooms_and_no_other(wing: str):
    assert tables(NBS / wing / "00_index.ipynb") == [room.split(".")[1] for room in rooms_of(wing)]


@pytest.mark.parametrize("room", NOTEBOOKS)
def test_a_notebook_is_one_sitting_long(room: str):
    cells, lines = len(read_nb(NOTEBOOKS[room]).cells), ROOMS[room].read_text(encoding="utf-8").count("\n")
    assert 10 <= cells <= 70
    assert lines < 450


@pytest.mark.parametrize("path", EVERY, ids=lambda p: str(p.relative_to(NBS)))
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
