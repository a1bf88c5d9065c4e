// An arrow on the picture: what lies at its start goes to its end and back, once a round (src/sfv/decoding/dragging.py
// and generation/directing.py). Places are shares of the frame's sides from its middle.

import { offTheEdge, thingOf, turned, withRoom } from "./directed.js";
import { UserError } from "./errors.js";
import { covering, extent, fit, flowOf, freedom } from "./stiff.js";

const REACH = 0.2, GENTLE = 1, SMALLER = 0.8, NEARBY = 0.04;

/** The arrow that is asked for, {start, end} in the network's frame; null if none is. */
export function arrowIn({ drag, fit: mode }, { source, large, box }) {
  if (!drag) return null;
  let [across, down] = [box.width / source.width, box.height / source.height];
  if (mode !== "own") across = down = (mode === "crop" ? Math.max : Math.min)(across, down);
  const inside = [across * source.width, down * source.height];
  const corner = [box.left + (box.width - inside[0]) / 2, box.top + (box.height - inside[1]) / 2];
  const frame = [large.width, large.height];
  const [start, end] = drag.split(":").map((place) => place.split(",").map((share, i) => (corner[i] + Number(share) * inside[i]) / frame[i] - 0.5));
  return { start, end };
}

/** Nothing lies at the arrow's start: an error for the visitor. */
export function checkArrow(settings, seen) {
  const arrow = arrowIn(settings, seen);
  if (!arrow) return;
  const { width, height } = seen;
  const there = thingOf(seen);
  const near = (i) => Math.abs(((i % width) + 0.5) / width - 0.5 - arrow.start[0]) <= NEARBY && Math.abs((Math.floor(i / width) + 0.5) / height - 0.5 - arrow.start[1]) <= NEARBY;
  if (!there.some((is, i) => is && near(i))) throw new UserError("Nothing lies where the arrow starts; start it on the thing.");
}

/** What an arrow adds at `count` even times of a round: a flow (2, h, w) in pixels each; null without one. The network's
 * own motion brings the thing to `places`; null: it rests. */
export function dragging(settings, count, seen, whole, places) {
  const arrow = arrowIn(settings, seen);
  if (!arrow) return null;
  const { width, height, fills, shades } = seen;
  const body = offTheEdge(withRoom(seen), width, height);
  const courses = Array.from({ length: count }, (_, i) => (1 - Math.cos((2 * Math.PI * i) / count)) / 2);
  let flows;
  if (whole) {
    const way = shortened(wayOf(arrow), body);
    flows = courses.map((course, i) => flowOf(turned(0, way.map((v) => course * v), body.middle, body, places?.[i]), width, height));
    if (fills && !shades) {
      const even = new Float32Array(width * height).fill(1);
      flows = covering(flows.map((flow) => fit(flow, even, width, height))).map((map) => flowOf(map, width, height));
    }
  } else flows = courses.map((course) => pulled(arrow, course, body, width, height));
  if (!shades && (whole || !fills)) return flows;
  const free = freedom(width, height);
  return flows.map((flow) => flow.map((v, i) => v * free[i % free.length]));
}

const wayOf = ({ start, end }) => [end[0] - start[0], end[1] - start[1]];

/** As much of a way as a body may go that is SMALLER. */
function shortened(way, { points, window, middle }) {
  const [low, high] = extent(points);
  return way.map((v, c) => {
    const least = Math.min(0, window[c] - middle[c] + SMALLER * (middle[c] - low[c]));
    const most = Math.max(0, window[c + 2] - middle[c] - SMALLER * (high[c] - middle[c]));
    return Math.min(Math.max(v, least), most);
  });
}

/** What is near the arrow's start follows, less with the distance. */
function pulled(arrow, course, { aspect, points }, width, height) {
  const way = wayOf(arrow);
  const [low, high] = extent(points);
  const longer = Math.max((high[0] - low[0]) * aspect, high[1] - low[1]);
  const wide = Math.max(REACH * longer, GENTLE * Math.hypot(way[0] * aspect, way[1]));
  const gone = way.map((v) => course * v);
  const area = width * height;
  const flow = new Float32Array(2 * area);
  for (let i = 0; i < area; i++) {
    const x = (((i % width) + 0.5) / width - 0.5 - arrow.start[0] - gone[0]) * aspect;
    const y = (Math.floor(i / width) + 0.5) / height - 0.5 - arrow.start[1] - gone[1];
    const near = Math.exp(-(x * x + y * y) / (2 * wide * wide));
    flow[i] = -near * gone[0] * width;
    flow[area + i] = -near * gone[1] * height;
  }
  return flow;
}
