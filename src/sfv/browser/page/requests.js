// What `sfv demo` asks its server, done in this page: the same names as demo/page/requests.js, the work in a worker.

import { asSentence, UserError } from "./errors.js";
import { commandLine, pythonLines } from "./lines.js";
import { recorded } from "./recorded.js";
import { state } from "./state.js";

export { asSentence, UserError };

const blobs = new Map(); // picture id -> blob
let turn = 0;
let engine = null; // the worker that makes clips
let last = null; // {key, clip}: what the newest clip was asked for with
let running = Promise.resolve(); // all that the networks were asked to make, one after the other
const waiting = {}; // view -> its clip request that begins next

/** A worker with the networks; `call(what, given, progress)` asks it. */
export class Engine {
  constructor() {
    this.worker = new Worker(new URL("engine.js", import.meta.url), { type: "module" });
    this.calls = new Map();
    this.turn = 0;
    this.worker.addEventListener("message", ({ data }) => this.#answered(data));
    this.worker.addEventListener("error", (event) => this.#fail(new Error(event.message)));
  }

  call(what, given, progress = () => {}) {
    return new Promise((done, failed) => {
      this.calls.set(++this.turn, { done, failed, progress });
      this.worker.postMessage({ turn: this.turn, what, given });
    });
  }

  /** End the worker; what it has not answered fails. */
  close() {
    this.worker.terminate();
    this.#fail(new UserError("This was cut off when the page began to compute in another way; try again."));
  }

  #answered({ turn: number, progress, done, error }) {
    const call = this.calls.get(number);
    if (!call) return;
    if (progress) return call.progress(progress);
    this.calls.delete(number);
    if (error) call.failed(error.forVisitor ? new UserError(error.message) : new Error(error.message));
    else call.done(done);
  }

  #fail(error) {
    for (const { failed } of this.calls.values()) failed(error);
    this.calls.clear();
  }
}

/** Make clips with this engine from now on. */
export function use(other) {
  engine = other;
}

/** Check a picture; resolves to {id, width, height, transparent}. */
export async function upload(blob) {
  if (!engine) throw new UserError("The page is still starting; choose the picture again in a moment.");
  const checked = await engine.call("check", { blob });
  const id = `picture-${blobs.size}`;
  blobs.set(id, blob);
  return { id, ...checked };
}

/** Begin work of the networks after what they were asked before: a worker makes one thing at a time. */
export function inTurn(work) {
  const made = running.then(work);
  running = made.then(() => {}, () => {}); // without the clip
  return made;
}

/** A clip, or null if a newer request for the same view ("stage" or "live") overtook it: one is made, one of each view
 * waits, and a newer one takes its place. */
export async function clip(request, view = "stage") {
  const mine = ++turn;
  waiting[view] = mine;
  return inTurn(async () => (waiting[view] === mine ? { ...(await made(request)), turn: mine } : null));
}

async function made(request) {
  const settings = full(request.ask.settings);
  const { picture } = request.ask;
  const key = JSON.stringify([picture, settings]);
  if (last?.key !== key) last = { key, clip: await engine.call("clip", { id: picture, blob: blobs.get(picture), settings }) };
  return { ...last.clip, command: commandLine(request, state.server.model), python: pythonLines(request, state.server.model) };
}

/** The settings with everything that was left open. */
function full(settings) {
  const { defaults } = state.server.model;
  return { seed: 0, move: "auto", stiff: "auto", transparent: false, boomerang: false, enlarge: 1, fit: "own", size: null, play_fps: defaults.play_fps ?? settings.fps, ...settings };
}

/** Wait for all that was asked for until now. */
export const idle = () => running;

/** A clip as a file. */
export async function file(request) {
  const { format } = request;
  if (format === "webm" || format === "mp4") return recorded(await inTurn(() => made(request)), format);
  return inTurn(async () => engine.call("file", { made: { ...(await made(request)), seconds: null }, format }));
}
