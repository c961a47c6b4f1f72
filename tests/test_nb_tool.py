"`tools/nb.py` overwrites no unsaved work on the other side silently. Real files: a temporary project of one notebook."
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAME = "panel/01_format"
TEXT = "# %% [markdown]\n# # Format\n\n# %%\n40 + 2\n"


class Project:
    "A clone with one notebook and its text"

    def __init__(self, root: Path):
        self.root, self.nb, self.txt = root, root / f"nbs/{NAME}.ipynb", root / f".nbtext/{NAME}.py"

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, ROOT / "tools/nb.py", *args]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=120)

    def nb_py(self, *args: str) -> str:
        "What the tool says on stderr; empty if it succeeds"
        done = self.run(*args)
        assert bool(done.returncode) == bool(done.stderr), done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stderr

    def edit(self, path: Path, old: str, new: str) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def code(self) -> tuple[str, str]:
        "Source and output of the notebook's code cell"
        cell = json.loads(self.nb.read_text(encoding="utf-8"))["cells"][1]
        return "".join(cell["source"]), "".join("".join(o["data"]["text/plain"]) for o in cell["outputs"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Project:
    "With this repository's settings, and a notebook that was made from its text"
    made = Project(tmp_path_factory.mktemp("project"))
    for name in ("settings.ini", "pyproject.toml"): shutil.copy(ROOT / name, made.root)
    (made.root / "kalshi_mm").mkdir()
    (made.root / "kalshi_mm/__init__.py").write_text('__version__ = "0.1.0"\n')
    made.nb.parent.mkdir(parents=True)
    made.txt.parent.mkdir(parents=True)
    made.txt.write_text(TEXT)
    assert made.nb_py("save", NAME) == ""
    return made


@pytest.fixture
def project(saved: Project, tmp_path: Path) -> Project:
    return Project(Path(shutil.copytree(saved.root, tmp_path / "project")))


def test_a_new_text_becomes_a_notebook(saved: Project):
    assert saved.code() == ("40 + 2", "42")


def test_text_and_notebook_go_back_and_forth(project: Project):
    assert project.nb_py("open", "format") == ""
    project.edit(project.txt, "40 + 2", "40 + 3")
    assert project.nb_py("save", "format") == ""
    assert project.code() == ("40 + 3", "43")
    project.edit(project.txt, "40 + 3", "40 + 4")
    assert project.nb_py("save", "format") == ""
    assert project.code() == ("40 + 4", "44")


def test_open_refuses_to_overwrite_edits_that_were_not_saved(project: Project):
    project.edit(project.txt, "40 + 2", "mine")
    said = project.nb_py("open", NAME)
    assert f".nbtext/{NAME}.py has edits" in said and f"`open --force {NAME}` drops them" in said
    assert "mine" in project.txt.read_text()
    assert project.nb_py("open", "--force", NAME) == ""
    assert "40 + 2" in project.txt.read_text()


def test_open_takes_what_changed_in_the_notebook_if_the_text_has_no_edits(project: Project):
    project.edit(project.nb, "40 + 2", "40 + 5")
    assert project.nb_py("open", NAME) == ""
    assert "40 + 5" in project.txt.read_text()
    assert project.nb_py("save", NAME) == ""
    assert project.code() == ("40 + 5", "45")


def test_save_refuses_to_overwrite_a_notebook_that_changed_since_it_was_opened(project: Project):
    project.edit(project.nb, "40 + 2", "theirs")
    project.edit(project.txt, "40 + 2", "40 + 6")
    said = project.nb_py("save", NAME)
    assert f"nbs/{NAME}.ipynb has changed since" in said and f"`save --force {NAME}`" in said and f"`open --force {NAME}`" in said
    assert project.code()[0] == "theirs"
    assert project.nb_py("save", "--force", NAME) == ""
    assert project.code() == ("40 + 6", "46")


def test_save_refuses_to_bring_back_a_notebook_that_was_removed(project: Project):
    project.nb.unlink()
    assert "was removed since" in project.nb_py("save", NAME)
    assert not project.nb.exists()
    assert project.nb_py("save", NAME, "--force") == ""
    assert project.nb.exists()


def test_a_text_that_was_never_opened_overwrites_no_notebook(project: Project):
    project.txt.with_suffix(".stamp").unlink()
    project.edit(project.txt, "40 + 2", "mine")
    assert "has changed since" in project.nb_py("save", NAME)
    assert "has edits" in project.nb_py("open", NAME)


def test_outputs_that_come_or_go_are_no_change(project: Project):
    project.edit(project.nb, '"42"', '"another"')
    project.edit(project.txt, "40 + 2", "40 + 7")
    assert project.nb_py("save", NAME) == ""
    assert project.code() == ("40 + 7", "47")


def test_a_cell_that_raises_is_mended_in_the_text_and_saved_again(project: Project):
    project.edit(project.txt, "40 + 2", "40 / 0")
    with pytest.raises(AssertionError, match="ZeroDivisionError"): project.nb_py("save", NAME)
    project.edit(project.txt, "40 / 0", "40 + 8")
    assert project.nb_py("save", NAME) == ""
    assert project.code() == ("40 + 8", "48")


@pytest.mark.parametrize("mark", ["eval: false", "live", "slow", "notest"])
def test_a_cell_that_is_not_to_be_run_keeps_the_output_it_has(project: Project, mark: str):
    project.edit(project.txt, "40 + 2", f"#| {mark}\n40 / 0")
    assert project.nb_py("save", NAME) == ""
    assert project.code() == (f"#| {mark}\n40 / 0", "42")
    assert project.nb_py("check", NAME) == ""


def test_a_notebook_that_somebody_saves_while_it_runs_is_not_overwritten(project: Project):
    project.edit(project.txt, "40 + 2", "from pathlib import Path\nnb = Path('01_format.ipynb')\n"
                 "nb.write_text(nb.read_text().replace('# Format', '# Theirs'))")
    assert f"nbs/{NAME}.ipynb changed while it ran" in project.nb_py("save", NAME)
    assert "# Theirs" in project.nb.read_text()


def test_one_name_that_is_refused_leaves_the_others_as_they_are(project: Project):
    other = project.txt.with_name("02_other.py")
    other.write_text(TEXT)
    project.edit(project.nb, "40 + 2", "theirs")
    assert "has changed since" in project.nb_py("save", "panel/02_other", NAME)
    assert not project.nb.with_name("02_other.ipynb").exists()


def test_what_is_not_there_is_a_sentence_that_says_what_to_do(project: Project):
    project.txt.unlink()
    assert project.nb_py("save", NAME) == f"There is no .nbtext/{NAME}.py. `open {NAME}` makes it from nbs/{NAME}.ipynb.\n"
    new = project.txt.with_name("02_other.py")
    new.write_text(TEXT)
    said = project.nb_py("open", "panel/02_other")
    assert said == "There is no nbs/panel/02_other.ipynb yet. `save panel/02_other` makes it from .nbtext/panel/02_other.py.\n"


@pytest.mark.parametrize(("name", "like"), [
    ("panel/fromat", "panel/format"), ("fromat", "format"), ("panel/1_format", "panel/01_format"), ("zzz", ""),
])
def test_a_misspelt_name_is_a_sentence_with_the_nearest_names(saved: Project, name: str, like: str):
    said = saved.nb_py("open", name)
    assert said.startswith(f"There is no notebook {name!r}") and said.count("\n") == 1
    assert like in said.partition("did you mean")[2] and bool(like) == ("did you mean" in said)


@pytest.mark.parametrize("name", ["format", "panel/format", f"nbs/{NAME}.ipynb", f".nbtext/{NAME}.py"])
def test_a_notebook_goes_by_its_room_and_by_its_paths(project: Project, name: str):
    project.txt.unlink()
    assert project.nb_py("open", name) == ""
    assert "40 + 2" in project.txt.read_text()


def test_the_copies_that_jupyterlab_keeps_are_nobodys_notebooks(project: Project):
    copy = project.nb.parent / ".ipynb_checkpoints/01_format-checkpoint.ipynb"
    copy.parent.mkdir()
    shutil.copy(project.nb, copy)
    before = copy.read_bytes()
    assert "There is no notebook" in project.nb_py("open", "panel/.ipynb_checkpoints/01_format-checkpoint")
    assert project.nb_py("open", "format") == ""
    assert project.nb_py("run") == ""
    assert copy.read_bytes() == before
    assert "1 of 1 notebooks" in project.run("check").stdout
