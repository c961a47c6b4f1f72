"""Build the documentation site and README.md from the notebooks.

`python tools/docs.py site`              write the pages to _docs/; fail if a link leads nowhere
`python tools/docs.py readme [--check]`  write README.md from nbs/index.ipynb; with --check only say whether it is stale

Nothing is run: the pages show the outputs that the notebooks store, which `tools/nb.py check` proves fresh. Exported code
stands on the page where it stands in the notebook, each name with the anchor that nbdev's links point to.
"""
import argparse
import ast
import base64
import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser
from dataclasses import dataclass
from functools import cache
from html import escape
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

import pypandoc
from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup
from nbdev.process import NBProcessor

CFG = get_config()
HERE = Path(__file__).parent
FROM = "markdown-yaml_metadata_block+lists_without_preceding_blankline"
HIDDEN = {"hide", "default_exp"}
EXPORTED = {"export", "exporti", "exports"}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
Figure = Callable[[bytes, str], str]  # stores a picture, given its extension, and returns its address on the page


PANEL = "control_panel"  # a tool, not a page: two cells and nothing to read


@cache
def wings() -> list[str]:
    "The wings of the house, and the modules between them, from the ground up"
    rules = ConfigParser()
    rules.read(CFG.config_path / ".importlinter")
    return rules["importlinter:contract:wings"]["layers"].split()[::-1]


def notebooks() -> list[Path]:
    "Without the copies that JupyterLab keeps"
    return [p for p in CFG.nbs_path.glob("**/[!_.]*.ipynb") if ".ipynb_checkpoints" not in p.parts]


@dataclass(frozen=True)
class Page:
    name: str  # of the notebook under nbs/, such as research/spreads.ipynb
    title: str
    lead: str
    body: str  # markdown

    @property
    def html(self) -> str:
        "Where the page stands in the site: panel/03_format.ipynb becomes panel/format.html, as in nbdev's links"
        return re.sub(r"(^|/)\d+[a-z]*_", r"\1", self.name).removesuffix(".ipynb") + ".html"

    @property
    def label(self) -> str:
        "Its title where its wing isn't seen: `panel.format`, as in code"
        wing = posixpath.dirname(self.name)
        return f"{wing}.{self.title}" if wing == self.group and wing != self.title else self.title

    @property
    def group(self) -> str:
        folder, _, stem = self.name.rpartition("/")
        if stem[0].isdigit(): return folder or "orderbook, config"
        return "Studies" if folder else "Overview"


def read_page(path: Path, figure: Figure) -> Page:
    "Title, lead and body of one notebook"
    cells = NBProcessor(path).nb.cells
    first = next(i for i, c in enumerate(cells) if c.cell_type == "markdown")
    m = re.match(r"#\s+(.+)\n*(?:>\s*(.+)\n*)?", cells[first].source)
    if not m: raise SystemExit(f"{path}: the first markdown cell must begin with `# title`")
    cells[first].source = cells[first].source[m.end():]
    body = "\n\n".join(part for c in cells for part in cell_md(c, figure))
    return Page(path.relative_to(CFG.nbs_path).as_posix(), m[1], m[2] or "", body)


@cache
def lookup() -> NbdevLookup:
    "Only our own names become links: another library's `first` or `Client` is not meant"
    return NbdevLookup(incl_libs=(CFG.lib_name,))


def cell_md(cell, figure: Figure) -> list[str]:
    "A cell as pieces of markdown"
    if HIDDEN & cell.directives_.keys() or not cell.source.strip(): return []
    if cell.cell_type == "markdown": return [lookup().linkify(cell.source)]
    if cell.cell_type != "code": return []
    if EXPORTED & cell.directives_.keys(): return exported_md(cell.source)
    off = {name for name, value in cell.directives_.items() if value == "false"}
    if "include" in off: return []
    code = [] if "echo" in off else [f"```python\n{cell.source.strip()}\n```"]
    return code + ([] if "output" in off else [output_md(o, figure) for o in cell.get("outputs", [])])


def exported_md(source: str) -> list[str]:
    "Exported code below the names that it defines, with an anchor for each; imports are left out"
    body = ast.parse(source).body
    if all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in body): return []
    names = [n.name for n in body if isinstance(n, DEFINITIONS)]
    label = [f'<a id="{n.lower()}" href="#{n.lower()}">{escape(n)}</a>' for n in names if not n.startswith("_")]
    within = [n for n in names if n.startswith("_")]
    within += [f"{n.name}.{f.name}" for n in body if isinstance(n, ast.ClassDef) for f in n.body if isinstance(f, DEFINITIONS)]
    label += [f'<a id="{n.lower()}"></a>' for n in within]
    head = [f'```{{=html}}\n<div class="defines">{"".join(label)}</div>\n```'] if label else []
    return head + [f"```{{.python .exported}}\n{source.strip()}\n```"]


def output_md(out, figure: Figure) -> str:
    "One output of a cell"
    if out["output_type"] == "stream": return output_text("".join(out["text"]))
    data = {k: v if isinstance(v, str) else "".join(v) for k, v in out["data"].items()}
    if "text/markdown" in data: return lookup().linkify(data["text/markdown"])
    if "text/html" in data: return f"```{{=html}}\n{re.sub(r'<style.*?</style>', '', data['text/html'], flags=re.S)}\n```"
    if svg := data.get("image/svg+xml"):
        title = re.search("<title>(.*?)</title>", svg)
        return f"![{title[1] if title else ''}]({figure(svg.encode(), 'svg')})"
    if "image/png" in data: return f"![]({figure(base64.b64decode(data['image/png']), 'png')})"
    return output_text(data.get("text/plain", ""))


def output_text(text: str) -> str: return f"``` {{.output}}\n{text.rstrip()}\n```"


def relinked(md: str, place: Callable[[str], str | None], folder: str = "") -> str:
    "Send links to notebooks, and nbdev's links to pages, to where `place` says that they are"
    def target(m: re.Match) -> str:
        address = m[1].removeprefix("/") if m[1].startswith("/") else posixpath.normpath(posixpath.join(folder, m[1]))
        found = place(address)
        return f"]({found}{m[2] or ''})" if found else m[0]
    return re.sub(r"\]\(([\w./-]+\.(?:ipynb|html|png|svg))(#[^)\s]*)?\)", target, md)


def pandoc(text: str, to: str, *args: str) -> str:
    command = [pypandoc.get_pandoc_path(), "--from", FROM, "--to", to, *args]
    return subprocess.run(command, input=text, capture_output=True, check=True, encoding="utf-8").stdout


def read_pages(dest: Path) -> list[Page]:
    "Every notebook's page in reading order; its figures are stored under `dest`"
    return sorted((read_page(p, figures(dest, p)) for p in notebooks() if p.stem != PANEL), key=rank)


def write_pages(dest: Path, pages: list[Page]) -> None:
    known = {p.name: p.html for p in pages} | {p.html: p.html for p in pages}
    def write(page: Page) -> None:
        root = "../" * page.html.count("/")
        whole = f"::: lead\n{page.lead}\n:::\n\n{page.body}"
        body = relinked(whole, lambda name: root + known[name] if name in known else None, posixpath.dirname(page.name))
        file = dest / page.html
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(pandoc(
            body, "html5", "--standalone", "--toc", "--toc-depth=3", "--mathml", "--columns=9999",
            f"--template={HERE / 'page.html'}", "-M", f"title={page.title}", "-V", f"site={CFG.title}", "-V", f"root={root}",
            "-V", f"nav={nav(pages, page, root)}", "-V", f"turn={turn(pages, page, root)}"), encoding="utf-8")
    with ThreadPoolExecutor(os.cpu_count()) as pool: list(pool.map(write, pages))


def site(dest: Path) -> list[str]:
    "Write every notebook's page under `dest`; returns the links that lead nowhere"
    shutil.rmtree(dest, ignore_errors=True)
    write_pages(dest, read_pages(dest))
    shutil.copy(HERE / "page.css", dest)
    if (CFG.nbs_path / "images").exists(): shutil.copytree(CFG.nbs_path / "images", dest / "images")
    return lost_links(dest)


def rank(page: Page) -> tuple[int, str]:
    "Overview first and its index before all, then the wings from the ground up with their rooms by floor, then the studies"
    top = min((i for i, w in enumerate(wings()) if not (CFG.nbs_path / w).is_dir()), default=0)
    groups = {w: i for i, w in enumerate(wings())} | {"Overview": -1, "orderbook, config": top, "Studies": len(wings())}
    return groups[page.group], "" if page.name == CFG.readme_nb else page.name


def nav(pages: list[Page], here: Page, root: str) -> str:
    "The side bar of one page, which is also the list that its search goes through"
    def item(p: Page) -> str:
        title = "Start" if p.name == CFG.readme_nb else p.title
        mark, seen = (' class="here"', ' aria-current="page"') if p is here else ("", "")
        return f'<li{mark}><a href="{root}{p.html}" title="{escape(p.lead)}"{seen}>{escape(title)}</a></li>'
    groups = dict.fromkeys(p.group for p in pages)
    return "".join(f"<h2>{escape(g)}</h2><ul>{''.join(item(p) for p in pages if p.group == g)}</ul>" for g in groups)


def turn(pages: list[Page], here: Page, root: str) -> str:
    "The links at the foot of one page to its neighbours in reading order"
    def link(p: Page, way: str, word: str) -> str:
        return f'<a rel="{way}" href="{root}{p.html}"><small>{word}</small>{escape(p.label)}</a>'
    at = pages.index(here)
    before = [link(p, "prev", "Previous") for p in pages[:at][-1:]]
    after = [link(p, "next", "Next") for p in pages[at + 1:][:1]]
    return f'<nav class="turn" aria-label="Previous and next page">{"".join(before + after)}</nav>'


def figures(dest: Path, notebook: Path) -> Figure:
    "A function that stores the pictures of one page beside it"
    n = count()
    def figure(data: bytes, ext: str) -> str:
        file = dest / notebook.relative_to(CFG.nbs_path).parent / "figures" / f"{notebook.stem}-{next(n)}.{ext}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return f"figures/{file.name}"
    return figure


class Links(HTMLParser):
    "What a page can be entered by, and what it leads to"

    def __init__(self, file: Path):
        super().__init__()
        self.ids, self.targets = set(), set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        for key, value in attrs:
            if key == "id": self.ids.add(value)
            if key in ("href", "src"): self.targets.add(value)


def lost_links(dest: Path) -> list[str]:
    "Links within the site to a file or an anchor that is not there"
    pages = {f: Links(f) for f in dest.glob("**/*.html")}
    def lost(page: Path, target: str) -> bool:
        if re.match(r"\w+:", target): return False
        address, _, anchor = target.partition("#")
        file = (page.parent / address).resolve() if address else page
        return not file.exists() or bool(anchor) and anchor not in pages[file].ids
    return [f"{p.relative_to(dest)}: {t}" for p, links in pages.items() for t in sorted(links.targets) if lost(p, t)]


def readme() -> str:
    "README.md from the index notebook, with links that hold at the top of the repository"
    def figure(*_) -> str: raise SystemExit("README.md can only show pictures that are files in nbs/images")
    page = read_page(CFG.nbs_path / CFG.readme_nb, figure)
    nbs = CFG.nbs_path.relative_to(CFG.config_path).as_posix()
    names = [p.relative_to(CFG.nbs_path).as_posix() for p in notebooks() if p.stem[0].isdigit()]
    rooms = {re.sub(r"(^|/)\d+[a-z]*_", r"\1", n).removesuffix(".ipynb") + ".html": n for n in names}
    body = relinked(page.body, lambda a: f"{nbs}/{rooms.get(a, a)}")
    head = f"# {page.title}\n\n<!-- Made from {nbs}/{CFG.readme_nb} by tools/docs.py: edit that -->\n\n> {page.lead}\n\n"
    return head + pandoc(body, "gfm", "--wrap=preserve")


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["site", "readme"])
    p.add_argument("--check", action="store_true", help="fail if README.md is stale, and write nothing")
    a = p.parse_args()
    if a.what == "site":
        lost = site(CFG.doc_path)
        for link in lost: print(f"leads nowhere: {link}", file=sys.stderr)
        print(f"wrote {CFG.doc_path.relative_to(CFG.config_path)}/index.html")
        return bool(lost)
    file, text = CFG.config_path / "README.md", readme()
    if not a.check: file.write_text(text, encoding="utf-8")
    elif file.read_text(encoding="utf-8") != text:
        print("README.md is stale: run `python tools/docs.py readme`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__": sys.exit(main())
