// A canvas to draw on: brushes, eraser, undo. Also the brush of masks, which has one colour.

import { element } from "./dom.js";

const COLOURS = [
  ["Ink", "#23232b"], ["White", "#ffffff"], ["Red", "#f0443e"], ["Orange", "#ff9f1c"], ["Yellow", "#ffd23f"],
  ["Green", "#2fb574"], ["Blue", "#3b82f6"], ["Violet", "#8b5cf6"], ["Pink", "#ff7ab6"], ["Brown", "#8a5a3c"],
];
const UNDO_STEPS = 20;

export class Pad {
  /** `changed` is called after every stroke, and while one is drawn if `eager`. */
  constructor(host, tools, { size = 256, colours = COLOURS, brush = 14, changed = () => {}, eager = false } = {}) {
    this.canvas = element("canvas", { className: "pad", tabIndex: 0 });
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Drawing area; draw with mouse, finger or pen");
    host.replaceChildren(this.canvas);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    Object.assign(this, { brush, changed, eager, colour: colours[0][1], erasing: false, history: [], touched: false });
    this.resize(size, size);
    this.#tools(tools, colours);
    this.#listen();
  }

  resize(width, height) {
    this.canvas.width = width;
    this.canvas.height = height;
    this.context.lineCap = this.context.lineJoin = "round";
    this.history = [];
    this.touched = false;
  }

  /** Draw a whole picture on the pad, as large as it fits. */
  load(bitmap) {
    const { width, height } = this.canvas;
    const scale = Math.min(width / bitmap.width, height / bitmap.height);
    const [w, h] = [bitmap.width * scale, bitmap.height * scale];
    this.context.clearRect(0, 0, width, height);
    this.context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
    this.history = [];
  }

  clear() {
    this.#saveForUndo();
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.touched = false;
    this.changed();
  }

  undo() {
    const last = this.history.pop();
    if (last) this.context.putImageData(last, 0, 0);
    this.touched = this.history.length > 0;
    this.changed();
  }

  blob() {
    return new Promise((done) => this.canvas.toBlob(done, "image/png"));
  }

  #saveForUndo() {
    this.history.push(this.context.getImageData(0, 0, this.canvas.width, this.canvas.height));
    if (this.history.length > UNDO_STEPS) this.history.shift();
  }

  #tools(host, colours) {
    const swatches = colours.length > 1 ? colours.map(([name, value]) => this.#swatch(name, value)) : [];
    const size = element("input", { type: "range", min: 3, max: 48, value: this.brush });
    size.setAttribute("aria-label", "Brush size");
    size.addEventListener("input", () => (this.brush = Number(size.value)));
    this.eraser = button("Erase", () => this.#erase(!this.erasing));
    this.eraser.setAttribute("aria-pressed", "false");
    const tray = element("div", { className: "swatches" });
    tray.append(...swatches);
    host.replaceChildren(...(swatches.length ? [tray] : []), size, this.eraser, button("Undo", () => this.undo()), button("Clear", () => this.clear()));
    this.swatches = swatches;
    swatches[0]?.setAttribute("aria-pressed", "true");
  }

  #swatch(name, value) {
    const swatch = button("", () => {
      this.colour = value;
      this.#erase(false);
      for (const other of this.swatches) other.setAttribute("aria-pressed", String(other === swatch));
    });
    swatch.className = "swatch";
    swatch.style.setProperty("--colour", value);
    swatch.setAttribute("aria-label", name);
    swatch.setAttribute("aria-pressed", "false");
    return swatch;
  }

  #erase(on) {
    this.erasing = on;
    this.eraser.setAttribute("aria-pressed", String(on));
  }

  #listen() {
    let last = null;
    const position = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * this.canvas.width, ((event.clientY - box.top) / box.height) * this.canvas.height];
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.canvas.setPointerCapture(event.pointerId);
      this.#saveForUndo();
      last = position(event);
      this.#stroke(last, last);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      for (const moved of event.getCoalescedEvents?.() ?? [event]) {
        const to = position(moved);
        this.#stroke(last, to);
        last = to;
      }
      if (this.eager) this.changed();
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, () => {
        if (last) this.changed();
        last = null;
      });
    }
  }

  #stroke(from, to) {
    this.touched = true;
    const c = this.context;
    c.globalCompositeOperation = this.erasing ? "destination-out" : "source-over";
    c.strokeStyle = this.colour;
    c.lineWidth = (this.brush * this.canvas.width) / 256;
    c.beginPath();
    c.moveTo(...from);
    c.lineTo(...to);
    c.stroke();
    c.globalCompositeOperation = "source-over";
  }
}

function button(text, act) {
  const tool = element("button", { type: "button", textContent: text, className: "tool" });
  tool.addEventListener("click", act);
  return tool;
}
