// The worker that holds the networks: opens them, makes clips, writes files, so that the page stays quick.

import { clip, proof } from "./clip.js";
import { explained, UserError } from "./errors.js";
import { animation } from "./files.js";
import { isEmpty, isTransparent } from "./fitting.js";
import { Networks } from "./networks.js";

const LARGEST = 25e6; // pixels of a picture
const SMALLEST = 8; // pixels of a side
const KEPT = 3; // pictures whose pixels, and what the networks know of them, are kept
const pictures = new Map(); // id -> {pixels, seen: Map}
let networks = null;

const work = {
  async open({ backend, threads }, progress) {
    networks = await Networks.open(backend, threads, progress);
    return networks.facts;
  },
  async check({ blob }) {
    const pixels = await decoded(blob);
    if (isEmpty(pixels)) throw new UserError("The picture is transparent everywhere: there is nothing to move; save it with its picture.");
    return { width: pixels.width, height: pixels.height, transparent: isTransparent(pixels) };
  },
  async clip({ id, blob, settings }) {
    const known = await remembered(id, blob);
    const { size, fit, enlarge, transparent } = settings;
    const key = JSON.stringify([size, fit, enlarge, transparent]);
    const made = await clip(networks, known.pixels, settings, known.seen?.key === key ? known.seen.value : null);
    known.seen = { key, value: made.seen };
    return made.clip;
  },
  async prove() {
    return proof(networks);
  },
  async file({ made, format }) {
    return animation(made, format);
  },
};

/** A picture's pixels by its id; the blob is decoded again where it was forgotten. */
async function remembered(id, blob) {
  const known = pictures.get(id) ?? { pixels: await decoded(blob), seen: null };
  pictures.delete(id);
  pictures.set(id, known);
  if (pictures.size > KEPT) pictures.delete(pictures.keys().next().value);
  return known;
}

/** A picture file as RGBA, upright. */
async function decoded(blob) {
  const bitmap = await createImageBitmap(blob, { premultiplyAlpha: "none" }).catch(() => null);
  if (!bitmap) throw new UserError("This file is not a picture that the browser reads; convert it to PNG or JPEG.");
  const { width, height } = bitmap;
  if (width * height > LARGEST) throw new UserError(`The picture has ${width} x ${height} pixels, more than 25 million; scale it down first.`);
  if (Math.min(width, height) < SMALLEST) throw new UserError(`The picture is ${width} x ${height}; it needs at least ${SMALLEST} pixels a side.`);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { width, height, data: context.getImageData(0, 0, width, height).data };
}

addEventListener("message", async ({ data: { turn, what, given } }) => {
  try {
    const progress = (bytes, all) => postMessage({ turn, progress: { bytes, all } });
    const done = await work[what](given, progress);
    postMessage({ turn, done }, done?.data?.buffer ? [done.data.buffer] : []);
  } catch (error) {
    const known = explained(error);
    postMessage({ turn, error: { message: known.message ?? String(known), forVisitor: known instanceof UserError } });
  }
});
