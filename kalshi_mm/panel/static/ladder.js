// The market that is picked: its prices over time, its ladder, and the reasons for our quotes.
import { h, set_text, set_attr, button, card } from "./dom.js";
import { Chart } from "./charts.js";

const KEYS = [["l-our_bid", "our bid"], ["l-our_ask", "our ask"], ["l-bid", "best bid"], ["l-ask", "best ask"]];

export class MarketChart {
  constructor(panel) {
    this.panel = panel;
    this.pausing = button("small", "Pause", () => this.pause(), { "data-testid": "pause" });
    this.chart = new Chart("Best prices, our quotes and fills", { step: true, read: v => `${v / 100}\u00a2`, names: { bid: "best bid", ask: "best ask" } });
    this.closes = h("span", { class: "legend" });
    this.el = card("tape", "Market", this.chart.svg);
    this.title = this.el.querySelector("h2 span");
    this.el.firstChild.append(h("span", { class: "legend" }, ...KEYS.map(([k, t]) => h("span", { class: `key ${k}` }, t))), this.closes, this.pausing);
  }
  pause() {
    const { vm, pick, picture } = this.panel, shown = vm?.market, row = vm?.markets.find(m => m.ticker === pick);
    if (!row) return;
    const paused = shown?.ticker === pick ? shown.paused : row.word === "PAUSED";   // the picture of the market just picked may be on its way
    if (!picture.frozen || !paused) this.panel.order(paused ? "resume" : "pause", { market: pick }, this.pausing);
  }
  draw(vm) { this.panel.memo.draw("market", vm.market, m => this.redraw(m)); }
  redraw(m) {
    set_text(this.title, m ? m.title : "Market"); set_text(this.closes, m ? `closes ${m.closes} UTC` : "");
    set_text(this.pausing, m?.paused ? "Resume" : "Pause"); set_attr(this.pausing, "title", "Stop quoting this market until it is resumed");
    this.pausing.hidden = !m;
    if (m) this.chart.show(m.chart);
  }
  draw_frozen(vm) { set_attr(this.pausing, "aria-disabled", this.panel.picture.frozen && vm.market?.paused ? "true" : "false"); }
  close() { this.chart.close(); }
}

export class Ladder {
  constructor(panel) {
    this.panel = panel;
    this.table = h("table", { class: "ladder", "data-testid": "ladder", tabindex: "-1" });
    this.el = card("book", "Ladder", this.table);
  }
  focus() { this.table.scrollIntoView({ block: "nearest" }); this.table.focus(); }
  draw(vm) { this.panel.memo.draw("ladder", vm.market?.ladder, rows => this.redraw(rows || [])); }
  redraw(rows) {
    const head = h("thead", {}, h("tr", {}, ...["ours", "bids", "price", "asks", "ours"].map(t => h("th", { scope: "col" }, t))));
    this.table.replaceChildren(head, h("tbody", {}, ...rows.map(r => this.level(r))));
  }
  level(r) {
    if (!r.side) return h("tr", { class: "gap" }, h("td", { colspan: 5 }, r.price));
    const bar = h("td", { class: `depth ${r.side}` }, h("i"), h("span", {}, r.count));
    bar.firstChild.style.width = `${r.share / 10}%`;
    const ours = h("td", { class: "own" }, r.ours ? h("b", {}, r.ours) : ""), price = h("td", { class: "price" }, r.price), none = [h("td"), h("td")];
    const cells = r.side === "bid" ? [ours, bar, price, ...none] : [...none, price, bar, ours];
    return h("tr", { class: r.ours ? `${r.side} mine` : r.side }, ...cells);
  }
}

export class Reasons {
  constructor(panel) {
    this.panel = panel;
    this.list = h("div", { class: "reasons", "data-testid": "why" });
    this.el = card("why", "Why", this.list);
  }
  draw(vm) {
    const side = this.panel.side, { why = [], profit = [] } = vm.market || {};
    this.panel.memo.draw("why", [why, profit, side], () => this.list.replaceChildren(...why.map(r => this.reason(r, side)),
      ...profit.map(text => h("p", { class: "more", "data-testid": "split" }, text))));
  }
  reason(r, side) {
    const past = r.past.map(([t, q, why]) => h("li", {}, h("time", {}, t), h("b", {}, q), h("span", { title: why }, why)));
    return h("article", { class: r.side, "data-picked": String(r.side === side) }, h("h3", {}, r.head), h("p", {}, r.why),
      r.more ? h("p", { class: "more" }, r.more) : "", h("ol", { class: "past", tabindex: "0", "aria-label": `History of the ${r.side}` }, ...past));
  }
}
