// KILL: from this page directly to the engine, through the Jupyter server at the same time, and through the kernel if the first fails.
// The bar shows three separate facts: sent, acknowledged by the engine, confirmed by the exchange.
import { h, seconds, clock_now } from "./dom.js";
import { home } from "./connection.js";

const ACK_LATE_MS = 1000;
const CONFIRM_LATE_MS = 3000;
const VERIFY_LATE_MS = 6000;                                     // nothing rests, and the exchange is asked twice
const DOTS = { done: "\u2713", wait: "\u2026", bad: "!" };
const KILL_STATES = ["KILLING", "KILLED"];

const EXCHANGE = { done: "Exchange confirmed", wait: "Exchange to confirm", bad: "Exchange has not confirmed" };

function exchange_fact(tone, text) { return [tone, EXCHANGE[tone], text]; }   // a step that failed doesn't read like one that succeeded

export class Kill {
  constructor(connection, picture, memo) {
    this.connection = connection; this.picture = picture; this.memo = memo;
    this.own = null;                                             // the kill that was pressed on this page
    this.el = h("section", { class: "killbar", role: "alert", "aria-label": "Kill", "data-testid": "killbar", hidden: true });
  }
  get pending() { return this.own && !this.own.progress?.verified_ms; }
  press() {
    const k = this.own = { at: performance.now(), wall: Date.now(), clock: clock_now(), ack: null, via: "", key: 0, progress: null, ways: {}, exchange: null };
    this.by_engine(k);
    this.by_jupyter(k);
    this.draw();
  }

  // -- the ways
  async by_engine(k) {
    k.ways.engine = "\u2026";
    try { this.acknowledge(k, "directly", await this.connection.kill()); }
    catch (e) {
      k.ways.engine = e.message;
      const m = home() === "web" ? { ok: false, said: "" } : await this.connection.kernel({ do: "kill" });   // it may still respond
      if (m.ok) this.acknowledge(k, "through the kernel", m.kill || {}); else k.ways.kernel = m.said;
    }
    this.draw();
  }
  async by_jupyter(k) {
    if (!document.getElementById("jupyter-config-data")) return;
    k.ways.jupyter = "\u2026";
    try {
      const answer = await this.connection.ask_jupyter("kill", { session: this.picture.vm?.session || "" });
      if (!answer) throw new Error("not installed");
      k.ways.jupyter = answer.said;
      if (answer.via === "engine" && answer.kill) this.acknowledge(k, "through Jupyter", answer.kill);
      else if (answer.via === "exchange" || answer.code !== undefined) k.exchange = answer;
    } catch (e) { k.ways.jupyter = e.name === "TypeError" ? "the Jupyter server can't be reached" : e.message; }
    this.draw();
  }
  acknowledge(k, via, report) {
    if (k.ack === null) { k.ack = performance.now() - k.at; k.via = via; k.key = report.sent_ms || 0; this.follow(k); }
    if (report.sent_ms) k.progress = report;
    this.draw();
  }
  async follow(k) {                                              // until the exchange has been seen empty; the picture may be frozen meanwhile
    for (let i = 0; i < 120 && this.own === k && !k.progress?.verified_ms && this.connection.way; i++) {
      await new Promise(done => setTimeout(done, i < 20 ? 150 : 500));
      const report = await this.connection.kill_progress();
      if (report?.sent_ms) { k.progress = report; this.draw(); }
    }
  }

  // -- the bar
  draw() {
    const vm = this.picture.vm, k = this.own, engines = vm?.kill && KILL_STATES.includes(vm.state) ? vm.kill : null;
    if (k && k.ack !== null && vm && vm.n && !KILL_STATES.includes(vm.state) && Date.now() - k.wall > 4000 && !this.picture.frozen) this.own = null;
    this.el.hidden = !this.own && !engines;
    if (this.el.hidden) return;
    const facts = this.own ? this.facts(this.own, engines) : [["done", "Sent", `by ${engines.who} at ${engines.sent}`], ["done", "Engine acknowledged", ""],
      exchange_fact(engines.done ? "done" : engines.late ? "bad" : "wait", `${engines.text} \u00b7 ${engines.took}`)];
    const red = engines?.red || (this.own ? this.red(this.own) : "");
    this.memo.draw("kill", [facts, red, engines?.left], () => this.el.replaceChildren(
      h("ol", {}, ...facts.map(([tone, title, text]) => h("li", { class: tone },
        h("span", { class: "dot", "aria-hidden": "true" }, DOTS[tone]), h("b", {}, title), text ? h("span", {}, text) : ""))),
      red ? h("p", { class: "red", "data-testid": "red" }, red) : "", ...(engines?.left || []).map(t => h("p", { class: "left" }, t))));
  }
  facts(k, engines) { return [["done", "Sent", k.clock], this.acknowledged(k), this.confirmed(k, engines)]; }
  acknowledged(k) {
    const waited = performance.now() - k.at;
    if (k.ack !== null) return ["done", "Engine acknowledged", `${k.ack < 1 ? "<1" : Math.round(k.ack)} ms, ${k.via}`];
    const tried = Object.entries(k.ways).filter(([way, text]) => text && text !== "\u2026" && way !== "jupyter");
    const failed = tried.map(([way, text]) => `${way}: ${text}`).join(" \u00b7 ");
    if (k.exchange || failed) return ["bad", "Engine did not acknowledge", failed];
    if (waited > ACK_LATE_MS) return ["bad", "Engine has not acknowledged", `no answer for ${seconds(waited)}`];
    return ["wait", "Engine to acknowledge", ""];
  }
  confirmed(k, engines) {
    const waited = performance.now() - k.at, p = k.progress, x = k.exchange;
    const done = p?.verified_ms || (engines?.done && engines.key === k.key);
    const of = Math.max(p?.of || 0, p?.resting || 0), gone = done ? of : p && p.resting >= 0 ? of - p.resting : 0;
    const late = limit_ms => waited > limit_ms ? "bad" : "wait";
    const took = seconds(Math.max((p?.verified_ms || 0) - (p?.sent_ms || 0), 0));
    if (done) return exchange_fact("done", `${of ? `${gone} of ${of} gone` : "nothing of ours rests"} \u00b7 ${took}`);
    if (x) return [x.code === 0 ? "done" : "bad", x.code === 0 ? "Cancelled directly at the exchange" : EXCHANGE.bad, x.said.split("\n").at(-1)];
    if (k.ack !== null) return exchange_fact(late(p?.resting === 0 ? VERIFY_LATE_MS : CONFIRM_LATE_MS), p && p.resting >= 0 ? `${gone} of ${of} gone` : "asking\u2026");
    return exchange_fact(late(CONFIRM_LATE_MS), k.ways.jupyter === "\u2026" && waited > ACK_LATE_MS ? "Jupyter is cancelling directly at the exchange\u2026" : "");
  }
  red(k) {
    const waited = performance.now() - k.at;
    if (k.progress?.verified_ms || k.exchange?.code === 0 || waited < CONFIRM_LATE_MS) return "";
    if (k.exchange) return `NOT CONFIRMED: ${k.exchange.said.split("\n").at(-1)}`;
    const rest = k.progress?.resting;
    if (rest > 0) return `${rest} ORDER${rest === 1 ? "" : "S"} OF OURS STILL REST${rest === 1 ? "S" : ""}. Cancel on Kalshi's own page.`;
    if (k.ack !== null) return "";
    return "NOBODY HAS CONFIRMED THE KILL. Orders may rest: run  kalshi-mm kill  in a terminal, or cancel on Kalshi's own page.";
  }
}
