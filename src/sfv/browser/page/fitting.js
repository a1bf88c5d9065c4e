// A picture made to fit the network's frame, and the size of its clip (src/sfv/generation/framing.py and fitting.py).

import { beyond } from "./stiff.js";
import { blank, lanczos, nearest, roundEven } from "./resize.js";

const LONGEST = 512; // pixels of a clip's longer side, unless another size is asked for
const ICON = 64; // pixels of a side up to which pictures keep hard pixels when they become at least twice as large

/**
 * What the network sees (`small`, of its own size), the picture at the clip's scale (`large`), and where in that the
 * clip is (`box`: {top, left, width, height}). Without `transparent` the picture lies on white.
 */
export function fitted(picture, settings, { width, height }) {
  const source = settings.transparent ? picture : overWhite(picture);
  const inside = settings.fit === "own" ? scaled(source, ownSize(source, settings, Math.max(width, height))) : framed(source, settings, width, height);
  const scale = Math.max(inside.width / width, inside.height / height);
  const large = surrounded(inside, Math.max(inside.width, roundEven(width * scale)), Math.max(inside.height, roundEven(height * scale)));
  const box = { top: (large.height - inside.height) >> 1, left: (large.width - inside.width) >> 1, width: inside.width, height: inside.height };
  return { small: lanczos(large, width, height), large, box };
}

/** The picture's own shape: its longer side as asked for, else its own within limits; even. */
function ownSize(picture, { size }, frame) {
  const longer = Math.max(picture.width, picture.height);
  const side = size ? Number(size) : Math.min(Math.max(LONGEST, frame), Math.max(frame, longer));
  return [picture.width, picture.height].map((v) => Math.max(2, 2 * roundEven((v * side) / longer / 2)));
}

function scaled(picture, [width, height]) {
  const longer = Math.max(picture.width, picture.height);
  const hard = longer <= ICON && Math.max(width, height) >= 2 * longer;
  return hard ? nearest(picture, width, height) : lanczos(picture, width, height);
}

/** Whole inside the frame (pad) or filling it (crop), `enlarge` times as large as the network's. */
function framed(picture, { fit, enlarge, transparent }, width, height) {
  const [w, h] = [width * (enlarge ?? 1), height * (enlarge ?? 1)];
  const [own, wanted] = [picture.width / picture.height, w / h];
  if (fit === "crop") {
    const [across, down] = own >= wanted ? [picture.height * wanted, picture.height] : [picture.width, picture.width / wanted];
    const [left, top] = [(picture.width - across) / 2, (picture.height - down) / 2];
    return lanczos(picture, w, h, [left, top, left + across, top + down]);
  }
  const [across, down] = own > wanted ? [w, roundEven((picture.height / picture.width) * w)] : [roundEven((picture.width / picture.height) * h), h];
  const ground = blank(w, h);
  if (!transparent) ground.data.fill(255);
  return laid(lanczos(picture, across, down), ground, roundEven((w - across) / 2), roundEven((h - down) / 2));
}

/** On a larger ground: clear, the plain ground of a thing that touches its border, or the edge drawn outward. */
function surrounded(inside, width, height) {
  if (inside.width === width && inside.height === height) return inside;
  const [left, top] = [(width - inside.width) >> 1, (height - inside.height) >> 1];
  const around = beyond(layers(inside), inside.width, inside.height);
  const out = blank(width, height);
  if (around) {
    const colour = around.map((v) => Math.round(v * 127.5 + 127.5));
    for (let i = 0; i < out.data.length; i += 4) out.data.set(colour, i);
    return laid(inside, out, left, top);
  }
  const [from, to] = [new Uint32Array(inside.data.buffer, inside.data.byteOffset), new Uint32Array(out.data.buffer)];
  const within = (v, size) => Math.min(Math.max(v, 0), size - 1);
  for (let y = 0; y < height; y++) {
    const row = within(y - top, inside.height) * inside.width;
    for (let x = 0; x < width; x++) to[y * width + x] = from[row + within(x - left, inside.width)];
  }
  return out;
}

function laid(picture, ground, left, top) {
  for (let y = 0; y < picture.height; y++) {
    ground.data.set(picture.data.subarray(4 * y * picture.width, 4 * (y + 1) * picture.width), 4 * ((y + top) * ground.width + left));
  }
  return ground;
}

function overWhite(picture) {
  const data = picture.data.slice();
  for (let i = 0; i < data.length; i += 4) {
    const alpha = data[i + 3];
    if (alpha === 255) continue;
    for (let c = i; c < i + 3; c++) data[c] = Math.round((data[c] * alpha) / 255 + 255 - alpha);
    data[i + 3] = 255;
  }
  return { ...picture, data };
}

/** (4, h, w) in [-1, 1], colours multiplied with alpha: how networks take a picture. */
export function layers({ width, height, data }) {
  const area = width * height;
  const out = new Float32Array(4 * area);
  for (let i = 0; i < area; i++) {
    const alpha = data[4 * i + 3] / 255;
    for (let c = 0; c < 3; c++) out[c * area + i] = (data[4 * i + c] / 255) * alpha * 2 - 1;
    out[3 * area + i] = alpha * 2 - 1;
  }
  return out;
}

/** Whether any pixel is not opaque. */
export function isTransparent({ data }) {
  for (let i = 3; i < data.length; i += 4) if (data[i] < 255) return true;
  return false;
}

/** Whether no pixel can be seen. */
export function isEmpty({ data }) {
  for (let i = 3; i < data.length; i += 4) if (data[i] > 0) return false;
  return true;
}
