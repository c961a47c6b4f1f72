// The account: balance and connection, limits used, profit and inventory over time.
import { h, set_text, set_attr, icon, card, pairs } from "./dom.js";
import { Chart } from "./charts.js";

function gauge(g) {
  const bar = h("i", { class: g.tone });
  bar.style.width = `${Math.max(0, Math.min(100, g.share / 10))}%`;
  return h("div", { class: `gauge ${g.tone}`, role: "meter", "aria-label": g.label, "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-valuenow": Math.round(g.share / 10), "aria-valuetext": g.text },
  h("span", {}, g.label), h("span", { class: "track" }, bar), h("b", {}, g.text, g.tone ? icon("warn") : ""));
}

export class Account {
  constructor(panel) {
    this.panel = panel;
    this.rows = h("dl", { class: "pairs" });
    this.gauges = h("div", { class: "gauges" });
    this.els = [card("account", "Account", this.rows), card("risk", "Risk \u00b7 used of limit", this.gauges)];
  }
  draw(vm) {
    const { memo } = this.panel;
    memo.draw("account", vm.account, rows => this.rows.replaceChildren(...pairs(rows)));
    memo.draw("gauges", vm.gauges, rows => this.gauges.replaceChildren(...rows.map(gauge)));
  }
}

export class Profit {
  constructor(panel) {
    this.panel = panel; this.range = "15m";
    this.day = h("strong", { class: "day", "data-testid": "day" }); this.parts = h("div", { class: "parts" });
    this.curve = new Chart("Profit of the session", { area: "profit", read: v => `${v < 0 ? "\u2212" : ""}$${(Math.abs(v) / 1e6).toFixed(2)}`,
      names: { profit: "session", captured: "spread" } });
    this.ranges = h("span", { class: "seg" }, ...["15m", "day"].map(r => h("button", { type: "button", "data-range": r,
      onclick: () => { this.range = r; panel.look(); } }, r)));
    this.held = h("span", { class: "legend" });
    this.stock = new Chart("Inventory", { area: "held", step: true, read: v => String(v / 100), names: { exposure: "worst case" } });
    const profit = card("pnl", "Profit & loss", this.parts, this.curve.svg), inventory = card("inventory", "Inventory", this.stock.svg);
    profit.firstChild.append(this.day, this.ranges);
    inventory.firstChild.append(this.held);
    this.els = [profit, inventory];
  }
  draw(vm) { this.panel.memo.draw("pnl", [vm.pnl, this.range], () => this.redraw(vm.pnl)); }
  redraw(p) {
    set_text(this.day, p.day);
    set_attr(this.day, "title", `Profit of the New York day ${p.date}; below, the session's profit by source`);
    this.parts.replaceChildren(...p.parts.map(([id, label, text]) => h("span", { class: `key l-${id}` }, label, " ", h("b", {}, text))));
    for (const b of this.ranges.children) set_attr(b, "aria-pressed", b.dataset.range === this.range ? "true" : "false");
    this.curve.show(p.chart); this.stock.show(p.inventory);
    this.held.replaceChildren(h("span", { class: "key l-held" }, `held ${p.inventory.last.held}`),
      h("span", { class: "key l-exposure" }, `worst case ${p.inventory.last.exposure}`));
  }
  close() { this.curve.close(); this.stock.close(); }
}
