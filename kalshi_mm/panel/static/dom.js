// Shared by all parts of the panel: elements, text, attributes, icons, and redrawing only on a change.
// Text from the exchange becomes text nodes, never HTML.

const SVG = "http://www.w3.org/2000/svg";
export const NONE = "\u2014";

function put(el, attrs, kids) {
  for (const [k, v] of Object.entries(attrs)) {
    if (k.startsWith("on")) el.addEventListener(k.slice(2), v);
    else if (v !== null && v !== undefined && v !== false) el.setAttribute(k, v === true ? "" : v);
  }
  el.append(...kids.filter(k => k !== null && k !== undefined && k !== ""));
  return el;
}
export const h = (tag, attrs = {}, ...kids) => put(document.createElement(tag), attrs, kids);
export const s = (tag, attrs = {}, ...kids) => put(document.createElementNS(SVG, tag), attrs, kids);

export function set_text(el, text) {
  if (el.textContent !== text) el.textContent = text;
}
export function set_attr(el, name, value) {
  if (value === null || value === undefined || value === false || value === "") el.removeAttribute(name);
  else if (el.getAttribute(name) !== String(value)) el.setAttribute(name, value === true ? "" : value);
}

export const button = (name, label, onclick, more = {}) => h("button", { type: "button", class: `b ${name}`, onclick, ...more }, label);
export const card = (name, title, ...kids) => h("section", { class: `card ${name}`, "aria-label": title },
  h("h2", {}, h("span", {}, title)), ...kids);
export const headings = (titles, classes) => h("thead", {}, h("tr", {}, ...titles.map((t, i) => h("th", { scope: "col", class: classes(i) }, t))));
export const pairs = rows => rows.flatMap(([name, value, tone]) => [h("dt", {}, name), h("dd", { class: tone }, value)]);
export const seconds = ms => ms < 9950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
export const clock_now = () => new Date().toISOString().slice(11, 19);  // UTC

const ICONS = {
  play: "M4 2l10 6-10 6z", stop: "M3 3h10v10H3z", pause: "M3 2h4v12H3zM9 2h4v12H9z",
  cross: "M3.5 1.5L8 6l4.5-4.5 2 2L10 8l4.5 4.5-2 2L8 10l-4.5 4.5-2-2L6 8 1.5 3.5z",
  ring: "M8 1a7 7 0 100 14A7 7 0 108 1zm0 2a5 5 0 110 10A5 5 0 118 3z", down: "M1 3h14L8 14zM4.4 5L8 10.6 11.6 5z",
  quarter: "M8 1a7 7 0 100 14A7 7 0 108 1zm0 2a5 5 0 110 10A5 5 0 118 3zm0 1v4h4a4 4 0 00-4-4z",
  clock: "M8 1a7 7 0 100 14A7 7 0 108 1zm0 2a5 5 0 110 10A5 5 0 118 3zM7 4h2v4l2.5 2-1.2 1.5L7 9z",
  broken: "M1 7h5l1 2 2-4 1 2h5v2H9L8 7.500 7 11 5 9H1z", warn: "M8 1l7.500 14H.5zM7 6v4h2V6zm0 5v2h2v-2z",
};
export const icon = name => s("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" },
  s("path", { d: ICONS[name] || ICONS.ring, "fill-rule": "evenodd" }));

// Redraws a part only if its data differ from those it was last drawn with.
export class Memo {
  constructor() { this.drawn = {}; }
  clear() { this.drawn = {}; }
  draw(key, data, draw) {
    const text = JSON.stringify(data);
    if (this.drawn[key] === text) return;
    this.drawn[key] = text;
    draw(data);
  }
}
