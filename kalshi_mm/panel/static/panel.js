// The control panel. It draws the view-model, in JupyterLab (an anywidget) and on the engine's own page alike.
// It decides two things itself, because only the page can: how old the picture is, and by which way a command goes.
import { h, set_attr, Memo, NONE } from "./dom.js";
import { Connection, Picture } from "./connection.js";
import { Kill } from "./kill.js";
import { Head } from "./head.js";
import { Dialog, Alerts, NoEngine } from "./dialogs.js";
import { Account, Profit } from "./account.js";
import { Markets } from "./markets.js";
import { MarketChart, Ladder, Reasons } from "./ladder.js";
import { Fills, Tabs } from "./orders.js";

const TICK_MS = 250;

// The theme: JupyterLab's where there is one, otherwise the system's.
class Theme {
  constructor(root) {
    const body = document.body, media = matchMedia("(prefers-color-scheme: dark)");
    const update = () => {
      const jp = body.getAttribute("data-jp-theme-light");
      root.dataset.theme = (jp !== null ? jp === "false" : media.matches) ? "dark" : "light";
    };
    this.mutations = new MutationObserver(update);
    this.mutations.observe(body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    media.addEventListener("change", update);
    update();
  }
  close() { this.mutations.disconnect(); }
}

class Panel {
  constructor(model, host) {
    this.model = model; this.memo = new Memo(); this.picture = new Picture();
    this.connection = new Connection(model, this.picture);
    this.pick = ""; this.side = "";
    this.kill = new Kill(this.connection, this.picture, this.memo);
    this.head = new Head(this); this.dialog = new Dialog(this); this.alerts = new Alerts(this); this.no_engine = new NoEngine(this);
    this.account = new Account(this); this.profit = new Profit(this); this.markets = new Markets(this); this.chart = new MarketChart(this);
    this.ladder = new Ladder(this); this.reasons = new Reasons(this); this.fills = new Fills(this); this.tabs = new Tabs(this);
    this.cards = [this.account, this.profit, this.markets, this.chart, this.ladder, this.reasons, this.fills, this.tabs];
    this.body = h("div", { class: "cards" }, ...this.cards.flatMap(c => c.els || [c.el]));
    this.root = h("div", { class: "kmm", tabindex: "-1", role: "region", "aria-label": "kalshi_mm control panel", "data-lm-suppress-shortcuts": "true" },
      this.head.el, this.kill.el, this.dialog.el, this.alerts.el, this.no_engine.el, this.body);
    host.append(this.root);
    this.theme = new Theme(this.root);
    this.keys();
    model.on("change:vm", () => this.take(model.get("vm")));
    model.on("msg:custom", m => this.receive(m));
    this.connection.greet();
    this.timer = setInterval(() => this.tick(), TICK_MS);
    this.take(model.get("vm"));
  }
  get vm() { return this.picture.vm; }

  // -- keys: JupyterLab must not see them, or `d d` after a click deletes the cell that holds the panel
  keys() {
    this.root.addEventListener("keydown", e => {
      this.key(e);
      e.stopPropagation();
    });
    this.page = e => { if (e.target === document.body) this.key(e); };
    if (!document.body.hasAttribute("data-jp-theme-light")) document.addEventListener("keydown", this.page);
  }
  key(e) {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName);
    if (e.key === "Escape") { this.dialog.close(); this.markets.clear_filter(); this.root.focus(); }
    else if (typing || e.ctrlKey || e.metaKey || e.altKey) return;
    else if (e.shiftKey && e.code === "KeyK") { e.preventDefault(); this.kill.press(); }
    else if (e.key === "/") { e.preventDefault(); this.markets.filter.focus(); }
    else if (e.key === "ArrowDown" || e.key === "ArrowUp") { e.preventDefault(); this.markets.step(e.key === "ArrowDown" ? 1 : -1); }
    else if (e.key === "Enter" && e.target.tagName !== "BUTTON") this.ladder.focus();
  }

  // -- received
  take(vm) {
    if (!vm || !vm.state) return;
    if (this.picture.take(vm)) this.connection.alive = null;
    this.connection.greet_again(vm);
    const known = vm.markets.some(m => m.ticker === this.pick);
    if (!known && vm.markets.length) { this.pick = (vm.markets.find(m => m.bid.ours !== NONE || m.ask.ours !== NONE) || vm.markets[0]).ticker; this.look(); }
    this.draw();
  }
  receive(m) {
    this.connection.receive(m);
    if (m.way) set_attr(this.root, "data-way", m.way.url ? "direct" : "");
  }

  // -- sent
  look() { this.model.send({ do: "look", market: this.pick, range: this.profit.range }); this.memo.clear(); if (this.vm) this.draw(); }
  choose(ticker, side) { this.pick = ticker; this.side = side; this.look(); }
  async order(verb, more = {}, pressed = null) {                 // the button shows at once that it was pressed
    if (pressed) { set_attr(pressed, "data-sent", true); set_attr(pressed, "aria-busy", "true"); }
    const answer = await this.connection.command(verb, more);
    if (pressed) { set_attr(pressed, "data-sent", false); set_attr(pressed, "aria-busy", null); }
    if (!answer.ok) this.alerts.add(`${verb}: ${answer.said}`);
    return answer;
  }

  // -- drawing
  tick() {
    if (!this.vm) return;
    const changed = this.picture.grow_old();
    this.head.draw_age();
    if (changed) { this.draw_head(); this.kill.draw(); }
    if (this.picture.frozen) this.connection.probe().then(asked => { if (asked && this.picture.frozen) this.draw_head(); });
    if (this.kill.pending) this.kill.draw();
  }
  draw_head() {
    set_attr(this.root, "data-state", this.picture.state);
    this.head.draw();
    this.chart.draw_frozen(this.vm);
  }
  draw() {
    const vm = this.vm, live = this.picture.live;
    this.tick();
    this.draw_head(); this.kill.draw(); this.alerts.draw(vm);
    this.body.hidden = !live; this.no_engine.el.hidden = live;
    if (!live) return this.no_engine.draw(vm);
    for (const c of this.cards) c.draw(vm);
  }

  close() {
    clearInterval(this.timer); clearTimeout(this.dialog.disarm);
    this.theme.close();
    document.removeEventListener("keydown", this.page);
    this.profit.close(); this.chart.close();
  }
}

export function render({ model, el }) {
  const panel = new Panel(model, el);
  return () => panel.close();
}
