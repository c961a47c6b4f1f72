"""Build the docs site and README from the notebooks.

`python tools/docs.py site` runs `nbdev_docs` where Quarto is installed. Elsewhere it takes the notebooks as
nbdev processes them for Quarto and renders them with pandoc, so anchors and links come out the same.
`python tools/docs.py readme [--check]` writes README.md from nbs/index.ipynb, or fails if it is stale.
"""
import argparse
import base64
import re
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path

import pypandoc
import yaml
from execnb.nbio import read_nb
from nbdev.config import get_config
from nbdev.doclinks import _build_modidx
from nbdev.quarto import nbdev_sidebar, refresh_quarto_yml
from nbdev.serve import proc_nbs

FROM = "markdown-yaml_metadata_block+lists_without_preceding_blankline"
HERE = Path(__file__).parent


def processed() -> Path:
    "The notebooks as nbdev hands them to Quarto: exports replaced by their docs, hidden cells gone, names linked"
    refresh_quarto_yml()
    _build_modidx()
    nbdev_sidebar.__wrapped__()
    return proc_nbs(force=True, n_workers=0)


def options(source: str) -> tuple[dict[str, str], str]:
    "Split the `#| key: value` lines that Quarto reads from the code below them"
    opts, lines = {}, source.splitlines()
    while lines and lines[0].startswith("#|"):
        k, _, v = lines.pop(0)[2:].partition(":")
        opts[k.strip()] = v.strip()
    return opts, "\n".join(lines).strip()


def output_md(out: dict, figure, plain_html: bool) -> str:
    "One cell output as markdown; `figure` stores an image and returns its path"
    if out["output_type"] == "stream": return fence("".join(out["text"]), "output")
    if out["output_type"] == "error": return fence(f"{out['ename']}: {out['evalue']}", "output")
    data = {k: v if isinstance(v, str) else "".join(v) for k, v in out["data"].items()}
    if "text/markdown" in data: return re.sub(r"```.*?```", unlinked, data["text/markdown"], flags=re.S)
    if "text/html" in data:
        html = re.sub(r"<style.*?</style>|</?div[^>]*>", "", data["text/html"], flags=re.S)
        return pypandoc.convert_text(html, "gfm", "html") if plain_html else f"```{{=html}}\n{html}\n```"
    if "image/svg+xml" in data: return f"![]({figure(data['image/svg+xml'].encode(), 'svg')})"
    if "image/png" in data:
        width = out.get("metadata", {}).get("image/png", {}).get("width")
        return f"![]({figure(base64.b64decode(data['image/png']), 'png')})" + (f"{{width={width}}}" if width else "")
    return fence(data.get("text/plain", ""), "output")


def unlinked(block: re.Match) -> str:
    "nbdev links backticked names in parameter comments too, where a link cannot render"
    return re.sub(r"\[(`[^`]*`)\]\([^)]*\)", r"\1", block[0])


def fence(text: str, cls: str) -> str: return f"\n``` {{.{cls}}}\n{text.rstrip()}\n```\n"


def page(path: Path, figure, plain_html: bool = False) -> tuple[dict, str]:
    "Front matter and markdown of one processed notebook"
    meta, parts = {}, []
    for c in read_nb(path).cells:
        if c.cell_type == "raw": meta |= yaml.safe_load(c.source.strip().strip("-")) or {}
        elif c.cell_type == "markdown": parts.append(c.source)
        elif c.source.strip():
            opts, src = options(c.source)
            if opts.get("include") == "false": continue
            if opts.get("echo") != "false": parts.append(f"```python\n{src}\n```")
            if opts.get("output") != "false": parts += [output_md(o, figure, plain_html) for o in c.get("outputs", [])]
    return meta, "\n\n".join(parts)


def figures(dest: Path, stem: str):
    "A function that stores the images of one page under `dest` and returns their paths"
    n = count()
    def figure(data: bytes, ext: str) -> str:
        f = dest / "figures" / f"{stem}-{next(n)}.{ext}"
        f.write_bytes(data)
        return f"figures/{f.name}"
    return figure


def site(dest: Path) -> None:
    "Render every page in the sidebar to `dest`"
    cache = processed()
    shutil.rmtree(dest, ignore_errors=True)
    (dest / "figures").mkdir(parents=True)
    names = yaml.safe_load((cache / "sidebar.yml").read_text())["website"]["sidebar"]["contents"]
    pages = []
    for name in names:
        meta, md = page(cache / name, figures(dest, Path(name).stem))
        meta.setdefault("title", Path(name).stem)
        meta.setdefault("output-file", re.sub(r"^\d+[a-z]*_", "", Path(name).stem) + ".html")
        pages.append((name, meta, md))
    files = {name: m["output-file"] for name, m, _ in pages}
    for _, meta, md in pages:
        md = re.sub(r"\]\(/(\w+\.html)", r"](\1", md)
        for nb, html in files.items(): md = md.replace(f"]({nb}", f"]({html}")
        nav = "".join(f'<li{" class=here" if f == meta["output-file"] else ""}><a href="{f}">{m["title"]}</a></li>'
                      for _, m, _ in pages for f in [m["output-file"]])
        args = ["--standalone", "--toc", "--toc-depth=3", f"--template={HERE / 'page.html'}",
                "-M", f"title={meta['title']}", "-M", f"subtitle={meta.get('description', '')}",
                "-V", f"nav={nav}", "-V", f"site={get_config().title}"]
        pypandoc.convert_text(md, "html5", FROM, extra_args=args, outputfile=str(dest / meta["output-file"]))
    shutil.copy(HERE / "page.css", dest)


def readme_text() -> str:
    "README.md from index.ipynb, in the form `nbdev_readme` gives it"
    cache = processed()
    cfg = get_config()
    meta, md = page(cache / cfg.readme_nb, lambda *_: "", plain_html=True)
    if not cfg.doc_host: md = re.sub(r"\[(`[^`]*`)\]\(/?\w+\.html[^)]*\)", r"\1", md)
    head = f"# {meta['title']}\n\n<!-- WARNING: THIS FILE WAS AUTOGENERATED! DO NOT EDIT! -->\n\n"
    body = pypandoc.convert_text(md, "gfm", FROM, extra_args=["--wrap=preserve"])
    return head + body.replace("<!-- WARNING: THIS FILE WAS AUTOGENERATED! DO NOT EDIT! -->\n\n", "", 1)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["site", "readme"])
    p.add_argument("--check", action="store_true", help="fail if README.md is stale, and write nothing")
    a = p.parse_args()
    cfg = get_config()
    if a.what == "site":
        if shutil.which("quarto"): return subprocess.run(["nbdev_docs"]).returncode
        site(cfg.doc_path)
        print(f"wrote {cfg.doc_path}/index.html")
        return 0
    fn, text = cfg.config_path / "README.md", readme_text()
    if a.check:
        if fn.read_text(encoding="utf-8") == text: return 0
        print("README.md is stale: run `python tools/docs.py readme`", file=sys.stderr)
        return 1
    fn.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__": sys.exit(main())
