// Charts. They come as columns of integers with finished axis labels, and are only scaled to the space there is.
import { s, set_attr } from "./dom.js";

export class Chart {
  // read: a value as text; names: of lines whose label differs from their key
  constructor(label, { step = false, area = "", read = String, names = {} } = {}) {
    this.step = step; this.area = area; this.read = read; this.names = names; this.at = null;
    this.svg = s("svg", { class: "chart", role: "img", "aria-label": label, "data-testid": label });
    this.data = null;
    this.hover = s("g", { class: "hover", "aria-hidden": "true" });
    this.svg.addEventListener("pointermove", e => { this.at = e.clientX - this.svg.getBoundingClientRect().left; this.point(); });
    this.svg.addEventListener("pointerleave", () => { this.at = null; this.point(); });
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.svg);
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
        const base = y(Math.max(0, d.lo));
        parts.push(s("path", { class: `area l-${name}`, d: `${path}L${x(t1)} ${base}L${left} ${base}Z` }));
      }
      parts.push(s("path", { class: `line l-${name}`, d: path }));
    }
    for (const m of d.marks || []) if (m.t >= t0 && m.t <= t1) parts.push(this.fill(x(m.t), y(m.v), m));
    this.svg.setAttribute("viewBox", `0 0 ${w} ${hh}`);
    this.svg.replaceChildren(...parts, this.hover);
    this.scale = { x, left, right, top, bottom, t0, t1 };
    this.point();
  }
  point() {                                                      // the values of the lines under the pointer
    const d = this.data, c = this.scale;
    if (this.at === null || !c || !d.t.length) return this.hover.replaceChildren();
    const under = c.t0 + (c.t1 - c.t0) * (this.at - c.left) / Math.max(c.right - c.left, 1);
    const i = d.t.reduce((best, t, n) => Math.abs(t - under) < Math.abs(d.t[best] - under) ? n : best, 0), x = c.x(d.t[i]);
    const rows = [`${new Date(d.t[i]).toISOString().slice(11, 19)} UTC`, ...Object.entries(d.lines).filter(([, v]) => v[i] !== null)
      .map(([name, v]) => `${this.names[name] || name.replace("_", " ")} ${this.read(v[i])}`)];
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
  close() { this.resized.disconnect(); }
}

export const sparkline = () => s("svg", { viewBox: "0 0 70 18", class: "spark", "aria-hidden": "true" }, s("path"));

export function draw_sparkline(svg, values) {
  const known = values.filter(v => v !== null), lo = Math.min(...known), hi = Math.max(...known), n = Math.max(values.length - 1, 1);
  let d = "", pen = false;
  values.forEach((v, i) => {
    if (v === null) { pen = false; return; }
    d += `${pen ? "L" : "M"}${(1 + 68 * i / n).toFixed(1)} ${(15 - 12 * (v - lo) / Math.max(hi - lo, 200)).toFixed(1)}`;
    pen = true;
  });
  set_attr(svg.firstChild, "d", d || "M0 0");
}
