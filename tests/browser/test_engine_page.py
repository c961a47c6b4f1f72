"The same panel at the engine's own address, without Jupyter, in front of a real engine on the sandbox"

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from kalshi_mm.config import load_settings
from kalshi_mm.control.remote import ControlClient
from kalshi_mm.control.runtime import Running
from kalshi_mm.model.numbers import CENT
from tests.browser.desk import at, exchange
from tests.sessions.process import Process, environment, ledger, until


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


def started_again(engine: Running) -> ControlClient:
    "What commands an engine that quotes, whatever the test before has left it in"
    commands = engine.client("cli")
    if commands.status().maker.state == "killed": commands.post("/api/risk/rearm")
    until(lambda: commands.status().maker.state != "killed", "re-armed")
    commands.post("/api/strategy/start")
    return commands


def test_start_to_kill_without_jupyter(trading: tuple[Running, dict[str, Any]], tab: Callable[[], Page]):
    engine, where = trading
    page, errors = tab(), []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if "Content Security Policy" in m.text else None)
    page.goto(engine.link)
    expect(page.get_by_test_id("badge")).to_have_text(re.compile("RUNNING|STARTING"))
    assert page.url == f"http://127.0.0.1:{engine.port}/"  # the token is out of the address
    assert engine.token not in page.content()
    until(lambda: ledger(where)["resting"], "quotes rest")
    page.reload()
    expect(page.get_by_test_id("badge")).to_have_text("RUNNING")
    page.get_by_test_id("stop").click()
    expect(page.get_by_test_id("badge")).to_have_text("STOPPED")
    page.get_by_test_id("start").click()
    expect(page.get_by_test_id("badge")).to_have_text("RUNNING")
    until(lambda: ledger(where)["resting"], "quotes rest again")
    page.keyboard.press("Shift+K")
    expect(page.get_by_test_id("killbar")).to_contain_text(re.compile(r"Engine acknowledged<?\d+ ms, directly"))
    expect(page.get_by_test_id("badge")).to_have_text("KILLED")
    assert ledger(where)["resting"] == [] and errors == []


def test_a_paused_market_and_reduce_only_are_seen_at_the_exchange(
    trading: tuple[Running, dict[str, Any]], tab: Callable[[], Page]
):
    engine, where = trading
    page = tab()
    page.goto(engine.link)
    started_again(engine)

    def quoted() -> dict[str, int]: return {o["ticker"]: o["price"] for o in ledger(where)["resting"]}

    prices = until(quoted, "quotes rest")
    ticker = min(prices, key=lambda t: abs(prices[t] - 50 * CENT))  # it keeps its bid, unlike those at a few cents
    row = page.get_by_test_id("markets").locator("tbody tr", has_text=ticker.partition("-")[2])
    row.click()
    expect(row).to_have_attribute("aria-selected", "true")
    page.get_by_test_id("pause").click()
    expect(row).to_contain_text("PAUSED")
    until(lambda: ticker not in quoted(), "nothing rests in the paused market", 10)
    page.get_by_test_id("pause").click()
    until(lambda: ticker in quoted(), "it is quoted again")

    def adds() -> list[str]:
        "Orders that could make a position larger"
        now = ledger(where)
        held = {t: p["net"] for t, p in now["positions"].items()}
        return [o["ticker"] for o in now["resting"] if held.get(o["ticker"], 0) * (1 if o["side"] == "bid" else -1) >= 0]

    until(adds, "an order that adds")
    page.get_by_test_id("reduce").click()
    expect(page.get_by_test_id("badge")).to_have_text("REDUCING")
    until(lambda: not adds(), "no order adds any more", 10)
    page.get_by_test_id("reduce").click()
    expect(page.get_by_test_id("badge")).to_have_text("RUNNING")
    until(adds, "an order adds again")


def test_flatten_asks_for_the_word_and_then_leaves_what_is_held(trading: tuple[Running, dict[str, Any]], tab: Callable[[], Page]):
    engine, where = trading
    page = tab()
    page.goto(engine.link)
    commands = started_again(engine)
    until(lambda: any(m.net != "0.00" for m in commands.status().maker.markets), "something is held", 60)
    commands.post("/api/strategy/stop")  # so that it stays held while a person reads and types
    expect(page.get_by_test_id("badge")).to_have_text("STOPPED")
    flatten = page.get_by_test_id("flatten")
    expect(flatten).to_have_attribute("aria-disabled", "false")
    flatten.click()
    page.get_by_test_id("ask-word").fill("FLAT")
    expect(page.get_by_test_id("ask-go")).to_have_attribute("aria-disabled", "true")
    page.get_by_test_id("ask-word").fill("FLATTEN")
    page.get_by_test_id("ask-go").click()
    expect(page.get_by_test_id("badge")).to_have_text("FLATTENING")
    page.get_by_test_id("stop").click()  # a minute of patience is too long for a test
    expect(page.get_by_test_id("badge")).to_have_text("STOPPED")


@pytest.mark.parametrize("fragment, said", [("", "only with its token"), ("#token=of-an-earlier-run", "of an earlier run")])
def test_without_this_runs_token_the_page_shows_nothing_and_says_why(
    trading: tuple[Running, dict[str, Any]], tab: Callable[[], Page], fragment: str, said: str
):
    page = tab()
    page.goto(f"http://127.0.0.1:{trading[0].port}/{fragment}")
    expect(page.get_by_test_id("note")).to_contain_text(said)
    expect(page.get_by_test_id("badge")).to_have_text("NEEDS TOKEN")
    expect(page.get_by_test_id("kill")).to_be_hidden()  # it could do nothing, and the page says what can
    expect(page.get_by_test_id("empty")).to_contain_text("kalshi-mm kill")
    page.get_by_test_id("token").fill(trading[0].link)  # pasted as the command prints it
    page.get_by_test_id("token-go").click()
    expect(page.get_by_test_id("badge")).not_to_have_text("NEEDS TOKEN")
    expect(page.get_by_test_id("kill")).to_be_visible()
