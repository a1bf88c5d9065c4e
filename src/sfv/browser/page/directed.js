// Motion that a word asks for, and what is kept of the network's own (src/sfv/decoding/directed.py and
// generation/directing.py). Places are shares of the frame's sides from its middle. A map is a flow (x, y), in shares,
// that is linear in the place: rows for 1, column and row. It says from where in the picture a place is taken.

import { UserError } from "./errors.js";
import { cutOff, gone } from "./inside.js";
import { roundEven } from "./resize.js";
import { covering, extent, fit, flowOf, freedom, ground, isClear, ALIKE } from "./stiff.js";

const SHAKE = 0.038, SHAKES_A_SECOND = 2.5, FLOAT = 0.063, LEAN = (3.8 * Math.PI) / 180; // at a model's usual motion
const BEND = 0.088, WAVELENGTHS = 1, ROUNDS = 2;
const LEAST = (5 * Math.PI) / 180, HOP = 0.07, STRETCH = 0.12, FEW = 500, SMALLEST = 0.3;
const SHRINK = 0.1; // of what shakes or floats, for room; it goes less far if that is not enough
const LEAST_LEAN = 0.25, FAINT = 1e-6;
const MARGIN = 1.5; // pixels between the window's edge and the middles of a body's outermost ones
export const CARRIED = ["shake", "spin", "float", "wave"];
const CUT_OUT = ["spin", "wave"], STRETCHES = ["pulse", "squash"];
const TOUCHING = 0.05, VISIBLE = 0.05, SOLID = 0.97;
const CORNER = 0.04, ROUND = 0.6; // how deep inside a thing is compared with itself at a side, and what has an end there
export const ENDLESS = [-9, -9, 9, 9]; // a window by which nothing is cut

/** Why a picture cannot follow a word, as an error for the visitor. */
export function checkMove(word, seen) {
  const { first, width, height, fills, shades } = seen;
  if (!CUT_OUT.includes(word)) return;
  const others = "shake, float, sway, nod, bounce, pulse and squash do not need that";
  if (fills || shades) throw new UserError(`Move ${word}: nothing stands out from a clear or plain ground in this picture; ${others}.`);
  if (isClear(first, width * height)) return;
  const rim = borders(seen).flat(2);
  if (rim.filter(Boolean).length / rim.length > TOUCHING) throw new UserError(`Move ${word}: the thing in this picture reaches over its border; ${others}.`);
}

/** The thing that moves and the part of the frame that is shown (body_in). */
export function bodyIn(seen) {
  const { width, height, fills, shades, large, box } = seen;
  const whole = fills || shades;
  const there = thing(seen.first, width, height, whole);
  let window = whole ? ENDLESS : [box.left / large.width - 0.5, box.top / large.height - 0.5, (box.left + box.width) / large.width - 0.5, (box.top + box.height) / large.height - 0.5];
  const within = (pixels, anywhere) => {
    const points = [];
    for (let i = 0; i < width * height; i++) {
      const [x, y] = [((i % width) + 0.5) / width - 0.5, (Math.floor(i / width) + 0.5) / height - 0.5];
      if (pixels[i] && (anywhere || (x > window[0] && y > window[1] && x < window[2] && y < window[3]))) points.push([x, y]);
    }
    return points;
  };
  let points = within(there, false);
  if (!points.length) points = within(there.fill(1), false);
  if (!points.length) [points, window] = [within(there, true), ENDLESS]; // it lies between pixels
  const [low, high] = extent(points);
  const middle = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
  return { points, window, aspect: width / height, middle, foot: [middle[0], high[1]], height: high[1] - low[1] };
}

/** The sides (left and upper, right and lower) that cut the thing off: it is solid there. What has an outline there, or
 * soon gets wider inside, ends there: it was trimmed. */
export function cutSides(seen) {
  if (seen.fills || seen.shades) return [[false, false], [false, false]];
  const least = Math.min(seen.box.width, seen.box.height);
  const deep = Math.min(Math.max(2, roundEven(CORNER * least)), least - 1);
  const further = borders(seen, deep);
  const share = (line, inside) => (spanned(inside) - spanned(line) <= ROUND * deep ? line.filter(Boolean).length / line.length : 0);
  return cutOff(borders(seen).map((lines, k) => lines.map((line, axis) => share(line, further[k][axis]))));
}

/** From the first pixel that is solid to the last. */
const spanned = (line) => (line.includes(true) ? line.lastIndexOf(true) - line.indexOf(true) + 1 : 0);

/** Where the thing is solid along what is shown at the clip's size, so many pixels inside: [left, upper], [right, lower]. */
function borders({ first, width, height, large, box }, depth = 0) {
  const area = large.width * large.height;
  const colour = isClear(first, width * height) ? null : ground(first, width, height);
  const solid = (i) => (colour ? colour.some((level, c) => Math.abs(large.data[c * area + i] / 2 - level) > ALIKE) : (large.data[3 * area + i] + 1) / 2 > SOLID);
  const row = (y) => Array.from({ length: box.width }, (_, x) => solid((box.top + y) * large.width + box.left + x));
  const column = (x) => Array.from({ length: box.height }, (_, y) => solid((box.top + y) * large.width + box.left + x));
  return [[column(depth), row(depth)], [column(box.width - 1 - depth), row(box.height - 1 - depth)]];
}

/** The thing, which may go over sides that cut it off. */
export function withRoom(seen) {
  const [body, cut] = [bodyIn(seen), cutSides(seen).flat()];
  return { ...body, window: body.window.map((near, k) => (cut[k] ? ENDLESS[k] : near)) };
}

/** The thing's pixels, 1 each; all of a picture that lies on no ground. */
export const thingOf = ({ first, width, height, fills, shades }) => thing(first, width, height, fills || shades);

/** Pixels of the thing: what is not clear; of an opaque picture, what is not of its border's colour. */
function thing(first, width, height, whole) {
  const area = width * height;
  if (whole) return new Uint8Array(area).fill(1);
  if (isClear(first, area)) return Uint8Array.from({ length: area }, (_, i) => (first[3 * area + i] + 1) / 2 > VISIBLE);
  const colour = ground(first, width, height);
  return Uint8Array.from({ length: area }, (_, i) => colour.some((level, c) => Math.abs(first[c * area + i] / 2 - level) > ALIKE));
}

/** The network's maps as a word keeps them: of sway and nod the turn alone, of bounce the hop, stretched where the word says so. */
export function heldTo(word, maps, body) {
  if (word === "sway" || word === "nod") return turnsOnly(maps, word === "sway" ? body.foot : body.middle, { ...body, window: ENDLESS });
  if (word === "bounce") return hopsOnly(maps, body);
  return STRETCHES.includes(word) ? maps : hardlyStretched(maps, body);
}

const at = (map, [x, y]) => [0, 1].map((c) => map[0][c] + x * map[1][c] + y * map[2][c]);

/** Only the turn about a pivot, by least squares; at least LEAST at its furthest. */
function turnsOnly(maps, pivot, body) {
  const { aspect, points } = body;
  let all = 0;
  for (const [x, y] of points) all += ((x - pivot[0]) * aspect) ** 2 + (y - pivot[1]) ** 2;
  const angles = maps.map((map) => {
    let along = 0;
    for (const point of points) {
      const [x, y] = at(map, point);
      along += x * aspect * (point[1] - pivot[1]) - y * (point[0] - pivot[0]) * aspect;
    }
    return along / Math.max(1e-9, all);
  });
  const furthest = Math.max(...angles.map(Math.abs));
  const more = furthest > 1e-3 ? Math.max(1, LEAST / furthest) : 1;
  return angles.map((angle) => turned(angle * more, [0, 0], pivot, body));
}

/** Only how far the middle is lifted; at least HOP at its highest, at most twice that. */
function hopsOnly(maps, body) {
  const lifts = maps.map((map) => Math.max(0, at(map, body.middle)[1]));
  const highest = Math.max(...lifts);
  const more = highest > 1e-3 ? Math.min(Math.max(highest, HOP), 2 * HOP) / highest : 1;
  return lifts.map((lift) => turned(0, [0, -lift * more], body.middle, body));
}

/** A motion that stretches and leans by less than STRETCH, about the place that moves least; turns stay. */
function hardlyStretched(maps, { points, aspect }) {
  const every = Math.max(1, Math.floor(points.length / FEW));
  let [pivot, least] = [points[0], Infinity];
  for (let i = 0; i < points.length; i += every) {
    let sum = 0;
    for (const map of maps) {
      const [x, y] = at(map, points[i]);
      sum += (x * aspect) ** 2 + y * y;
    }
    if (sum < least) [pivot, least] = [points[i], sum];
  }
  return maps.map((map) => {
    const [a, b, c, d] = [1 + map[1][0], map[2][0] * aspect, map[1][1] / aspect, 1 + map[2][1]]; // of pixels
    const angle = Math.atan2(2 * (a * b + c * d), a * a + c * c - b * b - d * d) / 2;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const [one, other] = [hardly(Math.hypot(a * cos + b * sin, c * cos + d * sin)), hardly(Math.hypot(b * cos - a * sin, d * cos - c * sin))];
    const [p, q, r] = [one * cos * cos + other * sin * sin, (one - other) * cos * sin, one * sin * sin + other * cos * cos];
    const x = [a * p + b * q - 1, (c * p + d * q) * aspect];
    const y = [(a * q + b * r) / aspect, c * q + d * r - 1];
    const start = [0, 1].map((k) => map[0][k] + (map[1][k] - x[k]) * pivot[0] + (map[2][k] - y[k]) * pivot[1]);
    return [start, x, y];
  });
}

/** What a size along some direction is multiplied by. */
function hardly(size) {
  const known = Math.max(size, 1e-3);
  return Math.exp(STRETCH * Math.tanh(Math.log(known) / STRETCH)) / known;
}

/** The same body in a window with a margin, unless it rests nearer to the edge. */
export function offTheEdge(body, width, height) {
  const { points, window } = body;
  const [low, high] = extent(points);
  const margin = [MARGIN / width, MARGIN / height];
  return { ...body, window: [0, 1, 2, 3].map((k) => (k < 2 ? Math.min(window[k] + margin[k], low[k]) : Math.max(window[k] - margin[k - 2], high[k - 2]))) };
}

/** Points from a centre, turned. */
function turnedAway(angle, points, centre, aspect) {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return points.map(([x, y]) => [cos * (x - centre[0]) - (sin / aspect) * (y - centre[1]), sin * aspect * (x - centre[0]) + cos * (y - centre[1])]);
}

/** A body that turns (radians, clockwise as seen) about a centre and shifts, smaller where the window would cut it; it
 * is in `places` before, or rests. */
export function turned(angle, shift, centre, { aspect, points, window }, places = points) {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const away = turnedAway(angle, places, centre, aspect);
  const place = [centre[0] + shift[0], centre[1] + shift[1]];
  const size = fitting(away, place, window);
  const [xx, xy, yx, yy] = [cos / size, sin / aspect / size, (-sin * aspect) / size, cos / size]; // back to the picture
  return [[centre[0] - xx * place[0] - xy * place[1], centre[1] - yx * place[0] - yy * place[1]], [xx - 1, yx], [xy, yy - 1]];
}

/** The largest size, at most 1, at which points `away` from a place lie in the window. */
function fitting(away, place, [left, top, right, bottom]) {
  const [low, high] = extent(away);
  const sizes = [
    (place[0] - left) / Math.max(1e-6, -low[0]),
    (place[1] - top) / Math.max(1e-6, -low[1]),
    (right - place[0]) / Math.max(1e-6, high[0]),
    (bottom - place[1]) / Math.max(1e-6, high[1]),
  ];
  return Math.min(1, Math.max(SMALLEST, Math.min(...sizes)));
}

/** As much of a lean as leaves half of SHRINK for the way; the same share in all frames. */
function leaning(angles, { aspect, middle, window }, places) {
  let least = 1;
  angles.forEach((angle, t) => {
    const [wide, whole] = [0, angle].map((a) => extent(turnedAway(a, places[t], middle, aspect))).map(([low, high]) => [high[0] - low[0], high[1] - low[1]]);
    for (const c of [0, 1]) {
      const room = (window[c + 2] - window[c]) / (1 - SHRINK / 2);
      least = Math.min(least, Math.max(LEAST_LEAN, (room - wide[c]) / Math.max(1e-9, whole[c] - wide[c])));
    }
  });
  return angles.map((angle) => angle * least);
}

/** Ways on which a body stays in the window that is smaller by SHRINK: those to each side by one share in all frames. */
function shortened(angles, shifts, { aspect, middle, window }, places) {
  const shares = [[1, 1], [1, 1]];
  shifts.forEach((shift, t) => {
    const ends = extent(turnedAway(angles[t], places[t], middle, aspect));
    for (const c of [0, 1]) {
      if (Math.abs(shift[c]) <= FAINT) continue;
      const k = shift[c] < 0 ? 0 : 1;
      const room = window[c + 2 * k] - middle[c] - (1 - SHRINK) * ends[k][c];
      shares[k][c] = Math.min(shares[k][c], Math.max(0, room / shift[c]));
    }
  });
  return shifts.map((shift) => shift.map((v, c) => v * shares[v < 0 ? 0 : 1][c]));
}

/** Where such a flow takes places. Of all words but wave it is linear in the place. */
export function taken(word, flow, places, width, height) {
  if (word === "wave") return places.map((point) => gone(flow, 0, point, width, height));
  const area = width * height;
  const flat = [0, width - 1, area - width].map((i) => [flow[i] / width, flow[area + i] / height]);
  const slopes = [1, 2].map((k) => [0, 1].map((c) => (flat[k][c] - flat[0][c]) / (1 - 1 / (k === 1 ? width : height)))); // by column, by row
  const start = [0.5 / width - 0.5, 0.5 / height - 0.5];
  const offset = [0, 1].map((c) => flat[0][c] - start[0] * slopes[0][c] - start[1] * slopes[1][c]);
  const [a, b, c, d] = [1 + slopes[0][0], slopes[1][0], slopes[0][1], 1 + slopes[1][1]];
  const whole = a * d - b * c;
  return places.map((point) => {
    const [x, y] = [point[0] - offset[0], point[1] - offset[1]];
    return [(d * x - b * y) / whole, (a * y - c * x) / whole];
  });
}

/** What shake, spin, float or wave adds at `count` even times of a round: a flow (2, h, w) in pixels each; else null.
 * `much` is 1 at the model's usual motion.
 * The network's own motion brings the thing to `places`; null: it rests. */
export function carrying(settings, much, count, seen, places) {
  const { move: word, frames, fps } = settings;
  if (!CARRIED.includes(word)) return null;
  const { width, height, fills, shades } = seen;
  const body = offTheEdge((CUT_OUT.includes(word) ? bodyIn : withRoom)(seen), width, height);
  const where = places ?? Array.from({ length: count }, () => body.points);
  const rounds = Array.from({ length: count }, (_, i) => i / count);
  let flows;
  if (word === "wave") flows = rounds.map((round, i) => wave(round, much, body, where[i], width, height));
  else {
    const swings = Math.max(1, Math.min(roundEven((SHAKES_A_SECOND * frames) / fps), Math.floor(count / 6)));
    let angles = rounds.map((round) => (word === "spin" ? 2 * Math.PI * round : word === "float" ? LEAN * much * Math.sin(4 * Math.PI * round) : 0));
    let shifts = rounds.map((round) => {
      const full = 2 * Math.PI * round;
      return [word === "shake" ? SHAKE * much * Math.sin(swings * full) : 0, word === "float" ? -FLOAT * much * Math.sin(full) : 0];
    });
    if (word === "float") angles = leaning(angles, body, where);
    if (word !== "spin") shifts = shortened(angles, shifts, body, where);
    const maps = angles.map((angle, i) => turned(angle, shifts[i], body.middle, body, where[i]));
    flows = maps.map((map) => flowOf(map, width, height));
  }
  if (fills) {
    const even = new Float32Array(width * height).fill(1);
    flows = covering(flows.map((flow) => fit(flow, even, width, height))).map((map) => flowOf(map, width, height));
  }
  if (!shades) return flows;
  const free = freedom(width, height);
  return flows.map((flow) => flow.map((v, i) => v * free[i % free.length]));
}

/** A bend that runs up through the body, whose foot stays; it swells and ebbs once a round. */
function wave(round, much, body, places, width, height) {
  const { aspect, foot, middle, window } = body;
  const reach = ((BEND * much * body.height) / aspect) * Math.sin(Math.PI * round) ** 2;
  const [low, high] = extent(places);
  const size = fitting([[low[0] - middle[0] - reach, 0], [high[0] - middle[0] + reach, 0]], middle, window);
  const flow = flowOf([[foot[0] - foot[0] / size, foot[1] - foot[1] / size], [1 / size - 1, 0], [0, 1 / size - 1]], width, height);
  for (let i = 0; i < width * height; i++) {
    const row = (Math.floor(i / width) + 0.5) / height - 0.5;
    const up = Math.min(1.2, Math.max(0, (foot[1] - row) / Math.max(1e-6, body.height)));
    flow[i] -= (width * reach * Math.sqrt(up) * Math.sin(2 * Math.PI * (WAVELENGTHS * up - ROUNDS * round))) / size;
  }
  return flow;
}
