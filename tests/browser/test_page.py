"The panel alone in a browser, with canned pictures: what a person sees in each state, the keys, and a kill whatever fails"

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from kalshi_mm.panel.view_model import build_vm, crashed, no_engine
from tests.panel.pictures import NOW, changed, session, states
from tests.sessions.process import until

SIX = session()
STATES = states(SIX)
LAUNCH = [
    {"env": "sandbox", "label": "Start in the sandbox", "tip": "simulated", "on": True},
    {"env": "demo", "label": "Start on demo", "tip": "no key", "on": False},
]
Open = Callable[..., Page]


def vm_of(name: str) -> dict[str, Any]:
    return build_vm(STATES[name], NOW)


def sent(page: Page, verb: str) -> list[dict[str, Any]]:
    return [m for m in page.evaluate("() => window.sent") if m["do"] == verb]


def in_jupyter(page: Page) -> None:
    "As a notebook's page, whose second way is the kernel"
    page.evaluate("() => document.body.setAttribute('data-jp-theme-light', 'true')")


def answer(page: Page, verb: str, **said: Any) -> None:
    page.evaluate("m => window.tell(m)", {"id": sent(page, verb)[-1]["id"], **said})


MARKS = """() => [...document.querySelectorAll('.kmm .key')].map(key => {
  const of = [...key.classList].find(c => c.startsWith('l-')), mark = getComputedStyle(key, '::before');
  const line = key.closest('section, .card').querySelector(`.chart .line.${of}`);
  return [of, mark.content === 'none' ? null : mark.borderTopColor, line && getComputedStyle(line).stroke];
})"""


def test_what_has_a_line_has_a_mark_of_its_colour_and_what_has_none_has_no_mark(alone: Open):
    page = alone(vm_of("running"))
    expect(page.locator(".kmm .pnl .chart .line")).to_have_count(4)
    marks = page.evaluate(MARKS)
    assert {"l-profit", "l-captured", "l-exits", "l-drift", "l-settlement", "l-fees", "l-held"} <= {of for of, *_ in marks}
    assert [m for m in marks if m[1] != m[2]] == []


@pytest.mark.parametrize(
    "name, badge, start, stop",
    [
        ("stopped", "STOPPED", True, False),
        ("starting", "STARTING", False, True),
        ("running", "RUNNING", False, True),
        ("reducing", "REDUCING", False, True),
        ("stopping", "STOPPING", True, True),
        ("halted", "HALTED", False, True),
        ("killing", "KILLING", False, False),
        ("killed", "KILLED", False, False),
    ],
)
def test_each_state_shows_its_word_and_what_may_be_pressed(alone: Open, name: str, badge: str, start: bool, stop: bool):
    page = alone(vm_of(name))
    expect(page.get_by_test_id("badge")).to_have_text(badge)
    for button, on in (("start", start), ("stop", stop)):
        expect(page.get_by_test_id(button)).to_have_attribute("aria-disabled", "false" if on else "true")
    expect(page.get_by_test_id("kill")).to_be_enabled()
    expect(page.get_by_test_id("badge")).to_have_attribute("role", "status")


def test_six_markets_fit_one_screen_without_scrolling(alone: Open):
    page = alone(vm_of("running"))
    assert page.evaluate(
        "() => [document.documentElement.scrollHeight <= innerHeight, document.documentElement.scrollWidth <= innerWidth]"
    ) == [True, True]
    table = page.locator(".mk .scroll")
    assert table.evaluate("e => e.scrollHeight <= e.clientHeight")
    assert page.get_by_test_id("markets").locator("tbody tr").count() == 6


def test_settled_markets_take_one_line_and_no_row(alone: Open):
    page = alone({**vm_of("running"), "settled": "42 settled, +$12.30"})
    expect(page.locator(".mk h2")).to_contain_text("6 · 42 settled, +$12.30")
    assert page.get_by_test_id("markets").locator("tbody tr").count() == 6


def test_fifty_markets_stay_usable(alone: Open):
    page = alone(build_vm(session(50), NOW))
    assert page.get_by_test_id("markets").locator("tbody tr").count() == 50
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("/")
    page.keyboard.type("city07")
    expect(page.get_by_test_id("markets").locator("tbody tr")).to_have_count(6)
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("markets").locator("tbody tr")).to_have_count(50)


def test_the_picture_grows_old_by_itself_and_kill_stays(alone: Open, engine: SimpleNamespace):
    page = alone(vm_of("running"))
    page.evaluate("() => window.stand_still()")
    expect(page.get_by_test_id("badge")).to_have_text("STALE — engine was RUNNING", timeout=4_000)
    expect(page.get_by_test_id("start")).to_have_attribute("aria-disabled", "true")  # what adds risk waits for a new picture
    expect(page.get_by_test_id("stop")).to_have_attribute("aria-disabled", "false")
    page.get_by_test_id("stop").click()
    until(lambda: engine.commands, "the stop")
    assert engine.commands == [("/api/strategy/stop", {}, 0)]
    expect(page.get_by_test_id("note")).to_contain_text("The engine answers")
    assert page.evaluate("() => getComputedStyle(document.querySelector('.kill')).opacity") == "1"
    expect(page.get_by_test_id("badge")).to_have_text("DISCONNECTED", timeout=10_000)
    assert not page.locator("button.own.bid").first.is_visible()
    page.get_by_test_id("kill").click()
    expect(page.get_by_test_id("killbar")).to_contain_text(re.compile(r"Engine acknowledged.*ms, directly"))
    assert engine.asked == [("/api/risk/kill-switch", "Bearer commands-only")]
    page.evaluate("vm => window.show(vm)", vm_of("running") | {"n": 900})
    expect(page.get_by_test_id("badge")).to_have_text("RUNNING")


def test_kill_tells_sent_acknowledged_and_confirmed_as_three_facts(alone: Open, engine: SimpleNamespace):
    page = alone(vm_of("running"))
    page.keyboard.press("Shift+K")
    facts = page.get_by_test_id("killbar").locator("li")
    expect(facts.nth(0)).to_contain_text("Sent")
    expect(facts.nth(1)).to_contain_text(re.compile(r"Engine acknowledged.*ms, directly"))
    expect(facts.nth(2)).to_have_class("wait")
    engine.kill = engine.report | {"resting": 1}
    expect(facts.nth(2)).to_contain_text("2 of 3 gone")
    engine.kill = engine.report | {"resting": 0, "verified_ms": 1_700_000_000_410}
    expect(facts.nth(2)).to_contain_text("3 of 3 gone · 0.4 s")
    expect(facts.nth(2)).to_have_class("done")


def test_what_still_rests_is_said_in_red(alone: Open, engine: SimpleNamespace):
    page = alone(vm_of("running"))
    engine.report |= {"resting": 2}
    page.get_by_test_id("kill").click()
    expect(page.get_by_test_id("red")).to_have_text("2 ORDERS OF OURS STILL REST. Cancel on Kalshi's own page.", timeout=5_000)
    page.evaluate("vm => window.show(vm)", vm_of("kill is late") | {"n": 901})
    expect(page.get_by_test_id("killbar").locator(".left")).to_have_count(2)


def test_a_step_that_has_failed_does_not_read_like_one_that_succeeded(alone: Open, engine: SimpleNamespace):
    page = alone(vm_of("running"))
    engine.report |= {"resting": 2}
    page.get_by_test_id("kill").click()
    facts = page.get_by_test_id("killbar").locator("li")
    expect(page.get_by_test_id("red")).to_have_count(1, timeout=5_000)
    expect(facts.nth(2)).to_have_class("bad")
    expect(facts.nth(2)).to_contain_text("Exchange has not confirmed")
    for fact in facts.all():
        text = fact.inner_text()
        assert ("confirmed" in text and "not confirmed" not in text) <= (fact.get_attribute("class") == "done"), text
    page.evaluate("vm => window.show(vm)", vm_of("kill is late") | {"n": 902})
    expect(facts.nth(2)).to_contain_text("Exchange has not confirmed")


def test_where_nobody_answers_the_page_says_so_in_red(alone: Open):
    page = alone(vm_of("running"))
    in_jupyter(page)
    page.route("**/api/risk/**", lambda route: route.abort())
    page.get_by_test_id("kill").click()
    expect(page.get_by_test_id("red")).to_contain_text("NOBODY HAS CONFIRMED THE KILL", timeout=5_000)
    expect(page.get_by_test_id("killbar")).to_contain_text("engine: can't be reached")
    assert len(sent(page, "kill")) == 1  # through the kernel, since the direct way failed
    answer(
        page, "kill", ok=True, kill={"who": "notebook", "sent_ms": 5, "verified_ms": 9, "resting": 0, "empty_looks": 2, "of": 3}
    )
    expect(page.get_by_test_id("killbar")).to_contain_text("through the kernel")
    expect(page.get_by_test_id("red")).to_have_count(0)


@pytest.mark.parametrize(
    "code, said, fact",
    [
        (0, "no answer.\nKilled: nothing of ours rests", "Cancelled directly at the exchange"),
        (1, "NOT VERIFIED: 2 orders rest", "Exchange has not confirmed"),
    ],
)
def test_without_the_engine_jupyter_cancels_at_the_exchange_and_the_page_says_that_it_did(
    alone: Open, code: int, said: str, fact: str
):
    page = alone(vm_of("running"))
    page.route("**/api/risk/**", lambda route: route.abort())
    page.route(
        "**/lab/kalshi-mm/kill", lambda route: route.fulfill(json={"via": "exchange", "code": code, "said": said, "kill": None})
    )
    page.evaluate("""() => { const c = document.createElement("script");
      c.type = "application/json"; c.id = "jupyter-config-data";
      c.textContent = '{"baseUrl": "/lab/"}'; document.head.append(c) }""")
    page.get_by_test_id("kill").click()
    expect(page.get_by_test_id("killbar")).to_contain_text(fact)
    expect(page.get_by_test_id("killbar")).to_contain_text(said.split("\n")[-1])


def test_letters_typed_into_a_field_do_not_kill(alone: Open, engine: SimpleNamespace):
    page = alone(vm_of("killed"))
    page.get_by_test_id("rearm").click()
    page.keyboard.type("KILL RESE")
    expect(page.get_by_test_id("ask-go")).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Enter")
    page.keyboard.type("T")
    page.get_by_test_id("ask-go").click()
    until(lambda: engine.commands, "the command")
    assert [(path, until_ms) for path, _, until_ms in engine.commands] == [("/api/risk/rearm", engine.commands[0][2])]
    assert 0 < engine.commands[0][2] - NOW < 30_000  # by the clock of the picture
    assert engine.asked == []


def test_real_money_needs_the_word_and_shows_what_could_be_lost(alone: Open, engine: SimpleNamespace):
    page = alone(vm_of("live, stopped"))
    page.get_by_test_id("start").click()
    expect(page.get_by_test_id("ask")).to_contain_text("Worst case if resting orders fill")
    page.keyboard.type("live")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("ask")).to_be_hidden()
    page.get_by_test_id("start").click()
    page.keyboard.type("LIVE")
    page.keyboard.press("Enter")
    until(lambda: engine.commands, "the start")
    assert [command[:2] for command in engine.commands] == [("/api/strategy/start", {"confirm": "LIVE"})]


def test_sandbox_starts_with_one_click_and_what_is_refused_is_told(alone: Open, engine: SimpleNamespace):
    engine.answer = 409, {"error": "killed, by cli: rearm first"}
    page = alone(vm_of("stopped"))
    page.get_by_test_id("start").click()
    expect(page.get_by_test_id("alerts")).to_contain_text("start: killed, by cli: rearm first")
    page.get_by_test_id("start").click()
    expect(page.get_by_test_id("alerts")).to_contain_text("(×2)")


def test_a_halt_says_its_rule_and_has_its_button(alone: Open, engine: SimpleNamespace):
    page = alone(vm_of("halted"))
    expect(page.get_by_test_id("alerts")).to_contain_text("lost $50.10 of $50.00")
    page.get_by_test_id("reset-daily_loss").click()
    until(lambda: engine.commands, "the reset")
    assert engine.commands[0][0] == "/api/risk/reset?rule=daily_loss"


def test_a_count_that_nothing_explains_can_be_accepted(alone: Open, engine: SimpleNamespace):
    drift = {"rule": "drift", "reason": "T54: we count 7 contracts, the exchange 9", "latched": False, "value": "", "limit": ""}
    halts = [STATES["halted"]["engine"]["maker"]["halts"][0] | drift]
    page = alone(build_vm(changed(STATES["halted"], {"halts": halts}), NOW))
    expect(page.get_by_test_id("alerts")).to_contain_text("we count 7 contracts, the exchange 9")
    page.get_by_test_id("accept").click()
    until(lambda: engine.commands, "it is accepted")
    assert [path for path, *_ in engine.commands] == ["/api/account/accept"]


def test_under_the_pointer_a_chart_tells_its_values(alone: Open):
    vm = vm_of("running")
    page, lines = alone(vm), vm["market"]["chart"]["lines"]
    chart = page.get_by_test_id("Best prices, our quotes and fills")
    box = chart.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 40)
    told = chart.locator(".hover")
    expect(told).to_contain_text("14:20:00 UTC")
    for name, line in (("best bid", "bid"), ("best ask", "ask"), ("our bid", "our_bid"), ("our ask", "our_ask")):
        expect(told).to_contain_text(f"{name} {lines[line][-1] // 100}¢")
    page.mouse.move(0, 0)
    expect(told.locator("text")).to_have_count(0)


def test_without_an_engine_the_page_offers_to_start_one(alone: Open):
    page = alone(no_engine("Nothing trades.", now_ms=NOW) | {"launch": LAUNCH})
    in_jupyter(page)
    expect(page.get_by_test_id("badge")).to_have_text("NO ENGINE")
    page.get_by_test_id("launch-demo").click(force=True)
    page.get_by_test_id("launch-sandbox").click()
    until(lambda: sent(page, "launch"), "the launch")  # by the kernel, since there is neither engine nor Jupyter server
    assert [(m["env"], 0 < m["deadline_ms"] - NOW < 30_000) for m in sent(page, "launch")] == [("sandbox", True)]


def test_a_crash_is_red_and_cancels_before_it_starts_again(alone: Open, engine: SimpleNamespace):
    rows = [("KXHIGHNY-X", "bid", 4300, 1000, NOW // 1000 + 29)]
    who, held = ("demo", "KXHIGHNY", "0123abcd", "a1b2"), {"KXHIGHNY-X": 1500}
    crash = crashed(*who, NOW - 31_000, rows, held, -4_000_000, ["bad things"], NOW)
    page = alone(crash | {"launch": LAUNCH})
    expect(page.get_by_test_id("badge")).to_have_text("CRASHED")
    expect(page.get_by_test_id("note")).to_contain_text("1 order may rest until 14:20:29")
    expect(page.get_by_test_id("crash-orders")).to_contain_text("until 14:20:29")
    expect(page.get_by_test_id("crash-facts")).to_contain_text("15 KXHIGHNY-X")
    expect(page.get_by_test_id("crash-log")).to_have_text("bad things")
    buttons = page.locator(".empty button").all_inner_texts()
    assert buttons[0].startswith("Cancel now") and buttons[1].startswith("Start again")
    page.get_by_test_id("cancel-now").click()
    until(lambda: engine.asked, "the kill")


def test_a_button_shows_that_it_was_pressed_before_the_engine_answers(alone: Open):
    page = alone(vm_of("running"))
    page.route("**/api/strategy/stop", lambda route: None)  # the engine never answers
    pressed = "() => { const b = document.querySelector('[data-testid=stop]'); b.click(); return b.hasAttribute('data-sent') }"
    assert page.evaluate(pressed)


def test_one_click_tells_why_a_quote_stands_or_is_missing(alone: Open):
    page = alone(vm_of("running"))
    row = page.get_by_test_id("markets").locator("tbody tr").nth(2)
    row.locator("button.own.bid").click()
    assert sent(page, "look")[-1]["market"].endswith("B56.5")
    expect(row).to_have_attribute("aria-selected", "true")
    expect(row).to_contain_text("spread 2c is under the minimum")
    expect(page.get_by_test_id("why").locator("article[data-picked=true]")).to_contain_text(re.compile(r"Bid \d+¢ × 10, resting"))


def test_arrows_pick_a_market_and_keys_do_not_leave_the_panel(alone: Open):
    page = alone(vm_of("running"))
    page.evaluate(
        "() => { window.leaked = []; "
        "document.addEventListener('keydown', e => { if (e.target !== document.body) window.leaked.push(e.key) }) }"
    )
    page.get_by_test_id("reduce").click()
    page.keyboard.press("ArrowDown")
    page.keyboard.type("dd")
    assert page.evaluate("() => window.leaked") == []
    assert sent(page, "look")[-1]["market"].endswith("B54.5")


def test_a_bad_parameter_has_its_reason_next_to_it_and_typing_is_kept(alone: Open, engine: SimpleNamespace):
    engine.answer = 422, {"error": "refused", "fields": {"min_spread": "0 is not between 0.01 and 99.99 cents"}}
    page = alone(vm_of("running"))
    page.get_by_test_id("tab-parameters").click()
    field = page.get_by_test_id("p-min_spread")
    field.fill("0")
    page.evaluate("vm => window.show(vm)", vm_of("running") | {"n": 902})
    expect(field).to_have_value("0")
    page.get_by_test_id("apply").click()
    expect(page.locator("#kmm-min_spread-why")).to_have_text("0 is not between 0.01 and 99.99 cents")
    engine.answer = 200, {}
    field.fill("7")
    page.get_by_test_id("apply").click()
    expect(page.get_by_test_id("applied")).to_have_text("applied")
    assert engine.commands[-1][:2] == ("/api/parameters", {"min_spread": "7"})
    expect(page.get_by_test_id("pane-parameters")).to_contain_text("4 → 5 by web at")


HOSTILE = "<img src=x onerror='window.owned=1'><script>window.owned=1</script>"


def test_a_script_in_a_market_title_is_inert(alone: Open):
    s = changed(SIX)
    for row in s["engine"]["maker"]["markets"]:
        row |= {"title": HOSTILE, "bid": row["bid"] | {"why": HOSTILE}, "ask": row["ask"] | {"why": HOSTILE}}
    s["market"] |= {"title": HOSTILE}
    s["engine"]["notes"] = [HOSTILE]
    for fill in s["fills"]:
        fill |= {"reason": HOSTILE, "ticker": HOSTILE}
    page = alone(build_vm(s, NOW))
    for tab in ("commands", "log", "orders"):
        page.get_by_test_id(f"tab-{tab}").click()
    assert page.evaluate("() => [window.owned, document.querySelectorAll('.kmm img, .kmm script').length]") == [None, 0]
    expect(page.get_by_test_id("markets").locator("tbody tr").first).to_contain_text("<script>window.owned=1</script>")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(alone: Open, scheme: str):
    "WCAG: 4.5 to 1 for text, against what is behind it"
    page = alone(vm_of("halted"), color_scheme=scheme)
    assert page.evaluate(CONTRAST) == []


CONTRAST = """() => {
  const rgb = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
  const linear = v => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => { const f = [r, g, b].map(linear);
    return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const s = getComputedStyle(e), c = rgb(s.backgroundColor);
      if (s.backgroundImage !== 'none') return null;
      if (c[3] > .99) return c;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const e of document.querySelectorAll('.kmm *')) {
    const words = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!words || !e.getClientRects().length || e.closest('svg, .b[aria-disabled=true]')) continue;
    const back = behind(e); if (!back) continue;
    const a = light(rgb(getComputedStyle(e).color)), b = light(back), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) poor.push(`${e.className || e.tagName} ${e.textContent.slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return [...new Set(poor)];
}"""


def test_pause_means_the_market_that_was_picked_though_its_picture_is_on_its_way(alone: Open, engine: SimpleNamespace):
    page = alone(vm_of("running"))
    row = page.get_by_test_id("markets").locator("tbody tr").nth(2)
    row.click()  # no picture of it comes
    page.get_by_test_id("pause").click()
    until(lambda: engine.commands, "the pause")
    picked = sent(page, "look")[-1]["market"]
    assert picked != vm_of("running")["market"]["ticker"]
    assert [path for path, *_ in engine.commands] == [f"/api/markets/{picked}/pause"]
