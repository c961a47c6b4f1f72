"That the search for faults finds what it says and changes nothing else, and still knows the places of the known ones"
import ast

import pytest

from tests.mutations.__main__ import ROOT, argued, equivalents, module, notebook, rooms, stages, tidy
from tests.mutations.faults import KINDS, Fault, applied, every
from tests.mutations.known import KNOWN

CODE = '''"A module"
LIMIT = 15  # ein Komma: ä


def room(held: int, sold: int, names: list[str]) -> int:
    "What is left; 7 isn't a number here"
    if held >= LIMIT and not names: raise ValueError(f"{held + 1} of {LIMIT}")
    names.append("ü" + str(held)); held -= sold
    return LIMIT - held
'''


def test_every_kind_of_fault_is_found_and_changes_its_place_alone():
    found = every("a.room", CODE)
    assert {f.kind for f in found} == set(KINDS)
    for f in found:
        broken = applied(CODE, f)
        ast.parse(broken)
        assert broken != CODE and broken.count("\n") == CODE.count("\n")
        same = [a == b for a, b in zip(CODE.split("\n"), broken.split("\n"), strict=True)]
        assert same.count(False) == 1 and not same[f.line - 1]


def test_these_are_the_faults_of_a_line():
    found = {(f.kind, f.old, f.new) for f in every("a.room", CODE) if f.line == 7}
    assert found == {
        ("flipped", "held >= LIMIT", "held < LIMIT"), ("boundary", "held >= LIMIT", "held > LIMIT"),
        ("and_or", "held >= LIMIT and not names", "(held >= LIMIT or not names)"),
        ("negated", "held >= LIMIT and not names", "(not (held >= LIMIT and (not names)))"),
        ("removed", 'raise ValueError(f"{held + 1} of {LIMIT}")', "pass")}
    assert not [f for f in every("a.room", CODE) if "7" in f.old or "Komma" in f.old]  # neither texts nor comments


def test_texts_with_more_bytes_than_letters_move_no_fault():
    (fault,) = [f for f in every("a.room", CODE) if f.old == "held -= sold" and f.kind == "sign"]
    assert applied(CODE, fault).split("\n")[7] == '    names.append("ü" + str(held)); held += sold'


@pytest.mark.parametrize("known", KNOWN, ids=lambda k: k.why)
def test_a_fault_that_once_went_unnoticed_can_still_be_made(known):
    text = module(ROOT, known.room).read_text(encoding="utf-8")
    ast.parse(applied(text, known.fault(text)))


def test_each_room_has_faults_a_notebook_and_tests_that_are_there():
    for room in rooms():
        assert every(room, module(ROOT, room).read_text(encoding="utf-8")), room
        assert (ROOT / "nbs" / f"{notebook(room)}.ipynb").exists()
        assert all((ROOT / words[-1]).exists() for words in stages(room)[1:])


def test_each_fault_that_is_argued_away_can_still_be_made():
    known, found = equivalents(), set[str]()
    for room in {room for room, *_ in known}:
        found |= {why for f in every(room, module(ROOT, room).read_text(encoding="utf-8")) if (why := argued(f, known))}
    assert found == set(known.values())


def test_a_fault_fits_into_a_line_of_the_table():
    assert tidy("a |\n  b") == r"a \| b" and str(Fault("r", "sign", 3, 0, "a", "b")) == "r:3 sign: `a` -> `b`"
