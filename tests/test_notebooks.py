"The examples in the notebooks hold for the exported package, not only for the cells that define it."
from importlib import import_module
from pathlib import Path
from runpy import run_path

import pytest
from execnb.shell import CaptureShell
from nbdev.config import get_config
from nbdev.process import NBProcessor

cfg = get_config()
EVERY = sorted(p for p in cfg.nbs_path.glob("**/*.ipynb") if ".ipynb_checkpoints" not in p.parts)
EXPORTED = [p for p in EVERY if "#| default_exp" in p.read_text(encoding="utf-8")]
SKIP = {"export", "exporti", "exports", "default_exp", *cfg.tst_flags.split()}


def skipped(cell) -> bool:
    d = cell.directives_
    return cell.cell_type != "code" or bool(SKIP & d.keys()) or d.get("eval") == "false" or "nbdev_export(" in cell.source


def test_no_notebook_and_no_module_goes_untested():
    tool = run_path(str(cfg.config_path / "tools" / "nb.py"))
    assert tool["notebooks"]([]) == EVERY, "`tools/nb.py check` runs others than there are"
    rooms = [p for p in cfg.lib_path.glob("**/*.py") if not p.name.startswith("_") and ".ipynb_checkpoints" not in p.parts]
    assert len(EXPORTED) == len(rooms) > 0


@pytest.mark.parametrize("path", EXPORTED, ids=lambda p: str(p.relative_to(cfg.nbs_path).with_suffix("")))
def test_examples_hold_for_the_package(path: Path, monkeypatch: pytest.MonkeyPatch):
    nb = NBProcessor(path).nb
    name = next(c.directives_["default_exp"] for c in nb.cells if "default_exp" in c.directives_)
    module = import_module(f"{cfg.lib_path.name}.{name}")
    monkeypatch.chdir(path.parent)
    shell = CaptureShell(path)
    shell.user_ns |= {k: v for k, v in vars(module).items() if not k.startswith("__")}
    shell.run_all(nb, exc_stop=True, preproc=skipped)
