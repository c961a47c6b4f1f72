// The table of markets: a row for each, kept while the market is shown; a filter; one row picked.
import { h, set_text, set_attr, card, headings, NONE } from "./dom.js";
import { sparkline, draw_sparkline } from "./charts.js";

const COLUMNS = ["market", "my bid", "bid", "ask", "my ask", "mid", "spread", "position", "inventory", "P&L", "fills", "15 min", "age", "state", "why"];
const COLUMN_CLASSES = ["l", "own-bid", "", "", "own-ask", "", "", "", "c", "", "opt", "c opt", "", "l", "l wide"];

export class Markets {
  constructor(panel) {
    this.panel = panel; this.rows = new Map();
    this.filter = h("input", { type: "search", placeholder: "filter  /", "aria-label": "Filter markets", "data-testid": "filter", oninput: () => this.draw(panel.vm) });
    this.body = h("tbody");
    this.count = h("span", { class: "legend" });
    this.el = card("mk", "Markets", h("div", { class: "scroll" }, h("table", { class: "grid markets", "data-testid": "markets" },
      headings(COLUMNS, i => COLUMN_CLASSES[i]), this.body)));
    this.el.firstChild.append(this.count, this.filter);
  }
  shown(vm) {
    const text = this.filter.value.trim().toLowerCase();
    return (vm?.markets || []).filter(m => !text || `${m.ticker} ${m.title} ${m.word}`.toLowerCase().includes(text));
  }
  clear_filter() { this.filter.value = ""; this.draw(this.panel.vm); }
  step(by) {
    const shown = this.shown(this.panel.vm).map(m => m.ticker);
    if (!shown.length) return;
    const i = shown.indexOf(this.panel.pick);
    this.panel.choose(shown[Math.max(0, Math.min(shown.length - 1, i < 0 ? 0 : i + by))], "");
    this.rows.get(this.panel.pick)?.tr.scrollIntoView({ block: "nearest" });
  }
  draw(vm) {
    if (!vm || vm.n === 0) return;
    const rows = this.shown(vm), pick = this.panel.pick;
    const count = rows.length === vm.markets.length ? `${rows.length}` : `${rows.length} of ${vm.markets.length}`;
    set_text(this.count, vm.settled ? `${count} \u00b7 ${vm.settled}` : count);
    for (const m of rows) {
      if (!this.rows.has(m.ticker)) this.rows.set(m.ticker, this.new_row(m.ticker));
      this.panel.memo.draw(`row ${m.ticker}`, [m, m.ticker === pick], () => this.draw_row(m, m.ticker === pick));
    }
    const els = rows.map(m => this.rows.get(m.ticker).tr);
    if (els.length !== this.body.children.length || els.some((tr, i) => tr !== this.body.children[i])) this.body.replaceChildren(...els);
    if (!rows.length) this.body.replaceChildren(h("tr", {}, h("td", { colspan: COLUMNS.length, class: "none" },
      vm.markets.length ? "No market matches the filter." : "No market of the series is open yet.")));
  }
  new_row(ticker) {
    const own = side => h("button", { type: "button", class: `cell own ${side}`, onclick: e => { e.stopPropagation(); this.panel.choose(ticker, side); } });
    const r = { name: h("b"), short: h("small"), bid: own("bid"), ask: own("ask"), best_bid: h("td", { class: "bid" }), best_ask: h("td", { class: "ask" }),
      mid: h("td"), spread: h("td"), net: h("td"), bar: h("span", { class: "bar", "aria-hidden": "true" }, h("i")), pnl: h("td"), fills: h("td", { class: "opt" }),
      age: h("td"), word: h("span", { class: "word" }), why: h("td", { class: "l wide" }), spark: sparkline() };
    r.tr = h("tr", { onclick: () => { this.panel.choose(ticker, ""); this.panel.root.focus(); } }, h("th", { scope: "row", class: "l" }, r.name, r.short),
      h("td", { class: "own-bid" }, r.bid), r.best_bid, r.best_ask, h("td", { class: "own-ask" }, r.ask), r.mid, r.spread, r.net, h("td", { class: "c" }, r.bar),
      r.pnl, r.fills, h("td", { class: "c opt" }, r.spark), r.age, h("td", { class: "l" }, r.word), r.why);
    return r;
  }
  draw_row(m, picked) {
    const r = this.rows.get(m.ticker);
    set_text(r.name, m.title); set_text(r.short, m.short);
    for (const side of ["bid", "ask"]) this.draw_quote(r[side], m, side);
    set_text(r.best_bid, m.bid.best); set_text(r.best_ask, m.ask.best);
    for (const name of ["mid", "spread", "net", "pnl", "fills", "age", "word", "why"]) set_text(r[name], m[name]);
    set_attr(r.why, "title", m.why);
    set_attr(r.tr, "data-word", m.word); set_attr(r.tr, "aria-selected", picked ? "true" : "false");
    const i = r.bar.firstChild, part = Math.abs(m.share) / 20;
    i.style.width = `${part}%`; i.style.left = m.share < 0 ? `${50 - part}%` : "50%";
    set_attr(i, "class", m.share < 0 ? "short" : "long");
    draw_sparkline(r.spark, m.spark);
  }
  draw_quote(el, m, side) {
    const q = m[side], unsettled = q.state && q.state !== "resting";
    this.panel.memo.draw(`q ${m.ticker} ${side}`, q, () => el.replaceChildren(q.ours, q.size ? h("small", {}, `\u00d7${q.size}`) : ""));
    set_attr(el, "data-state", q.state);
    set_attr(el, "title", `${q.why}${q.ahead ? `; at most ${q.ahead} ahead of us` : ""}${unsettled ? `; ${q.state}` : ""}`);
    set_attr(el, "aria-label", `my ${side} in ${m.title}: ${q.ours === NONE ? "none" : `${q.ours} cents, ${q.size} contracts, ${q.state}`}. Why?`);
  }
}
