// A thing stays inside what is shown of it (src/sfv/decoding/inside.py). Places are shares of the frame's sides from its
// middle; flows are in pixels.

import { extent, flowOf } from "./stiff.js";

const SHRINK = 0.08, LEAST = 0.25, BANNER = 3, CUT = 0.2, ROUNDED = 1e-6, TURNS = 8, NEAR = 1e-3;
const AXES = [0, 1];

/** The same clip; the way over an edge is shortened, and what gets larger than its room is smaller for that moment. A thing
 * that a side cuts off may go over that, and is not lifted from it if it is `anchored`. */
export function keptInside(parts, body, cut, anchored) {
  const { frames, width, height } = parts;
  const area = width * height;
  if (!cut.flat().some(Boolean) && hasRoom(parts, body)) return parts;
  const { less, each } = fitting(parts, body, cut, anchored);
  if (less === 1 && each.every(({ size, shift }) => size === 1 && shift[0] === 0 && shift[1] === 0)) return parts;
  const draws = parts.trust.some((v) => v < 1);
  const flow = new Float32Array(parts.flow.length);
  const rest = draws ? new Float32Array(parts.rest.length) : parts.rest;
  const trust = draws ? new Float32Array(parts.trust.length) : parts.trust;
  each.forEach(({ size, middle, shift }, t) => {
    const wider = 1 / size - 1;
    const ways = flowOf([AXES.map((c) => -wider * middle[c] - shift[c] / size), [wider, 0], [0, wider]], width, height);
    const taken = (from, to, channels, put) => {
      for (let c = 0; c < channels; c++) {
        const start = (t * channels + c) * area;
        for (let i = 0; i < area; i++) to[start + i] = put(sampled(from, start, (i % width) + ways[i], Math.floor(i / width) + ways[area + i], width, height), c, i);
      }
    };
    taken(parts.flow, flow, 2, (v, c, i) => less * v + ways[c * area + i]);
    if (draws) taken(parts.rest, rest, 4, (v) => v);
    if (draws) taken(parts.trust, trust, 1, (v) => v);
  });
  return { frames, width, height, rest, trust, flow };
}

/** Whether the thing stays inside wherever the longest way takes it. */
function hasRoom({ frames, width, height, flow }, { points, window }) {
  const area = width * height;
  const [low, high] = extent(points);
  return AXES.every((c) => {
    let furthest = 0;
    for (let t = 0; t < frames; t++) for (let i = (2 * t + c) * area; i < (2 * t + c + 1) * area; i++) furthest = Math.max(furthest, Math.abs(flow[i]));
    const way = (furthest + 0.5) / (c ? height : width);
    return low[c] - way >= window[c] && high[c] + way <= window[2 + c];
  });
}

/** What share of the flow is left, and of each frame's thing its size about its middle and its shift. */
function fitting({ frames, width, height, flow }, { points, window }, cut, anchored) {
  const half = [0.5 / width, 0.5 / height];
  const [first, last] = extent(points).map((corner, end) => corner.map((v, c) => v + (end ? half[c] : -half[c])));
  const [low, high] = [AXES.map((c) => Math.min(window[c], first[c])), AXES.map((c) => Math.max(window[2 + c], last[c]))];
  const room = AXES.map((c) => (cut[0][c] || cut[1][c] ? Infinity : high[c] - low[c]));
  const few = outline(points, width, height);
  const places = Array.from({ length: frames }, (_, t) => few.map((point) => gone(flow, t, point, width, height)));
  const ways = places.map((at) => {
    const [start, end] = extent(at);
    return AXES.map((c) => [first[c] - (start[c] - half[c]), end[c] + half[c] - last[c]]); // beyond where it rests
  });
  const grown = AXES.map((c) => Math.max(ROUNDED, ...ways.map((way) => way[c][0] + way[c][1])));
  const lengths = [width, height].map((side, c) => (last[c] - first[c]) * side);
  const least = Math.max(...lengths) < BANNER * Math.min(...lengths) ? LEAST : 0;
  const less = Math.min(1, Math.max(least, Math.min(...AXES.map((c) => (room[c] / (1 - SHRINK) - (last[c] - first[c])) / grown[c]))));
  const fits = ways.map((way) => {
    const spans = AXES.map((c) => [first[c] - less * way[c][0], last[c] + less * way[c][1]]);
    const size = Math.min(1, ...AXES.map((c) => room[c] / (spans[c][1] - spans[c][0] - ROUNDED)));
    const middle = spans.map(([start, end]) => (start + end) / 2);
    return { size, middle, spans: spans.map(([start, end], c) => [middle[c] - (size * (end - start)) / 2, middle[c] + (size * (end - start)) / 2]) };
  });
  const back = (sides, space) => {
    const far = sides.map((v) => Math.max(0, v - ROUNDED));
    const share = Math.max(0, 1 - space / Math.max(ROUNDED, ...far));
    return far.map((v) => share * v);
  };
  const shifts = AXES.map((c) => {
    const before = back(fits.map(({ spans }) => first[c] - spans[c][0]), cut[0][c] ? Infinity : first[c] - low[c]);
    const after = back(fits.map(({ spans }) => spans[c][1] - last[c]), cut[1][c] ? Infinity : high[c] - last[c]);
    return fits.map(({ size, middle, spans }, t) => {
      let shift = before[t] - after[t];
      if (!cut[0][c]) shift += Math.max(0, low[c] - spans[c][0] - shift);
      if (!cut[1][c]) shift -= Math.max(0, spans[c][1] + shift - high[c] - ROUNDED);
      if (anchored && cut[0][c] !== cut[1][c]) {
        const sign = cut[1][c] ? 1 : -1;
        const end = Math.max(...few.map((point) => sign * point[c]));
        const reached = few.map((point, i) => (sign * point[c] > end - half[c] ? sign * (middle[c] + size * (point[c] + less * (places[t][i][c] - point[c]) - middle[c]) + shift) : Infinity));
        shift += sign * Math.max(0, end - Math.min(...reached));
      }
      return Math.abs(shift) > ROUNDED ? shift : 0;
    });
  });
  return { less, each: fits.map(({ size, middle }, t) => ({ size, middle, shift: AXES.map((c) => shifts[c][t]) })) };
}

/** Where frames have the body's outline at places round the loop, in frames: linear between neighbours. */
export function placesOf({ frames, width, height, flow }, { points }, times) {
  const few = outline(points, width, height);
  const places = Array.from({ length: frames }, (_, t) => few.map((point) => gone(flow, t, point, width, height)));
  return times.map((time) => {
    const before = Math.floor(time);
    const [one, other] = [places[before % frames], places[(before + 1) % frames]];
    return one.map((at, i) => AXES.map((c) => at[c] + (time - before) * (other[i][c] - at[c])));
  });
}

/** Whether each side (left and upper, right and lower) cuts a thing off, which is solid along these shares of it; not where it
 * covers the other one, too, with one across. */
export function cutOff(shares) {
  const covers = shares.map((both) => both.map((share) => share >= CUT));
  return covers.map((both, k) => both.map((v, c) => v && !(covers[1 - k][c] && (covers[0][1 - c] || covers[1][1 - c]))));
}

/** First and last pixel, of `size` along an axis, that lie in a window. */
function within(window, c, size) {
  const [low, high] = [0, 2].map((end) => Math.min(size, Math.max(0, (window[c + end] + 0.5) * size)));
  return [Math.ceil(low - NEAR), Math.floor(high + NEAR) - 1];
}

/** Seven numbers a position, the last two its flow: of a picture that goes on, beyond the sides that cut its thing off, as
 * it is at the border of what is shown of it. */
export function stopped(seven, cut, window, width, height) {
  [width, height].forEach((size, c) => {
    const [first, last] = within(window, c, size);
    for (let i = 0; i < width * height; i++) {
      const at = c ? Math.floor(i / width) : i % width;
      if (cut[0][c]) seven[7 * i + 5 + c] = Math.max(seven[7 * i + 5 + c], Math.min(0, first - at));
      if (cut[1][c]) seven[7 * i + 5 + c] = Math.min(seven[7 * i + 5 + c], Math.max(0, last - at));
    }
  });
  return seven;
}

/** Such a picture, so that its border is not sharpened against what lies beyond. */
export function goingOn({ width, height, data }, cut, window) {
  const kept = [width, height].map((size, c) => {
    const [first, last] = within(window, c, size);
    return (at) => Math.min(cut[1][c] ? last : size, Math.max(cut[0][c] ? first : 0, at));
  });
  const area = width * height;
  return { width, height, data: Float32Array.from(data, (_, i) => data[i - (i % area) + kept[1](Math.floor((i % area) / width)) * width + kept[0](i % width)]) };
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

/** Where frame `t` has a place of the picture; beyond the frame its flow goes on as evenly as it comes to the border. */
export function gone(flow, t, point, width, height) {
  const sides = [width, height];
  let at = point;
  for (let k = 0; k <= TURNS; k++) {
    const border = at.map((v, c) => Math.min(0.5 - 0.5 / sides[c], Math.max(0.5 / sides[c] - 0.5, v)));
    const [here, inward] = [border, border.map((v, c) => 2 * v - at[c])].map((place) => {
      const [column, row] = place.map((v, c) => (v + 0.5) * sides[c] - 0.5);
      return AXES.map((c) => sampled(flow, (2 * t + c) * width * height, column, row, width, height));
    });
    const next = point.map((v, c) => v - (2 * here[c] - inward[c]) / sides[c]);
    at = k ? next.map((v, c) => (v + at[c]) / 2) : next; // halfway: else it swings where a thing gets much smaller
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
