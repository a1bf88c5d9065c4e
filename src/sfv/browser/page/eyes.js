// A pair of open eyes in a drawn face: two dark spots alike, side by side, with what is white around each
// (src/sfv/decoding/eyes.py). Colours and brightness are of 1; masks have 1 for each pixel that belongs.

import { thingOf } from "./directed.js";
import { UserError } from "./errors.js";

const LEVELS = Array.from({ length: 13 }, (_, k) => 0.1 + 0.058 * k); // brightness below which a spot lies
const SMALLEST = 0.025, TALLEST = 0.3, WIDEST = 0.25; // sides of a spot, in shares of the root of the thing's area
const FLATTEST = 0.55, THINNEST = 3, FILLED = 0.58; // height over width of an open eye, and the share of its box it fills
const CONTRAST = 0.08, WHITE = 0.72, PALE = 0.16, ROUND_IT = 0.15, BALL = 2.2, LEAST = -1;
const MOST = 300; // spots that are compared, those of most contrast: what has more is a pattern
const UNDER = [0.15, 0.8], BESIDE = 0.25, NARROWEST = 0.6, WORSE = 1; // of eyes under brows, in the distance between those
const FLAT = 1.2, WHITER = 2; // width over height of a brow; white around eyes over that around brows
const IRIS = 0.2, BRIGHTER = 0.05, DISC = 0.65, SAME = 0.7; // of a coloured ring round the pupil

const UNLIKELY = 0.5, SURE = 1.2; // logit above which eyes are not looked for; score less logit from which a face blinks
const SHORTEST = 2; // seconds of a round from which a face blinks by itself

/** The eyes that blink, left and right: {pixels, dark}; asked for, without a pair, an error for the visitor. By itself
 * (auto) what is hardly stiff blinks, if its eyes are found for sure. */
export function blinkingEyes({ move, frames, fps }, seen) {
  if (move === "auto") {
    if (seen.logit === null || seen.logit > UNLIKELY || frames / fps < SHORTEST) return null;
    const found = (seen.rated ??= { is: ratedEyes(seen) }).is; // for every seed and slider, once
    return found && found.score - seen.logit >= SURE ? found.eyes : null;
  }
  if (move !== "blink") return null;
  const eyes = eyesIn(seen);
  if (!eyes) throw new UserError("Move blink: no pair of open eyes was found in this picture; it needs a face seen from the front and upright, with eyes darker than the face; other words for motion need none.");
  return eyes;
}

/** The open eyes of the thing in a fitted picture; null without a pair. */
export const eyesIn = (seen) => ratedEyes(seen)?.eyes ?? null;

/** The same with their score: how much they look like eyes, LEAST to about 3. */
function ratedEyes(seen) {
  const { first, width, height } = seen;
  const area = width * height;
  const colours = Float32Array.from(first.subarray(0, 3 * area), (v) => (v + 1) / 2);
  const picture = { colours, width, height, area };
  const there = filled(thingOf(seen), picture);
  let spots = spotsOf(picture, there);
  if (spots.length > MOST) spots = spots.sort((a, b) => b.contrast - a.contrast).slice(0, MOST);
  const face = faceOf(there, picture);
  const pairs = [];
  spots.forEach((one, i) => {
    for (const other of spots.slice(i + 1)) {
      const score = alike(one, other, picture, face);
      if (score > LEAST) pairs.push({ score, spots: [one, other].sort((a, b) => a.middle[1] - b.middle[1]) });
    }
  });
  if (!pairs.length) return null;
  const best = underBrows(highest(pairs), pairs, picture);
  return { eyes: withRings(best.spots.map((spot) => eye(spot, picture)), picture), score: best.score };
}

const highest = (pairs) => pairs.reduce((one, other) => (other.score > one.score ? other : one));

/** The best pair, or, if its spots are flat and so may be brows, the best right under it with more white around. */
function underBrows(best, pairs, picture) {
  if (best.spots.some(({ wide, tall }) => wide < FLAT * tall)) return best;
  const white = Math.max(ROUND_IT, WHITER * Math.max(...best.spots.map((spot) => whiteness(spot, picture))));
  const [apart, row, column] = placeOf(best);
  const found = pairs.filter((pair) => {
    const [wide, low, middle] = placeOf(pair);
    const near = UNDER[0] * apart < low - row && low - row < UNDER[1] * apart && Math.abs(middle - column) < BESIDE * apart;
    const like = Math.min(wide, apart) > NARROWEST * Math.max(wide, apart) && pair.score > best.score - WORSE;
    return near && like && Math.min(...pair.spots.map((spot) => whiteness(spot, picture))) >= white;
  });
  return found.length ? highest(found) : best;
}

/** How far apart a pair's spots are, and the row and the column of its middle. */
const placeOf = ({ spots: [{ middle: [y1, x1] }, { middle: [y2, x2] }] }) => [x2 - x1, (y1 + y2) / 2, (x1 + x2) / 2];

/** With what has some of the thing on all four sides: an eye's white may be of the ground's colour. */
function filled(there, { width, height, area }) {
  const sides = new Uint8Array(area);
  const sweep = (lines, length, at, bit) => {
    for (let line = 0; line < lines; line++) {
      for (let k = 0, met = 0; k < length; k++) {
        met ||= there[at(line, k)];
        if (met) sides[at(line, k)] |= bit;
      }
    }
  };
  sweep(height, width, (y, x) => y * width + x, 1);
  sweep(height, width, (y, x) => y * width + width - 1 - x, 2);
  sweep(width, height, (x, y) => y * width + x, 4);
  sweep(width, height, (x, y) => (height - 1 - y) * width + x, 8);
  return sides.map((v) => Number(v === 15));
}

/** Dark spots of an eye's size and shape, wholly inside the thing. */
function spotsOf(picture, there) {
  const { colours, area } = picture;
  const bright = Float32Array.from({ length: area }, (_, i) => 0.299 * colours[i] + 0.587 * colours[area + i] + 0.114 * colours[2 * area + i]);
  const size = Math.sqrt(there.reduce((a, b) => a + b, 0));
  const found = [];
  LEVELS.forEach((level, k) => {
    const inside = there.map((is, i) => Number(is && bright[i] < level));
    const known = new Uint8Array(area);
    for (let i = 0; i < area; i++) {
      if (!inside[i] || known[i]) continue;
      const places = reached([i], inside, picture);
      for (const place of places) known[place] = 1;
      const spot = spotOf(places, k, bright, there, size, picture);
      if (spot) found.push(spot);
    }
  });
  return found;
}

/** Indices that are reached from some, through neighbours (8) inside. */
function reached(from, inside, { width, height }) {
  const places = [...from];
  const met = new Set(places);
  for (let k = 0; k < places.length; k++) {
    const [x, y] = [places[k] % width, Math.floor(places[k] / width)];
    for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
      for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
        const at = v * width + u;
        if (inside[at] && !met.has(at)) {
          met.add(at);
          places.push(at);
        }
      }
    }
  }
  return places;
}

/** Top, left, bottom and right of some places. */
export function boxOf(places, width) {
  const box = [Infinity, Infinity, 0, 0];
  for (const i of places) {
    const at = [Math.floor(i / width), i % width];
    for (let c = 0; c < 2; c++) [box[c], box[c + 2]] = [Math.min(box[c], at[c]), Math.max(box[c + 2], at[c] + 1)];
  }
  return box;
}

/** A connected part that is an eye's size and shape, and darker than what is around it inside the thing; null for others. */
function spotOf(places, level, bright, there, size, { width, height, area }) {
  const [top, left, bottom, right] = boxOf(places, width);
  const [tall, wide, count] = [bottom - top, right - left, places.length];
  if (Math.min(tall, wide) < SMALLEST * size || tall > TALLEST * size || wide > WIDEST * size) return null;
  if (tall < FLATTEST * wide || tall > THINNEST * wide || count < FILLED * tall * wide) return null;
  if (top < 2 || left < 2 || bottom > height - 2 || right > width - 2) return null;
  const pixels = new Uint8Array(area);
  let brightness = 0;
  for (const i of places) {
    pixels[i] = 1;
    brightness += bright[i] / count;
  }
  let [around, n] = [0, 0];
  for (let y = top - 2; y < bottom + 2; y++) {
    for (let x = left - 2; x < right + 2; x++) {
      const i = y * width + x;
      if (pixels[i]) continue;
      if (!there[i]) return null;
      around += bright[i];
      n++;
    }
  }
  const contrast = around / n - brightness;
  if (contrast < CONTRAST) return null;
  return { pixels, level, middle: [(top + bottom) / 2, (left + right) / 2], tall, wide, count, brightness, contrast };
}

const faceOf = (there, { width }) => {
  const places = [...there.keys()].filter((i) => there[i]);
  return { box: boxOf(places, width), count: places.length };
};

/** How well two spots are a pair of eyes; minus infinity if they cannot be. */
function alike(one, other, picture, { box: [top, left, bottom, right], count }) {
  const [down, apart] = [0, 1].map((c) => Math.abs(one.middle[c] - other.middle[c]));
  const wide = Math.max(one.wide, other.wide);
  const ratio = (key) => Math.min(one[key], other[key]) / Math.max(one[key], other[key]);
  const beside = 1.3 * wide <= apart && apart <= 9 * wide && down <= 0.25 * apart;
  if (Math.abs(one.level - other.level) > 1 || !beside || Math.min(ratio("tall"), ratio("wide"), ratio("count")) < 0.5) return -Infinity;
  if (Math.abs(one.brightness - other.brightness) > 0.15) return -Infinity;
  const across = ((one.middle[1] + other.middle[1]) / 2 - left) / (right - left);
  const high = ((one.middle[0] + other.middle[0]) / 2 - top) / (bottom - top);
  if (across <= 0.2 || across >= 0.8 || high > 0.75) return -Infinity;
  const [a, b] = [one, other].map((spot) => patch(picture, spot));
  const unlike = Math.min(difference(a, b, (k) => k), difference(a, b, (k) => k - (k % ACROSS) + ACROSS - 1 - (k % ACROSS)));
  if (unlike > 0.15) return -Infinity;
  const contrast = Math.min(one.contrast, 0.5) + Math.min(other.contrast, 0.5);
  const place = 1.5 * Math.abs(across - 0.5) + Math.max(2.5 * (high - 0.42), 0.42 - high);
  return 0.5 * Math.log(ratio("count")) - (3 * down) / apart - 6 * unlike + 2 * contrast - place + 0.3 * Math.log((one.count * other.count) / count);
}

const ACROSS = 12, DOWN = 16; // samples of a patch

/** What is around a spot, at a size of its own: (3, DOWN, ACROSS). */
function patch({ colours, width, height, area }, { middle, tall, wide }) {
  const out = new Float32Array(3 * DOWN * ACROSS);
  const clamped = (v, size) => Math.min(Math.max(v, 0), size - 1);
  for (let v = 0; v < DOWN; v++) {
    for (let u = 0; u < ACROSS; u++) {
      const row = clamped(middle[0] + tall * (-0.75 + (1.5 * v) / (DOWN - 1)) - 0.5, height);
      const column = clamped(middle[1] + wide * (-0.75 + (1.5 * u) / (ACROSS - 1)) - 0.5, width);
      const [y, x] = [Math.floor(row), Math.floor(column)];
      const [below, right] = [Math.min(y + 1, height - 1), Math.min(x + 1, width - 1)];
      for (let c = 0; c < 3; c++) {
        const level = (i, k) => colours[c * area + i * width + k];
        const high = level(y, x) + (column - x) * (level(y, right) - level(y, x));
        const low = level(below, x) + (column - x) * (level(below, right) - level(below, x));
        out[(c * DOWN + v) * ACROSS + u] = high + (row - y) * (low - high);
      }
    }
  }
  return out;
}

function difference(a, b, of) {
  return a.reduce((sum, v, k) => sum + Math.abs(v - b[of(k)]), 0) / a.length;
}

/** Whether a pixel has the colour of an eye's white. */
function isWhite(i, { colours, area }) {
  const [r, g, b] = [colours[i], colours[area + i], colours[2 * area + i]];
  return (r + g + b) / 3 > WHITE && Math.max(r, g, b) - Math.min(r, g, b) < PALE;
}

/** How much of what is around a spot is white. */
function whiteness({ pixels }, picture) {
  const [near, next] = [widened(pixels, 2, picture), widened(pixels, 1, picture)];
  const ring = [...near.keys()].filter((i) => near[i] && !next[i]);
  return ring.filter((i) => isWhite(i, picture)).length / ring.length;
}

/** A spot with the white that is around it, if that ends soon; fur does not. */
function eye({ pixels, middle, tall, wide }, picture) {
  const { colours, width, height, area } = picture;
  const places = [...pixels.keys()].filter((i) => pixels[i]);
  const dark = [0, 1, 2].map((c) => (2 * places.reduce((sum, i) => sum + colours[c * area + i], 0)) / places.length - 1);
  if (whiteness({ pixels }, picture) < ROUND_IT) return { pixels, dark };
  const white = Uint8Array.from({ length: area }, (_, i) => isWhite(i, picture));
  const within = inSquare(middle, BALL * Math.max(tall, wide), width);
  const ball = new Uint8Array(area);
  for (const i of reached(places, white.map((is, i) => Number((is || pixels[i]) && within(i))), picture)) ball[i] = 1;
  const escapes = widened(ball, 1, { width, height }).some((is, i) => is && white[i] && !within(i));
  return { pixels: escapes ? pixels : ball, dark };
}

/** Whether an index lies in a square around a place, `reach` to each side. */
const inSquare = ([row, column], reach, width) => (i) => Math.abs(Math.floor(i / width) + 0.5 - row) <= reach && Math.abs((i % width) + 0.5 - column) <= reach;

/** With the coloured ring round each pupil, as an owl has it, if both have one. */
function withRings(eyes, picture) {
  const balls = eyes.map(({ pixels }) => ringed(pixels, picture));
  const areas = balls.map((ball) => ball?.reduce((a, b) => a + b, 0) ?? 0);
  if (!balls.every(Boolean) || Math.min(...areas) < SAME * Math.max(...areas)) return eyes;
  return eyes.map(({ dark }, k) => ({ pixels: balls[k], dark }));
}

/** A pupil with what is of one colour around it, if that ends soon, is a disc, and brighter than what is beyond; else null. */
function ringed(pixels, picture) {
  const { colours, width, height, area } = picture;
  const places = (mask) => [...mask.keys()].filter((i) => mask[i]);
  const between = (mask, outer, inner) => {
    const [far, near] = [widened(mask, outer, picture), widened(mask, inner, picture)];
    return places(far).filter((i) => !near[i]);
  };
  const median = (some) => [0, 1, 2].map((c) => Float32Array.from(some, (i) => colours[c * area + i]).sort()[(some.length - 1) >> 1]);
  const brightness = ([r, g, b]) => 0.299 * r + 0.587 * g + 0.114 * b;
  let [top, left, bottom, right] = boxOf(places(pixels), width);
  const ring = between(pixels, 2, 1);
  const colour = median(ring);
  const alike = Uint8Array.from({ length: area }, (_, i) => colour.every((v, c) => Math.abs(colours[c * area + i] - v) < IRIS));
  const within = inSquare([(top + bottom) / 2, (left + right) / 2], BALL * Math.max(bottom - top, right - left), width);
  const ball = Uint8Array.from(pixels);
  const inside = alike.map((is, i) => Number(is && within(i)));
  for (const i of reached(ring.filter((i) => inside[i]), inside, picture)) ball[i] = 1;
  if (widened(ball, 1, { width, height }).some((is, i) => is && alike[i] && !within(i))) return null;
  const beyond = median(between(ball, 3, 1));
  const count = places(ball).length;
  [top, left, bottom, right] = boxOf(places(ball), width);
  return brightness(colour) - brightness(beyond) > BRIGHTER && count >= DISC * (bottom - top) * (right - left) ? ball : null;
}

/** With what lies within `by` pixels, in squares. */
export function widened(pixels, by, { width, height }) {
  const out = new Uint8Array(pixels.length);
  pixels.forEach((is, i) => {
    if (!is) return;
    const [x, y] = [i % width, Math.floor(i / width)];
    for (let v = Math.max(0, y - by); v <= Math.min(height - 1, y + by); v++) out.fill(1, v * width + Math.max(0, x - by), v * width + Math.min(width, x + by + 1));
  });
  return out;
}
