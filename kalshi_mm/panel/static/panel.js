// The control panel. It draws what the view-model says, in JupyterLab (an anywidget) and on the engine's own page alike.
// It decides two things itself, because nobody else can: how old the picture is, and which way a press goes.
//
// `model` is anywidget's: get("vm"), on("change:vm"), on("msg:custom"), send(message).
// Sent: {do: "look", market, range}, and, where no other way is open, {do: VERB, id, ...}, answered by {id, ok, said, fields}.
// Heard: {way: {url, token, session, state_dir, settings}}, the way from this page straight to the engine.
// What is pressed goes straight to the engine; if that can't be reached, through the Jupyter server; last through the kernel.
// What adds risk carries `deadline_ms`, by the clock of whoever made the picture: held up on its way it is not carried out.
// What comes from the exchange reaches the page as text only, never as HTML.

const STALE_MS = 2000, LOST_MS = 10000, PATIENCE_MS = 10000, SVG = "http://www.w3.org/2000/svg", NONE = "\u2014";

// ---- small tools -----------------------------------------------------------------------------------------------
function put(el, attrs, kids) {
  for (const [k, v] of Object.entries(attrs)) {
    if (k.startsWith("on")) el.addEventListener(k.slice(2), v);
    else if (v !== null && v !== undefined && v !== false) el.setAttribute(k, v === true ? "" : v);
  }
  el.append(...kids.filter(k => k !== null && k !== undefined && k !== ""));
  return el;
}
const h = (tag, attrs = {}, ...kids) => put(document.createElement(tag), attrs, kids);
const s = (tag, attrs = {}, ...kids) => put(document.createElementNS(SVG, tag), attrs, kids);
const say = (el, text) => { if (el.textContent !== text) el.textContent = text; };
const mark = (el, name, value) => {
  if (value === null || value === undefined || value === false || value === "") el.removeAttribute(name);
  else if (el.getAttribute(name) !== String(value)) el.setAttribute(name, value === true ? "" : value);
};
const card = (name, title, ...kids) => h("section", { class: `card ${name}`, "aria-label": title },
  h("h2", {}, h("span", {}, title)), ...kids);
const seconds = ms => ms < 9950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;

const PATHS = {                                                  // verb -> [path, body] of the engine's control API
  start: m => ["strategy/start", m.confirm ? { confirm: m.confirm } : {}], stop: () => ["strategy/stop", {}], end: () => ["strategy/end", {}],
  reduce: m => ["strategy/reduce-only", { on: m.on }], pause: m => [`markets/${encodeURIComponent(m.market)}/pause`, {}],
  resume: m => [`markets/${encodeURIComponent(m.market)}/resume`, {}], reset: m => [`risk/reset?rule=${encodeURIComponent(m.rule)}`, {}],
  reconcile: () => ["account/reconcile", {}], accept: () => ["account/accept", {}], rearm: () => ["risk/rearm", {}],
  set: m => ["parameters", m.values],
};
const RISKY = m => ["launch", "start", "resume", "reset", "rearm", "accept", "set"].includes(m.do) || (m.do === "reduce" && !m.on);

const ICONS = {
  play: "M4 2l10 6-10 6z", stop: "M3 3h10v10H3z", pause: "M3 2h4v12H3zM9 2h4v12H9z",
  cross: "M3.5 1.5L8 6l4.5-4.5 2 2L10 8l4.5 4.5-2 2L8 10l-4.5 4.5-2-2L6 8 1.5 3.5z",
  ring: "M8 1a7 7 0 100 14A7 7 0 108 1zm0 2a5 5 0 110 10A5 5 0 118 3z", down: "M1 3h14L8 14zM4.4 5L8 10.6 11.6 5z",
  quarter: "M8 1a7 7 0 100 14A7 7 0 108 1zm0 2a5 5 0 110 10A5 5 0 118 3zm0 1v4h4a4 4 0 00-4-4z",
  clock: "M8 1a7 7 0 100 14A7 7 0 108 1zm0 2a5 5 0 110 10A5 5 0 118 3zM7 4h2v4l2.5 2-1.2 1.5L7 9z",
  broken: "M1 7h5l1 2 2-4 1 2h5v2H9L8 7.500 7 11 5 9H1z", warn: "M8 1l7.500 14H.5zM7 6v4h2V6zm0 5v2h2v-2z",
};
const icon = name => s("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" },
  s("path", { d: ICONS[name] || ICONS.ring, "fill-rule": "evenodd" }));

// ---- charts ----------------------------------------------------------------------------------------------------
// A chart comes as columns of integers with finished axis labels; here it is only scaled to the space there is.
class Chart {
  constructor(words, { step = false, area = "", read = String, names = {} } = {}) {   // read: a value as text; names: of lines, if others
    this.step = step; this.area = area; this.read = read; this.names = names; this.at = null;
    this.svg = s("svg", { class: "chart", role: "img", "aria-label": words, "data-testid": words });
    this.data = null;
    this.hover = s("g", { class: "hover", "aria-hidden": "true" });
    this.svg.addEventListener("pointermove", e => { this.at = e.clientX - this.svg.getBoundingClientRect().left; this.point(); });
    this.svg.addEventListener("pointerleave", () => { this.at = null; this.point(); });
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.svg);
  }
  show(data) { this.data = data; this.draw(); }
  draw() {
    const { width: w, height: hh } = this.svg.getBoundingClientRect();
    const d = this.data;
    if (!d || w < 40 || hh < 30) return;
    const left = 8 + 6.2 * Math.max(2, ...d.y.map(([, label]) => label.length)), right = w - 8, top = 6, bottom = hh - 16;
    const t0 = d.t[0] ?? 0, t1 = d.t.at(-1) ?? 1;
    const x = t => left + (right - left) * (t - t0) / Math.max(t1 - t0, 1);
    const y = v => bottom - (bottom - top) * (v - d.lo) / (d.hi - d.lo);
    const parts = [];
    const every = Math.ceil(d.y.length * 15 / Math.max(bottom - top, 1));
    for (const [i, [v, label]] of d.y.entries()) {
      if (i % every) continue;
      parts.push(s("line", { x1: left, x2: right, y1: y(v), y2: y(v), class: v === 0 && d.lo < 0 ? "zero" : "rule" }));
      parts.push(s("text", { x: left - 5, y: y(v) + 3.5, class: "tick end" }, label));
    }
    for (const [ms, label] of d.x) parts.push(s("text", { x: x(ms), y: hh - 3, class: "tick mid" }, label));
    for (const [name, values] of Object.entries(d.lines)) {
      const path = this.path(d.t, values, x, y);
      if (name === this.area && path.length) {
        parts.push(s("path", { class: `area l-${name}`, d: `${path}L${x(t1)} ${y(Math.max(0, d.lo))}L${left} ${y(Math.max(0, d.lo))}Z` }));
      }
      parts.push(s("path", { class: `line l-${name}`, d: path }));
    }
    for (const m of d.marks || []) if (m.t >= t0 && m.t <= t1) parts.push(this.fill(x(m.t), y(m.v), m));
    this.svg.setAttribute("viewBox", `0 0 ${w} ${hh}`);
    this.svg.replaceChildren(...parts, this.hover);
    this.scale = { x, left, right, top, bottom, t0, t1 };
    this.point();
  }
  point() {                                                      // what the lines say under the pointer
    const d = this.data, c = this.scale;
    if (this.at === null || !c || !d.t.length) return this.hover.replaceChildren();
    const want = c.t0 + (c.t1 - c.t0) * (this.at - c.left) / Math.max(c.right - c.left, 1);
    const i = d.t.reduce((best, t, n) => Math.abs(t - want) < Math.abs(d.t[best] - want) ? n : best, 0), x = c.x(d.t[i]);
    const rows = [`${new Date(d.t[i]).toISOString().slice(11, 19)} UTC`,
      ...Object.entries(d.lines).filter(([, v]) => v[i] !== null).map(([name, v]) => `${this.names[name] || name.replace("_", " ")} ${this.read(v[i])}`)];
    const wide = 14 + 6.4 * Math.max(...rows.map(r => r.length)), left = x + 8 + wide > c.right ? x - 8 - wide : x + 8;
    this.hover.replaceChildren(s("line", { x1: x, x2: x, y1: c.top, y2: c.bottom }),
      s("rect", { x: left, y: c.top, width: wide, height: 6 + 14 * rows.length, rx: 4 }),
      ...rows.map((r, n) => s("text", { x: left + 7, y: c.top + 14 + 14 * n }, r)));
  }
  path(t, values, x, y) {
    let d = "", pen = false, last = 0;
    values.forEach((v, i) => {
      if (v === null) { pen = false; return; }
      const px = x(t[i]).toFixed(1), py = y(v).toFixed(1);
      d += !pen ? `M${px} ${py}` : this.step && last !== py ? `H${px}V${py}` : `L${px} ${py}`;
      pen = true; last = py;
    });
    return d;
  }
  fill(x, y, m) {
    const buy = m.side === "bid";
    return s("path", { class: `fill ${m.side}`, d: buy ? `M${x} ${y}l5 9h-10z` : `M${x} ${y}l5 -9h-10z` }, s("title", {}, m.text));
  }
  close() { this.watch.disconnect(); }
}

function spark(svg, values) {
  const seen = values.filter(v => v !== null), lo = Math.min(...seen), hi = Math.max(...seen), n = Math.max(values.length - 1, 1);
  let d = "", pen = false;
  values.forEach((v, i) => {
    if (v === null) { pen = false; return; }
    d += `${pen ? "L" : "M"}${(1 + 68 * i / n).toFixed(1)} ${(15 - 12 * (v - lo) / Math.max(hi - lo, 200)).toFixed(1)}`;
    pen = true;
  });
  mark(svg.firstChild, "d", d || "M0 0");
}

// ---- the panel -------------------------------------------------------------------------------------------------
class Panel {
  constructor(model, host) {
    this.model = model;
    this.vm = null; this.n = -1; this.seenAt = performance.now();
    this.state = ""; this.alive = null; this.probing = false;   // alive: whether the engine answered this page when the picture stood still
    this.way = null;                                           // straight to the engine: {url, token, session, state_dir, settings}
    this.killed = null;                                        // what this page knows of its own kill
    this.waiting = new Map(); this.id = 0; this.memo = {}; this.rows = new Map(); this.told = [];
    this.pick = ""; this.side = ""; this.range = "15m"; this.tab = "orders"; this.asked = null; this.charts = [];
    this.root = this.build();
    host.append(this.root);
    this.theme();
    this.keys();
    model.on("change:vm", () => this.take(model.get("vm")));
    model.on("msg:custom", m => this.hear(m));
    this.greet();
    this.timer = setInterval(() => this.tick(), 250);
    this.take(model.get("vm"));
  }

  // -- building, once
  build() {
    const b = (name, label, press) => h("button", { type: "button", class: `b ${name}`, "data-testid": name, onclick: e => press(e) }, label);
    this.badge = h("div", { class: "badge", role: "status", "aria-live": "assertive", "data-testid": "badge" });
    this.env = h("span", { class: "env" });
    this.note = h("div", { class: "note", "data-testid": "note" });
    this.about = h("span", {}); this.more = h("span", { class: "more" }); this.age = h("span", { class: "age", "data-testid": "age" });
    this.button = {
      start: b("start", "Start", () => this.press("start")), reduce: b("reduce", "Reduce only", () => this.press("reduce")),
      stop: b("stop", "Stop quoting", () => this.press("stop")), rearm: b("rearm", "Re-arm\u2026", () => this.press("rearm")),
    };
    this.kill = h("button", { type: "button", class: "b kill", "data-testid": "kill", title: "Cancel everything now and quote no more (Shift+K). Positions stay.",
      onclick: () => this.press_kill() }, icon("cross"), h("span", {}, "KILL"), h("small", {}, "cancel all & stop"));
    this.killbar = h("section", { class: "killbar", role: "alert", "aria-label": "Kill", "data-testid": "killbar", hidden: true });
    this.alerts = h("section", { class: "alerts", role: "alert", "aria-label": "Alerts", "data-testid": "alerts" });
    this.ask = h("section", { class: "confirm", "aria-label": "Confirm", "data-testid": "ask", hidden: true });
    this.empty = h("section", { class: "empty", "aria-label": "No engine", "data-testid": "empty", hidden: true });
    this.body = h("div", { class: "cards" }, this.account(), this.risk(), this.pnl(), this.inventory(), this.markets(), this.market(), this.book(), this.why(),
      this.fills(), this.tabs());
    return h("div", { class: "kmm", tabindex: "-1", role: "region", "aria-label": "kalshi_mm control panel", "data-lm-suppress-shortcuts": "true" },
      h("header", {}, this.badge, this.env, h("div", { class: "about" }, this.note, h("div", { class: "sub" }, this.about, this.more, this.age)),
        h("div", { class: "buttons" }, ...Object.values(this.button), this.kill)),
      this.killbar, this.ask, this.alerts, this.empty, this.body);
  }
  account() { this.acct = h("dl", { class: "pairs" }); return card("account", "Account", this.acct); }
  risk() { this.gauges = h("div", { class: "gauges" }); return card("risk", "Risk \u00b7 used of limit", this.gauges); }
  pnl() {
    this.day = h("strong", { class: "day", "data-testid": "day" }); this.parts = h("div", { class: "parts" });
    this.charts.push(this.curve = new Chart("Profit of the session", { area: "profit", read: v => `${v < 0 ? "\u2212" : ""}$${(Math.abs(v) / 1e6).toFixed(2)}`,
      names: { profit: "session", captured: "spread" } }));
    this.ranges = h("span", { class: "seg" }, ...["15m", "day"].map(r => h("button", { type: "button", "data-range": r,
      onclick: () => { this.range = r; this.look(); } }, r)));
    const c = card("pnl", "Profit & loss", this.parts, this.curve.svg);
    c.firstChild.append(this.day, this.ranges);
    return c;
  }
  inventory() {
    this.held = h("span", { class: "legend" });
    this.charts.push(this.stock = new Chart("Inventory", { area: "held", step: true, read: v => String(v / 100), names: { exposure: "worst case" } }));
    const c = card("inventory", "Inventory", this.stock.svg);
    c.firstChild.append(this.held);
    return c;
  }
  markets() {
    this.filter = h("input", { type: "search", placeholder: "filter  /", "aria-label": "Filter markets", "data-testid": "filter", oninput: () => this.draw_markets(this.vm) });
    this.table = h("tbody");
    const head = ["market", "my bid", "bid", "ask", "my ask", "mid", "spread", "position", "inventory", "P&L", "fills", "15 min", "age", "state", "why"];
    const cls = ["l", "own-bid", "", "", "own-ask", "", "", "", "c", "", "opt", "c opt", "", "l", "l wide"];
    this.scroll = h("div", { class: "scroll" }, h("table", { class: "grid markets", "data-testid": "markets" },
      h("thead", {}, h("tr", {}, ...head.map((t, i) => h("th", { scope: "col", class: cls[i] }, t)))), this.table));
    this.count = h("span", { class: "legend" });
    const c = card("mk", "Markets", this.scroll);
    c.firstChild.append(this.count, this.filter);
    return c;
  }
  market() {
    this.pausing = h("button", { type: "button", class: "b small", "data-testid": "pause", onclick: () => this.pause() }, "Pause");
    this.charts.push(this.tape = new Chart("Best prices, our quotes and fills", { step: true, read: v => `${v / 100}\u00a2`,
      names: { bid: "best bid", ask: "best ask" } }));
    this.closes = h("span", { class: "legend" });
    const c = card("tape", "Market", this.tape.svg);
    this.titled = c.querySelector("h2 span");
    const key = [["l-our_bid", "our bid"], ["l-our_ask", "our ask"], ["l-bid", "best bid"], ["l-ask", "best ask"]];
    c.firstChild.append(h("span", { class: "legend" }, ...key.map(([k, t]) => h("span", { class: `key ${k}` }, t))), this.closes, this.pausing);
    return c;
  }
  book() { this.ladder = h("table", { class: "ladder", "data-testid": "ladder", tabindex: "-1" }); return card("book", "Ladder", this.ladder); }
  why() { this.reasons = h("div", { class: "reasons", "data-testid": "why" }); return card("why", "Why", this.reasons); }
  fills() {
    this.filled = h("tbody");
    const head = ["time", "market", "side", "size", "price", "edge", "1 s", "10 s", "1 min", "5 min", "fee", "reason"];
    const cls = ["l", "l", "l", "", "", "", "", "", "", "", "", "l wide"];
    this.nofills = h("p", { class: "none" });
    const c = card("fills", "Fills", h("div", { class: "scroll" }, h("table", { class: "grid", "data-testid": "fills" },
      h("thead", {}, h("tr", {}, ...head.map((t, i) => h("th", { scope: "col", class: cls[i] }, t)))), this.filled), this.nofills));
    c.firstChild.append(h("span", { class: "legend" }, "edge and markouts in cents a contract, against the middle"));
    return c;
  }
  tabs() {
    const names = { orders: "Orders", parameters: "Parameters", commands: "Commands", log: "Log" };
    this.tabbuttons = h("div", { class: "seg", role: "tablist" }, ...Object.entries(names).map(([id, label]) =>
      h("button", { type: "button", role: "tab", "data-tab": id, "data-testid": `tab-${id}`, onclick: () => { this.tab = id; this.draw_tabs(this.vm); } }, label)));
    this.pane = Object.fromEntries(Object.keys(names).map(id => [id, h("div", { class: "scroll pane", role: "tabpanel", "data-testid": `pane-${id}`, hidden: true })]));
    this.fields = new Map();
    const c = h("section", { class: "card tabs", "aria-label": "Orders, parameters, commands, log" }, h("h2", {}, this.tabbuttons, h("span"),
      h("button", { type: "button", class: "b small", "data-testid": "reconcile", title: "Read orders, fills and positions from the exchange again", onclick: e => this.order("reconcile", {}, e.currentTarget) }, "Reconcile")), ...Object.values(this.pane));
    return c;
  }
  theme() {
    const body = document.body, media = matchMedia("(prefers-color-scheme: dark)");
    const see = () => {
      const jp = body.getAttribute("data-jp-theme-light");
      this.root.dataset.theme = (jp !== null ? jp === "false" : media.matches) ? "dark" : "light";
    };
    this.mutations = new MutationObserver(see);
    this.mutations.observe(body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    media.addEventListener("change", see);
    see();
  }

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
    if (e.key === "Escape") { this.close_ask(); this.filter.value = ""; this.draw_markets(this.vm); this.root.focus(); }
    else if (typing || e.ctrlKey || e.metaKey || e.altKey) return;
    else if (e.shiftKey && e.code === "KeyK") { e.preventDefault(); this.press_kill(); }
    else if (e.key === "/") { e.preventDefault(); this.filter.focus(); }
    else if (e.key === "ArrowDown" || e.key === "ArrowUp") { e.preventDefault(); this.step(e.key === "ArrowDown" ? 1 : -1); }
    else if (e.key === "Enter" && e.target.tagName !== "BUTTON") { this.ladder.scrollIntoView({ block: "nearest" }); this.ladder.focus(); }
  }
  step(by) {
    const shown = this.shown(this.vm).map(m => m.ticker);
    if (!shown.length) return;
    const i = shown.indexOf(this.pick);
    this.choose(shown[Math.max(0, Math.min(shown.length - 1, i < 0 ? 0 : i + by))], "");
    this.rows.get(this.pick)?.tr.scrollIntoView({ block: "nearest" });
  }

  // -- what comes in
  take(vm) {
    if (!vm || !vm.state) return;
    const fresh = vm.n !== this.n;
    this.vm = vm;
    if (fresh || vm.n === 0) { this.n = vm.n; this.seenAt = performance.now(); this.alive = null; }
    const lost = vm.n && (!this.way?.url || (this.way.session && this.way.session !== vm.session));   // of an earlier engine, or the answer went astray
    if (lost && performance.now() - this.greeted > 1000) this.greet();
    const known = vm.markets.some(m => m.ticker === this.pick);
    if (!known && vm.markets.length) { this.pick = (vm.markets.find(m => m.bid.ours !== NONE || m.ask.ours !== NONE) || vm.markets[0]).ticker; this.look(); }
    this.draw();
  }
  greet() { this.greeted = performance.now(); this.model.send({ do: "hello" }); }
  hear(m) {
    if (m.way) { this.way = m.way; mark(this.root, "data-way", m.way.url ? "straight" : ""); }
    if (m.id && this.waiting.has(m.id)) { this.waiting.get(m.id)(m); this.waiting.delete(m.id); }
  }
  look() { this.model.send({ do: "look", market: this.pick, range: this.range }); this.memo = {}; if (this.vm) this.draw(); }
  choose(ticker, side) { this.pick = ticker; this.side = side; this.look(); }

  // -- orders that are given
  get clock_ms() { return Math.round((this.vm?.now_ms || Date.now()) + (this.vm?.now_ms ? performance.now() - this.seenAt : 0)); }
  async tell(verb, more = {}) {
    const m = { do: verb, ...more };
    if (RISKY(m)) m.deadline_ms = this.clock_ms + PATIENCE_MS;
    const said = (await this.straight(m)) || (await this.jupyter(m));
    return said || (this.home === "web" ? { ok: false, said: "the engine can't be reached" } : this.kernel(m));
  }
  async straight(m) {                                            // null where it can't be reached, so that another way may be tried
    if (!this.way?.url || !this.way.token || !PATHS[m.do]) return null;
    const [path, body] = PATHS[m.do](m);
    try {
      const r = await fetch(`${this.way.url}/api/${path}`, { method: "POST", cache: "no-store", signal: AbortSignal.timeout(3000), body: JSON.stringify(body),
        headers: { ...this.headers(), ...(m.deadline_ms ? { "X-Deadline-Ms": String(m.deadline_ms) } : {}) } });
      const said = await r.json();
      if (r.status === 401) return null;                         // of an earlier engine: the way is being asked for anew
      return r.ok ? { ok: true, said: "" } : { ok: false, said: said.error || `status ${r.status}`, fields: said.fields };
    } catch (e) { return e.name === "TimeoutError" ? { ok: false, said: "the engine did not answer within 3 s" } : null; }
  }
  async jupyter(m) {                                             // null where there is no such route
    const route = m.do === "launch" ? "launch" : "command";
    try {
      if (m.do === "launch") {                                   // by the clock of the server, which is the one that looks at it
        const now = await this.ask_jupyter("status");
        if (!now) return null;
        m = { ...m, deadline_ms: now.now_ms + PATIENCE_MS };
      }
      return await this.ask_jupyter(route, { ...m, session: this.vm?.session || "" });
    } catch { return null; }
  }
  async ask_jupyter(route, body = null) {
    const config = document.getElementById("jupyter-config-data");
    if (!config) return null;
    const base = JSON.parse(config.textContent).baseUrl || "/", where = this.way?.state_dir || "";
    const xsrf = (document.cookie.match(/(?:^|; )_xsrf=([^;]*)/) || [])[1] || "";
    const r = await fetch(`${base}kalshi-mm/${route}${body ? "" : `?state_dir=${encodeURIComponent(where)}`}`, { method: body ? "POST" : "GET",
      credentials: "same-origin", cache: "no-store", headers: { "Content-Type": "application/json", "X-XSRFToken": decodeURIComponent(xsrf) },
      body: body ? JSON.stringify({ state_dir: where, settings: this.way?.settings || {}, ...body }) : undefined });
    if (r.status === 404) return null;
    if (!r.ok) throw new Error(`status ${r.status}`);
    return r.json();
  }
  kernel(m) {
    const id = ++this.id;
    return new Promise(done => {
      const timer = setTimeout(() => { this.waiting.delete(id);
        done({ ok: false, said: `no answer within 20 s: the kernel is busy or gone${RISKY(m) ? "; when it reads this it will be too late, and nothing is done" : ""}` }); }, 20000);
      this.waiting.set(id, said => { clearTimeout(timer); done(said); });
      this.model.send({ ...m, id });
    });
  }
  async order(verb, more = {}, button = null) {                  // the button shows at once that it was pressed
    if (button) { mark(button, "data-sent", true); mark(button, "aria-busy", "true"); }
    const answer = await this.tell(verb, more);
    if (button) { mark(button, "data-sent", false); mark(button, "aria-busy", null); }
    if (!answer.ok) this.complain(`${verb}: ${answer.said}`);
    return answer;
  }
  complain(text) {
    const same = this.told.find(t => t.text === text);
    if (same) same.times += 1; else this.told.unshift({ text, times: 1, time: new Date().toISOString().slice(11, 19) });
    this.told.length = Math.min(this.told.length, 3);
    this.draw_alerts(this.vm);
  }
  press(name) {
    const b = this.vm?.buttons?.[name];
    if (!b || !this.may(name, b)) return;
    if (b.ask) return this.open_ask(name, b.ask);
    this.order(name, name === "reduce" ? { on: !b.down } : {}, this.button[name]);
  }
  may(name, b) { return this.frozen ? name === "stop" || (name === "reduce" && !b.down) : b.on; }  // an old picture is no reason not to stop
  pause() {
    const shown = this.vm?.market, row = this.vm?.markets.find(m => m.ticker === this.pick);
    if (!row) return;
    const paused = shown?.ticker === this.pick ? shown.paused : row.word === "PAUSED";   // the picture of what was just picked may be on its way
    if (!this.frozen || !paused) this.order(paused ? "resume" : "pause", { market: this.pick }, this.pausing);
  }
  open_ask(name, ask, more = {}) {
    if (this.asked === name) return this.close_ask();
    this.asked = name;
    const go = h("button", { type: "button", class: "b go", "data-testid": "ask-go", "aria-disabled": "true" }, ask.title);
    const field = h("input", { type: "text", autocomplete: "off", spellcheck: "false", "aria-label": `Type ${ask.word}`, "data-testid": "ask-word" });
    const send = () => {
      if (field.value.trim() !== ask.word || this.frozen) return;
      this.close_ask();
      this.order(name, { ...more, ...(ask.confirm ? { confirm: ask.confirm } : {}) }, this.button[name]);
    };
    field.addEventListener("input", () => {
      const armed = field.value.trim() === ask.word;
      mark(go, "aria-disabled", armed ? "false" : "true");
      clearTimeout(this.disarm);
      if (armed) this.disarm = setTimeout(() => { field.value = ""; mark(go, "aria-disabled", "true"); }, 15000);
    });
    field.addEventListener("keydown", e => { if (e.key === "Enter") send(); });
    go.addEventListener("click", send);
    this.ask.replaceChildren(h("h2", {}, h("span", {}, ask.title)), h("dl", { class: "pairs" }, ...ask.lines.flatMap(([k, v]) => [h("dt", {}, k), h("dd", {}, v)])),
      h("div", { class: "typed" }, h("label", {}, "Type ", h("b", {}, ask.word), " "), field, go,
        h("button", { type: "button", class: "b", onclick: () => this.close_ask() }, "Cancel (Esc)")));
    this.ask.hidden = false;
    field.focus();
  }
  close_ask() {
    if (!this.asked) return;
    this.asked = null; clearTimeout(this.disarm);
    this.ask.hidden = true; this.ask.replaceChildren();
    this.root.focus();
  }

  // -- KILL: straight from this page to the engine, through the Jupyter server at the same time, and through the kernel if the first fails
  press_kill() {
    const k = this.killed = { at: performance.now(), wall: Date.now(), clock: new Date().toISOString().slice(11, 19), ack: null, via: "", key: 0, progress: null,
      ways: {}, exchange: null };
    this.kill_engine(k);
    this.kill_jupyter(k);
    this.draw_kill(this.vm);
  }
  async kill_engine(k) {
    k.ways.engine = "\u2026";
    try {
      if (!this.way?.url) throw new Error("this page has not been told where it is");
      if (!this.way.token) throw new Error("this page has no token");
      const r = await fetch(`${this.way.url}/api/risk/kill-switch`, { method: "POST", headers: this.headers(), body: "{}", cache: "no-store", signal: AbortSignal.timeout(3000) });
      const said = await r.json();
      if (!r.ok) throw new Error(said.error || `status ${r.status}`);
      this.acknowledged(k, "directly", said);
    } catch (e) {
      k.ways.engine = e.name === "TimeoutError" ? "no answer in 3 s" : e.name === "TypeError" ? "can't be reached" : e.message;
      const m = this.home === "web" ? { ok: false, said: "" } : await this.kernel({ do: "kill" });   // should it still be awake
      if (m.ok) this.acknowledged(k, "through the kernel", m.kill || {}); else k.ways.kernel = m.said;
    }
    this.draw_kill(this.vm);
  }
  async kill_jupyter(k) {
    if (!document.getElementById("jupyter-config-data")) return;
    k.ways.jupyter = "\u2026";
    try {
      const said = await this.ask_jupyter("kill", { session: this.vm?.session || "" });
      if (!said) throw new Error("not installed");
      k.ways.jupyter = said.said;
      if (said.via === "engine" && said.kill) this.acknowledged(k, "through Jupyter", said.kill);
      else if (said.via === "exchange" || said.code !== undefined) k.exchange = said;
    } catch (e) { k.ways.jupyter = e.name === "TypeError" ? "the Jupyter server can't be reached" : e.message; }
    this.draw_kill(this.vm);
  }
  headers() { return { "Authorization": `Bearer ${this.way.token}`, "Content-Type": "application/json", "X-Client": this.home }; }
  get home() { return document.body.hasAttribute("data-jp-theme-light") ? "notebook" : "web"; }
  acknowledged(k, how, report) {
    if (k.ack === null) { k.ack = performance.now() - k.at; k.via = how; k.key = report.sent_ms || 0; this.follow_kill(k); }
    if (report.sent_ms) k.progress = report;
    this.draw_kill(this.vm);
  }
  async follow_kill(k) {                                         // until the exchange has been seen empty; the picture may be frozen meanwhile
    for (let i = 0; i < 120 && this.killed === k && !k.progress?.verified_ms && this.way; i++) {
      await new Promise(done => setTimeout(done, i < 20 ? 150 : 500));
      const said = await this.engine_says();
      if (said?.sent_ms) { k.progress = said; this.draw_kill(this.vm); }
    }
  }
  async engine_says() {
    if (!this.way?.url) return undefined;
    try {
      const r = await fetch(`${this.way.url}/api/risk/kill`, { headers: this.headers(), cache: "no-store", signal: AbortSignal.timeout(1500) });
      return r.ok ? (await r.json()) || {} : undefined;
    } catch { return undefined; }
  }

  // -- drawing: each part only when what it shows has changed
  part(key, data, draw) {
    const now = JSON.stringify(data);
    if (this.memo[key] === now) return;
    this.memo[key] = now;
    draw(data);
  }
  get frozen() { return this.state === "STALE" || this.state === "DISCONNECTED"; }
  tick() {
    if (!this.vm) return;
    const age = performance.now() - this.seenAt, live = this.vm.n !== 0;
    const state = !live || age < STALE_MS ? this.vm.state : age < LOST_MS ? "STALE" : "DISCONNECTED";
    if (live) { say(this.age, ` \u00b7 updated ${seconds(age)} ago`); mark(this.age, "data-old", age >= STALE_MS); } else say(this.age, "");
    if (state !== this.state) { this.state = state; this.draw_head(this.vm); this.draw_kill(this.vm); }
    if (this.frozen && !this.probing) this.probe();
    if (this.killed && !this.killed.progress?.verified_ms) this.draw_kill(this.vm);
  }
  async probe() {                                                // the picture stands still: is it the engine, or what is between?
    this.probing = true;
    this.alive = (await this.engine_says()) !== undefined;
    if (this.frozen) this.draw_head(this.vm);
    setTimeout(() => { this.probing = false; }, 1500);
  }
  draw() {
    const vm = this.vm;
    this.tick();
    this.draw_head(vm); this.draw_kill(vm); this.draw_alerts(vm);
    const none = vm.n === 0;
    this.body.hidden = none; this.empty.hidden = !none;
    if (none) return this.part("empty", [vm.state, vm.crash, vm.launch, vm.settings_file], () => this.draw_empty(vm));
    this.part("account", vm.account, rows => this.acct.replaceChildren(...rows.flatMap(([k, v, tone]) => [h("dt", {}, k), h("dd", { class: tone }, v)])));
    this.part("gauges", vm.gauges, rows => this.gauges.replaceChildren(...rows.map(gauge)));
    this.part("pnl", [vm.pnl, this.range], () => this.draw_pnl(vm.pnl));
    this.draw_markets(vm);
    this.part("market", vm.market, m => this.draw_market(m));
    this.part("ladder", vm.market?.ladder, rows => this.draw_ladder(rows || []));
    this.part("why", [vm.market?.why, this.side], () => this.draw_why(vm.market?.why || []));
    this.part("fills", vm.fills, rows => this.draw_fills(rows));
    this.draw_tabs(vm);
  }
  draw_head(vm) {
    const state = this.state || vm.state, frozen = this.frozen;
    const word = state === "STALE" ? `STALE \u2014 engine was ${vm.state}` : state;
    const name = state === "STALE" ? "clock" : state === "DISCONNECTED" ? "broken" : vm.icon;
    mark(this.root, "data-state", state);
    this.part("badge", word, () => this.badge.replaceChildren(icon(name), h("span", {}, word)));
    say(this.env, vm.env || ""); mark(this.env, "data-env", vm.env);
    say(this.note, frozen ? this.lost() : vm.note);
    say(this.about, vm.n === 0 ? "" : `${vm.series} \u00b7 up ${vm.up} \u00b7 ${vm.clock} UTC`);
    say(this.more, vm.n === 0 ? "" : ` \u00b7 account ${vm.account_id} \u00b7 session ${vm.session}`);
    for (const [id, el] of Object.entries(this.button)) {
      const b = vm.buttons?.[id];
      el.hidden = !b;
      if (!b) continue;
      const on = this.may(id, b);
      say(el, b.label + (b.ask && id === "start" ? "\u2026" : "")); mark(el, "aria-disabled", on ? "false" : "true");
      mark(el, "title", frozen ? (on ? "The picture is old; this goes straight to the engine" : "The picture is old") : b.tip);
      if (id === "reduce") mark(el, "aria-pressed", b.down ? "true" : "false");
    }
    mark(this.pausing, "aria-disabled", frozen && vm.market?.paused ? "true" : "false");
    this.kill.hidden = state === "NEEDS TOKEN";                  // it could do nothing: the page says what can
  }
  lost() {
    const home = this.home === "notebook";
    if (this.vm.link) return this.vm.link;
    if (!this.way?.url) return "Nothing new comes from the kernel. KILL goes through the Jupyter server.";
    if (this.alive === null) return "Nothing new comes; asking the engine\u2026";
    if (this.alive) return home ? "The engine answers, the kernel does not. It goes on trading; Stop and KILL go straight to it. Its own page: kalshi-mm status --link" : "The engine answers; the stream is being opened again.";
    return "The engine does not answer. " + (home ? "KILL still cancels straight at the exchange." : "If KILL does nothing here, run  kalshi-mm kill  in a terminal.");
  }
  draw_kill(vm) {
    const k = this.killed, seen = vm?.kill, over = seen && ["KILLING", "KILLED"].includes(vm.state) ? seen : null;
    if (k && k.ack !== null && vm && vm.n && !["KILLING", "KILLED"].includes(vm.state) && Date.now() - k.wall > 4000 && !this.frozen) this.killed = null;
    this.killbar.hidden = !this.killed && !over;
    if (this.killbar.hidden) return;
    const bar = this.killed ? this.own_kill(this.killed, over) : [["done", "Sent", `by ${over.who} at ${over.sent}`], ["done", "Engine acknowledged", ""],
      [over.done ? "done" : over.late ? "bad" : "wait", "Exchange confirmed", `${over.text} \u00b7 ${over.took}`]];
    const red = over?.red || (this.killed ? this.red(this.killed) : "");
    this.part("kill", [bar, red, over?.left], () => this.killbar.replaceChildren(
      h("ol", {}, ...bar.map(([tone, title, text]) => h("li", { class: tone }, h("span", { class: "dot", "aria-hidden": "true" }, { done: "\u2713", wait: "\u2026", bad: "!" }[tone]),
        h("b", {}, title), text ? h("span", {}, text) : ""))),
      red ? h("p", { class: "red", "data-testid": "red" }, red) : "", ...(over?.left || []).map(t => h("p", { class: "left" }, t))));
  }
  own_kill(k, seen) {
    const waited = performance.now() - k.at, p = k.progress, x = k.exchange;
    const sent = ["done", "Sent", k.clock];
    const failed = Object.entries(k.ways).filter(([w, t]) => t && t !== "\u2026" && w !== "jupyter").map(([w, t]) => `${w}: ${t}`).join(" \u00b7 ");
    const ack = k.ack !== null ? ["done", "Engine acknowledged", `${k.ack < 1 ? "<1" : Math.round(k.ack)} ms, ${k.via}`]
      : x || failed ? ["bad", "Engine did not acknowledge", failed] : [waited > 1000 ? "bad" : "wait", "Engine acknowledged", waited > 1000 ? `no answer for ${seconds(waited)}` : ""];
    const done = p?.verified_ms || (seen?.done && seen.key === k.key);
    const of = Math.max(p?.of || 0, p?.resting || 0), gone = done ? of : p && p.resting >= 0 ? of - p.resting : 0;
    let third;
    if (done) third = ["done", "Exchange confirmed", `${of ? `${gone} of ${of} gone` : "nothing of ours rests"} \u00b7 ${seconds(Math.max((p?.verified_ms || 0) - (p?.sent_ms || 0), 0))}`];
    else if (x) third = [x.code === 0 ? "done" : "bad", x.code === 0 ? "Cancelled straight at the exchange" : "Exchange not confirmed", x.said.split("\n").at(-1)];
    else if (k.ack !== null) third = [waited > (p?.resting === 0 ? 6000 : 3000) ? "bad" : "wait", "Exchange confirmed", p && p.resting >= 0 ? `${gone} of ${of} gone` : "asking\u2026"];
    else third = [waited > 3000 ? "bad" : "wait", "Exchange confirmed", k.ways.jupyter === "\u2026" && waited > 1000 ? "Jupyter is cancelling straight at the exchange\u2026" : ""];
    return [sent, ack, third];
  }
  red(k) {
    const waited = performance.now() - k.at;
    if (k.progress?.verified_ms || k.exchange?.code === 0 || waited < 3000) return "";
    if (k.exchange) return `NOT CONFIRMED: ${k.exchange.said.split("\n").at(-1)}`;
    const rest = k.progress?.resting;
    if (rest > 0) return `${rest} ORDER${rest === 1 ? "" : "S"} OF OURS STILL REST${rest === 1 ? "S" : ""}. Cancel on Kalshi's own page.`;
    if (k.ack !== null) return "";
    return "NOBODY HAS CONFIRMED THE KILL. Orders may rest: run  kalshi-mm kill  in a terminal, or cancel on Kalshi's own page.";
  }
  draw_alerts(vm) {
    const rows = [...this.told.map(t => ({ level: "warn", local: t, time: t.time, text: t.text + (t.times > 1 ? ` (\u00d7${t.times})` : ""), todo: "" })), ...(vm?.alerts || [])];
    this.part("alerts", rows.map(r => ({ ...r, local: !!r.local })), () => this.alerts.replaceChildren(...rows.slice(0, 4).map(r => h("div", { class: `alert ${r.level}` },
      icon("warn"), h("time", {}, r.time), h("div", {}, h("b", {}, r.text), " ", h("span", {}, r.todo)),
      r.reset ? h("button", { type: "button", class: "b small", "data-testid": `reset-${r.reset}`, onclick: e => this.order("reset", { rule: r.reset }, e.currentTarget) }, `Reset ${r.reset}`) : "",
      r.accept ? h("button", { type: "button", class: "b small", "data-testid": "accept", title: "Book what is missing at its value: our count becomes the exchange's", onclick: e => this.order("accept", {}, e.currentTarget) }, "Accept the exchange's count") : "",
      r.local ? h("button", { type: "button", class: "b small", onclick: () => { this.told = this.told.filter(t => t !== r.local); this.draw_alerts(this.vm); this.root.focus(); } }, "dismiss") : "")),
      rows.length > 4 ? h("p", { class: "none" }, `and ${rows.length - 4} more`) : ""));
  }
  draw_empty(vm) {
    const launch = (vm.launch || []).map(l => h("div", { class: "launch" },
      h("button", { type: "button", class: l.env === "sandbox" && !vm.crash ? "b go" : "b", "data-testid": `launch-${l.env}`, "aria-disabled": l.on ? "false" : "true",
        onclick: e => { if (l.on) l.ask ? this.open_ask("launch", l.ask, { env: l.env }) : this.order("launch", { env: l.env }, e.currentTarget); } },
        vm.crash ? l.label.replace(/^Start/, "Start again") : l.label), h("span", {}, l.tip)));
    const home = this.home === "notebook", none = text => h("p", { class: "none" }, text);
    const settings = vm.settings_file === undefined ? "" : none(vm.settings_file ? `Settings from ${vm.settings_file}` : "Settings from the environment; no .env was found.");
    if (vm.state === "NEEDS TOKEN") return this.empty.replaceChildren(...this.token_form());
    if (vm.crash) return this.empty.replaceChildren(...this.crash(vm), ...launch, settings);
    this.empty.replaceChildren(h("h2", {}, h("span", {}, vm.state === "STARTING" ? "An engine is starting" : "No engine runs")), ...launch,
      none(home ? "Running the cells only builds this panel. Nothing trades before you press a button." : "Start one with kalshi-mm run, or from the panel in JupyterLab (kalshi-mm lab)."), settings);
  }
  crash(vm) {                                                    // first what may still rest, and the way to be rid of it
    const { facts, orders, log } = vm.crash;
    const rows = orders.map(o => h("tr", {}, ...o.map((t, i) => h("td", { class: i < 2 || i > 3 ? "l" : "" }, t))));
    return [h("h2", {}, h("span", {}, "The engine is gone, and has not ended in order")),
      h("div", { class: "launch" }, h("button", { type: "button", class: "b kill", "data-testid": "cancel-now", onclick: () => this.press_kill() }, "Cancel now"),
        h("span", {}, "Cancels what may rest, straight at the exchange, and verifies there. Positions stay.")),
      h("dl", { class: "pairs", "data-testid": "crash-facts" }, ...facts.flatMap(([k, v]) => [h("dt", {}, k), h("dd", {}, v)])),
      h("table", { class: "grid", "data-testid": "crash-orders" }, h("thead", {}, h("tr", {}, ...["market", "side", "price", "left", "rests, as last known"].map((t, i) =>
        h("th", { scope: "col", class: i < 2 || i > 3 ? "l" : "" }, t)))), h("tbody", {}, ...rows, ...(rows.length ? [] : [h("tr", {}, h("td", { class: "none", colspan: 5 }, "no order of ours was known to rest"))]))),
      h("pre", { class: "logend", "data-testid": "crash-log" }, log.join("\n"))];
  }
  token_form() {
    const field = h("input", { type: "password", autocomplete: "off", spellcheck: "false", "aria-label": "Token or link", placeholder: "token or link", "data-testid": "token" });
    const open = () => { const t = field.value.trim(); if (t) this.model.send({ do: "token", token: t.split("token=").at(-1) }); };
    field.addEventListener("keydown", e => { if (e.key === "Enter") open(); });
    return [h("h2", {}, h("span", {}, "An engine is here, and this page needs its token")),
      h("p", {}, "In a terminal  ", h("code", {}, "kalshi-mm status --link"), "  prints the address that has it. Or paste it:"),
      h("div", { class: "typed" }, field, h("button", { type: "button", class: "b go", "data-testid": "token-go", onclick: open }, "Open")),
      h("p", {}, h("b", {}, "To kill without it: "), h("code", {}, "kalshi-mm kill"), " in a terminal.")];
  }
  draw_pnl(p) {
    say(this.day, p.day);
    mark(this.day, "title", `Profit of the New York day ${p.date}; below, where the session's comes from`);
    this.parts.replaceChildren(...p.parts.map(([id, label, text]) => h("span", { class: `key l-${id}` }, label, " ", h("b", {}, text))));
    for (const b of this.ranges.children) mark(b, "aria-pressed", b.dataset.range === this.range ? "true" : "false");
    this.curve.show(p.chart); this.stock.show(p.inventory);
    this.held.replaceChildren(h("span", { class: "key l-held" }, `held ${p.inventory.last.held}`), h("span", { class: "key l-exposure" }, `worst case ${p.inventory.last.exposure}`));
  }
  shown(vm) {
    const want = this.filter.value.trim().toLowerCase();
    return (vm?.markets || []).filter(m => !want || `${m.ticker} ${m.title} ${m.word}`.toLowerCase().includes(want));
  }
  draw_markets(vm) {
    if (!vm || vm.n === 0) return;
    const rows = this.shown(vm);
    const count = rows.length === vm.markets.length ? `${rows.length}` : `${rows.length} of ${vm.markets.length}`;
    say(this.count, vm.settled ? `${count} · ${vm.settled}` : count);
    for (const m of rows) { if (!this.rows.has(m.ticker)) this.rows.set(m.ticker, this.new_row(m.ticker)); this.part(`row ${m.ticker}`, [m, m.ticker === this.pick], () => this.draw_row(m)); }
    const want = rows.map(m => this.rows.get(m.ticker).tr);
    if (want.length !== this.table.children.length || want.some((tr, i) => tr !== this.table.children[i])) this.table.replaceChildren(...want);
    if (!rows.length) this.table.replaceChildren(h("tr", {}, h("td", { colspan: 15, class: "none" }, vm.markets.length ? "No market has that in its name." : "No market of the series is open yet.")));
  }
  new_row(ticker) {
    const why = side => h("button", { type: "button", class: `cell own ${side}`, onclick: e => { e.stopPropagation(); this.choose(ticker, side); } });
    const r = { name: h("b"), short: h("small"), bid: why("bid"), ask: why("ask"), best_bid: h("td", { class: "bid" }), best_ask: h("td", { class: "ask" }), mid: h("td"), spread: h("td"),
      net: h("td"), bar: h("span", { class: "bar", "aria-hidden": "true" }, h("i")), pnl: h("td"), fills: h("td", { class: "opt" }), age: h("td"), word: h("span", { class: "word" }), why: h("td", { class: "l wide" }),
      spark: s("svg", { viewBox: "0 0 70 18", class: "spark", "aria-hidden": "true" }, s("path")) };
    r.tr = h("tr", { onclick: () => { this.choose(ticker, ""); this.root.focus(); } }, h("th", { scope: "row", class: "l" }, r.name, r.short), h("td", { class: "own-bid" }, r.bid), r.best_bid, r.best_ask,
      h("td", { class: "own-ask" }, r.ask), r.mid, r.spread, r.net, h("td", { class: "c" }, r.bar), r.pnl, r.fills, h("td", { class: "c opt" }, r.spark), r.age, h("td", { class: "l" }, r.word), r.why);
    return r;
  }
  draw_row(m) {
    const r = this.rows.get(m.ticker);
    say(r.name, m.title); say(r.short, m.short);
    for (const side of ["bid", "ask"]) {
      const q = m[side], el = r[side];
      this.part(`q ${m.ticker} ${side}`, q, () => el.replaceChildren(q.ours, q.size ? h("small", {}, `\u00d7${q.size}`) : ""));
      mark(el, "data-state", q.state); mark(el, "title", `${q.why}${q.ahead ? `; at most ${q.ahead} ahead of us` : ""}${q.state && q.state !== "resting" ? `; ${q.state}` : ""}`);
      mark(el, "aria-label", `my ${side} in ${m.title}: ${q.ours === NONE ? "none" : `${q.ours} cents, ${q.size} contracts, ${q.state}`}. Why?`);
    }
    say(r.best_bid, m.bid.best); say(r.best_ask, m.ask.best); say(r.mid, m.mid); say(r.spread, m.spread); say(r.net, m.net); say(r.pnl, m.pnl); say(r.fills, m.fills);
    say(r.age, m.age); say(r.word, m.word); say(r.why, m.why); mark(r.why, "title", m.why);
    mark(r.tr, "data-word", m.word); mark(r.tr, "aria-selected", m.ticker === this.pick ? "true" : "false");
    const i = r.bar.firstChild, part = Math.abs(m.share) / 20;
    i.style.width = `${part}%`; i.style.left = m.share < 0 ? `${50 - part}%` : "50%";
    mark(i, "class", m.share < 0 ? "short" : "long");
    spark(r.spark, m.spark);
  }
  draw_market(m) {
    say(this.titled, m ? m.title : "Market"); say(this.closes, m ? `closes ${m.closes} UTC` : "");
    say(this.pausing, m?.paused ? "Resume" : "Pause"); mark(this.pausing, "title", "Quote this market no more until it is resumed");
    this.pausing.hidden = !m;
    if (m) this.tape.show(m.chart);
  }
  draw_ladder(rows) {
    this.ladder.replaceChildren(h("thead", {}, h("tr", {}, ...["ours", "bids", "price", "asks", "ours"].map(t => h("th", { scope: "col" }, t)))), h("tbody", {}, ...rows.map(r => {
      if (!r.side) return h("tr", { class: "gap" }, h("td", { colspan: 5 }, r.price));
      const bar = h("td", { class: `depth ${r.side}` }, h("i"), h("span", {}, r.count));
      bar.firstChild.style.width = `${r.share / 10}%`;
      const mine = h("td", { class: "own" }, r.ours ? h("b", {}, r.ours) : ""), none = () => h("td");
      const cells = r.side === "bid" ? [mine, bar, h("td", { class: "price" }, r.price), none(), none()] : [none(), none(), h("td", { class: "price" }, r.price), bar, mine];
      return h("tr", { class: r.ours ? `${r.side} mine` : r.side }, ...cells);
    })));
  }
  draw_why(reasons) {
    this.reasons.replaceChildren(...reasons.map(r => h("article", { class: r.side, "data-picked": String(r.side === this.side) }, h("h3", {}, r.head), h("p", {}, r.why), r.more ? h("p", { class: "more" }, r.more) : "",
      h("ol", { class: "past", tabindex: "0", "aria-label": `History of the ${r.side}` }, ...r.past.map(([t, q, w]) => h("li", {}, h("time", {}, t), h("b", {}, q), h("span", { title: w }, w)))))));
  }
  draw_fills(rows) {
    this.nofills.hidden = rows.length > 0;
    say(this.nofills, rows.length ? "" : "No fills yet in this session.");
    this.filled.replaceChildren(...rows.map(f => h("tr", { onclick: () => this.choose(f.ticker, f.side === "BUY" ? "bid" : "ask") }, h("td", { class: "l" }, f.time), h("td", { class: "l" }, f.short),
      h("td", { class: f.side === "BUY" ? "l bid" : "l ask" }, f.side), h("td", {}, f.count), h("td", {}, f.price), h("td", {}, f.edge), ...f.marks.map(v => h("td", { class: v === "\u2026" ? "dim" : "" }, v)),
      h("td", {}, f.fee), h("td", { class: "l wide", title: f.why }, f.flags ? h("b", {}, `${f.flags} `) : "", f.why))));
  }
  draw_tabs(vm) {
    if (!vm || vm.n === 0) return;
    for (const b of this.tabbuttons.children) mark(b, "aria-selected", b.dataset.tab === this.tab ? "true" : "false");
    for (const [id, el] of Object.entries(this.pane)) el.hidden = id !== this.tab;
    if (this.tab === "orders") this.part("orders", vm.orders, rows => this.pane.orders.replaceChildren(rows.length ? h("table", { class: "grid" },
      h("thead", {}, h("tr", {}, ...["market", "side", "price", "left", "filled", "state", "whose"].map((t, i) => h("th", { scope: "col", class: i < 2 || i > 4 ? "l" : "" }, t)))),
      h("tbody", {}, ...rows.map(o => h("tr", { title: `${o.id} ${o.why}` }, h("td", { class: "l" }, o.short), h("td", { class: `l ${o.side}` }, o.side), h("td", {}, o.price), h("td", {}, o.left), h("td", {}, o.filled),
        h("td", { class: "l" }, o.state), h("td", { class: "l" }, o.ours ? "ours" : "not ours"))))) : h("p", { class: "none" }, "No order of this account rests.")));
    if (this.tab === "parameters") this.draw_parameters(vm.parameters);
    if (this.tab === "commands") this.part("commands", vm.commands, rows => this.pane.commands.replaceChildren(h("table", { class: "grid" }, h("tbody", {}, ...rows.map(([t, who, what, end]) =>
      h("tr", {}, h("td", { class: "l" }, t), h("td", { class: "l" }, who), h("td", { class: "l" }, what), h("td", { class: "l" }, end)))))));
    if (this.tab === "log") this.part("log", [vm.log, vm.log_file], () => this.pane.log.replaceChildren(...vm.log.map(([t, text, n]) =>
      h("p", { class: "logline" }, h("time", {}, t), " ", text, n ? h("b", {}, ` ${n}`) : "")), h("p", { class: "none" }, `all of it: ${vm.log_file}`), h("p", { class: "none", "data-testid": "settings-file" }, vm.settings_file ? `settings from ${vm.settings_file}` : "settings from the environment, and no .env")));
  }
  // parameters are drawn once and then only told what is new, so that what is being typed stays
  draw_parameters(rows) {
    if (!this.fields.size) this.pane.parameters.replaceChildren(h("div", { class: "fields" }, ...rows.map(p => this.field(p))), h("div", { class: "apply" },
      h("button", { type: "button", class: "b go", "data-testid": "apply", onclick: () => this.apply() }, "Apply all at once"),
      h("button", { type: "button", class: "b", onclick: () => this.revert() }, "Discard"), this.applied = h("span", { role: "status", "data-testid": "applied" })));
    for (const p of rows) {
      const f = this.fields.get(p.name);
      if (!f) continue;
      if (f.input.value === f.value || f.value === undefined) f.input.value = p.value;
      f.value = p.value;
      const changed = f.input.value !== p.value;
      say(f.now, changed ? `now ${p.value} ${p.unit},` : `${p.unit},`); say(f.was, p.was);
      mark(f.box, "data-changed", changed);
    }
  }
  field(p) {
    const f = { input: h("input", { type: "text", inputmode: "decimal", id: `kmm-${p.name}`, "data-testid": `p-${p.name}`, "aria-describedby": `kmm-${p.name}-why` }),
      now: h("span", { class: "now" }), was: h("span", { class: "was" }), wrong: h("span", { class: "wrong", id: `kmm-${p.name}-why`, role: "alert" }) };
    f.input.addEventListener("input", () => { say(f.wrong, ""); mark(f.box, "data-changed", f.input.value !== f.value); say(this.applied, ""); });
    f.input.addEventListener("keydown", e => { if (e.key === "Enter") this.apply(); });
    f.box = h("div", { class: "field" }, h("label", { for: `kmm-${p.name}` }, p.label), f.input, h("span", { class: "hint", title: `${p.meaning}; ${p.range} ${p.unit}` }, f.now, ` ${p.meaning}`), f.was, f.wrong);
    this.fields.set(p.name, f);
    return f.box;
  }
  async apply() {
    const changes = Object.fromEntries([...this.fields].filter(([, f]) => f.input.value.trim() !== f.value).map(([name, f]) => [name, f.input.value.trim()]));
    for (const f of this.fields.values()) say(f.wrong, "");
    if (this.frozen || !Object.keys(changes).length) return say(this.applied, this.frozen ? "the picture is old" : "nothing is changed");
    say(this.applied, "sent\u2026");
    const answer = await this.tell("set", { values: changes });
    for (const [name, why] of Object.entries(answer.fields || {})) if (this.fields.has(name)) say(this.fields.get(name).wrong, why);
    say(this.applied, answer.ok ? "applied" : `refused, nothing is changed${answer.fields ? "" : `: ${answer.said}`}`);
  }
  revert() { for (const f of this.fields.values()) { f.input.value = f.value; say(f.wrong, ""); mark(f.box, "data-changed", false); } say(this.applied, ""); }

  close() {
    clearInterval(this.timer); clearTimeout(this.disarm);
    this.mutations.disconnect();
    document.removeEventListener("keydown", this.page);
    for (const c of this.charts) c.close();
  }
}

function gauge(g) {
  const bar = h("i", { class: g.tone });
  bar.style.width = `${Math.max(0, Math.min(100, g.share / 10))}%`;
  return h("div", { class: `gauge ${g.tone}`, role: "meter", "aria-label": g.label, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(g.share / 10), "aria-valuetext": g.text },
    h("span", {}, g.label), h("span", { class: "track" }, bar), h("b", {}, g.text, g.tone ? icon("warn") : ""));
}

export function render({ model, el }) {
  const panel = new Panel(model, el);
  return () => panel.close();
}
export default { render };
