// A clip of a picture: tower, one call of the UNet at the highest noise level, decoder, frames.

import { lidsOf, shares } from "./blinking.js";
import { bodyIn, carrying, checkMove, cutSides, heldTo, offTheEdge, taken, CARRIED, ENDLESS } from "./directed.js";
import { checkArrow, dragging } from "./dragging.js";
import { UserError } from "./errors.js";
import { blinkingEyes } from "./eyes.js";
import { composed, timesOf } from "./finishing.js";
import { fitted, layers } from "./fitting.js";
import { keptInside, placesOf } from "./inside.js";
import { noise } from "./noise.js";
import { roundEven } from "./resize.js";
import { beyond, fillsFrame, groundShades, heldBorder, oneBody } from "./stiff.js";

const LARGEST = 320e6; // bytes of a clip's frames

/** What the networks know of a picture: everything about it that does not depend on seed and motion. */
export async function look(networks, picture, settings) {
  const { height, width } = networks.facts.defaults;
  const still = fitted(picture, settings, { height, width });
  const first = layers(still.small);
  const dims = [1, 4, height, width];
  const seen = await networks.call("tower", { picture: [first, dims] });
  const fills = fillsFrame(first, width, height);
  const judged = !fills && networks.has("stiffness") ? await networks.call("stiffness", { picture: [first, dims] }) : null;
  const logit = judged?.logit.data[0] ?? null; // of its being stiff; none of what fills the frame
  const stiff = fills || logit > 0;
  const more = judged?.motion?.data[0] ?? 0; // motion ids over the usual picture's
  const softness = judged?.softness?.data[0] ?? 0; // how sure it is that it bends
  const source = { width: picture.width, height: picture.height };
  const large = { width: still.large.width, height: still.large.height, data: layers(still.large) };
  return { first, seen, width, height, fills, stiff, logit, softness, more, shades: groundShades(first, width, height), large, box: still.box, source };
}

const FURTHEST = 1.8; // times as far as at the usual motion a word goes at 255
const [CALMEST, LIVELIEST] = [20, 235]; // motion ids beyond which no picture's own goes

/** The motion id for `asked` of a picture that moves `more` ids more than the usual one: 0 and 255 stay, the model's
 * `usual` is moved by `more`, and in between lie straight lines. */
export function liveliness(asked, usual, more) {
  const own = Math.min(Math.max(usual + more, CALMEST), LIVELIEST);
  if (asked <= usual) return (asked * own) / Math.max(usual, 1);
  return 255 - ((255 - asked) * (255 - own)) / Math.max(255 - usual, 1);
}

/** How far a program's word goes: 0 at no motion, 1 at the model's usual one, FURTHEST at 255, in between straight lines. */
export function strength(asked, usual) {
  return asked <= usual ? asked / Math.max(usual, 1) : 1 + ((FURTHEST - 1) * (asked - usual)) / (255 - usual);
}

/** The id of a word for motion that the network follows; 0 for none. */
const programOf = ({ programs }, { move }) => programs[move] ?? 0;

/** Latents (f, c, y, x) of one call: x0 = c_skip x + c_out F(c_in x; c_noise), the first frame's zero. */
export async function sample(networks, { seen, more }, settings) {
  const { facts } = networks;
  const [, channels, y, x] = facts.latents;
  const { frames } = settings;
  const area = y * x;
  const sigma = Math.fround(facts.noise.sigma_max);
  const scale = Math.sqrt(sigma * sigma + 1);
  const n = noise(settings.seed, frames * channels * area); // c_in x, since x = n sqrt(sigma^2 + 1)
  const { image_latents: map, image_embeds: token } = seen;
  const inputs = channels + map.dims[1];
  const joined = new Float32Array(frames * inputs * area);
  for (let t = 0; t < frames; t++) {
    joined.set(n.subarray(t * channels * area, (t + 1) * channels * area), t * inputs * area);
    joined.set(map.data, (t * inputs + channels) * area);
  }
  const program = programOf(facts, settings);
  const free = program === 0 && more;
  const motion = free ? liveliness(settings.motion, facts.defaults.motion, more) : settings.motion;
  const { out } = await networks.call("unet", {
    sample: [joined, [1, frames, inputs, y, x]],
    timestep: [Float32Array.of(Math.log(sigma) / 4), [1]],
    encoder_hidden_states: [token.data, token.dims],
    added_time_ids: [Float32Array.of(settings.fps - 1, motion, program), [1, 3]],
  });
  return Float32Array.from(out.data, (v, i) => (i < channels * area ? 0 : n[i] / scale - (sigma / scale) * v));
}

const FREE = ["auto", "free", "blink"]; // moves by which the network says what a thing does

/** Whether a picture moves as one body. */
const isStiff = ({ stiff, move }, seen) => (stiff === "auto" ? !FREE.includes(move) || seen.stiff : stiff === "on");

/** The decoder's parts, of stiff things as one body. */
export async function decode(networks, latents, seen, settings) {
  const { height, width } = networks.facts.defaults;
  const [, channels, y, x] = networks.facts.latents;
  const { frames } = settings;
  const { rest, trust, flow } = await networks.call("decoder", {
    latents: [latents, [1, frames, channels, y, x]],
    picture: [seen.first, [1, 4, height, width]],
    softness: [Float32Array.of(programOf(networks.facts, settings) ? 0 : seen.softness), [1]],
  });
  const area = frames * width * height; // where nothing is drawn, the model has the flow alone
  let parts = { frames, width, height, rest: rest?.data ?? new Float32Array(4 * area), trust: trust?.data ?? new Float32Array(area).fill(1), flow: flow.data };
  const body = bodyIn(seen);
  if (isStiff(settings, seen)) parts = oneBody(parts, seen.first, seen.fills, (maps) => heldTo(settings.move, maps, body));
  const free = FREE.includes(settings.move);
  if (body.window !== ENDLESS) parts = keptInside(parts, free ? body : offTheEdge(body, width, height), cutSides(seen), free);
  return seen.shades ? heldBorder(parts) : parts;
}

/** Whether a word for motion or an arrow adds to what the network does. */
const directed = ({ move, drag }) => CARRIED.includes(move) || Boolean(drag);

/** Frames of a clip, {frames, width, height, fps, data, seconds}; `seen` is what `look` said, or null. */
export async function clip(networks, picture, settings, seen) {
  const seconds = {};
  const timed = async (stage, work) => {
    const start = performance.now();
    const done = await work();
    seconds[stage] = (seconds[stage] ?? 0) + (performance.now() - start) / 1000;
    return done;
  };
  const known = await timed("encode", () => seen ?? look(networks, picture, settings));
  checkMove(settings.move, known);
  checkArrow(settings, known);
  const eyes = blinkingEyes(settings, known);
  const { count, playFps } = played(settings, known.box);
  const latents = await timed("unet", () => sample(networks, known, settings));
  const data = await timed("decode", async () => {
    const parts = await decode(networks, latents, known, settings);
    const times = timesOf(latents, settings.frames, count);
    const places = directed(settings) && bodyIn(known).window !== ENDLESS ? placesOf(parts, bodyIn(known), times) : null;
    const much = strength(settings.motion, networks.facts.defaults.motion);
    const word = carrying(settings, much, count, known, places);
    const after = word && places ? places.map((each, i) => taken(settings.move, word[i], each, known.width, known.height)) : places;
    const further = [word, dragging(settings, count, known, isStiff(settings, known), after)].filter(Boolean);
    const lids = eyes && lidsOf(known, eyes);
    const closed = shares(count, settings.frames / settings.fps);
    const moments = times.map((time, i) => {
      const changed = lids && closed[i] ? () => lids(known.large, closed[i]) : null;
      return { time, flows: further.map((flows) => flows[i]), changed };
    });
    return composed(parts, settings.boomerang ? thereAndBack(moments) : moments, known.large, known.box, settings.transparent, beyond(known.first, known.width, known.height), settings.move === "spin" ? NOWHERE : cutSides(known), bodyIn(known).window);
  });
  const { width, height } = known.box;
  return { seen: known, clip: { frames: data.length / (4 * width * height), width, height, fps: playFps, data, seconds, calls: 1 } };
}

/** Frames of one round as it is played, so that it lasts as long as frames and fps say. */
function played({ frames, fps, play_fps: playFps, boomerang }, { width, height }) {
  const count = Math.max(2, roundEven((frames * playFps) / fps));
  if (4 * width * height * count * (boomerang ? 2 : 1) > LARGEST) {
    throw new UserError(`${count} frames of ${width} x ${height} are too much for this page; choose a smaller size, fewer frames or more frames a second.`);
  }
  return { count, playFps };
}

const thereAndBack = (moments) => [...moments, ...moments.slice(1, -1).reverse()];

const NOWHERE = [[false, false], [false, false]]; // what turns shows the edge at which it was cut off

const PROOF = 8; // frames

/** Frames of a built-in input, a tilted disc that shades, and how long they took: what back ends are compared by. */
export async function proof(networks) {
  const { width, height, ...defaults } = networks.facts.defaults;
  const data = new Uint8ClampedArray(4 * width * height);
  for (let i = 0; i < width * height; i++) {
    const [x, y] = [(i % width) / width - 0.5, Math.floor(i / width) / height - 0.5];
    data.set([255 * (x + 0.5), 160 + 90 * Math.sin(20 * (x + y)), 255 * (0.5 - y), x * x + 2 * y * y + x * y < 0.16 ? 255 : 0], 4 * i);
  }
  const settings = { ...defaults, frames: PROOF, seed: 1, move: "free", stiff: "off", transparent: true, boomerang: false, fit: "own", play_fps: defaults.fps };
  const start = performance.now();
  const made = await clip(networks, { width, height, data }, settings, null);
  return { frames: made.clip.data, seconds: (performance.now() - start) / 1000 };
}
