"What the package is known by: few names, handed out when they are asked for, so that a room loads without its wing."
import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[1] / "kalshi_mm"
FACES = ("client", "orderbook", "risk", "strategy")
WINGS = sorted(p.parent.name for p in LIB.glob("*/__init__.py"))


@pytest.mark.parametrize("name", FACES)
def test_a_face_has_ten_names_or_fewer_and_each_is_there(name: str):
    face = import_module(f"kalshi_mm.{name}")
    assert 0 < len(face.__all__) <= 10
    assert sorted(face.__all__) == sorted(set(face.__all__))
    for public in face.__all__: assert getattr(face, public) is not None
    assert set(face.__all__) <= set(dir(face))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"): _ = face.nothing


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_opens_with_a_line_and_loads_nothing(wing: str):
    tree = ast.parse((LIB / wing / "__init__.py").read_text(encoding="utf-8"))
    assert "\n" not in (ast.get_docstring(tree) or "\n")
    if wing not in FACES: assert len(tree.body) == 1
    code = f"import sys, kalshi_mm.{wing}; print(*(m for m in sys.modules if m.startswith('kalshi_mm.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [f"kalshi_mm.{wing}"]


@pytest.mark.parametrize(("room", "others"), [
    ("client.budget", set()), ("client.market_data", {"client.budget"}), ("risk.halts", set()),
])
def test_a_room_loads_without_its_wing(room: str, others: set[str]):
    wing = room.split(".")[0]
    code = f"import sys, kalshi_mm.{room}; print(*(m for m in sys.modules if m.startswith('kalshi_mm.{wing}.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert {m.removeprefix("kalshi_mm.") for m in done.stdout.split()} == {room} | others
