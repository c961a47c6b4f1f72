// The ways from this page to the engine, and the picture that came back.
// A command goes directly to the engine; if that can't be reached, through the Jupyter server; last through the kernel.
// A command that adds risk carries `deadline_ms`, by the clock that made the picture; if it arrives later, it is not carried out.
//
// `model` is anywidget's: get("vm"), on("change:vm"), on("msg:custom"), send(message).
// Sent: {do: "look", market, range}, {do: "hello"}, and, where no other way is open, {do: VERB, id, ...}, answered by {id, ok, said, fields}.
// Received: {way: {url, token, session, state_dir, settings}}, the address of the engine for this page.

const STALE_MS = 2000;
const LOST_MS = 10000;
const PATIENCE_MS = 10000;                                       // how long a command that adds risk holds
const ENGINE_TIMEOUT_MS = 3000;
const KERNEL_TIMEOUT_MS = 20000;

const PATHS = {                                                  // verb -> [path, body] of the engine's control API
  start: m => ["strategy/start", m.confirm ? { confirm: m.confirm } : {}], stop: () => ["strategy/stop", {}], end: () => ["strategy/end", {}],
  reduce: m => ["strategy/reduce-only", { on: m.on }], pause: m => [`markets/${encodeURIComponent(m.market)}/pause`, {}],
  resume: m => [`markets/${encodeURIComponent(m.market)}/resume`, {}], reset: m => [`risk/reset?rule=${encodeURIComponent(m.rule)}`, {}],
  reconcile: () => ["account/reconcile", {}], accept: () => ["account/accept", {}], rearm: () => ["risk/rearm", {}],
  set: m => ["parameters", m.values], flatten: () => ["strategy/flatten", {}],
};
const adds_risk = m => ["launch", "start", "flatten", "resume", "reset", "rearm", "accept", "set"].includes(m.do) || (m.do === "reduce" && !m.on);

export const home = () => document.body.hasAttribute("data-jp-theme-light") ? "notebook" : "web";

// The newest picture (view-model), and how old it is: the one fact that only this page can know.
export class Picture {
  constructor() { this.vm = null; this.n = -1; this.at = performance.now(); this.state = ""; }
  take(vm) {                                                     // true if it is a new one
    const fresh = vm.n !== this.n || vm.n === 0;
    this.vm = vm;
    if (fresh) { this.n = vm.n; this.at = performance.now(); }
    return fresh;
  }
  get live() { return this.vm.n !== 0; }
  get age() { return performance.now() - this.at; }
  get old() { return this.age >= STALE_MS; }
  get clock_ms() { return Math.round(this.vm?.now_ms ? this.vm.now_ms + this.age : Date.now()); }
  get frozen() { return this.state === "STALE" || this.state === "DISCONNECTED"; }
  grow_old() {                                                   // true if the state has changed by it
    const before = this.state;
    this.state = !this.live || !this.old ? this.vm.state : this.age < LOST_MS ? "STALE" : "DISCONNECTED";
    return this.state !== before;
  }
}

export class Connection {
  constructor(model, picture) {
    this.model = model; this.picture = picture;
    this.way = null;                                             // to the engine: {url, token, session, state_dir, settings}
    this.alive = null;                                           // whether the engine answered when the picture stood still
    this.probing = false;
    this.waiting = new Map(); this.id = 0; this.greeted = 0;
  }
  greet() { this.greeted = performance.now(); this.model.send({ do: "hello" }); }
  greet_again(vm) {                                              // the way is of an earlier engine, or the answer was lost
    const lost = vm.n && (!this.way?.url || (this.way.session && this.way.session !== vm.session));
    if (lost && performance.now() - this.greeted > 1000) this.greet();
  }
  receive(m) {
    if (m.way) this.way = m.way;
    if (m.id && this.waiting.has(m.id)) { this.waiting.get(m.id)(m); this.waiting.delete(m.id); }
  }

  // -- commands
  async command(verb, more = {}) {
    const m = { do: verb, ...more };
    if (adds_risk(m)) m.deadline_ms = this.picture.clock_ms + PATIENCE_MS;
    const answer = (await this.direct(m)) || (await this.jupyter(m));
    return answer || (home() === "web" ? { ok: false, said: "the engine can't be reached" } : this.kernel(m));
  }
  call(path, { headers = {}, timeout_ms, ...more }) {
    return fetch(`${this.way.url}/api/${path}`, { cache: "no-store", signal: AbortSignal.timeout(timeout_ms), ...more,
      headers: { "Authorization": `Bearer ${this.way.token}`, "Content-Type": "application/json", "X-Client": home(), ...headers } });
  }
  async direct(m) {                                              // null where it can't be reached, so that another way may be tried
    if (!this.way?.url || !this.way.token || !PATHS[m.do]) return null;
    const [path, body] = PATHS[m.do](m);
    try {
      const headers = m.deadline_ms ? { "X-Deadline-Ms": String(m.deadline_ms) } : {};
      const r = await this.call(path, { method: "POST", timeout_ms: ENGINE_TIMEOUT_MS, body: JSON.stringify(body), headers });
      const answer = await r.json();
      if (r.status === 401) return null;                         // the token is of an earlier engine; a new one has been asked for
      return r.ok ? { ok: true, said: "" } : { ok: false, said: answer.error || `status ${r.status}`, fields: answer.fields };
    } catch (e) { return e.name === "TimeoutError" ? { ok: false, said: `the engine did not answer within ${ENGINE_TIMEOUT_MS / 1000} s` } : null; }
  }
  async jupyter(m) {                                             // null where there is no such route
    const route = m.do === "launch" ? "launch" : "command";
    try {
      if (m.do === "launch") {                                   // the server that starts it judges the deadline by its own clock
        const now = await this.ask_jupyter("status");
        if (!now) return null;
        m = { ...m, deadline_ms: now.now_ms + PATIENCE_MS };
      }
      return await this.ask_jupyter(route, { ...m, session: this.picture.vm?.session || "" });
    } catch { return null; }
  }
  async ask_jupyter(route, body = null) {
    const config = document.getElementById("jupyter-config-data");
    if (!config) return null;
    const base = JSON.parse(config.textContent).baseUrl || "/", folder = this.way?.state_dir || "";
    const xsrf = (document.cookie.match(/(?:^|; )_xsrf=([^;]*)/) || [])[1] || "";
    const r = await fetch(`${base}kalshi-mm/${route}${body ? "" : `?state_dir=${encodeURIComponent(folder)}`}`, { method: body ? "POST" : "GET",
      credentials: "same-origin", cache: "no-store", headers: { "Content-Type": "application/json", "X-XSRFToken": decodeURIComponent(xsrf) },
      body: body ? JSON.stringify({ state_dir: folder, settings: this.way?.settings || {}, ...body }) : undefined });
    if (r.status === 404) return null;
    if (!r.ok) throw new Error(`status ${r.status}`);
    return r.json();
  }
  kernel(m) {
    const id = ++this.id;
    return new Promise(done => {
      const timer = setTimeout(() => { this.waiting.delete(id);
        const late = adds_risk(m) ? "; its deadline has passed, so it will not be carried out" : "";
        done({ ok: false, said: `no answer within ${KERNEL_TIMEOUT_MS / 1000} s: the kernel is busy or gone${late}` }); }, KERNEL_TIMEOUT_MS);
      this.waiting.set(id, answer => { clearTimeout(timer); done(answer); });
      this.model.send({ ...m, id });
    });
  }

  // -- kill
  async kill() {                                                 // the engine's report; Error with the reason
    if (!this.way?.url) throw new Error("this page doesn't have the engine's address");
    if (!this.way.token) throw new Error("this page has no token");
    try {
      const r = await this.call("risk/kill-switch", { method: "POST", body: "{}", timeout_ms: ENGINE_TIMEOUT_MS });
      const answer = await r.json();
      if (!r.ok) throw new Error(answer.error || `status ${r.status}`);
      return answer;
    } catch (e) {
      if (e.name === "TimeoutError") throw new Error(`no answer in ${ENGINE_TIMEOUT_MS / 1000} s`);
      throw e.name === "TypeError" ? new Error("can't be reached") : e;
    }
  }
  async kill_progress() {                                        // undefined if the engine doesn't answer
    if (!this.way?.url) return undefined;
    try {
      const r = await this.call("risk/kill", { timeout_ms: 1500 });
      return r.ok ? (await r.json()) || {} : undefined;
    } catch { return undefined; }
  }

  async probe() {                                                // the picture stands still: does the engine still answer?
    if (this.probing) return false;
    this.probing = true;
    this.alive = (await this.kill_progress()) !== undefined;
    setTimeout(() => { this.probing = false; }, 1500);
    return true;
  }
  why_frozen() {
    const notebook = home() === "notebook";
    if (this.picture.vm.link) return this.picture.vm.link;
    if (!this.way?.url) return "No updates from the kernel. KILL goes through the Jupyter server.";
    if (this.alive === null) return "No updates; asking the engine\u2026";
    if (this.alive && !notebook) return "The engine answers; reconnecting to its stream.";
    if (this.alive) return "The engine answers, the kernel does not. The engine goes on trading; Stop and KILL go directly to it. "
      + "Its own page: kalshi-mm status --link";
    return "The engine does not answer. " + (notebook ? "KILL still cancels directly at the exchange."
      : "If KILL does nothing here, run  kalshi-mm kill  in a terminal.");
  }
}
