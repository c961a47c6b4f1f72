"The same panel at the engine's own address, without Jupyter, in front of a real engine on the sandbox"

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from kalshi_mm.config import load_settings
from kalshi_mm.runtime import Running
from tests.panel.desk import at, exchange
from tests.sessions import Process, environment, ledger, until


@pytest.fixture(scope="module")
def trading(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("engine")
    with exchange(folder) as where:
        process = Process(folder, "run", "--quiet", env=environment(folder, **at(where)))
        try:
            settings = load_settings(state_dir=folder / "state")
            yield until(lambda: (r := Running.find(settings)) and r.listens and r, "the engine listens"), where
        finally:
            process.kill()


def test_start_to_kill_without_jupyter(trading: tuple[Running, dict[str, Any]], tab: Callable[[], Page]):
    engine, where = trading
    page, errors = tab(), []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if "Content Security Policy" in m.text else None)
    page.goto(engine.link)
    expect(page.get_by_test_id("badge")).to_have_text(re.compile("RUNNING|STARTING"))
    assert page.url == f"http://localhost:{engine.port}/"  # the token is out of the address
    assert engine.token not in page.content()
    until(lambda: ledger(where)["resting"], "quotes rest")
    page.reload()
    expect(page.get_by_test_id("badge")).to_have_text("RUNNING")
    page.get_by_test_id("pause").click()
    page.get_by_test_id("tab-commands").click()
    expect(page.get_by_test_id("pane-commands")).to_contain_text("pause")
    page.get_by_test_id("stop").click()
    expect(page.get_by_test_id("badge")).to_have_text("STOPPED")
    page.get_by_test_id("start").click()
    expect(page.get_by_test_id("badge")).to_have_text("RUNNING")
    until(lambda: ledger(where)["resting"], "quotes rest again")
    page.keyboard.press("Shift+K")
    expect(page.get_by_test_id("killbar")).to_contain_text(re.compile(r"Engine acknowledged\d+ ms, directly"))
    expect(page.get_by_test_id("badge")).to_have_text("KILLED")
    assert ledger(where)["resting"] == [] and errors == []


@pytest.mark.parametrize("fragment, said", [("", "needs the token"), ("#token=of-an-earlier-run", "of an earlier run")])
def test_without_this_runs_token_the_page_shows_nothing_and_says_why(
    trading: tuple[Running, dict[str, Any]], tab: Callable[[], Page], fragment: str, said: str
):
    page = tab()
    page.goto(f"http://localhost:{trading[0].port}/{fragment}")
    expect(page.get_by_test_id("note")).to_contain_text(said)
    expect(page.get_by_test_id("badge")).to_have_text("NO ENGINE")
