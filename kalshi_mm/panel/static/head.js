// The head: the state, the engine, the age of the picture, and the buttons that command the whole engine.
import { h, set_text, set_attr, icon, button, seconds } from "./dom.js";

export class Head {
  constructor(panel) {
    this.panel = panel;
    this.badge = h("div", { class: "badge", role: "status", "aria-live": "assertive", "data-testid": "badge" });
    this.env = h("span", { class: "env" });
    this.note = h("div", { class: "note", "data-testid": "note" });
    this.about = h("span", {}); this.more = h("span", { class: "more" }); this.age = h("span", { class: "age", "data-testid": "age" });
    const b = (name, label) => button(name, label, () => this.press(name), { "data-testid": name });
    this.buttons = { start: b("start", "Start"), reduce: b("reduce", "Reduce only"), flatten: b("flatten", "Flatten\u2026"), stop: b("stop", "Stop quoting"), rearm: b("rearm", "Re-arm\u2026") };
    this.kill = h("button", { type: "button", class: "b kill", "data-testid": "kill", title: "Cancel all orders now and stop quoting (Shift+K). Positions stay.",
      onclick: () => panel.kill.press() }, icon("cross"), h("span", {}, "KILL"), h("small", {}, "cancel all & stop"));
    this.el = h("header", {}, this.badge, this.env, h("div", { class: "about" }, this.note, h("div", { class: "sub" }, this.about, this.more, this.age)),
      h("div", { class: "buttons" }, ...Object.values(this.buttons), this.kill));
  }
  press(name) {
    const b = this.panel.vm?.buttons?.[name];
    if (!b || !this.may(name, b)) return;
    if (b.ask) return this.panel.dialog.open(name, b.ask);
    this.panel.order(name, name === "reduce" ? { on: !b.down } : {}, this.buttons[name]);
  }
  may(name, b) { return this.panel.picture.frozen ? name === "stop" || (name === "reduce" && !b.down) : b.on; }  // an old picture is no reason not to stop
  draw() {
    const { vm, picture, connection, memo } = this.panel, state = picture.state || vm.state, frozen = picture.frozen;
    const label = state === "STALE" ? `STALE \u2014 engine was ${vm.state}` : state;
    const name = state === "STALE" ? "clock" : state === "DISCONNECTED" ? "broken" : vm.icon;
    memo.draw("badge", label, () => this.badge.replaceChildren(icon(name), h("span", {}, label)));
    set_text(this.env, vm.env || ""); set_attr(this.env, "data-env", vm.env);
    set_text(this.note, frozen ? connection.why_frozen() : vm.note);
    set_text(this.about, picture.live ? `${vm.series} \u00b7 ${vm.strategy} \u00b7 up ${vm.up} \u00b7 ${vm.clock} UTC` : "");
    set_text(this.more, picture.live ? ` \u00b7 account ${vm.account_id} \u00b7 session ${vm.session}` : "");
    for (const [id, el] of Object.entries(this.buttons)) {
      const b = vm.buttons?.[id];
      el.hidden = !b;
      if (!b) continue;
      const on = this.may(id, b);
      set_text(el, b.label + (b.ask && id === "start" ? "\u2026" : "")); set_attr(el, "aria-disabled", on ? "false" : "true");
      set_attr(el, "title", frozen ? (on ? "The picture is old; this goes directly to the engine" : "The picture is old") : b.tip);
      if (id === "reduce") set_attr(el, "aria-pressed", b.down ? "true" : "false");
    }
    this.kill.hidden = state === "NEEDS TOKEN";                  // it could do nothing: the page says what can
  }
  draw_age() {
    const picture = this.panel.picture;
    if (!picture.live) return set_text(this.age, "");
    set_text(this.age, ` \u00b7 updated ${seconds(picture.age)} ago`); set_attr(this.age, "data-old", picture.old);
  }
}
