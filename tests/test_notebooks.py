"The examples in the notebooks hold for the exported package, not only for the cells that define it."
from importlib import import_module
from pathlib import Path

import pytest
from execnb.shell import CaptureShell
from nbdev.config import get_config
from nbdev.process import NBProcessor

cfg = get_config()
NBS = sorted(cfg.nbs_path.glob("[0-9]*.ipynb"))
SKIP = {"export", "exporti", "exports", "default_exp", *cfg.tst_flags.split()}


def skipped(cell) -> bool:
    return cell.cell_type != "code" or bool(SKIP & cell.directives_.keys()) or "nbdev_export(" in cell.source


@pytest.mark.parametrize("path", NBS, ids=lambda p: p.stem)
def test_examples_hold_for_the_package(path: Path, monkeypatch: pytest.MonkeyPatch):
    nb = NBProcessor(path).nb
    name = next(c.directives_["default_exp"][0] for c in nb.cells if "default_exp" in c.directives_)
    module = import_module(f"{cfg.lib_path.name}.{name}")
    monkeypatch.chdir(path.parent)
    shell = CaptureShell(path)
    shell.user_ns |= {k: v for k, v in vars(module).items() if not k.startswith("__")}
    shell.run_all(nb, exc_stop=True, preproc=skipped)
