"The documentation in Chromium, from files and without network: the title search by keyboard, and the side bar on a phone."
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import pytest
from playwright.sync_api import Browser, Page, expect

ROOT = Path(__file__).resolve().parents[2]
WIDE, PHONE = {"width": 1200, "height": 900}, {"width": 400, "height": 800}


@pytest.fixture(scope="module")
def site(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The pages without most of their bodies, which takes seconds"
    docs, dest = run_path(str(ROOT / "tools/docs.py")), tmp_path_factory.mktemp("site")
    pages = docs["read_pages"](dest)
    docs["write_pages"](dest, [page if page.name == "panel/03_format.ipynb" else replace(page, body="") for page in pages])
    shutil.copy(ROOT / "tools/page.css", dest)
    return dest


@pytest.fixture
def opened(chromium: Browser, site: Path) -> Iterator[Callable[..., Page]]:
    contexts = []

    def open_page(name: str, **options) -> Page:
        context = chromium.new_context(**{"viewport": WIDE, "offline": True, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda e: pytest.fail(str(e)))
        page.goto((site / name).as_uri())
        return page

    yield open_page
    for context in contexts: context.close()


def names(page: Page) -> list[str]:
    "What the side bar shows"
    return page.locator("nav.side li:visible").all_inner_texts()


def test_the_title_search_is_reached_and_used_by_keyboard(opened: Callable[..., Page]):
    page = opened("panel/format.html")
    page.keyboard.press("/")
    page.keyboard.type("kill")
    expect(page.get_by_role("status")).to_have_text(f"3 of {page.locator('nav.side li').count()} pages")
    assert names(page) == ["kill_latch", "kill_switch", "direct_kill"]
    for _ in range(3): page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/control/direct_kill.html")


def test_enter_opens_the_first_page_found_and_escape_shows_all_again(opened: Callable[..., Page]):
    page = opened("index.html")
    every = len(names(page))
    page.keyboard.press("/")
    page.keyboard.type("panel.form")
    assert names(page) == ["format"]
    page.keyboard.press("Escape")
    assert len(names(page)) == every
    page.keyboard.type("kill latch")
    page.keyboard.press("Enter")
    page.wait_for_url("**/engine/kill_latch.html")


def test_what_no_title_has_is_looked_for_in_the_leads(opened: Callable[..., Page]):
    page = opened("index.html")
    page.get_by_role("searchbox").fill("cents")
    assert "format" in names(page)
    page.get_by_role("searchbox").fill("no such thing")
    expect(page.get_by_role("status")).to_contain_text("0 of")


def test_on_a_phone_the_side_bar_is_behind_a_button(opened: Callable[..., Page]):
    page = opened("panel/format.html", viewport=PHONE)
    button, side = page.get_by_role("button", name="Pages"), page.locator("nav.side")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    expect(side).to_be_hidden()
    page.evaluate("window.scrollTo(0, 1e6)")
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("searchbox")).to_be_in_viewport()
    page.get_by_role("searchbox").press("Escape")
    expect(side).to_be_hidden()
    expect(button).to_be_focused()


def test_without_javascript_every_page_is_within_reach_on_a_phone(opened: Callable[..., Page]):
    page = opened("panel/format.html", viewport=PHONE, java_script_enabled=False)
    expect(page.locator("nav.side")).to_be_visible()
    expect(page.locator("header")).to_be_hidden()
