// The engine's own page: the panel with a model that speaks HTTP and WebSocket in place of a kernel.
import { render } from "./panel.js";

const KEEP = "kalshi_mm.token";                                  // for this tab only, so that a reload finds it
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(KEEP, given);
  history.replaceState(null, "", location.pathname);             // not in the address, the history or a screenshot
}
const token = sessionStorage.getItem(KEEP) || "";

const PATHS = {                                                  // verb -> [path, body]
  start: m => ["/api/strategy/start", m.confirm ? { confirm: m.confirm } : {}],
  stop: () => ["/api/strategy/stop", {}],
  reduce: m => ["/api/strategy/reduce-only", { on: m.on }],
  pause: m => [`/api/markets/${encodeURIComponent(m.market)}/pause`, {}],
  resume: m => [`/api/markets/${encodeURIComponent(m.market)}/resume`, {}],
  reset: m => [`/api/risk/reset?rule=${encodeURIComponent(m.rule)}`, {}],
  reconcile: () => ["/api/account/reconcile", {}],
  accept: () => ["/api/account/accept", {}],
  rearm: () => ["/api/risk/rearm", {}],
  set: m => ["/api/parameters", m.values],
  kill: () => ["/api/risk/kill-switch", {}],
};

const none = note => ({ n: 0, state: "NO ENGINE", icon: "ring", note, env: "", markets: [], alerts: [], kill: null, market: null });

class Model {
  constructor() { this.vm = none("Connecting\u2026"); this.heard = {}; this.wants = {}; this.tries = 0; this.open(); }
  get(name) { return name === "vm" ? this.vm : undefined; }
  on(event, f) { (this.heard[event] ??= []).push(f); }
  off() {}
  tell(event, value) { for (const f of this.heard[event] || []) f(value); }
  set(vm) { this.vm = vm; this.tell("change:vm"); }
  send(m) {
    if (m.do === "hello") return this.tell("msg:custom", { kill: { url: location.origin, token, state_dir: "" } });
    if (m.do === "look") { this.wants = { market: m.market, range: m.range }; return this.push(this.wants); }
    this.call(m);
  }
  push(m) { if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(m)); }
  async call(m) {
    let answer;
    try {
      const [path, body] = PATHS[m.do](m);
      const r = await fetch(path, { method: "POST", cache: "no-store", signal: AbortSignal.timeout(5000), body: JSON.stringify(body),
        headers: { "Authorization": `Bearer ${token}`, "Content-Type": "application/json", "X-Client": "web" } });
      const said = await r.json();
      answer = r.ok ? { ok: true, said: "", kill: m.do === "kill" ? said : null } : { ok: false, said: said.error || `status ${r.status}`, fields: said.fields };
    } catch (e) { answer = { ok: false, said: e.name === "TimeoutError" ? "the engine did not answer within 5 s" : "the engine can't be reached" }; }
    this.tell("msg:custom", { id: m.id, ...answer });
  }
  open() {
    if (!token) return this.set(none("This page needs the token of the running engine: open it with  kalshi-mm status --link"));
    this.socket = new WebSocket(`ws://${location.host}/api/panel`, ["kalshi-mm", `bearer.${token}`]);
    this.socket.onopen = () => { this.tries = 0; this.push(this.wants); };
    this.socket.onmessage = e => { const vm = JSON.parse(e.data); this.set(vm); this.push({ got: vm.n }); };
    this.socket.onclose = () => this.again();
  }
  async again() {
    const r = await fetch("/api/health", { headers: { "Authorization": `Bearer ${token}` }, cache: "no-store", signal: AbortSignal.timeout(1500) }).catch(() => null);
    if (r?.status === 401) return this.set(none("This page's token is of an earlier run: open it anew with  kalshi-mm status --link"));
    if (!r && this.vm.n === 0) this.set(none("The engine does not answer; this page goes on trying."));
    setTimeout(() => this.open(), Math.min(250 * 2 ** this.tries++, 4000));
  }
}

render({ model: new Model(), el: document.getElementById("panel") });
