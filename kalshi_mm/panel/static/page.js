// The engine's own page: the panel with a model that speaks HTTP and WebSocket in place of a kernel.
import { render } from "./panel.js";

const KEEP = "kalshi_mm.token";                                  // for this tab only, so that a reload finds it
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(KEEP, given);
  history.replaceState(null, "", location.pathname);             // not in the address, the history or a screenshot
}
const token = sessionStorage.getItem(KEEP) || "";

const none = (note, state = "NO ENGINE") => ({ n: 0, state, icon: state === "NO ENGINE" ? "ring" : "clock", note, env: "",
  markets: [], alerts: [], kill: null, market: null });

class Model {
  constructor() { this.vm = none("Connecting\u2026"); this.listeners = {}; this.wants = {}; this.tries = 0; this.open(); }
  get(name) { return name === "vm" ? this.vm : undefined; }
  on(event, f) { (this.listeners[event] ??= []).push(f); }
  off() {}
  emit(event, value) { for (const f of this.listeners[event] || []) f(value); }
  set(vm) { this.vm = vm; this.emit("change:vm"); }
  send(m) {
    if (m.do === "hello") return this.emit("msg:custom", { way: { url: location.origin, token, state_dir: "", session: "", settings: {} } });
    if (m.do === "look") { this.wants = { market: m.market, range: m.range }; return this.push(this.wants); }
    if (m.do === "token") { sessionStorage.setItem(KEEP, m.token); location.reload(); }
  }
  push(m) { if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(m)); }
  open() {
    if (!token) return this.set(none("the running engine can be seen only with its token", "NEEDS TOKEN"));
    this.socket = new WebSocket(`ws://${location.host}/api/panel`, ["kalshi-mm", `bearer.${token}`]);
    this.socket.onopen = () => { this.tries = 0; this.push(this.wants); };
    this.socket.onmessage = e => { const vm = JSON.parse(e.data); this.set(vm); this.push({ got: vm.n }); };
    this.socket.onclose = () => this.again();
  }
  async again() {
    const r = await fetch("/api/strategy/status", { headers: { "Authorization": `Bearer ${token}` }, cache: "no-store", signal: AbortSignal.timeout(1500) }).catch(() => null);
    if (r?.status === 401) return this.set(none("the token of this page is of an earlier run", "NEEDS TOKEN"));
    if (!r && this.vm.n === 0) this.set(none("The engine does not answer; this page keeps trying."));
    setTimeout(() => this.open(), Math.min(250 * 2 ** this.tries++, 4000));
  }
}

render({ model: new Model(), el: document.getElementById("panel") });
