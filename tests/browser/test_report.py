"A report's page in Chromium, from a file, without network: every figure is drawn and can be zoomed; and the panel's event days"
import json
from collections.abc import Callable, Iterator
from datetime import date
from importlib import resources
from pathlib import Path
from random import Random

import pytest
from playwright.sync_api import Browser, Page, expect

from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config
from kalshi_mm.model.numbers import CENT
from kalshi_mm.panel.view_model import build_vm
from kalshi_mm.research.backtest import Backtest
from kalshi_mm.research.observer import Observed
from kalshi_mm.research.report import backtest_report
from kalshi_mm.research.report_page import write_page
from kalshi_mm.sandbox.matching import Exchange
from kalshi_mm.sandbox.simulated import SimulatedDay
from kalshi_mm.sandbox.traffic import Calibration
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture
from tests.panel.pictures import NOW, session


@pytest.fixture
def report(chromium: Browser, tmp_path: Path) -> Iterator[tuple[Page, list[str], list[str]]]:
    "The page of a simulated evening, what it asked for, and its errors"
    calibration = Calibration.of(json.loads(resources.files("kalshi_mm.sandbox").joinpath("calibration.json").read_text()))
    traffic, ids = SimulatedDay(calibration, date(2025, 12, 10), 3, start_ms=1_765_378_800_000 + 12 * 3_600_000), Random(3)
    exchange = Exchange(traffic.markets, ids=lambda: f"{ids.getrandbits(64):016x}")
    core = Observed(MarketMaker(SpreadCapture(Params(min_spread=2 * CENT)), Config("bt")), "bt", "test 0")
    Backtest(core, exchange, traffic, pause_ms=10_000).run()  # type: ignore[arg-type]
    write_page(backtest_report([core.facts()]), tmp_path / "report.html")
    context = chromium.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    page, asked, errors = context.new_page(), list[str](), list[str]()
    page.on("request", lambda r: asked.append(r.url))
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto((tmp_path / "report.html").as_uri())
    yield page, asked, errors
    context.close()


def test_every_figure_is_drawn_and_zoomed_without_network(report: tuple[Page, list[str], list[str]]) -> None:
    page, asked, errors = report
    figures = page.locator(".figure")
    assert figures.count() == 6
    for n in range(figures.count()):
        figures.nth(n).scroll_into_view_if_needed()
        expect(figures.nth(n).locator(".main-svg").first).to_be_visible(timeout=20_000)
        expect(figures.nth(n).locator(".xtitle, .x8title").first).to_be_attached()
    profit = page.locator("#profit .figure")
    profit.scroll_into_view_if_needed()
    def span() -> float:
        width = "el => { const [a, b] = el.layout.xaxis.range.map(x => +new Date(x)); return b - a; }"
        return float(profit.evaluate(width))

    before, box = span(), profit.locator(".nsewdrag").first.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    narrower = "before => { const [a, b] = document.querySelector('#profit .figure').layout.xaxis.range; " \
               "return new Date(b) - new Date(a) < before / 2; }"
    page.wait_for_function(narrower, arg=before)
    assert 0.15 < span() / before < 0.35  # a quarter
    page.get_by_text("hours after the open", exact=True).first.click()  # markouts by another group
    assert len(asked) == 1 and asked[0].startswith("file:") and errors == []


def test_the_panel_shows_event_days_and_whether_it_pays(alone: Callable[..., Page]) -> None:
    page = alone(build_vm(session(), NOW))
    page.get_by_test_id("tab-days").click()
    pane = page.get_by_test_id("pane-days")
    expect(page.get_by_test_id("verdict")).to_have_text("Realised +1.54 c a contract, 1 day: too few days for an interval")
    expect(pane.locator("tbody tr")).to_have_count(2)
    expect(pane.locator("tbody tr").first).to_contain_text("26NOV24")
    assert "programmes $1.60 an hour with a share" in (pane.locator("tbody tr").first.get_attribute("title") or "")
