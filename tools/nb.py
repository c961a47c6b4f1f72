"""Edit and run the notebooks from a shell.

`open NAME`   write the notebook as .nbtext/NAME.py, in the py:percent format
`save NAME`   take .nbtext/NAME.py back into the notebook, run it, keep its outputs, clean and export
`run [NAME]`  run notebooks and keep their outputs
`check`       fail if a notebook is unclean, an output is stale or the package differs from the notebooks
"""
import argparse
import fcntl
import subprocess
import sys
from pathlib import Path

from execnb.nbio import write_nb
from execnb.shell import CaptureShell
from fastcore.xtras import working_directory
from nbdev.clean import clean_nb
from nbdev.config import get_config
from nbdev.process import NBProcessor

CFG = get_config()
NBS = CFG.nbs_path
TEXT = CFG.config_path / ".nbtext"
SKIP = set(CFG.tst_flags.split())
META = '{"jupytext": null, "kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}'


def jupytext(*args) -> None: subprocess.run(["jupytext", "-q", *map(str, args)], check=True)


def kept(cell) -> bool:
    "Cells that are not run here keep the outputs they have"
    d = cell.directives_
    return (cell.cell_type != "code" or "nbdev_export(" in cell.source or bool(SKIP & d.keys())
            or d.get("eval:", [""])[0].lower() == "false")


def executed(path: Path):
    "The notebook at `path` with fresh outputs, clean and without ids that change from run to run"
    nb = NBProcessor(path, rm_directives=False).nb
    for c in nb.cells:
        if not kept(c): c.outputs = []
    shell = CaptureShell(path, mpl_format="png")
    with working_directory(path.parent): shell.run_all(nb, exc_stop=True, preproc=kept)
    for c in nb.cells:
        c.pop("directives_", None)
        if c.source.startswith("show_doc("): c.outputs = []  # the docs build makes it again, with line numbers
        for o in c.get("outputs", []): o.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    clean_nb(nb)
    return nb


def texts(nb) -> list:
    "The outputs of a notebook that are the same on every machine"
    def one(o): return o.get("text") or {k: v for k, v in o.get("data", {}).items() if k.startswith("text")}
    return [(c.id, [one(o) for o in c.get("outputs", [])]) for c in nb.cells]


def export() -> None:
    "Export the notebooks, one shell at a time"
    TEXT.mkdir(exist_ok=True)
    with open(TEXT / "export.lock", "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        subprocess.run(["nbdev_export"], check=True)


def notebooks(names: list[str]) -> list[Path]:
    if names: return [next(NBS.glob(f"**/{n.removesuffix('.ipynb')}.ipynb")) for n in names]
    return sorted(p for p in NBS.glob("**/[!_.]*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def check() -> int:
    from execnb.nbio import read_nb
    stale = [p.name for p in notebooks([]) if texts(read_nb(p)) != texts(executed(p))]
    for s in stale: print(f"{s}: stored outputs differ from a fresh run", file=sys.stderr)
    subprocess.run(["nbdev_clean"], check=True)
    export()
    status = ["git", "status", "--porcelain", "--", NBS, CFG.lib_path]
    diff = subprocess.run(status, capture_output=True, text=True).stdout
    if diff: print(f"not clean or not exported:\n{diff}", file=sys.stderr)
    return bool(stale or diff)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("verb", choices=["open", "save", "run", "check"])
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    if a.verb == "check": return check()
    TEXT.mkdir(exist_ok=True)
    for name in a.names or [o.stem for o in notebooks([])]:
        nb, txt = NBS / f"{name}.ipynb", TEXT / f"{name}.py"
        if a.verb == "open": jupytext("--to", "py:percent", nb, "-o", txt)
        if a.verb == "save":
            jupytext("--to", "ipynb", *(["--update"] if nb.exists() else []), "--update-metadata", META, txt, "-o", nb)
        if a.verb != "open": write_nb(executed(nb), nb)
    if a.verb != "open": export()
    return 0


if __name__ == "__main__": sys.exit(main())
