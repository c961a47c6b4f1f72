// Interruptions: a confirmation that has to be typed, alerts, and the content of the panel without an engine.
import { h, set_attr, icon, button, headings, pairs, clock_now } from "./dom.js";
import { home } from "./connection.js";

const ARMED_MS = 15000;                                          // then a typed confirmation has to be typed again

export class Dialog {
  constructor(panel) {
    this.panel = panel; this.name = null;
    this.el = h("section", { class: "confirm", "aria-label": "Confirm", "data-testid": "ask", hidden: true });
  }
  open(name, ask, more = {}) {
    if (this.name === name) return this.close();
    this.name = name;
    const field = h("input", { type: "text", autocomplete: "off", spellcheck: "false", "aria-label": `Type ${ask.word}`, "data-testid": "ask-word" });
    const send = () => {
      if (field.value.trim() !== ask.word || this.panel.picture.frozen) return;
      this.close();
      this.panel.order(name, { ...more, ...(ask.confirm ? { confirm: ask.confirm } : {}) }, this.panel.head.buttons[name]);
    };
    const go = button("go", ask.title, send, { "data-testid": "ask-go", "aria-disabled": "true" });
    field.addEventListener("input", () => {
      const armed = field.value.trim() === ask.word;
      set_attr(go, "aria-disabled", armed ? "false" : "true");
      clearTimeout(this.disarm);
      if (armed) this.disarm = setTimeout(() => { field.value = ""; set_attr(go, "aria-disabled", "true"); }, ARMED_MS);
    });
    field.addEventListener("keydown", e => { if (e.key === "Enter") send(); });
    this.el.replaceChildren(h("h2", {}, h("span", {}, ask.title)), h("dl", { class: "pairs" }, ...pairs(ask.lines)),
      h("div", { class: "typed" }, h("label", {}, "Type ", h("b", {}, ask.word), " "), field, go, button("", "Cancel (Esc)", () => this.close())));
    this.el.hidden = false;
    field.focus();
  }
  close() {
    if (!this.name) return;
    this.name = null; clearTimeout(this.disarm);
    this.el.hidden = true; this.el.replaceChildren();
    this.panel.root.focus();
  }
}

export class Alerts {
  constructor(panel) {
    this.panel = panel; this.refused = [];                       // commands of this page that were not carried out, newest first
    this.el = h("section", { class: "alerts", role: "alert", "aria-label": "Alerts", "data-testid": "alerts" });
  }
  add(text) {
    const same = this.refused.find(t => t.text === text);
    if (same) same.times += 1; else this.refused.unshift({ text, times: 1, time: clock_now() });
    this.refused.length = Math.min(this.refused.length, 3);
    this.draw(this.panel.vm);
  }
  dismiss(row) { this.refused = this.refused.filter(t => t !== row); this.draw(this.panel.vm); this.panel.root.focus(); }
  draw(vm) {
    const own = this.refused.map(t => ({ level: "warn", local: t, time: t.time, text: t.text + (t.times > 1 ? ` (\u00d7${t.times})` : ""), todo: "" }));
    const rows = [...own, ...(vm?.alerts || [])];
    this.panel.memo.draw("alerts", rows.map(r => ({ ...r, local: !!r.local })), () => this.el.replaceChildren(...rows.slice(0, 4).map(r => this.alert(r)),
      rows.length > 4 ? h("p", { class: "none" }, `and ${rows.length - 4} more`) : ""));
  }
  alert(r) {
    const press = (label, verb, more, attrs) => button("small", label, e => this.panel.order(verb, more, e.currentTarget), attrs);
    return h("div", { class: `alert ${r.level}` }, icon("warn"), h("time", {}, r.time), h("div", {}, h("b", {}, r.text), " ", h("span", {}, r.todo)),
      r.reset ? press(`Reset ${r.reset}`, "reset", { rule: r.reset }, { "data-testid": `reset-${r.reset}` }) : "",
      r.accept ? press("Accept the exchange's count", "accept", {}, { "data-testid": "accept",
        title: "Book the unexplained difference at its value in our books: our count becomes the exchange's" }) : "",
      r.local ? button("small", "dismiss", () => this.dismiss(r.local)) : "");
  }
}

export class NoEngine {
  constructor(panel) {
    this.panel = panel;
    this.el = h("section", { class: "empty", "aria-label": "No engine", "data-testid": "empty", hidden: true });
  }
  draw(vm) { this.panel.memo.draw("empty", [vm.state, vm.crash, vm.launch, vm.settings_file], () => this.redraw(vm)); }
  redraw(vm) {
    const none = text => h("p", { class: "none" }, text), launch = (vm.launch || []).map(l => this.launch(l, vm));
    const settings = vm.settings_file === undefined ? "" : none(vm.settings_file
      ? `Settings from ${vm.settings_file}` : "Settings from the environment; no .env was found.");
    if (vm.state === "NEEDS TOKEN") return this.el.replaceChildren(...this.token_form());
    if (vm.crash) return this.el.replaceChildren(...this.crash(vm.crash), ...launch, settings);
    const hint = home() === "notebook" ? "Running the cells only builds this panel. Nothing trades before you press a button."
      : "Start one with kalshi-mm run, or from the panel in JupyterLab (kalshi-mm lab).";
    this.el.replaceChildren(h("h2", {}, h("span", {}, vm.state === "STARTING" ? "An engine is starting" : "No engine runs")), ...launch, none(hint), settings);
  }
  launch(l, vm) {
    const press = e => {
      if (!l.on) return;
      if (l.ask) this.panel.dialog.open("launch", l.ask, { env: l.env }); else this.panel.order("launch", { env: l.env }, e.currentTarget);
    };
    const label = vm.crash ? l.label.replace(/^Start/, "Start again") : l.label;
    const attrs = { "data-testid": `launch-${l.env}`, "aria-disabled": l.on ? "false" : "true" };
    return h("div", { class: "launch" }, button(l.env === "sandbox" && !vm.crash ? "go" : "", label, press, attrs), h("span", {}, l.tip));
  }
  crash({ facts, orders, log }) {                                // first the orders that may still rest, and the button that cancels them
    const left = i => i < 2 || i > 3 ? "l" : "";
    const rows = orders.map(o => h("tr", {}, ...o.map((t, i) => h("td", { class: left(i) }, t))));
    if (!rows.length) rows.push(h("tr", {}, h("td", { class: "none", colspan: 5 }, "no order of ours was known to rest")));
    return [h("h2", {}, h("span", {}, "The engine is gone, without an orderly end")),
      h("div", { class: "launch" }, button("kill", "Cancel now", () => this.panel.kill.press(), { "data-testid": "cancel-now" }),
        h("span", {}, "Cancels orders that may still rest, directly at the exchange, and verifies there. Positions stay.")),
      h("dl", { class: "pairs", "data-testid": "crash-facts" }, ...pairs(facts)),
      h("table", { class: "grid", "data-testid": "crash-orders" }, headings(["market", "side", "price", "left", "rests, as last known"], left), h("tbody", {}, ...rows)),
      h("pre", { class: "logend", "data-testid": "crash-log" }, log.join("\n"))];
  }
  token_form() {
    const field = h("input", { type: "password", autocomplete: "off", spellcheck: "false", "aria-label": "Token or link", placeholder: "token or link", "data-testid": "token" });
    const open = () => { const t = field.value.trim(); if (t) this.panel.connection.model.send({ do: "token", token: t.split("token=").at(-1) }); };
    field.addEventListener("keydown", e => { if (e.key === "Enter") open(); });
    return [h("h2", {}, h("span", {}, "An engine runs here, and this page needs its token")),
      h("p", {}, "In a terminal  ", h("code", {}, "kalshi-mm status --link"), "  prints the address with the token. Or paste it:"),
      h("div", { class: "typed" }, field, button("go", "Open", open, { "data-testid": "token-go" })),
      h("p", {}, h("b", {}, "To kill without it: "), h("code", {}, "kalshi-mm kill"), " in a terminal.")];
  }
}
