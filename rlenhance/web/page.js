// Two elements, <photo-drop> and <hole-brush>; fresh results come into view, and their links are followed by themselves.
// Their insides are shadows, which stay when the page writes their attributes anew.
class Shadowed extends HTMLElement {
  constructor() { super(); this.inside = this.attachShadow({ mode: "open" }); }
  find(selector) { return this.inside.querySelector(selector); }
  get(name) { return this.getAttribute(name) || ""; }
}

(() => {
  class PhotoDrop extends Shadowed {
    constructor() {
      super();
      this.inside.innerHTML = `<style>
        label { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: center; padding: 8px 14px; position: relative;
          box-sizing: border-box; min-height: var(--drop-height, 40px); justify-content: var(--drop-place, start);
          border: 1.5px dashed var(--edge); border-radius: 8px; cursor: pointer; background: var(--drop-fill, none); }
        label.over, label:focus-within { border-color: var(--accent); }
        @media (hover: hover) { label:hover { border-color: var(--accent); } }
        label:focus-within { outline: 2px solid var(--accent); outline-offset: 2px; }
        label.full { border: 1px solid var(--line); justify-content: space-between; min-height: 36px; padding: 4px 14px; }
        input { position: absolute; inset: 0; opacity: 0; cursor: pointer; width: 100%; height: 100%; }
        b { font-weight: 600; } em { display: none; font-style: normal; color: var(--accent); }
        .full b { display: none; } .full em { display: inline; }
        span { overflow-wrap: anywhere; } .bad { color: var(--bad); font-weight: 600; }
        progress { width: 100%; accent-color: var(--accent); }
        </style><label><input type="file"><b></b><span role="status"></span><em>Change</em>
        <progress max="1" hidden></progress></label>`;
      this.input = this.find("input");
      this.input.addEventListener("change", () => this.send([...this.input.files]));
      for (const kind of ["dragenter", "dragover"])
        this.addEventListener(kind, (event) => { event.preventDefault(); this.find("label").classList.add("over"); });
      for (const kind of ["dragleave", "drop"])
        this.addEventListener(kind, (event) => { event.preventDefault(); this.find("label").classList.remove("over"); });
      this.addEventListener("drop", (event) => this.take(event.dataTransfer));
    }
    connectedCallback() {
      this.input.multiple = this.hasAttribute("several");
      this.input.accept = this.get("accept");
      this.input.setAttribute("aria-label", this.get("words"));
      this.find("b").textContent = this.get("words");
    }
    say(text, bad = false) {
      const status = this.find("span");
      status.textContent = text;
      status.classList.toggle("bad", bad);
      this.find("label").classList.toggle("full", !!text && !bad);
    }
    async take(dropped) {
      const entries = [...dropped.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
      const folder = entries.find((entry) => entry.isDirectory);
      if (!folder) return this.send([...dropped.files]);
      const files = await picturesIn(entries, this.get("accept").split(",").filter((kind) => kind.startsWith(".")));
      if (files.length) this.send(files);
      else this.say(`${folder.name}: there is no picture in it`, true);
    }
    async send(files) {
      if (!files.length) return;
      if (!this.hasAttribute("several")) files = files.slice(0, 1);
      if (files.length > (+this.get("several") || 1)) {
        this.input.value = "";
        return this.say(`${files.length} photographs; ${this.get("several")} at a time, please`, true);
      }
      const tokens = [], names = [], failures = [];
      const bar = this.find("progress");
      bar.hidden = false;
      for (const [number, file] of files.entries()) {
        this.say(files.length > 1 ? `${number + 1} of ${files.length}: ${file.name}` : file.name);
        try {
          const answer = await post(file, (share) => { bar.value = share; });
          tokens.push(answer.token); names.push(answer.name);
        } catch (error) { failures.push(error.message); }
      }
      bar.hidden = true;
      this.input.value = "";
      if (names.length) this.say(names.length > 1 ? `${names.length} photographs` : names[0]);
      if (failures.length) this.say(failures.join("; "), true);
      if (tokens.length) this.dispatchEvent(new CustomEvent("dropped", {
        bubbles: true, detail: { tokens: JSON.stringify(tokens), failures } }));
    }
  }

  async function picturesIn(entries, endings) {  // of folders, and of theirs, in the order of their names
    const found = [];
    for (const entry of entries) {
      if (entry.name.startsWith(".")) continue;
      if (entry.isDirectory) {
        const reader = entry.createReader(), inside = [];
        for (let some = []; inside.push(...some), some = await promised(reader, "readEntries"), some.length;);
        inside.sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
        found.push(...await picturesIn(inside, endings));
      } else if (endings.some((ending) => entry.name.toLowerCase().endsWith(ending))) found.push(await promised(entry, "file"));
    }
    return found;
  }
  const promised = (owner, method) => new Promise((done, failed) => owner[method](done, failed));

  function post(file, tell) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", "upload?name=" + encodeURIComponent(file.name));
      request.upload.onprogress = (event) => tell(event.loaded / (event.total || 1));
      request.onerror = () => reject(new Error(`${file.name}: could not be sent (too large, or the page was stopped)`));
      request.onload = () => {
        let answer = {};
        try { answer = JSON.parse(request.responseText); } catch { answer = {}; }
        if (request.status === 200) resolve(answer);
        else reject(new Error(`${file.name}: ${answer.error || "refused"}`.replace(`${file.name}: ${file.name}`, file.name)));
      };
      request.send(file);
    });
  }

  class HoleBrush extends Shadowed {
    static observedAttributes = ["serial"];
    constructor() {
      super();
      this.inside.innerHTML = `<style>
        .sheet { position: relative; aspect-ratio: var(--shape); max-width: calc(var(--most, 72vh) * (var(--shape))); margin: 0 auto; }
        img, canvas { position: absolute; inset: 0; width: 100%; height: 100%; border-radius: 6px; }
        canvas { opacity: .6; cursor: crosshair; touch-action: none; }
        .tools { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; justify-content: center; padding-top: 8px; font-size: 13px; }
        button { padding: 4px 12px; border-radius: 6px; cursor: pointer; border: 1px solid var(--line); background: none;
          color: var(--body-text-color); font: inherit; }
        button[aria-pressed=true] { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
        input { accent-color: var(--accent); } :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
        </style><div class="sheet"><img alt="The picture to paint on"><canvas tabindex="0" role="application"></canvas></div>
        <div class="tools"><label>Brush <input type="range" min="4" max="120" value="32"></label>
        <button type="button" data-do="erase" aria-pressed="false">Rub out</button>
        <button type="button" data-do="clear">Clear</button></div>`;
      const canvas = this.canvas = this.find("canvas"), pen = canvas.getContext("2d");
      canvas.setAttribute("aria-label", "Paint what is to be filled: drag, or move with the arrow keys and hold Space");
      const size = this.find("input"), erase = this.find("[data-do=erase]");
      let last = null, spot = null, down = false, space = false;
      const rubs = () => erase.getAttribute("aria-pressed") === "true";
      const dab = (x, y) => {
        this.touched = true;
        pen.globalCompositeOperation = rubs() ? "destination-out" : "source-over";
        pen.strokeStyle = "rgb(232, 60, 40)";
        pen.lineCap = pen.lineJoin = "round";
        pen.lineWidth = size.value * canvas.width / Math.max(canvas.clientWidth, 1);
        pen.beginPath();
        pen.moveTo(...(last || [x, y])); pen.lineTo(x, y); pen.stroke();
        last = [x, y];
      };
      const where = (event) => {
        const box = canvas.getBoundingClientRect();
        return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
      };
      canvas.addEventListener("pointerdown", (event) => {
        down = true; last = null; canvas.setPointerCapture(event.pointerId); dab(...where(event)); event.preventDefault();
      });
      canvas.addEventListener("pointermove", (event) => { if (down) dab(...where(event)); });
      for (const kind of ["pointerup", "pointercancel"])
        canvas.addEventListener(kind, () => { down = false; last = null; });
      const keys = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      canvas.addEventListener("keydown", (event) => {
        spot = spot || [canvas.width / 2, canvas.height / 2];
        if (event.key === " ") { space = true; last = null; dab(...spot); event.preventDefault(); }
        if (!(event.key in keys)) return;
        event.preventDefault();
        spot = [0, 1].map((i) => Math.min(Math.max(spot[i] + canvas.width / 60 * keys[event.key][i], 0),
                                          [canvas.width, canvas.height][i]));
        if (space) dab(...spot);
      });
      canvas.addEventListener("keyup", (event) => { if (event.key === " ") { space = false; last = null; } });
      erase.addEventListener("click", () => erase.setAttribute("aria-pressed", !rubs()));
      this.find("[data-do=clear]").addEventListener("click", () => {
        this.touched = true;
        pen.clearRect(0, 0, canvas.width, canvas.height);
      });
    }
    attributeChangedCallback() { queueMicrotask(() => this.renew()); }
    renew() {
      if (this.drawn === this.get("serial")) return;
      this.drawn = this.get("serial");
      const [width, height] = [+this.get("width") || 3, +this.get("height") || 2];
      this.find(".sheet").style.setProperty("--shape", `${width} / ${height}`);
      this.find("img").src = this.get("picture");
      this.canvas.width = width; this.canvas.height = height;  // which clears it
      this.touched = false;  // the page knows its own mark better than by its pixels here
      if (!this.get("marked")) return;
      const image = new Image();
      image.onload = () => this.mark(image);
      image.src = this.get("marked");
    }
    mark(image) {  // white of a mask becomes red
      const { width, height } = this.canvas, pen = this.canvas.getContext("2d");
      const sheet = new OffscreenCanvas(width, height), other = sheet.getContext("2d");
      other.drawImage(image, 0, 0, width, height);
      const pixels = other.getImageData(0, 0, width, height);
      for (let i = 0; i < pixels.data.length; i += 4) {
        pixels.data[i + 3] = pixels.data[i] > 127 ? 255 : 0;
        pixels.data[i] = 232; pixels.data[i + 1] = 60; pixels.data[i + 2] = 40;
      }
      other.putImageData(pixels, 0, 0);
      pen.globalCompositeOperation = "source-over";
      pen.drawImage(sheet, 0, 0);
    }
    mask() { return this.touched || !this.get("marked") ? this.canvas.toDataURL("image/png") : ""; }
  }

  window.paintedMask = (id) => document.querySelector(`#${id} hole-brush`)?.mask() || "";
  for (const [name, kind] of [["photo-drop", PhotoDrop], ["hole-brush", HoleBrush]])
    if (!customElements.get(name)) customElements.define(name, kind);

  document.addEventListener("click", (event) => {
    if (event.target.id !== "theme") return;
    document.body.classList.toggle("dark");
    localStorage.setItem("rlenhance-dark", document.body.classList.contains("dark"));
  });
  document.addEventListener("paste", (event) => {  // into the place with the focus, or the first one in sight
    const files = [...event.clipboardData.files], at = document.activeElement;
    const place = at?.localName === "photo-drop" ? at
      : [...document.querySelectorAll("photo-drop")].find((one) => one.offsetParent);
    if (!files.length || !place) return;
    event.preventDefault();
    place.send(files);
  });
  window.reveal = async (part) => {
    const images = [...part.querySelectorAll("img")];
    for (const image of images) image.loading = "eager";  // its height counts
    await Promise.all(images.map((image) => image.decode().catch(() => {})));
    part.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion)").matches ? "auto" : "smooth" });
  };

  new MutationObserver(() => {
    for (const part of document.querySelectorAll(".figures.fresh")) {
      part.classList.remove("fresh");
      window.reveal(part);
    }
    for (const link of document.querySelectorAll("a.take.fresh")) {
      link.classList.remove("fresh");
      link.click();
    }
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
