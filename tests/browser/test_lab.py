"The panel in a real JupyterLab, on the sandbox: what a newcomer does, and what must not go wrong while doing it"

import os
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from kalshi_mm.engine.status import Status
from tests.browser.desk import NOTEBOOK, Desk, exchange
from tests.sessions.process import until


@pytest.fixture(scope="module")
def desk(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with exchange(tmp_path_factory.mktemp("exchange")) as where:
        found = Desk(tmp_path_factory.mktemp("desk"), where)
        try:
            yield found
        finally:
            found.close()


@pytest.fixture
def page(desk: Desk, tab: Callable[[], Page]) -> Page:
    page = tab()
    desk.lab.open(page, NOTEBOOK.name)
    page.locator(".kmm").wait_for()
    return page


def badge(page: Page, word: str | re.Pattern[str], within_s: float = 15) -> None:
    expect(page.get_by_test_id("badge")).to_have_text(word, timeout=within_s * 1000)


def test_open_start_quote_fill_tune_stop_and_kill(desk: Desk, page: Page):
    badge(page, "NO ENGINE")
    assert desk.engine is None  # running the cells has started nothing
    page.get_by_test_id("launch-sandbox").click()
    badge(page, "RUNNING", 40)
    until(lambda: desk.resting, "quotes rest at the exchange")
    expect(page.get_by_test_id("markets")).to_contain_text("×10", timeout=20_000)
    expect(page.get_by_test_id("fills").locator("tbody tr").first).to_be_visible(timeout=60_000)
    page.get_by_test_id("tab-parameters").click()
    page.get_by_test_id("p-default_order_size").fill("7")
    page.get_by_test_id("apply").click()
    expect(page.get_by_test_id("applied")).to_have_text("applied")
    page.get_by_test_id("tab-commands").click()
    expect(page.get_by_test_id("pane-commands")).to_contain_text("set default_order_size 10 → 7")
    if "reduce_only" in Status.__struct_fields__:
        expect(page.get_by_test_id("markets")).to_contain_text("×7", timeout=20_000)
    page.get_by_test_id("stop").click()
    badge(page, "STOPPED")
    until(lambda: desk.resting == 0, "nothing rests after a stop", 5)
    page.get_by_test_id("start").click()
    badge(page, "RUNNING")
    until(lambda: desk.resting, "quotes rest again")
    page.get_by_test_id("badge").click()
    page.keyboard.press("Shift+K")
    badge(page, "KILLED")
    expect(page.get_by_test_id("killbar")).to_contain_text(
        re.compile(r"Exchange confirmed.*(\d+ of \d+ gone|nothing of ours rests)")
    )
    assert desk.resting == 0
    page.get_by_test_id("rearm").click()
    page.keyboard.type("KILL RESET")
    page.keyboard.press("Enter")
    badge(page, "STOPPED")


def test_d_d_after_a_click_leaves_the_panel_alive(desk: Desk, page: Page):
    badge(page, re.compile("STOPPED|RUNNING"))
    page.locator(".mk tbody tr").nth(1).click()
    page.get_by_test_id("stop").click(force=True)
    page.keyboard.type("dd")
    page.wait_for_timeout(300)
    assert page.locator(".kmm").count() == 1


def test_a_reload_a_second_tab_and_a_new_kernel_find_the_same_engine(desk: Desk, page: Page, tab: Callable[[], Page]):
    badge(page, re.compile("STOPPED|RUNNING"))
    session = desk.engine and desk.engine.session
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.reload()
    page.locator(".kmm").wait_for()
    badge(page, re.compile("STOPPED|RUNNING"))
    other = tab()
    desk.lab.open(other, NOTEBOOK.name, run=False)
    other.locator(".kmm").wait_for()
    badge(other, re.compile("STOPPED|RUNNING"))
    other.locator(".mk tbody tr").nth(2).click()  # the kernel hears of it
    other.wait_for_timeout(500)  # and pictures have come since then
    other.context.close()
    desk.quoting()
    badge(page, "RUNNING")
    page.get_by_test_id("stop").click()  # a tab that is gone takes nobody's buttons with it
    badge(page, "STOPPED", 5)
    kernel = desk.lab.api("/api/sessions")[0]["kernel"]["id"]
    desk.lab.api(f"/api/kernels/{kernel}/restart", "POST")
    desk.lab.open(page, NOTEBOOK.name)
    badge(page, re.compile("STOPPED|RUNNING"))
    assert desk.engine and desk.engine.session == session and desk.engine.listens


def test_the_next_engine_is_found_when_the_last_one_ends(desk: Desk, page: Page):
    badge(page, re.compile("STOPPED|RUNNING"))
    last = desk.engine
    assert last
    last.client("cli").post("/api/strategy/end")
    badge(page, "NO ENGINE", 20)
    page.get_by_test_id("launch-sandbox").click()
    badge(page, "RUNNING", 40)
    assert desk.engine and desk.engine.session != last.session
    until(lambda: desk.resting, "quotes rest at the exchange")


def test_kill_works_while_the_kernel_is_frozen(desk: Desk, page: Page):
    badge(page, re.compile("STOPPED|RUNNING"))
    engine = desk.quoting()
    badge(page, "RUNNING")
    expect(page.locator(".kmm[data-way=direct]")).to_be_visible()
    kernel = desk.kernel()
    os.kill(kernel, signal.SIGSTOP)
    try:
        badge(page, "STALE — engine was RUNNING", 6)
        expect(page.get_by_test_id("note")).to_contain_text("The engine answers, the kernel does not", timeout=5_000)
        page.get_by_test_id("kill").click()
        expect(page.get_by_test_id("killbar")).to_contain_text(
            re.compile("Exchange confirmed.*gone|nothing of ours"), timeout=5_000
        )
        assert desk.resting == 0
    finally:
        os.kill(kernel, signal.SIGCONT)
    badge(page, "KILLED")
    engine.client("cli").post("/api/risk/rearm")


SLEEP = """() => { const k = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
  k.requestExecute({ code: "import time; time.sleep(600)" }); return k.id }"""


def asked(desk: Desk, verb: str) -> list[dict[str, Any]]:
    "What the engine was commanded, and did not refuse"
    assert desk.engine
    return [c for c in desk.engine.client().get("/api/commands") if c["verb"] == verb and not c["refused"]]


def test_every_command_of_the_page_is_carried_out_while_the_kernel_computes(desk: Desk, page: Page):
    badge(page, re.compile("STOPPED|RUNNING|KILLED"))
    assert (engine := desk.engine)
    if engine.client().status().maker.state == "killed": engine.client().post("/api/risk/rearm")
    desk.quoting()
    badge(page, "RUNNING")
    expect(page.locator(".kmm[data-way=direct]")).to_be_visible()
    verbs = "stop", "start", "reduce_only", "pause", "resume", "set", "reconcile", "kill", "rearm"
    before = {verb: len(asked(desk, verb)) for verb in verbs}
    kernel = page.evaluate(SLEEP)
    try:
        def carried_out(verb: str, times: int = 1) -> None:
            until(lambda: len(asked(desk, verb)) >= before[verb] + times, f"{verb} is carried out", 5)

        page.get_by_test_id("reduce").click()
        carried_out("reduce_only")
        badge(page, "REDUCING")
        page.get_by_test_id("reduce").click()
        carried_out("reduce_only", 2)
        page.get_by_test_id("pause").click()
        carried_out("pause")
        expect(page.get_by_test_id("pause")).to_have_text("Resume")
        page.get_by_test_id("pause").click()
        carried_out("resume")
        page.get_by_test_id("reconcile").click()
        carried_out("reconcile")
        page.get_by_test_id("tab-parameters").click()
        page.get_by_test_id("p-skew_ticks").fill("3")
        page.get_by_test_id("apply").click()
        carried_out("set")
        page.get_by_test_id("stop").click()
        carried_out("stop")
        badge(page, "STOPPED")
        page.get_by_test_id("start").click()
        carried_out("start")
        badge(page, "RUNNING")
        page.get_by_test_id("kill").click()
        carried_out("kill")
        badge(page, "KILLED")
        assert desk.resting == 0
        page.get_by_test_id("rearm").click()
        page.keyboard.type("KILL RESET")
        page.keyboard.press("Enter")
        carried_out("rearm")
    finally: desk.lab.api(f"/api/kernels/{kernel}/interrupt", "POST")


def test_an_engine_is_started_while_the_kernel_computes(desk: Desk, page: Page):
    badge(page, re.compile("STOPPED|RUNNING|KILLED"))
    assert (last := desk.engine)
    last.client().post("/api/strategy/end")
    badge(page, "NO ENGINE", 20)
    kernel = page.evaluate(SLEEP)
    try:
        page.get_by_test_id("launch-sandbox").click()
        badge(page, "RUNNING", 40)
        assert desk.engine and desk.engine.session != last.session
    finally: desk.lab.api(f"/api/kernels/{kernel}/interrupt", "POST")


def test_an_engine_that_crashed_is_shown_as_such_and_what_it_left_is_cancelled(desk: Desk, page: Page):
    badge(page, re.compile("STOPPED|RUNNING"))
    engine = desk.quoting()
    badge(page, "RUNNING")
    page.wait_for_timeout(1500)  # what is kept for a crash is written once a second
    until(lambda: desk.resting, "quotes rest")
    os.kill(engine.pid, signal.SIGKILL)
    assert desk.resting  # at once: later takers may have had them all
    badge(page, "CRASHED", 20)
    expect(page.get_by_test_id("crash-orders").locator("tbody tr").first).to_contain_text("until")
    expect(page.get_by_test_id("crash-log")).not_to_be_empty()
    page.screenshot(path=desk.lab.root / "crashed.png")
    page.get_by_test_id("cancel-now").click()
    expect(page.get_by_test_id("killbar")).to_contain_text("Cancelled directly at the exchange", timeout=30_000)
    assert desk.resting == 0
    badge(page, "NO ENGINE", 20)
    (engine.home / "killed").unlink()  # as `kalshi-mm rearm` does, for the next test
    page.get_by_test_id("launch-sandbox").click()
    badge(page, "RUNNING", 40)


def test_a_frozen_engine_is_killed_at_the_exchange_and_the_page_says_so(desk: Desk, page: Page):
    badge(page, re.compile("STOPPED|RUNNING"))
    engine = desk.quoting()
    os.kill(engine.pid, signal.SIGSTOP)
    page.get_by_test_id("kill").click()
    expect(page.get_by_test_id("killbar")).to_contain_text("Cancelled directly at the exchange", timeout=30_000)
    assert desk.resting == 0
    badge(page, re.compile("NO ENGINE|DISCONNECTED"), 20)
