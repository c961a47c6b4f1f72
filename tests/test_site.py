"What leads from page to page in the documentation: previous and next, and the side bar that the title search goes through."
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from posixpath import dirname, join, normpath
from runpy import run_path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = run_path(str(ROOT / "tools/docs.py"))


class Leads(HTMLParser):
    "The links of a page's side bar and of its foot, as addresses under the root of the site"

    def __init__(self, page: str, text: str):
        super().__init__()
        self.page, self.within, self.side, self.turn = page, "", {}, {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag == "nav": self.within = a.get("class", "")
        if tag != "a" or a.get("class") == "site": return
        target = normpath(join(dirname(self.page), a["href"]))
        if self.within == "side": self.side[target] = a["title"]
        if self.within == "turn": self.turn[a["rel"]] = target

    def handle_endtag(self, tag):
        if tag == "nav": self.within = ""


@pytest.fixture(scope="module")
def leads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Leads]:
    "Of every page, in reading order. The pages are written without their bodies, which takes seconds"
    dest = tmp_path_factory.mktemp("site")
    pages = DOCS["read_pages"](dest)
    DOCS["write_pages"](dest, [replace(page, body="") for page in pages])
    return {p.html: Leads(p.html, (dest / p.html).read_text(encoding="utf-8")) for p in pages}


def test_every_notebook_but_the_panels_is_a_page(leads: dict[str, Leads]):
    notebooks = [p for p in (ROOT / "nbs").glob("**/*.ipynb") if ".ipynb_checkpoints" not in p.parts]
    assert len(leads) == len(notebooks) - 1 > 0


def test_next_leads_through_every_page_once_and_previous_leads_back(leads: dict[str, Leads]):
    order = list(leads)
    assert order[0] == "index.html"
    assert [leads[page].turn.get("next") for page in order] == [*order[1:], None]
    assert [leads[page].turn.get("prev") for page in order] == [None, *order[:-1]]


def test_the_search_list_of_every_page_has_every_page_with_its_lead(leads: dict[str, Leads]):
    order = list(leads)
    assert {page: list(of.side) for page, of in leads.items()} == {page: order for page in order}
    assert [page for page, lead in leads["index.html"].side.items() if not lead] == []


def test_the_rooms_of_a_wing_stand_together_in_the_order_of_their_numbers(leads: dict[str, Leads]):
    order = list(leads)
    for wing in (w for w in DOCS["wings"]() if (ROOT / "nbs" / w).is_dir()):
        rooms = [p.stem.split("_", 1)[1] for p in sorted((ROOT / "nbs" / wing).glob("[0-9]*.ipynb"))]
        at = order.index(f"{wing}/index.html")
        assert order[at:at + len(rooms)] == [f"{wing}/{room}.html" for room in rooms]
