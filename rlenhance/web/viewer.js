// <before-after>: two pictures over each other with a divider; in full size with drag; and the gain in stops.
// Attributes: before, after, left, right; width, height of the pictures; whole ("W H") and part ("left top"): they are
// this part of a larger picture, pixel for pixel; gains: {"columns", "values"}, the change in tenths of a stop; zoom:
// the whole comes in full size on request; small: without buttons. Event "look" asks for another part: {across, down} in
// [0, 1], -1: the whole.
(() => {
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const signed = (tenths) => `${tenths < 0 ? "\u2212" : "+"}${Math.abs(tenths / 10).toFixed(1)} EV`;

  class BeforeAfter extends Shadowed {
    static observedAttributes = ["before", "after", "left", "right", "width", "height", "whole", "part", "gains", "zoom", "small"];
    constructor() {
      super();
      this.inside.innerHTML = `<style>
        .box { max-width: min(calc(var(--most, 72vh) * (var(--shape))), var(--widest, 100%)); margin: 0 auto; }
        .frame { position: relative; aspect-ratio: var(--shape); overflow: hidden; border-radius: 6px; background: #262626; user-select: none; }
        .side { position: absolute; inset: 0; overflow: hidden; }
        .side.after { clip-path: inset(0 0 0 var(--at)); }
        img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; max-width: none; }
        canvas { position: absolute; inset: 0; width: 100%; height: 100%; display: none; }
        i { position: absolute; top: 0; bottom: 0; left: var(--at); width: 44px; margin-left: -22px; pointer-events: none; }
        i::before { content: ""; position: absolute; inset: 0 21px; background: #fff; box-shadow: 0 0 4px #0008; }
        i::after { content: "\\2194"; position: absolute; top: 50%; left: 7px; width: 30px; height: 30px; margin-top: -15px;
          border-radius: 50%; background: #fff; color: #222; font: 18px/30px sans-serif; text-align: center; }
        .tag, output { position: absolute; top: 8px; padding: 2px 9px; border-radius: 99px; font-size: 12px;
          background: #000b; color: #fff; pointer-events: none; }
        .left { left: 8px; } .right { right: 8px; }
        output { display: none; white-space: nowrap; font-variant-numeric: tabular-nums; font-size: 13px; }
        b { position: absolute; width: 8px; height: 8px; margin: -6px; border: 2px solid #fff; border-radius: 50%;
          box-shadow: 0 0 3px #000; display: none; pointer-events: none; }
        input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize;
          touch-action: pan-y pinch-zoom; }
        .frame:has(:focus-visible) { outline: 2px solid var(--accent); outline-offset: 2px; }
        .full .frame { cursor: grab; touch-action: pinch-zoom; } .full input { pointer-events: none; }
        .full i { pointer-events: auto; cursor: ew-resize; touch-action: none; }
        .full img { inset: auto; left: var(--x); top: var(--y); width: var(--w); height: var(--h); }
        .why canvas, .why output, .why b { display: block; } .why i, .why .tag { display: none; }
        .why .side.after { clip-path: none; filter: grayscale(1) brightness(.75); } .why input { cursor: crosshair; }
        .tools { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; justify-content: center; min-height: 32px; margin-top: 8px;
          font-size: 13px; color: var(--body-text-color-subdued); }
        .tools[hidden] { display: none; }
        button { padding: 4px 12px; border: 1px solid var(--line); border-radius: 6px; background: none; font: inherit;
          color: var(--body-text-color); cursor: pointer; white-space: nowrap; }
        button[aria-pressed=true] { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
        button:disabled { opacity: .45; cursor: default; }
        button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
        </style><div class="box"><div class="frame"><div class="side"><img class="before" draggable="false"></div>
        <div class="side after"><img class="after" draggable="false"></div><canvas></canvas><i></i>
        <span class="tag left"></span><span class="tag right"></span><b></b><output></output>
        <input type="range" min="0" max="100" step="0.5" value="50"></div>
        <div class="tools"><button type="button" data-do="smaller" aria-label="Smaller">&minus;</button>
        <button type="button" data-do="zoom" aria-pressed="false" hidden>1:1</button>
        <button type="button" data-do="larger" aria-label="Larger">+</button>
        <button type="button" data-do="why" aria-pressed="false" hidden>Why</button><span class="legend"></span></div></div>`;
      this.box = this.find(".box"); this.frame = this.find(".frame"); this.range = this.find("input");
      this.divide(50);
      this.range.addEventListener("input", () => this.divide(this.range.value));
      this.range.addEventListener("keydown", (event) => this.key(event));
      this.frame.addEventListener("pointerdown", (event) => this.grab(event));
      this.frame.addEventListener("pointermove", (event) => this.readAt(event));
      this.find("[data-do=zoom]").addEventListener("click", () => this.zoom(this.full ? 0 : 1));
      this.find("[data-do=smaller]").addEventListener("click", () => this.step(-1));
      this.find("[data-do=larger]").addEventListener("click", () => this.step(1));
      this.frame.addEventListener("wheel", (event) => {
        if (!event.ctrlKey) return;  // which a pinch on a touchpad has too
        event.preventDefault();
        if (Date.now() - (this.turned || 0) < 200) return;
        this.turned = Date.now();
        this.step(event.deltaY < 0 ? 1 : -1, this.placeOf(event));
      }, { passive: false });
      this.find("[data-do=why]").addEventListener("click", () => this.explain(!this.why));
      this.frame.addEventListener("dblclick", (event) => this.zoom(this.full ? 0 : 1, this.placeOf(event)));
      new ResizeObserver(() => this.place()).observe(this.frame);
    }
    attributeChangedCallback() {
      if (!this.queued) queueMicrotask(() => { this.queued = false; this.renew(); });
      this.queued = true;
    }
    renew() {
      const [width, height] = [+this.get("width") || 3, +this.get("height") || 2];
      const [left, top] = this.get("part").split(" ").map(Number), whole = this.get("whole").split(" ").map(Number);
      this.piece = this.get("part") !== "";
      this.level = this.piece ? Math.max(this.level || 1, 1) : this.hasAttribute("zoom") ? 0 : this.level || 0;
      this.full = this.piece || this.level > 0;
      this.seen = { left, top, width, height };
      if (this.piece && String(this.whole) !== String(whole)) this.center = null;
      this.whole = this.piece ? whole : [width, height];
      const fits = this.piece && !this.hasAttribute("zoom") ? [width, height] : this.whole;
      this.box.style.setProperty("--shape", `${fits[0]} / ${fits[1]}`);
      this.box.style.setProperty("--widest", fits === this.whole ? "100%" : `${width}px`);
      if (this.full) this.center ||= [left + width / 2, top + height / 2];
      else this.center = null;
      for (const [side, words] of [["before", "left"], ["after", "right"]]) {
        const image = this.find("img." + side);
        if (image.getAttribute("src") !== this.get(side)) image.src = this.get(side);
        image.alt = this.find(".tag." + words).textContent = this.get(words);
      }
      this.range.setAttribute("aria-label", `Divider: ${this.get("left")} to its left, ${this.get("right")} to its right`
        + "; plus and minus change the size" + (this.full ? "; Shift and arrows move the picture" : ""));
      this.gains = this.get("gains") ? JSON.parse(this.get("gains")) : null;
      this.box.classList.toggle("full", this.full);
      const zoom = this.find("[data-do=zoom]");
      zoom.hidden = !this.hasAttribute("zoom");
      zoom.setAttribute("aria-pressed", this.full && this.level === 1);
      this.find(".tools").hidden = this.hasAttribute("small");
      this.find("[data-do=smaller]").disabled = this.level <= (this.piece && !this.hasAttribute("zoom") ? 1 : 0);
      this.find("[data-do=larger]").disabled = this.level >= 4;
      this.find("[data-do=why]").hidden = !this.gains;
      this.explain(!!(this.why && this.gains));
      this.place();
    }
    divide(at) {
      this.range.value = at;
      this.frame.style.setProperty("--at", at + "%");
    }
    key(event) {
      const sizes = { "+": 1, "=": 1, "-": -1 };
      if (event.key in sizes && !event.ctrlKey && !event.metaKey) { event.preventDefault(); return this.step(sizes[event.key]); }
      const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }, way = ways[event.key];
      if (!way || !(this.why || (this.full && event.shiftKey))) return;
      event.preventDefault();
      if (this.why) this.read((this.probe || [0.5, 0.5]).map((part, i) => clamp(part + way[i] / 24, 0, 0.999)));
      else { this.move(way[0] * this.frame.clientWidth / 4, way[1] * this.frame.clientHeight / 4); this.ask(); }
    }

    // Sizes: 0 fits into the frame; 1 is full size, 2 and 4 are larger. What is here as a whole grows from what fits.
    step(way, place) {
      const sizes = [0, 1, 2, 4].filter((size) => size !== 1 || this.piece || this.hasAttribute("zoom"));
      this.zoom(sizes[clamp(sizes.indexOf(this.level) + way, 0, sizes.length - 1)], place);
    }
    zoom(size, place) {
      if (this.hasAttribute("zoom") && this.piece !== size > 0) {
        this.level = size;
        return this.look(size ? place || [0.5, 0.5] : null);
      }
      if (!this.piece && size === 1) size = 2;
      if (place) this.center = this.pixelAt(place);
      this.level = size;
      this.renew();
    }
    placeOf(event) {
      const box = this.frame.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    }
    pixelAt(place) {
      if (!this.full) return [0, 1].map((i) => place[i] * this.whole[i]);
      const frame = [this.frame.clientWidth, this.frame.clientHeight];
      return [0, 1].map((i) => this.center[i] + (place[i] - 0.5) * frame[i] / this.scale);
    }

    // In full size one pixel of the photograph is one of the screen, unless the part would not fill the frame.
    get scale() {
      const frame = [this.frame.clientWidth, this.frame.clientHeight], seen = [this.seen.width, this.seen.height];
      if (!this.piece) return this.level * Math.min(...[0, 1].map((i) => frame[i] / this.whole[i]));
      return this.level * Math.max(1 / devicePixelRatio, ...[0, 1].map((i) => Math.min(frame[i], 2 * seen[i]) / seen[i] || 0)
        .filter((_, i) => seen[i] < this.whole[i]));
    }
    place() {
      if (!this.full || !this.frame.clientWidth) return;
      const scale = this.scale, frame = [this.frame.clientWidth, this.frame.clientHeight];
      this.center = this.center.map((at, i) => {
        const half = frame[i] / scale / 2;
        return this.whole[i] <= 2 * half ? this.whole[i] / 2 : clamp(at, half, this.whole[i] - half);
      });
      const style = this.frame.style;
      style.setProperty("--x", `${frame[0] / 2 - (this.center[0] - this.seen.left) * scale}px`);
      style.setProperty("--y", `${frame[1] / 2 - (this.center[1] - this.seen.top) * scale}px`);
      style.setProperty("--w", `${this.seen.width * scale}px`);
      style.setProperty("--h", `${this.seen.height * scale}px`);
    }
    move(x, y) {
      this.center = [this.center[0] + x / this.scale, this.center[1] + y / this.scale];
      this.place();
    }
    ask() {  // for another part where this one does not fill the frame any more
      const scale = this.scale, { left, top, width, height } = this.seen;
      const half = [this.frame.clientWidth, this.frame.clientHeight].map((side) => side / scale / 2 - 1);
      const low = [0, 1].map((i) => Math.max(this.center[i] - half[i], 0));
      const high = [0, 1].map((i) => Math.min(this.center[i] + half[i], this.whole[i]));
      if (low[0] < left || low[1] < top || high[0] > left + width || high[1] > top + height)
        this.look(this.center.map((at, i) => at / this.whole[i]));
    }
    look(place) {
      if (place && !this.full) this.center = null;
      const [across, down] = place || [-1, -1];
      this.dispatchEvent(new CustomEvent("look", { bubbles: true, detail: { across, down } }));
    }
    grab(event) {
      if (!this.full || this.why) return;
      event.preventDefault();
      this.range.focus({ preventScroll: true });
      const divides = event.composedPath()[0].localName === "i";
      let last = [event.clientX, event.clientY];
      this.frame.setPointerCapture(event.pointerId);
      const moved = (at) => {
        const box = this.frame.getBoundingClientRect();
        if (divides) this.divide(clamp(100 * (at.clientX - box.left) / box.width, 0, 100));
        else this.move(last[0] - at.clientX, last[1] - at.clientY);
        last = [at.clientX, at.clientY];
      };
      const ended = () => {
        this.frame.removeEventListener("pointermove", moved);
        if (!divides) this.ask();
      };
      this.frame.addEventListener("pointermove", moved);
      for (const kind of ["pointerup", "pointercancel"]) this.frame.addEventListener(kind, ended, { once: true });
    }

    // Why: what became brighter (orange) and darker (blue), in stops; the fuller the colour, the more.
    explain(on) {
      this.why = on;
      this.box.classList.toggle("why", on);
      this.find("[data-do=why]").setAttribute("aria-pressed", on);
      const legend = this.find(".legend"), canvas = this.find("canvas");
      legend.textContent = "";
      if (!on) return;
      const { columns, values } = this.gains, rows = values.length / columns, pen = canvas.getContext("2d");
      [canvas.width, canvas.height] = [columns, rows];
      const sheet = pen.createImageData(columns, rows);
      const sizes = values.map(Math.abs), least = Math.min(...sizes), span = Math.max(...sizes) - least || 1;
      values.forEach((tenths, i) => sheet.data.set(
        [...(tenths < 0 ? [60, 140, 255] : [255, 140, 30]), tenths && 30 + 170 * (sizes[i] - least) / span], 4 * i));
      pen.putImageData(sheet, 0, 0);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      legend.textContent = `${signed(Math.min(...values))} to ${signed(Math.max(...values))}, ${signed(mean)} on average;`
        + ` ${Math.min(...values) < 0 ? "orange: brighter, blue: darker" : "the fuller the colour, the brighter it became"}`;
      this.read(this.probe || [0.5, 0.5]);
    }
    readAt(event) {
      if (!this.why) return;
      const box = this.frame.getBoundingClientRect();
      this.read([clamp((event.clientX - box.left) / box.width, 0, 0.999), clamp((event.clientY - box.top) / box.height, 0, 0.999)]);
    }
    read(at) {
      const { columns, values } = this.gains, rows = values.length / columns, output = this.find("output");
      const tenths = values[Math.floor(at[1] * rows) * columns + Math.floor(at[0] * columns)];
      this.probe = at;
      output.textContent = tenths === 0 ? "as bright as it was here"
        : `${tenths > 0 ? "brighter" : "darker"} by ${signed(tenths)} here`;
      for (const { style } of [output, this.find("b")]) [style.left, style.top] = at.map((part) => `${100 * part}%`);
      output.style.transform = `translate(${at[0] > 0.6 ? "calc(-100% - 14px)" : "14px"}, ${at[1] > 0.8 ? "-130%" : "8px"})`;
    }
  }
  if (!customElements.get("before-after")) customElements.define("before-after", BeforeAfter);
})();
