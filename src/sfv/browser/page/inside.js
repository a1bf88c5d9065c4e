// A thing stays inside what is shown of it (src/sfv/decoding/inside.py). Places are shares of the frame's sides from its
// middle; flows are in pixels.

import { extent } from "./directed.js";

const NEAR = 0.005, ACROSS = 0.03; // a thing so near to both edges may go over them so far
const LEAST = 0.25, ROUNDED = 1e-6, TURNS = 2;

/** The same clip; on each side a way that would go over the edge is shortened, and what grows beyond its room moves less. */
export function keptInside(parts, body) {
  const { frames, width, height } = parts;
  const area = width * height;
  const { less, back } = corrections(parts, body);
  if (less === 1 && back.every(([x, y]) => x === 0 && y === 0)) return parts;
  const draws = parts.trust.some((v) => v < 1);
  const [flow, rest, trust] = [parts.flow, parts.rest, parts.trust].map((maps, i) => (i && !draws ? maps : new Float32Array(maps.length)));
  for (let t = 0; t < frames; t++) {
    const [right, down] = [Math.fround(back[t][0] * width), Math.fround(back[t][1] * height)];
    const shifted = (from, to, channels, put) => {
      for (let c = 0; c < channels; c++) {
        const start = (t * channels + c) * area;
        for (let i = 0; i < area; i++) to[start + i] = put(sampled(from, start, (i % width) - right, Math.floor(i / width) - down, width, height), c);
      }
    };
    shifted(parts.flow, flow, 2, (v, c) => less * v - (c ? down : right));
    if (draws) shifted(parts.rest, rest, 4, (v) => v);
    if (draws) shifted(parts.trust, trust, 1, (v) => v);
  }
  return { frames, width, height, rest, trust, flow };
}

/** How much of the flow is kept, and how far every frame is then shifted, in shares of its sides. */
function corrections({ frames, width, height, flow }, { points, window }) {
  const half = [0.5 / width, 0.5 / height];
  const [first, last] = extent(points).map((corner, high) => corner.map((v, c) => v + (high ? half[c] : -half[c])));
  const few = outline(points, width, height);
  const ways = Array.from({ length: frames }, (_, t) => {
    const [low, high] = extent(few.map((point) => gone(flow, t, point, width, height)));
    return [0, 1].map((c) => [first[c] - low[c] + half[c], high[c] + half[c] - last[c]]); // beyond where it rests
  });
  const room = [0, 1].map((c) => {
    const slack = first[c] - window[c] < NEAR && window[2 + c] - last[c] < NEAR ? ACROSS : 0;
    return [Math.max(0, first[c] - window[c]) + slack, Math.max(0, window[2 + c] - last[c]) + slack];
  });
  const grown = [0, 1].map((c) => Math.max(1e-6, ...ways.map((way) => way[c][0] + way[c][1])));
  const less = Math.min(1, Math.max(LEAST, Math.min(...room.map(([low, high], c) => (low + high) / grown[c]))));
  const far = ways.map((way) => way.map((sides) => sides.map((v) => Math.max(0, less * v - ROUNDED))));
  const cut = room.map((sides, c) => sides.map((v, k) => Math.max(0, 1 - v / Math.max(1e-6, ...far.map((way) => way[c][k])))));
  const back = far.map((way) => way.map(([low, high], c) => cut[c][0] * low - cut[c][1] * high));
  return { less, back };
}

/** Of pixels' middles those that are first or last in their row or column. */
function outline(points, width, height) {
  const ends = new Map();
  for (const point of points) {
    const lines = [Math.floor((point[1] + 0.5) * height), Math.floor((point[0] + 0.5) * width)];
    lines.forEach((line, along) => {
      const keys = [`${along} ${line} first`, `${along} ${line} last`];
      if (!(ends.get(keys[0])?.[along] <= point[along])) ends.set(keys[0], point);
      if (!(ends.get(keys[1])?.[along] >= point[along])) ends.set(keys[1], point);
    });
  }
  return [...new Set(ends.values())];
}

/** Where frame `t` has a place of the picture. */
function gone(flow, t, [x, y], width, height) {
  let at = [x, y];
  for (let k = 0; k <= TURNS; k++) {
    const came = [0, 1].map((c) => sampled(flow, (2 * t + c) * width * height, (at[0] + 0.5) * width - 0.5, (at[1] + 0.5) * height - 0.5, width, height));
    at = [x - came[0] / width, y - came[1] / height];
  }
  return at;
}

/** One of `maps` from `start` on, between its pixels; beyond the border the border goes on. */
function sampled(maps, start, column, row, width, height) {
  const x = Math.min(width - 1, Math.max(0, column));
  const y = Math.min(height - 1, Math.max(0, row));
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [right, below] = [Math.min(left + 1, width - 1), Math.min(top + 1, height - 1)];
  const [across, down] = [x - left, y - top];
  const at = (i, j) => maps[start + j * width + i];
  return (1 - down) * ((1 - across) * at(left, top) + across * at(right, top)) + down * ((1 - across) * at(left, below) + across * at(right, below));
}
