// From the decoder's parts to the frames that are played (src/sfv/generation/finishing.py, decoding/upscale.py): between
// the frames made, every part is interpolated round the loop; the picture is then moved by the flow, at the clip's size.

import { goingOn, stopped } from "./inside.js";

const CALM = 1.6, SLOWEST = 4; // of the ways from and to the picture
const EARLY = 1 / 3, HURRY = 0.6; // of a round that does little at first
const ENLARGED = 3; // times the picture is enlarged by cubic interpolation before it is moved at its own size

/** Places round the loop, in frames, at which `count` frames are played; `latents` (f, n) of one clip. */
export function timesOf(latents, frames, count) {
  return count > frames ? eased(latents, frames, count) : Array.from({ length: count }, (_, i) => (i * frames) / count);
}

/** Evenly spread but for the ways from and to the picture, which take as many times longer as they are longer, and for
 * what is hurried. */
function eased(latents, frames, count) {
  const size = latents.length / frames;
  const ways = Array.from({ length: frames }, (_, t) => {
    let sum = 0;
    for (let i = 0; i < size; i++) sum += (latents[((t + 1) % frames) * size + i] - latents[t * size + i]) ** 2;
    return Math.sqrt(sum);
  });
  const median = Math.max(1e-9, [...ways].sort((a, b) => a - b)[(frames - 1) >> 1]);
  const spans = ways.map((way, t) => {
    const calm = t === 0 ? 1 : t === frames - 1 ? CALM : 0;
    return calm ? Math.min(SLOWEST, Math.max(1, (calm * way) / median)) : 1;
  });
  const ends = [];
  spans.reduce((sum, span) => (ends.push(sum + span), sum + span), 0);
  const hurry = hurryOf(ways, spans, ends);
  return Array.from({ length: count }, (_, i) => {
    const at = (i / count + (hurry * (1 - Math.cos((2 * Math.PI * i) / count))) / (2 * Math.PI)) * ends[frames - 1];
    const k = Math.min(frames - 1, ends.findIndex((end) => end > at));
    return k + (at - (ends[k] - spans[k])) / spans[k];
  });
}

/** By how much a round is played quicker at first so that EARLY of its motion is done by then; 0 where it is. */
function hurryOf(ways, spans, ends) {
  const wanted = EARLY * ways.reduce((sum, way) => sum + way, 0);
  if (wanted <= 0) return 0;
  let done = 0, k = 0;
  while (k < ways.length - 1 && done + ways[k] < wanted) done += ways[k++];
  const when = (ends[k] - spans[k] * (1 - (wanted - done) / ways[k])) / ends[ends.length - 1];
  const gained = (1 - Math.cos(2 * Math.PI * EARLY)) / (2 * Math.PI);
  return Math.min(HURRY, Math.max(0, (when - EARLY) / gained));
}

/**
 * RGBA frames, 8 bits, one after the other: of `transparent` clips with their alpha, else over white. `moments` are
 * {time, flows, changed}: places round the loop, in frames, other motions over the clip's own, and what gives another
 * picture, if a frame is made of one. `picture` holds the layers that are moved, {width, height, data (4, h, w)}, of the
 * parts' size or larger; `box` is what is shown of them, `around` what lies beyond their border, if that does not go on,
 * as it does at the sides of the `window` shown that are in `cut`.
 */
export function composed(parts, moments, picture, box, transparent, around, cut, window) {
  const out = new Uint8ClampedArray(4 * moments.length * box.width * box.height);
  const same = picture.width === parts.width && picture.height === parts.height;
  const goesOn = cut.flat().some(Boolean);
  const ready = (layers) => ({ ...texels(same ? sharpened(goesOn ? goingOn(layers, cut, window) : layers) : layers), around });
  const source = ready(picture);
  const columns = places(parts.width, picture.width, box.left, box.width);
  const rows = places(parts.height, picture.height, box.top, box.height);
  moments.forEach(({ time, flows, changed }, i) => {
    let seven = flows.reduce((before, flow, k) => carried(before, flow, parts, k > 0), between(parts, time));
    if (goesOn) seven = stopped(seven, cut, window, parts.width, parts.height);
    paint(seven, changed ? ready(changed()) : source, picture, columns, rows, transparent, out, i * 4 * box.width * box.height);
  });
  return out;
}

/** The parts at a time: seven numbers a position, side by side: rest (4), trust, flow (2). */
function between(parts, time) {
  const { frames, width, height, rest, trust, flow } = parts;
  const area = width * height;
  const one = Math.floor(time) % frames;
  const other = (Math.floor(time) + 1) % frames;
  const share = time - Math.floor(time);
  const out = new Float32Array(7 * area);
  for (const [part, channels, first] of [[rest, 4, 0], [trust, 1, 4], [flow, 2, 5]]) {
    for (let c = 0; c < channels; c++) {
      const [a, b] = [(one * channels + c) * area, (other * channels + c) * area];
      for (let i = 0; i < area; i++) out[7 * i + first + c] = part[a + i] + share * (part[b + i] - part[a + i]);
    }
  }
  return out;
}

/** The same with another motion over its own: every place is taken from where `flow` (2, h, w) says, in pixels. Beyond the
 * frame its own flow is as at the border or, if it is `even`, goes on as evenly as it comes to it. */
function carried(seven, flow, { width, height }, even) {
  const area = width * height;
  const out = new Float32Array(7 * area);
  const [mixed, inward] = [new Float32Array(7), new Float32Array(7)];
  for (let i = 0; i < area; i++) {
    const [column, row] = [(i % width) + flow[i], Math.floor(i / width) + flow[area + i]];
    const [x, y] = [Math.min(Math.max(column, 0), width - 1), Math.min(Math.max(row, 0), height - 1)];
    mixedAt(seven, x, y, width, height, mixed);
    if (even && (x !== column || y !== row)) {
      mixedAt(seven, Math.min(Math.max(2 * x - column, 0), width - 1), Math.min(Math.max(2 * y - row, 0), height - 1), width, height, inward);
      for (const k of [5, 6]) mixed[k] = 2 * mixed[k] - inward[k];
    }
    mixed[5] += flow[i];
    mixed[6] += flow[area + i];
    out.set(mixed, 7 * i);
  }
  return out;
}

/** Bilinear at a place inside the frame. */
function mixedAt(seven, column, row, width, height, to) {
  const [left, top] = [Math.floor(column), Math.floor(row)];
  const [right, below] = [Math.min(left + 1, width - 1), Math.min(top + 1, height - 1)];
  mix(seven, 7 * (top * width + left), 7 * (top * width + right), 7 * (below * width + left), 7 * (below * width + right), column - left, row - top, to);
}

/** For each place of an axis of the clip: where it lies in the large picture, its two sources in the small parts, and how
 * much the second counts. */
function places(small, large, start, count) {
  const sources = Array.from({ length: count }, (_, i) => {
    const at = Math.max(0, ((start + i + 0.5) * small) / large - 0.5);
    const first = Math.min(small - 1, Math.floor(at));
    return { at: start + i, first, second: Math.min(small - 1, first + 1), share: at - first };
  });
  return { sources, small, times: large / small };
}

function paint(parts, source, picture, columns, rows, transparent, out, at) {
  const width = columns.small;
  const [texelX, texelY] = [source.width / picture.width, source.height / picture.height];
  const mixed = new Float32Array(7);
  for (const row of rows.sources) {
    for (const column of columns.sources) {
      mix(parts, 7 * (row.first * width + column.first), 7 * (row.first * width + column.second), 7 * (row.second * width + column.first), 7 * (row.second * width + column.second), column.share, row.share, mixed);
      const x = (column.at + mixed[5] * columns.times + 0.5) * texelX - 0.5;
      const y = (row.at + mixed[6] * rows.times + 0.5) * texelY - 0.5;
      sampled(source, x, y, mixed);
      store(mixed, transparent, out, at);
      at += 4;
    }
  }
}

/** Bilinear between four positions of the parts. */
function mix(parts, a, b, c, d, across, down, to) {
  if (across === 0 && down === 0) {
    for (let k = 0; k < 7; k++) to[k] = parts[a + k];
    return;
  }
  for (let k = 0; k < 7; k++) {
    const top = parts[a + k] + across * (parts[b + k] - parts[a + k]);
    const below = parts[c + k] + across * (parts[d + k] - parts[c + k]);
    to[k] = top + down * (below - top);
  }
}

/** rest += trust * the picture at (x, y), bilinear; beyond its border what is `around`, or its border going on. */
function sampled(source, x, y, mixed) {
  const { width, height, data, around } = source;
  if (around && !(x >= 0 && y >= 0 && x <= width - 1 && y <= height - 1)) return sampledAtBorder(source, x, y, mixed);
  const column = Math.min(Math.max(x, 0), width - 1);
  const row = Math.min(Math.max(y, 0), height - 1);
  const left = Math.floor(column);
  const top = Math.floor(row);
  const across = column - left;
  const down = row - top;
  const a = 4 * (top * width + left);
  const b = a + (left < width - 1 ? 4 : 0);
  const below = top < height - 1 ? 4 * width : 0;
  const trust = mixed[4];
  for (let c = 0; c < 4; c++) {
    const high = data[a + c] + across * (data[b + c] - data[a + c]);
    const low = data[a + below + c] + across * (data[b + below + c] - data[a + below + c]);
    mixed[c] += trust * (high + down * (low - high));
  }
}

function sampledAtBorder({ width, height, data, around }, x, y, mixed) {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const trust = mixed[4];
  for (let c = 0; c < 4; c++) {
    let sum = 0;
    for (const [i, j] of [[left, top], [left + 1, top], [left, top + 1], [left + 1, top + 1]]) {
      const inside = i >= 0 && j >= 0 && i < width && j < height;
      const weight = (1 - Math.abs(x - i)) * (1 - Math.abs(y - j));
      if (inside) sum += weight * (data[4 * (j * width + i) + c] - around[c]);
    }
    mixed[c] += trust * (sum + around[c]);
  }
}

/** Layers in [-1, 1] as 8 bits. */
function store(mixed, transparent, out, at) {
  const alpha = Math.min(1, Math.max(0, mixed[3] / 2 + 0.5));
  for (let c = 0; c < 3; c++) {
    const level = mixed[c] / 2 + 0.5;
    out[at + c] = 255 * (transparent ? level / Math.max(alpha, 1 / 255) : level + 1 - alpha);
  }
  out[at + 3] = transparent ? 255 * alpha : 255;
}

/** The four layers of each texel side by side. */
function texels({ width, height, data }) {
  const area = width * height;
  const out = new Float32Array(4 * area);
  for (let c = 0; c < 4; c++) for (let i = 0; i < area; i++) out[4 * i + c] = data[c * area + i];
  return { width, height, data: out };
}

/** ENLARGED times as large by cubic interpolation (a = -0.75), the border going on. */
function sharpened({ width, height, data }) {
  const wide = new Float32Array(4 * width * ENLARGED * height);
  cubic(data, wide, width, 4 * height, 1, width, 1, width * ENLARGED);
  const out = new Float32Array(wide.length * ENLARGED);
  for (let c = 0; c < 4; c++) {
    const [from, to] = [c * width * ENLARGED * height, c * width * ENLARGED * height * ENLARGED];
    cubic(wide.subarray(from), out.subarray(to), height, width * ENLARGED, width * ENLARGED, 1, width * ENLARGED, 1);
  }
  return { width: width * ENLARGED, height: height * ENLARGED, data: out };
}

/** One axis of `lines` lines of `size` places; steps from place to place and from line to line, in source and target. */
function cubic(source, target, size, lines, fromStep, fromLine, toStep, toLine) {
  const near = (t) => ((1.25 * t - 2.25) * t) * t + 1;
  const far = (t) => ((-0.75 * t + 3.75) * t - 6) * t + 3;
  for (let i = 0; i < size * ENLARGED; i++) {
    const at = (i + 0.5) / ENLARGED - 0.5;
    const low = Math.floor(at);
    const t = at - low;
    const weights = [far(t + 1), near(t), near(1 - t), far(2 - t)];
    const from = weights.map((_, k) => Math.min(size - 1, Math.max(0, low - 1 + k)) * fromStep);
    for (let line = 0; line < lines; line++) {
      const start = line * fromLine;
      target[line * toLine + i * toStep] = weights[0] * source[start + from[0]] + weights[1] * source[start + from[1]] + weights[2] * source[start + from[2]] + weights[3] * source[start + from[3]];
    }
  }
}
