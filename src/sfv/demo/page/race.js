// The race: a lane for each model, frames as steps finish, a clock that counts only that model's compute.

import { Player } from "./player.js";
import * as requests from "./requests.js";

let lanes = [];

/** Lanes for the models that will run, with the still picture on them. */
export function prepare(host, names, bitmap) {
  for (const lane of lanes) lane.close();
  lanes = names.map((name) => new Lane(name, bitmap));
  host.replaceChildren(...lanes.map((lane) => lane.card));
}

/** Run it; resolves to the ratio of every model's time to the first's. */
export async function run(request, host, bitmap, signal) {
  for await (const message of requests.race(request, signal)) {
    if (message.event === "error") throw new requests.UserError(requests.asSentence(message.error));
    if (message.event === "lanes") prepare(host, message.lanes, bitmap);
    else if (message.event === "end") return message.ratios;
    else lanes[message.lane].receive(message);
  }
  throw new requests.UserError("The race stopped before its end.");
}

class Lane {
  constructor(name, bitmap) {
    this.card = document.createElement("figure");
    this.card.className = "lane stage";
    this.card.innerHTML = `<div class="screen"><canvas width="128" height="128" role="img"></canvas></div>
      <figcaption><div class="who"><b></b><span></span></div><output class="clock">0.00 s</output></figcaption>
      <div class="track"><div class="fill"></div></div>`;
    [this.title, this.note] = this.card.querySelectorAll(".who > *");
    this.clock = this.card.querySelector(".clock");
    this.fill = this.card.querySelector(".fill");
    this.title.textContent = name;
    this.note.textContent = "waiting";
    this.card.querySelector("canvas").setAttribute("aria-label", `What ${name} makes`);
    this.player = new Player(this.card.querySelector("canvas"), true);
    this.running = false;
    if (bitmap) this.showStill(bitmap);
  }

  showStill(bitmap) {
    const { canvas, context } = this.player;
    canvas.width = canvas.height = 256;
    const scale = 256 / Math.max(bitmap.width, bitmap.height);
    const [w, h] = [bitmap.width * scale, bitmap.height * scale];
    context.drawImage(bitmap, (256 - w) / 2, (256 - h) / 2, w, h);
  }

  receive(message) {
    this[`on_${message.event}`]?.(message);
    this.card.dataset.state = message.event;
  }

  on_open() {
    this.note.textContent = "loading and warming up";
  }

  on_start({ of }) {
    this.note.textContent = of === 1 ? "1 step" : `${of} steps`;
    Object.assign(this, { running: true, base: 0, since: performance.now(), stepMs: Infinity });
    this.tick();
  }

  on_step({ step, of, clock, data, ...shape }) {
    this.note.textContent = `step ${step} of ${of}`;
    this.stepMs = (clock - this.base) * 1000;
    Object.assign(this, { base: clock, since: performance.now() });
    this.fill.style.setProperty("--done", step / of);
    if (data) this.player.show({ ...shape, data });
  }

  on_done({ clock, calls, data, ...shape }) {
    this.running = false;
    this.fill.style.setProperty("--done", 1);
    this.clock.textContent = `${clock.toFixed(2)} s`;
    this.note.textContent = calls === 1 ? "1 network call" : `${calls} network calls`;
    this.player.show({ ...shape, data });
  }

  /** Stop; of a race that was cut off, too. */
  close() {
    this.running = false;
    this.player.close();
  }

  /** Between messages the clock runs on by the page's own time, never past one step as the last one took. */
  tick() {
    if (!this.running) return;
    const seconds = Math.min(performance.now() - this.since, this.stepMs) / 1000;
    this.clock.textContent = `${(this.base + seconds).toFixed(2)} s`;
    requestAnimationFrame(() => this.tick());
  }
}
