"""Break the rooms that move money or keep it safe, one small fault at a time, and see whether a test notices.

`python -m tests.mutations --rooms risk.limits maker.books --count 40 --seed 1`   a sample
`python -m tests.mutations --known`                                               the faults that once went unnoticed
`python -m tests.mutations --again NAME`                                          those that survived in results/NAME.md

The faults are made in a copy of the tree, never in the checkout. For each one the room's own notebook is run first, then the
tests of its wing, then those named for the room in `AFTER`; the first that fails ends it. A fault that hangs is noticed, too.
Tests that fail without the fault as well have noticed nothing: they are named and not counted.
The table of results is written to `tests/mutations/results/`. Equivalent faults, which change nothing that can be seen, are
listed with the reason in `equivalent.toml` beside the results, and are told apart from the survivors.
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic

from .faults import KINDS, Fault, applied, every
from .known import KNOWN

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results")
WINGS = ("risk", "maker")  # whole
ROOMS = (
    "engine.kill_latch", "engine.kill_switch", "engine.verification", "engine.lock", "engine.journal", "engine.database",
    "engine.gateway", "engine.fault", "engine.loop", "client.budget", "client.order_groups", "client.portfolio",
    "feed.stream_state", "feed.merge", "orderbook", "strategy.guards", "strategy.spread_capture", "model.numbers", "model.fees",
    "model.messages",
)  # fmt: skip
LIMIT_S, SLOW_LIMIT_S = 300, 600  # for one stage of tests; a slow machine must not pass for a fault that hangs
SLOW = ["--ignore=tests/maker/test_stateful.py"]  # a minute: only for what the others let pass
AFTER = {  # tests beside those of the wing, by room or wing
    "risk": ["tests/maker/test_promises.py", "tests/maker/test_maker.py", "tests/maker/test_stateful.py"],
    "maker": ["tests/maker/test_stateful.py"],
    "sandbox": [],
    "engine": ["tests/client/test_client.py"],
    "engine.gateway": ["tests/sandbox/test_faults.py"],
    "engine.loop": ["tests/sessions/test_core_fault.py"],
    "engine.kill_switch": ["tests/sessions/test_kill_chain.py"],
    "engine.verification": ["tests/sessions/test_kill_chain.py"],
    "client.order_groups": ["tests/engine"],
    "client.budget": ["tests/sandbox/test_server.py"],
    "strategy": ["tests/maker/test_promises.py", "tests/maker/test_maker.py"],
    "model": ["tests/maker/test_promises.py", "tests/maker/test_maker.py", "tests/feed/test_feed.py",
              "tests/sandbox/test_matching.py"],
    "orderbook": ["tests/feed", "tests/maker/test_promises.py", "tests/maker/test_maker.py"],
}


def rooms() -> list[str]:
    "All rooms that this is about"
    whole = [f"{wing}.{p.stem}" for wing in WINGS for p in sorted((ROOT / "kalshi_mm" / wing).glob("[!_]*.py"))]
    return [*whole, *ROOMS]


def module(root: Path, room: str) -> Path: return root / "kalshi_mm" / f"{room.replace('.', '/')}.py"


def notebook(room: str) -> str:
    "The name of a room's notebook, as `tests/test_notebooks.py` has it"
    wing, _, name = room.rpartition(".")
    return next(p.relative_to(ROOT / "nbs").with_suffix("").as_posix() for p in (ROOT / "nbs" / wing).glob("[0-9]*.ipynb")
                if p.stem.split("_", 1)[1] == name)


def stages(room: str) -> list[list[str]]:
    "The tests that concern a room, the quickest first"
    wing = room.partition(".")[0]
    found = [["tests/test_notebooks.py", "-k", f"[{notebook(room)}]"]]
    if (ROOT / "tests" / wing).is_dir(): found.append([*SLOW, f"tests/{wing}"])
    for name in dict.fromkeys((room, wing)):
        found += [[path] for path in AFTER.get(name, []) if (ROOT / path).exists()]
    return found


class Tree:
    "A copy of the tree in which faults are made"

    def __init__(self, home: Path):
        self.home, self.sound = home, dict[str, bool]()  # by tests that have failed with a fault: whether they pass without
        for name in ("kalshi_mm", "nbs", "tests", "tools"):
            shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        for name in ("pyproject.toml", "settings.ini", "setup.py", ".importlinter", "README.md"): shutil.copy(ROOT / name, home)
        self.environment = os.environ | {
            "PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "agg", "STATE_DIR": str(home / "state")}
        where = "import kalshi_mm; print(kalshi_mm.__file__)"
        found = subprocess.run([sys.executable, "-c", where], cwd=home, env=self.environment, capture_output=True, text=True)
        if not found.stdout.startswith(str(home)): raise SystemExit(f"the copy is not what is imported: {found}")

    def passes(self, words: list[str]) -> bool | None:
        "Whether tests pass; None if they don't end in time"
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:warnings", *words]
        child = subprocess.Popen(command, cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        try: said, _ = child.communicate(timeout=SLOW_LIMIT_S if words[-1] in SLOW[0] else LIMIT_S)
        except subprocess.TimeoutExpired: return None
        finally:
            try: os.killpg(child.pid, signal.SIGKILL)  # whatever a broken test has left running
            except ProcessLookupError: pass
            child.wait()
        if child.returncode in (2, 3, 4, 5) and b"error" not in said.lower():
            raise SystemExit(f"{' '.join(words)} can't be run: {said.decode()[-2000:]}")
        return child.returncode == 0

    def outcome(
        self,
        fault: Fault,
        most: int | None = None,  # stages of tests; None for all
    ) -> str:
        "What noticed a fault, or that nothing did"
        path = module(self.home, fault.room)
        text = path.read_text(encoding="utf-8")
        for words in stages(fault.room)[:most]:
            path.write_text(applied(text, fault), encoding="utf-8")
            try: good = self.passes(words)
            finally: path.write_text(text, encoding="utf-8")
            if not good and self.tells(words): return f"{'timeout' if good is None else 'killed'}: {words[-1].strip('[]')}"
        return "SURVIVED"

    def tells(self, words: list[str]) -> bool:
        "Whether tests pass without any fault; if they don't, they have noticed nothing when they fail with one"
        name = words[-1].strip("[]")
        if name not in self.sound:
            self.sound[name] = bool(self.passes(words))
            if not self.sound[name]: print(f"{name} fails without any fault, or takes too long: it is not counted", flush=True)
        return self.sound[name]



def equivalents() -> dict[tuple[str, str, str, str], str]:
    "{(room, line, old, new): why nothing can be seen of it}; the line by its text, empty for all lines of the room"
    file = RESULTS / "equivalent.toml"
    rows = tomllib.loads(file.read_text(encoding="utf-8")).get("fault", []) if file.exists() else []
    return {(r["room"], r.get("line", ""), r["old"], r["new"]): r["why"] for r in rows}


def line_of(fault: Fault) -> str: return module(ROOT, fault.room).read_text(encoding="utf-8").split("\n")[fault.line - 1].strip()


def argued(fault: Fault, known: dict[tuple[str, str, str, str], str]) -> str | None:
    "Why nothing can be seen of a fault; None if nobody says so"
    return known.get((fault.room, line_of(fault), fault.old, fault.new)) or known.get((fault.room, "", fault.old, fault.new))


def chosen(names: list[str], count: int, seed: int, kinds: list[str]) -> list[Fault]:
    "A sample of the faults of rooms"
    found = [f for room in names for f in every(room, module(ROOT, room).read_text(encoding="utf-8")) if f.kind in kinds]
    return Random(seed).sample(found, min(count, len(found)))


def survivors(name: str) -> list[Fault]:
    "The faults that survived an earlier run, where they are now; ValueError if one is there no more"
    found = []
    for row in json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")):
        if row["outcome"] != "SURVIVED": continue
        now = [f for f in every(row["room"], module(ROOT, row["room"]).read_text(encoding="utf-8"))
               if (f.kind, f.old, f.new) == (row["kind"], row["old"], row["new"])]
        if not now: raise ValueError(f"{row['room']} has no `{row['old']}` any more")
        found.append(min(now, key=lambda f: (abs(f.line - row["line"]), f.column)))
    return found


def written(name: str, title: str, rows: list[tuple[Fault, str, float]]) -> None:
    "Write the table, and the same for `--again`"
    (RESULTS / f"{name}.md").write_text(table(title, rows), encoding="utf-8")
    plain = [{n: getattr(f, n) for n in Fault.__struct_fields__} | {"outcome": outcome} for f, outcome, _ in rows]
    (RESULTS / f"{name}.json").write_text(json.dumps(plain, indent=0) + "\n", encoding="utf-8")


def tidy(code: str) -> str: return re.sub(r"\s+", " ", code).replace("|", r"\|")[:150]


def table(title: str, rows: list[tuple[Fault, str, float]]) -> str:
    "The results as Markdown"
    lines = [f"# {title}", "", "| room | kind | faults | noticed | equivalent | survived |", "|---|---|---|---|---|---|"]
    sums: dict[tuple[str, str], Counter[str]] = {}
    for f, outcome, _ in rows:
        for key in ((f.room, ""), ("all", "")): sums.setdefault(key, Counter())[outcome.partition(":")[0]] += 1
    for (room, kind), n in sorted(sums.items(), key=lambda row: (row[0][0] == "all", row[0])):
        lines.append(f"| {room} | {kind} | {n.total()} | {n['killed'] + n['timeout']} | {n['equivalent']} | {n['SURVIVED']} |")
    lines += ["", "| where | kind | was | became | outcome | s |", "|---|---|---|---|---|---|"]
    for f, outcome, s in rows:
        lines.append(f"| {f.room}:{f.line} | {f.kind} | `{tidy(f.old)}` | `{tidy(f.new)}` | {outcome} | {s:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rooms", nargs="*", default=[], metavar="ROOM", help=f"of: {', '.join(rooms())}; none for all")
    p.add_argument("--count", type=int, default=40, help="faults to try")
    p.add_argument("--seed", type=int, default=1, help="of the sample")
    p.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    p.add_argument("--known", action="store_true", help="the faults that once went unnoticed, and no others")
    p.add_argument("--again", default="", metavar="NAME", help="the faults that survived in results/NAME")
    p.add_argument("--quick", action="store_true", help="only the room's notebook and its wing's tests")
    p.add_argument("--name", default="", help="of the file of results; the date if not given")
    a = p.parse_args()
    for unknown in set(a.rooms) - {*rooms(), *(f.room for f in KNOWN)}: p.error(f"no such room: {unknown}")
    faults = [f.fault(module(ROOT, f.room).read_text(encoding="utf-8")) for f in KNOWN if not a.rooms or f.room in a.rooms] \
        if a.known else survivors(a.again) if a.again else chosen(a.rooms or rooms(), a.count, a.seed, a.kinds)
    known, rows = equivalents(), list[tuple[Fault, str, float]]()
    what = "known faults" if a.known else f"the survivors of {a.again}" if a.again else f"seed {a.seed}, {len(faults)} faults"
    name = a.name or f"{datetime.now(UTC):%Y-%m-%d_%H%M}_{'known' if a.known else a.again or f'seed{a.seed}'}"
    with TemporaryDirectory() as tmp:
        tree = Tree(Path(tmp))
        for n, fault in enumerate(faults, 1):
            begun = monotonic()
            why = argued(fault, known)
            outcome = f"equivalent: {why}" if why else tree.outcome(fault, 2 if a.quick else None)
            rows.append((fault, outcome, monotonic() - begun))
            print(f"{n}/{len(faults)} {outcome:<40.40} {fault}", flush=True)
            written(name, f"{datetime.now(UTC):%Y-%m-%d}, {what}", rows)
    survived = [f for f, outcome, _ in rows if outcome == "SURVIVED"]
    print(f"{len(rows)} faults, {len(survived)} survived")
    return 1 if survived else 0


if __name__ == "__main__": sys.exit(main())
