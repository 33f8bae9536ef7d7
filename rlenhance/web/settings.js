// The settings of a tab: kept through a reload, taken back step by step, and the preset that they are.
// A step is what follows one press or key: all of a drag, and what the server sets after it.
(() => {
  let acts = 0;
  for (const kind of ["pointerdown", "keydown"])
    document.addEventListener(kind, (event) => { if (!event.repeat) acts += 1; }, true);
  const copy = (values) => JSON.parse(JSON.stringify(values));

  class KeptSettings {
    // about: key, what the page offers; defaults; automatic, the places [switch, value] of a value that the server
    // sets; model, the place of the model; presets: {model: {preset: values}}.
    constructor(name, about) {
      Object.assign(this, about, { name: `rlenhance-${name}`, past: [], act: acts, now: copy(about.defaults) });
      try {
        const { key, values } = JSON.parse(localStorage.getItem(this.name));
        if (key === this.key && values.length === this.now.length
            && values.every((value, i) => typeof value === typeof this.now[i])) this.now = values;
      } catch { /* nothing is kept, or it is damaged */ }
      this.show();
    }
    differ(one, other) {
      const [decides, set] = this.automatic || [];
      return other.some((value, i) => one[i] !== undefined && !(i === set && one[decides] && other[decides])
        && (typeof value === "number" ? Math.abs(value - one[i]) > 0.005 : value !== one[i]));
    }
    note(values) {
      if (this.differ(this.now, values)) {
        if (this.act !== acts) this.past.push(this.now);
        this.act = acts;
      }
      this.now = copy(values);
      this.keep();
    }
    keep() {
      try { localStorage.setItem(this.name, JSON.stringify({ key: this.key, values: this.now })); } catch { /* full */ }
      this.show();
    }
    undo() {
      this.act = acts;
      this.now = this.past.pop() || this.now;
      this.keep();
      return copy(this.now);
    }
    reset() {
      this.note(this.defaults);
      return copy(this.defaults);
    }
    show() {
      const button = document.getElementById("undo");
      if (!this.presets) return;
      if (button) button.disabled = !this.past.length;
      const offered = Object.entries(this.presets[this.now[this.model]] || {});
      for (const [name, values] of offered)
        document.getElementById(`preset-${name}`)?.setAttribute("aria-pressed", !this.differ(values, this.now));
    }
  }

  const kept = {};
  window.settings = {
    open(name, about) { kept[name] = new KeptSettings(name, about); return copy(kept[name].now); },
    note(name, values) { kept[name]?.note(values); },
    undo: (name) => kept[name].undo(),
    reset: (name) => kept[name].reset(),
  };
  if (localStorage.getItem("rlenhance-dark") !== null)
    document.addEventListener("DOMContentLoaded", () => document.body.classList.toggle(
      "dark", localStorage.getItem("rlenhance-dark") === "true"));
})();
