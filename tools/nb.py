"""Edit, run and check the notebooks from a shell.

`open NAME`     write the notebook as .nbtext/NAME.py, in the py:percent format
`save NAME`     take .nbtext/NAME.py back into the notebook, run it, keep its outputs, clean and export
`run [NAME]`    run notebooks and keep their outputs; with `--live` also the cells that need recordings or time
`check [NAME]`  fail if a cell raises or a stored output is stale; without a name also if a notebook is unclean or
                the package differs from the notebooks. Writes nothing, so it can be run with uncommitted work.

A NAME is the path under nbs/ without its ending, such as `panel/03_format`, or the room alone: `panel/format`, `format`.

`open` refuses to overwrite a text with unsaved edits, and `save` a notebook that changed since it was opened; `--force` does it.
"""
import argparse
import atexit
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches, unified_diff
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from time import monotonic

from execnb.shell import CaptureShell
from fastcore.nbio import read_nb, write_nb
from fastcore.xtras import working_directory
from nbdev.clean import clean_nb
from nbdev.config import get_config
from nbdev.process import NBProcessor

CFG = get_config()
ROOT, NBS, LIB = CFG.config_path, CFG.nbs_path, CFG.lib_path
TEXT = ROOT / ".nbtext"
SKIP = set(CFG.tst_flags.split())
SVG = "image/svg+xml"
META = '{"jupytext": null, "kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}'
LIMIT_S = 300  # for one notebook
PROSE_DOLLAR = re.compile(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|(?<!\\)\$", re.S)  # or what may hold one that is left alone


def tool(name: str, *args, cwd: Path = ROOT) -> None:
    "Run a command of this Python's environment, whether or not that is activated"
    subprocess.run([Path(sys.executable).with_name(name), *map(str, args)], check=True, cwd=cwd)


def escape_dollars(txt: Path) -> None:
    "Write `\\$` in the prose: JupyterLab reads what stands between two `$` as a formula, and here they are money"
    def prose(cell): return PROSE_DOLLAR.sub(lambda m: r"\$" if m[0] == "$" else m[0], cell)
    old = txt.read_text(encoding="utf-8")
    new = "".join(prose(c) if c.startswith("# %% [markdown]") else c for c in re.split(r"^(?=# %%)", old, flags=re.M))
    if new != old: txt.write_text(new, encoding="utf-8")


def kept(cell) -> bool:
    "Cells that are not run here keep the outputs they have"
    d = cell.directives_
    return (cell.cell_type != "code" or "nbdev_export(" in cell.source or bool(SKIP & d.keys())
            or d.get("eval", "").lower() == "false")


def executed(path: Path):
    "The notebook at `path` with fresh outputs, clean and without ids that change from run to run"
    nb = NBProcessor(path, rm_directives=False).nb
    for c in nb.cells:
        if not kept(c): c.outputs = []
    shell = CaptureShell(path, mpl_format="png")
    with working_directory(path.parent), TemporaryDirectory() as state:
        os.environ |= {"STATE_DIR": state, "KALSHI_MM_ENV_FILE": ""}  # whoever runs it may trade: their engines are left alone
        shell.run_all(nb, exc_stop=True, preproc=kept)
    for c in nb.cells:
        c.pop("directives_", None)
        if c.source.startswith("show_doc("): c.outputs = []  # the docs build makes it again, with line numbers
        for data in (o.get("data", {}) for o in c.get("outputs", [])):
            data.pop("application/vnd.jupyter.widget-view+json", None)
            if SVG in data: data[SVG] = "".join(data[SVG]).splitlines(keepends=True)  # as JupyterLab stores it
    clean_nb(nb)
    return nb


def texts(cell) -> list[str]:
    "The outputs of a cell that are the same on every machine, as lines; pictures made of pixels are not"
    lines = []
    for o in cell.get("outputs", []):
        parts = {"text": o["text"]} if "text" in o else o.get("data", {})
        for kind, text in sorted(parts.items()):
            if kind.startswith("text") or kind == SVG: lines += [kind, *"".join(text).splitlines()]
    return lines


def export() -> None:
    "Export the notebooks, one shell at a time"
    TEXT.mkdir(exist_ok=True)
    with open(TEXT / "export.lock", "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        tool("nbdev-export")


def stored(pattern: str = "**/*.ipynb") -> list[Path]:
    "The notebooks under nbs/, without the copies that JupyterLab keeps"
    return sorted(p for p in NBS.glob(pattern) if ".ipynb_checkpoints" not in p.parts)


def notebooks(names: list[str]) -> list[Path]:
    "By name, such as `panel/03_format` or `format`; without names all"
    return [named(n) for n in names] if names else stored("**/[!_.]*.ipynb")


def named(name: str) -> Path:
    "The notebook of that path or that room; a path whose text is in .nbtext/ may be new"
    name = re.sub(r"^(\./)?(nbs|\.nbtext)/|\.(ipynb|py)$", "", name)
    exact = NBS / f"{name}.ipynb"
    if exact in stored() or text_of(exact).exists() and ".ipynb_checkpoints" not in exact.parts: return exact
    known = {p: re.sub(r"(^|/)\d+_", r"\1", name_of(p)) for p in notebooks([])}
    found = [p for p, room in known.items() if name == room or name == room.rpartition("/")[2]]
    if len(found) == 1: return found[0]
    rooms = [*known.values(), *(room.rpartition("/")[2] for room in known.values())]
    like = [name_of(p) for p in found] or get_close_matches(name, [*map(name_of, known), *rooms])
    raise SystemExit(f"There is no notebook {name!r}" + (f"; did you mean {' or '.join(like)}?" if like else "."))


def name_of(path: Path) -> str: return str(path.relative_to(NBS).with_suffix(""))


def text_of(nb: Path) -> Path: return TEXT / f"{name_of(nb)}.py"


def content(path: Path) -> str:
    "A hash of what a text or a notebook says. Outputs don't count: a run makes them again"
    if not path.exists(): return ""
    if path.suffix == ".py": said = path.read_text(encoding="utf-8")
    else: said = repr([(c.cell_type, c.source) for c in read_nb(path).cells])
    return sha256(said.encode()).hexdigest()


def stamp(nb: Path, text: str, notebook: str) -> None:
    "Note the contents of the two sides at the moment when one was made from the other"
    text_of(nb).with_suffix(".stamp").write_text(json.dumps([text, notebook]))


def agreed(nb: Path) -> list[str]:
    "The contents of text and notebook when they last agreed"
    file = text_of(nb).with_suffix(".stamp")
    return json.loads(file.read_text()) if file.exists() else ["", ""]


def refusal(verb: str, nb: Path, force: bool) -> str:
    "Why `open` or `save` would lose work, or can't be done; empty if it may go on"
    name, there, txt = name_of(nb), nb.relative_to(ROOT), text_of(nb)
    here = txt.relative_to(ROOT)
    text, notebook = agreed(nb)
    if verb == "open" and not nb.exists():
        return f"There is no {there} yet. `save {name}` makes it from {here}."
    if verb == "open" and txt.exists() and content(txt) != text and not force:
        return f"{here} has edits that {there} has not. `save {name}` keeps them, `open --force {name}` drops them."
    if verb == "save" and not txt.exists():
        return f"There is no {here}. `open {name}` makes it from {there}."
    if verb == "save" and content(nb) != notebook and not force:
        if not nb.exists(): return f"{there} was removed since {here} was opened. `save --force {name}` makes it again."
        return (f"{there} has changed since {here} was opened, or was never opened. `save --force {name}` overwrites it. "
                f"To keep both, copy {here}, run `open --force {name}` and make your edits again.")
    return ""


def keep_outputs(nb: Path) -> None:
    "Run a notebook and store its outputs, unless somebody saved into it meanwhile"
    name, before = name_of(nb), nb.read_bytes()
    ran = executed(nb)
    if nb.read_bytes() != before:
        raise SystemExit(f"nbs/{name}.ipynb changed while it ran, so its outputs were not stored. `run {name}` does it.")
    write_nb(ran, nb)


def fresh(path: Path) -> bool:
    "Run one notebook in this process; say which stored outputs a run does not give"
    stale = False
    for old, new in zip(read_nb(path).cells, executed(path).cells, strict=True):
        changes = list(unified_diff(texts(old), texts(new), "stored", "fresh", n=0, lineterm=""))
        if not changes: continue
        print(f"In the cell with\n  {old.source.strip()[:300]}", *changes, sep="\n")
        stale = True
    return not stale


FORKS = get_context("forkserver")  # of a process that has loaded what every notebook needs, and nothing of the package
FORKS.set_forkserver_preload(["__main__", "pandas", "numpy", "msgspec", "aiohttp.web", "fastcore.test", "nbdev.showdoc"])


def apart(path: Path, said: str) -> None:
    "Run one notebook in this process, and write what it says into a file; status 1 if it isn't fresh"
    with open(said, "w") as file:
        for stream in (1, 2): os.dup2(file.fileno(), stream)
    try: good = fresh(path)
    except BaseException:
        traceback.print_exc()
        good = False
    atexit._run_exitfuncs()  # which a process of this kind leaves out
    sys.exit(not good)


def check_one(path: Path) -> bool:
    "Run one notebook in a process of its own, so that none leans on another and a hung one ends"
    begun = monotonic()
    with NamedTemporaryFile() as file:
        done = FORKS.Process(target=apart, args=(path, file.name))
        done.start()
        done.join(LIMIT_S)
        good, said = done.exitcode == 0, Path(file.name).read_text(errors="replace")
        if done.exitcode is None:
            done.kill()
            done.join()
            said += f"did not end within {LIMIT_S} s\n"
    print(f"{'ok  ' if good else 'FAIL'} {name_of(path)} ({monotonic() - begun:.1f} s)", flush=True)
    if not good: print(said, file=sys.stderr, flush=True)
    return good


def unexported() -> list[str]:
    "The files that cleaning and exporting would change, found out on a copy"
    with TemporaryDirectory() as tmp:
        copy = Path(tmp)
        shutil.copy(CFG.config_file, copy)
        for d in (NBS, LIB):
            shutil.copytree(d, copy / d.relative_to(ROOT), ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__"))
        tool("nbdev-clean", cwd=copy)
        tool("nbdev-export", cwd=copy)
        made = [p.relative_to(copy) for d in (NBS, LIB) for p in (copy / d.relative_to(ROOT)).glob("**/*.[ip]*")
                if p.suffix in (".ipynb", ".py")]
        return sorted(str(f) for f in made if not (ROOT / f).exists() or (ROOT / f).read_bytes() != (copy / f).read_bytes())


def check() -> bool:
    every = set(stored())
    chosen = notebooks([])
    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:  # some of them wait
        run = dict(zip(chosen, pool.map(check_one, chosen), strict=True))
    print(f"{len(run)} of {len(every)} notebooks under {NBS.name}/ were run")
    good = all(run.values()) and run.keys() == every
    for path in sorted(every - run.keys()): print(f"not run: {name_of(path)}", file=sys.stderr)
    diff = unexported()
    if diff: print("cleaning and exporting (`python tools/nb.py run`) would change", *diff, sep="\n  ", file=sys.stderr)
    return good and not diff


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("verb", choices=["open", "save", "run", "check"])
    p.add_argument("names", nargs="*")
    p.add_argument("--live", action="store_true", help="with run or save: run the cells marked live too")
    p.add_argument("--force", action="store_true", help="with open or save: overwrite what the other side has changed")
    a = p.parse_intermixed_args()
    if a.live: SKIP.discard("live")
    if a.verb == "check": return not (all([fresh(n) for n in notebooks(a.names)]) if a.names else check())
    chosen = notebooks(a.names)
    if a.verb in ("open", "save") and (refused := list(filter(None, (refusal(a.verb, nb, a.force) for nb in chosen)))):
        raise SystemExit("\n".join(refused))
    for nb in chosen:
        txt = text_of(nb)
        txt.parent.mkdir(parents=True, exist_ok=True)
        if a.verb == "open":
            opened = content(nb)
            tool("jupytext", "-q", "--to", "py:percent", nb, "-o", txt)
            stamp(nb, content(txt), opened)
        if a.verb == "save":
            escape_dollars(txt)
            text, update = content(txt), ["--update"] if nb.exists() else []
            tool("jupytext", "-q", "--to", "ipynb", *update, "--update-metadata", META, txt, "-o", nb)
            stamp(nb, text, content(nb))  # before the run: a cell that raises is mended in the text and saved again
        if a.verb != "open": keep_outputs(nb)
    if a.verb != "open": export()
    return 0


if __name__ == "__main__": sys.exit(main())
