// Clips as files: animated PNG and WebP with their transparency, GIF. A clip is {frames, width, height, fps, data}, RGBA.

import { gif } from "./gif.js";

/** A blob of a clip in a format: png, webp or gif. */
export async function animation(clip, format) {
  const make = { png: apng, webp, gif }[format];
  return make(clip);
}

const text = (letters) => Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
const frameOf = ({ width, height, data }, i) => data.subarray(4 * width * height * i, 4 * width * height * (i + 1));

/** Animated PNG (the PNG specification, third edition): every frame whole, filtered by rows, deflated by the browser. */
async function apng(clip) {
  const { frames, width, height, fps } = clip;
  let sequence = 0;
  const head = bytes(13, (view) => (view.setUint32(0, width), view.setUint32(4, height), view.setUint32(8, 0x08060000)));
  const parts = [Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10), chunk("IHDR", head)];
  parts.push(chunk("acTL", bytes(8, (view) => view.setUint32(0, frames))));
  for (let i = 0; i < frames; i++) {
    parts.push(chunk("fcTL", control(sequence++, width, height, fps)));
    const packed = await deflated(filtered(frameOf(clip, i), width, height));
    parts.push(i === 0 ? chunk("IDAT", packed) : chunk("fdAT", joined([bytes(4, (view) => view.setUint32(0, sequence++)), packed])));
  }
  return new Blob([...parts, chunk("IEND", new Uint8Array(0))], { type: "image/apng" });
}

/** How long a frame is shown: 1000 / (1000 fps) seconds. */
function control(sequence, width, height, fps) {
  return bytes(26, (view) => {
    view.setUint32(0, sequence);
    view.setUint32(4, width);
    view.setUint32(8, height);
    view.setUint16(20, 1000);
    view.setUint16(22, Math.round(1000 * fps));
  });
}

/** Rows less the row above (filter 2), which leaves little where pictures are smooth. */
function filtered(pixels, width, height) {
  const row = 4 * width;
  const out = new Uint8Array((row + 1) * height);
  for (let y = 0; y < height; y++) {
    const at = y * (row + 1);
    out[at] = 2;
    for (let x = 0; x < row; x++) out[at + 1 + x] = pixels[y * row + x] - (y ? pixels[(y - 1) * row + x] : 0);
  }
  return out;
}

async function deflated(content) {
  const stream = new Blob([content]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function chunk(name, content) {
  const named = joined([text(name), content]);
  let crc = 0xffffffff;
  for (const byte of named) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return joined([bytes(4, (view) => view.setUint32(0, content.length)), named, bytes(4, (view) => view.setUint32(0, ~crc))]);
}

/** Animated WebP (RFC 9649): the browser writes every frame as a still, lossless where it can; here they are joined. */
async function webp(clip) {
  const { frames, width, height, fps } = clip;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const parts = [];
  for (let i = 0; i < frames; i++) {
    context.putImageData(new ImageData(frameOf(clip, i), width, height), 0, 0);
    const still = new Uint8Array(await (await canvas.convertToBlob({ type: "image/webp", quality: 1 })).arrayBuffer());
    const [start, end] = [i, i + 1].map((k) => Math.round((1000 * k) / fps));
    const head = bytes(16, (view) => {
      [0, 0, width - 1, height - 1, end - start].forEach((value, k) => little(view, 3 * k, value));
      view.setUint8(15, 2); // frames replace one another
    });
    parts.push(riff("ANMF", joined([head, ...imageChunks(still)])));
  }
  const extended = bytes(10, (view) => {
    view.setUint8(0, 0x12); // animation and alpha
    little(view, 4, width - 1);
    little(view, 7, height - 1);
  });
  const body = joined([text("WEBP"), riff("VP8X", extended), riff("ANIM", new Uint8Array(6)), ...parts]);
  return new Blob([riff("RIFF", body)], { type: "image/webp" });
}

/** The chunks of a still's pixels: VP8L, or ALPH and VP8. */
function imageChunks(still) {
  const view = new DataView(still.buffer);
  const found = [];
  for (let at = 12; at + 8 <= still.length; ) {
    const size = view.getUint32(at + 4, true);
    const end = at + 8 + size + (size & 1);
    if (["VP8L", "VP8 ", "ALPH"].includes(String.fromCharCode(...still.subarray(at, at + 4)))) found.push(still.subarray(at, end));
    at = end;
  }
  return found;
}

function riff(name, content) {
  const size = bytes(4, (view) => view.setUint32(0, content.length, true));
  return joined([text(name), size, content, new Uint8Array(content.length & 1)]);
}

/** 24 bits. */
function little(view, at, value) {
  view.setUint16(at, value & 0xffff, true);
  view.setUint8(at + 2, value >> 16);
}

export function bytes(size, fill) {
  const out = new Uint8Array(size);
  fill(new DataView(out.buffer));
  return out;
}

export function joined(parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
