// Which back end makes the clips: WebAssembly is the reference; WebGPU only once it has proved that it makes the same.

import { requireWasm } from "./errors.js";
import { Engine, idle, inTurn, use } from "./requests.js";

const THREADS = 4; // at most
const EQUAL = 50; // decibels between both back ends' frames, at least, for WebGPU to be used
const asked = new URLSearchParams(location.search);
let engine = null;

/** Threads that WebAssembly may use here; `?threads=1` asks for fewer. */
export function threads() {
  if (!crossOriginIsolated) return 1;
  return Math.max(1, Math.min(Number(asked.get("threads")) || THREADS, navigator.hardwareConcurrency || 1));
}

/** Open the reference; resolves to the model's facts. */
export async function openReference(progress) {
  requireWasm();
  engine = new Engine();
  use(engine);
  return engine.call("open", { backend: "wasm", threads: threads() }, progress);
}

/**
 * Try WebGPU where there is a graphics processor (`?webgpu=try`: a software one too); it is taken if its frames equal the
 * reference's and come sooner. Resolves to {said, graphics}: a sentence for the visitor, and whether it was taken.
 */
export async function tryGraphics(progress) {
  const reference = `Computed by WebAssembly, ${threads() === 1 ? "one thread" : `${threads()} threads`}.`;
  const without = (why) => ({ said: `${reference}${why}`, graphics: false });
  if (asked.get("webgpu") === "off" || !(await hasGraphics())) return without("");
  const other = new Engine();
  try {
    await other.call("open", { backend: "webgpu", threads: 1 }, progress);
    await other.call("prove", {}); // compiles its programs
    const [wanted, made] = [await inTurn(() => engine.call("prove", {})), await other.call("prove", {})];
    const { taken, decibels, why } = judged(wanted, made);
    document.body.dataset.likeness = decibels.toFixed(1);
    if (taken) {
      use(other);
      await idle();
      engine.close();
      engine = other;
      return { said: `Computed by WebGPU, whose frames equal WebAssembly's to ${Math.round(decibels)} dB.`, graphics: true };
    }
    other.close();
    return without(why);
  } catch {
    other.close();
    return without(" WebGPU cannot run the model here.");
  }
}

/** Whether another back end's proof {frames, seconds} equals the reference's and came sooner; else why not. */
export function judged(wanted, made) {
  const decibels = likeness(wanted.frames, made.frames);
  if (decibels < EQUAL) return { taken: false, decibels, why: ` WebGPU's frames are not the same here (${Math.round(decibels)} dB).` };
  const taken = made.seconds < wanted.seconds;
  return { taken, decibels, why: taken ? "" : " WebGPU is slower here." };
}

async function hasGraphics() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (!adapter) return false;
  return asked.get("webgpu") === "try" || !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
}

/** Peak signal-to-noise ratio of 8-bit frames; no number counts as none. */
function likeness(wanted, made) {
  let sum = 0;
  for (let i = 0; i < wanted.length; i++) sum += (wanted[i] - made[i]) ** 2;
  return sum === 0 ? 99 : 10 * Math.log10((255 * 255 * wanted.length) / sum) || 0;
}
