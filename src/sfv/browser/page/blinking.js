// A blink: lids of the skin around each eye come down over it and open again, drawn on the picture itself
// (src/sfv/decoding/blinking.py). Pictures are layers {width, height, data (4, h, w)} in [-1, 1].

import { boxOf, widened } from "./eyes.js";
import { roundEven } from "./resize.js";

const SECONDS = 0.19, HELD = 1.5, EVERY = 3, WHEN = 0.55; // when, and how long
const SAG = 0.25, EDGE = 0.1, THINNEST = 1.2, ALIKE = 0.5; // the lid's edge, and skin

/** How far eyes are closed, 0 to 1, in each of `count` frames of a round. */
export function shares(count, seconds) {
  const blinks = Math.max(1, roundEven(seconds / EVERY));
  const peaks = Array.from({ length: blinks }, (_, k) => Math.round(((k + WHEN) / blinks) * count - 1e-6) / count);
  return Array.from({ length: count }, (_, i) => {
    const off = Math.min(...peaks.map((peak) => Math.abs(i / count - peak))) * seconds;
    return i === 0 ? 0 : Math.min(1, Math.max(0, HELD * (1 - off / SECONDS)));
  });
}

/** What closes eyes in a fitted picture `seen`: a function of a picture of this or a larger size, and a share. */
export function lidsOf({ first, width, height }, eyes) {
  const area = width * height;
  const size = { width, height };
  const median = (ring) => [0, 1, 2].map((c) => Float32Array.from(ring, (i) => first[c * area + i]).sort()[(ring.length - 1) >> 1]);
  const rings = eyes.map(({ pixels, dark }) => {
    let ring;
    for (const [from, to] of [[2, 4], [6, 9]]) { // further out if that is as dark as the eye, as glasses are
      const [outer, inner] = [widened(pixels, to, size), widened(pixels, from, size)];
      ring = [...outer.keys()].filter((i) => outer[i] && !inner[i]);
      if (median(ring).some((v, c) => Math.abs(v - dark[c]) > ALIKE)) break;
    }
    return ring;
  });
  const usual = rings.map(median);
  const fromDark = usual.map((colour, k) => colour.reduce((sum, v, c) => sum + Math.abs(v - eyes[k].dark[c]), 0));
  const skin = usual[fromDark.indexOf(Math.max(...fromDark))];
  const around = [...new Set(rings.flat())];
  const opaque = Float32Array.from(around, (i) => first[3 * area + i]).sort()[(around.length - 1) >> 1] - 0.1;
  const alike = around.filter((i) => first[3 * area + i] > opaque && skin.every((v, c) => Math.abs(first[c * area + i] - v) < ALIKE));
  const places = alike.length ? alike : around;
  const lids = eyes.map((eye) => lid(first, places, eye, size));
  return (picture, share) => {
    const data = picture.data.slice();
    for (const each of lids) draw(data, picture, each, share, size);
    return { ...picture, data };
  };
}

/** Of one eye: its box, its skin (3, h, w) where it may be needed, and how far each place is covered. */
function lid(first, places, { pixels, dark }, size) {
  const { width, height } = size;
  const area = width * height;
  const skin = new Float32Array(3 * area);
  const [top, left, bottom, right] = boxOf([...pixels.keys()].filter((i) => pixels[i]), width);
  const whole = pixels.map((is, i) => { // with highlights at its edge
    const across = ((i % width) + 0.5 - (left + right) / 2) / ((right - left) / 2);
    const down = (Math.floor(i / width) + 0.5 - (top + bottom) / 2) / ((bottom - top) / 2);
    return Number(is || down * down + across * across <= 1);
  });
  const near = widened(whole, 3, size);
  for (let i = 0; i < area; i++) {
    if (!near[i]) continue;
    const sum = [0, 0, 0, 0];
    for (const k of places) {
      const away = Math.hypot((i % width) - (k % width), Math.floor(i / width) - Math.floor(k / width));
      const weight = Math.max(0.5, away) ** -3; // Shepard (1968)
      for (let c = 0; c < 3; c++) sum[c] += weight * first[c * area + k];
      sum[3] += weight;
    }
    for (let c = 0; c < 3; c++) skin[c * area + i] = sum[c] / sum[3];
  }
  return { top, left, bottom, right, dark, skin, covered: softened(widened(whole, 2, size), size) };
}

/** Means of 3 x 3 places of a mask: a hard edge is a saw's. */
function softened(mask, { width, height }) {
  return Float32Array.from(mask, (_, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    let [sum, count] = [0, 0];
    for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
      for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++, count++) sum += mask[v * width + u];
    }
    return sum / count;
  });
}

/** Closes one eye by a share, in place. */
function draw(data, { width, height }, { top, left, bottom, right, dark, skin, covered }, share, small) {
  const [down, across] = [height / small.height, width / small.width];
  const area = width * height;
  const soft = 1 / down;
  const tall = bottom - top;
  const thick = Math.max(EDGE * tall, THINNEST);
  const clamped = (v) => Math.min(1, Math.max(0, v));
  for (let v = Math.max(0, Math.floor((top - 3) * down)); v < Math.min(height, Math.floor((bottom + 3) * down) + 1); v++) {
    const row = (v + 0.5) / down;
    for (let u = Math.max(0, Math.floor((left - 3) * across)); u < Math.min(width, Math.floor((right + 3) * across) + 1); u++) {
      const column = (u + 0.5) / across;
      const off = Math.min(1, Math.max(-1, (column - (left + right) / 2) / ((right - left) / 2)));
      const bow = tall * SAG * (0.9 - off * off);
      const upper = top + (share * tall) / 2 + (2 * share - 1) * bow;
      const lower = bottom - share * share * (tall / 2 - bow);
      const under = clamped(Math.max((upper - row) / soft + 0.5, (row - lower) / soft + 0.5));
      const edge = clamped((thick / 2 - Math.abs(row - upper)) / soft + 0.5) * Math.min(1, 2 * share);
      const cover = Math.max(under, edge) * between(covered, 0, row, column, small);
      if (!cover) continue;
      for (let c = 0; c < 3; c++) {
        const colour = between(skin, c * small.width * small.height, row, column, small);
        const at = c * area + v * width + u;
        data[at] += cover * (colour + edge * (dark[c] - colour) - data[at]);
      }
    }
  }
}

/** Bilinear between the pixels of a small map that begins at `start`. */
function between(map, start, row, column, { width, height }) {
  const [y, x] = [Math.max(0, row - 0.5), Math.max(0, column - 0.5)];
  const [top, left] = [Math.min(height - 1, Math.floor(y)), Math.min(width - 1, Math.floor(x))];
  const [below, right] = [Math.min(height - 1, top + 1), Math.min(width - 1, left + 1)];
  const level = (v, u) => map[start + v * width + u];
  const high = level(top, left) + (x - left) * (level(top, right) - level(top, left));
  const low = level(below, left) + (x - left) * (level(below, right) - level(below, left));
  return high + (y - top) * (low - high);
}
