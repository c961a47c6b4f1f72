// Fills, and the tabs: orders, event days, liquidity incentives, parameters, commands, log.
import { h, set_text, set_attr, button, card, headings } from "./dom.js";
import { Parameters } from "./parameters.js";

const FILL_COLUMNS = ["time", "market", "side", "size", "price", "edge", "1 s", "10 s", "1 min", "5 min", "fee", "reason"];
const TABS = { orders: "Orders", days: "Days", incentives: "Incentives", parameters: "Parameters", commands: "Commands", log: "Log" };

export class Fills {
  constructor(panel) {
    this.panel = panel;
    this.rows = h("tbody");
    this.none = h("p", { class: "none" });
    this.el = card("fills", "Fills", h("div", { class: "scroll" }, h("table", { class: "grid", "data-testid": "fills" },
      headings(FILL_COLUMNS, i => i < 3 ? "l" : i === FILL_COLUMNS.length - 1 ? "l wide" : ""), this.rows), this.none));
    this.el.firstChild.append(h("span", { class: "legend" }, "edge and markouts in cents per contract, against the mid"));
  }
  draw(vm) { this.panel.memo.draw("fills", vm.fills, rows => this.redraw(rows)); }
  redraw(rows) {
    this.none.hidden = rows.length > 0;
    set_text(this.none, rows.length ? "" : "No fills yet in this session.");
    this.rows.replaceChildren(...rows.map(f => {
      const side = f.side === "BUY" ? "bid" : "ask";
      return h("tr", { onclick: () => this.panel.choose(f.ticker, side) }, h("td", { class: "l" }, f.time), h("td", { class: "l" }, f.short),
        h("td", { class: `l ${side}` }, f.side), h("td", {}, f.count), h("td", {}, f.price), h("td", {}, f.edge),
        ...f.marks.map(v => h("td", { class: v === "\u2026" ? "dim" : "" }, v)),
        h("td", {}, f.fee), h("td", { class: "l wide", title: f.why }, f.flags ? h("b", {}, `${f.flags} `) : "", f.why));
    }));
  }
}

export class Tabs {
  constructor(panel) {
    this.panel = panel; this.open = "orders";
    this.buttons = h("div", { class: "seg", role: "tablist" }, ...Object.entries(TABS).map(([id, label]) =>
      h("button", { type: "button", role: "tab", "data-tab": id, "data-testid": `tab-${id}`, onclick: () => { this.open = id; this.draw(panel.vm); } }, label)));
    this.panes = Object.fromEntries(Object.keys(TABS).map(id => [id, h("div", { class: "scroll pane", role: "tabpanel", "data-testid": `pane-${id}`, hidden: true })]));
    this.parameters = new Parameters(panel, this.panes.parameters);
    const reconcile = button("small", "Reconcile", e => panel.order("reconcile", {}, e.currentTarget),
      { "data-testid": "reconcile", title: "Read orders, fills and positions from the exchange again" });
    this.el = h("section", { class: "card tabs", "aria-label": "Orders, event days, incentives, parameters, commands, log" }, h("h2", {}, this.buttons, h("span"), reconcile),
      ...Object.values(this.panes));
  }
  draw(vm) {
    if (!vm || vm.n === 0) return;
    for (const b of this.buttons.children) set_attr(b, "aria-selected", b.dataset.tab === this.open ? "true" : "false");
    for (const [id, el] of Object.entries(this.panes)) el.hidden = id !== this.open;
    const { memo } = this.panel;
    if (this.open === "orders") memo.draw("orders", vm.orders, rows => this.draw_orders(rows));
    if (this.open === "days") memo.draw("days", vm.days, d => this.draw_days(d));
    if (this.open === "incentives") memo.draw("incentives", vm.incentives, i => this.draw_incentives(i));
    if (this.open === "parameters") this.parameters.draw(vm.parameters);
    if (this.open === "commands") memo.draw("commands", vm.commands, rows => this.draw_commands(rows));
    if (this.open === "log") memo.draw("log", [vm.log, vm.log_file], () => this.draw_log(vm));
  }
  draw_orders(rows) {
    const head = headings(["market", "side", "price", "left", "filled", "state", "owner"], i => i < 2 || i > 4 ? "l" : "");
    const row = o => h("tr", { title: `${o.id} ${o.why}` }, h("td", { class: "l" }, o.short), h("td", { class: `l ${o.side}` }, o.side), h("td", {}, o.price),
      h("td", {}, o.left), h("td", {}, o.filled), h("td", { class: "l" }, o.state), h("td", { class: "l" }, o.ours ? "ours" : "not ours"));
    this.panes.orders.replaceChildren(rows.length ? h("table", { class: "grid" }, head, h("tbody", {}, ...rows.map(row)))
      : h("p", { class: "none" }, "No order of this account rests."));
  }
  draw_days(d) {
    if (!d.rows.length) return this.panes.days.replaceChildren(h("p", { class: "none" }, "No event has been traded yet."));
    const row = (cells, n) => h("tr", { title: d.notes[n] }, ...cells.map((t, at) => h("td", { class: at < 2 ? "l" : "" }, t)));
    this.panes.days.replaceChildren(
      h("p", { "data-testid": "verdict" }, h("b", {}, d.verdict)),
      h("div", { class: "parts" }, ...d.sums.map(([label, text]) => h("span", {}, label, " ", h("b", {}, text)))),
      h("table", { class: "grid" }, headings(d.columns, at => at < 2 ? "l" : ""), h("tbody", {}, ...d.rows.map(row))),
      h("p", { class: "none" }, "Of all sessions of this account. The command kalshi-mm report has the whole story."));
  }
  draw_incentives(i) {
    if (!i.sums.length) return this.panes.incentives.replaceChildren(h("p", { class: "none" }, "No liquidity programme runs or is to come in these markets."));
    const row = (cells, n) => h("tr", { title: i.notes[n] }, ...cells.map((t, at) => h("td", { class: at < 1 ? "l" : "" }, t)));
    this.panes.incentives.replaceChildren(
      h("div", { class: "parts", "data-testid": "incentive-sums" }, ...i.sums.map(([label, text]) => h("span", {}, label, " ", h("b", {}, text)))),
      h("table", { class: "grid" }, headings(i.columns, at => at < 1 ? "l" : ""), h("tbody", {}, ...i.rows.map(row))),
      h("p", { class: "none" }, "Our own count, apart from the profit. A line's tip has what lies behind it."));
  }
  draw_commands(rows) {
    this.panes.commands.replaceChildren(h("table", { class: "grid" }, h("tbody", {}, ...rows.map(cells => h("tr", {}, ...cells.map(t => h("td", { class: "l" }, t)))))));
  }
  draw_log(vm) {
    this.panes.log.replaceChildren(...vm.log.map(([t, text, n]) => h("p", { class: "logline" }, h("time", {}, t), " ", text, n ? h("b", {}, ` ${n}`) : "")),
      h("p", { class: "none" }, `full log: ${vm.log_file}`),
      h("p", { class: "none", "data-testid": "settings-file" }, vm.settings_file ? `settings from ${vm.settings_file}` : "settings from the environment, no .env"));
  }
}
