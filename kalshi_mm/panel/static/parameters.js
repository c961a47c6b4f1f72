// The parameters. The fields are made once and then only updated, so that text being typed stays.
import { h, set_text, set_attr, button } from "./dom.js";

export class Parameters {
  constructor(panel, pane) {
    this.panel = panel; this.pane = pane; this.fields = new Map();
    this.status = h("span", { role: "status", "data-testid": "applied" });
  }
  draw(rows) {
    if (!this.fields.size) this.pane.replaceChildren(h("div", { class: "fields" }, ...rows.map(p => this.field(p))), h("div", { class: "apply" },
      button("go", "Apply all at once", () => this.apply(), { "data-testid": "apply" }), button("", "Discard", () => this.revert()), this.status));
    for (const p of rows) {
      const f = this.fields.get(p.name);
      if (!f) continue;
      if (f.input.value === f.value || f.value === undefined) f.input.value = p.value;
      f.value = p.value;
      const changed = f.input.value !== p.value;
      set_text(f.now, changed ? `now ${p.value} ${p.unit},` : `${p.unit},`); set_text(f.was, p.was);
      set_attr(f.box, "data-changed", changed);
    }
  }
  field(p) {
    const f = { input: h("input", { type: "text", inputmode: "decimal", id: `kmm-${p.name}`, "data-testid": `p-${p.name}`, "aria-describedby": `kmm-${p.name}-why` }),
      now: h("span", { class: "now" }), was: h("span", { class: "was" }), wrong: h("span", { class: "wrong", id: `kmm-${p.name}-why`, role: "alert" }) };
    f.input.addEventListener("input", () => { set_text(f.wrong, ""); set_attr(f.box, "data-changed", f.input.value !== f.value); set_text(this.status, ""); });
    f.input.addEventListener("keydown", e => { if (e.key === "Enter") this.apply(); });
    f.box = h("div", { class: "field" }, h("label", { for: `kmm-${p.name}` }, p.label), f.input,
      h("span", { class: "hint", title: `${p.meaning}; ${p.range} ${p.unit}` }, f.now, ` ${p.meaning}`), f.was, f.wrong);
    this.fields.set(p.name, f);
    return f.box;
  }
  async apply() {
    const changed = [...this.fields].filter(([, f]) => f.input.value.trim() !== f.value);
    const values = Object.fromEntries(changed.map(([name, f]) => [name, f.input.value.trim()]));
    for (const f of this.fields.values()) set_text(f.wrong, "");
    if (this.panel.picture.frozen || !changed.length) return set_text(this.status, this.panel.picture.frozen ? "the picture is old" : "nothing is changed");
    set_text(this.status, "sent\u2026");
    const answer = await this.panel.connection.command("set", { values });
    for (const [name, why] of Object.entries(answer.fields || {})) if (this.fields.has(name)) set_text(this.fields.get(name).wrong, why);
    set_text(this.status, answer.ok ? "applied" : `refused, nothing is changed${answer.fields ? "" : `: ${answer.said}`}`);
  }
  revert() {
    for (const f of this.fields.values()) { f.input.value = f.value; set_text(f.wrong, ""); set_attr(f.box, "data-changed", false); }
    set_text(this.status, "");
  }
}
