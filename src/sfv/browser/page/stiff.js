// Stiff things move as one body, and what shades to the border keeps its border (src/sfv/decoding/one_body.py,
// holding.py and generation/stiff.py). Parts of a clip are {frames, width, height, rest (f, 4, h, w), trust (f, 1, h, w),
// flow (f, 2, h, w)}; pictures are layers (4, h, w) in [-1, 1].

export const ALIKE = 24.5 / 255; // levels within which a border is of one colour
const NEAR = 5.5 / 255, FLAT = 0.95; // of a ground whose colour goes on beyond its border
const RIM = 2, PLAIN = 0.6, STEP = 5.5 / 255, SMOOTH = 0.9; // of the border
const CELL = 4, RIDGE = 1e-3, OVERSCAN = 0.1; // of the fit
const HELD = 2, FADE = 0.1; // of the held border

/** Least and greatest coordinates. */
export function extent(points) {
  const [low, high] = [[Infinity, Infinity], [-Infinity, -Infinity]];
  for (const point of points) {
    for (let c = 0; c < 2; c++) [low[c], high[c]] = [Math.min(low[c], point[c]), Math.max(high[c], point[c])];
  }
  return [low, high];
}

/** Whether a picture goes on to its border, as a photograph does. */
export const fillsFrame = (picture, width, height) => !isClear(picture, width * height) && !isPlain(picture, width, height) && !isSmooth(picture, width, height);

/** Whether it lies on a ground of changing colour, such as a gradient. */
export const groundShades = (picture, width, height) => !isClear(picture, width * height) && !isPlain(picture, width, height) && isSmooth(picture, width, height);

/** Whether it is clear somewhere. */
export function isClear(picture, area) {
  for (let i = 3 * area; i < 4 * area; i++) if (!(picture[i] > 0)) return true;
  return false;
}

/** Indices of the border's pixels, line by line along each side. */
function rims(width, height) {
  const row = (y) => Array.from({ length: width }, (_, x) => y * width + x);
  const column = (x) => Array.from({ length: height }, (_, y) => y * width + x);
  const near = (size) => Array.from({ length: RIM }, (_, i) => [i, size - 1 - i]).flat();
  return [...near(height).map(row), ...near(width).map(column)];
}

/** The border's median colour, half as far apart as in [-1, 1]. */
export function ground(picture, width, height) {
  const places = rims(width, height).flat();
  return [0, 1, 2].map((c) => {
    const levels = Float32Array.from(places, (i) => picture[c * width * height + i] / 2).sort();
    return levels[(levels.length - 1) >> 1];
  });
}

/** What lies beyond the border of a picture that is moved: nothing around one with transparency, and its ground around a
 * thing that touches the border of a flat one; null: the border goes on outward. */
export function beyond(picture, width, height) {
  const area = width * height;
  for (let i = 3 * area; i < 4 * area; i++) if (picture[i] < 1) return [-1, -1, -1, -1];
  if (!isPlain(picture, width, height)) return null;
  const middle = ground(picture, width, height);
  const far = rims(width, height).flat().map((i) => Math.max(...middle.map((level, c) => Math.abs(picture[c * area + i] / 2 - level))));
  const near = far.filter((v) => v <= ALIKE);
  const flat = near.filter((v) => v <= NEAR).length / near.length >= FLAT;
  return near.length < far.length && flat ? [...middle.map((level) => 2 * level), 1] : null;
}

function isPlain(picture, width, height) {
  const area = width * height;
  const places = rims(width, height).flat();
  const middle = ground(picture, width, height);
  const alike = places.filter((i) => middle.every((level, c) => Math.abs(picture[c * area + i] / 2 - level) < ALIKE));
  return alike.length / places.length >= PLAIN;
}

function isSmooth(picture, width, height) {
  const area = width * height;
  let [small, all] = [0, 0];
  for (const line of rims(width, height)) {
    for (let k = 1; k < line.length; k++, all++) {
      let most = 0;
      for (let c = 0; c < 3; c++) most = Math.max(most, Math.abs(picture[c * area + line[k]] - picture[c * area + line[k - 1]]) / 2);
      if (most < STEP) small++;
    }
  }
  return small / all >= SMOOTH;
}

/** How far each place may move where the border is held. */
export function freedom(width, height) {
  const reach = FADE * Math.min(width, height);
  return Float32Array.from({ length: width * height }, (_, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    const inward = Math.min(x, y, width - 1 - x, height - 1 - y);
    return 1 - Math.min(1, Math.max(0, 1 - (inward - HELD) / reach));
  });
}

/** The same clip with its border held: the motion fades toward it. */
export function heldBorder({ frames, width, height, rest, trust, flow }) {
  const area = width * height;
  const free = freedom(width, height);
  return {
    frames, width, height,
    rest: rest.map((v, i) => v * free[i % area]),
    trust: trust.map((v, i) => 1 - (1 - v) * free[i % area]),
    flow: flow.map((v, i) => v * free[i % area]),
  };
}

/** The same clip, its picture moved as one body; `cover`: enlarged until no frame shows the picture's border; `keep`
 * says what of the motion is kept. */
export function oneBody({ frames, width, height, trust, flow: given }, picture, cover, keep) {
  const area = width * height;
  const seen = followed(picture, width, height);
  let maps = Array.from({ length: frames }, (_, t) => {
    const weights = seen.map((v, i) => v * trust[t * area + i] + 1e-6);
    return fit(given.subarray(2 * t * area, 2 * (t + 1) * area), weights, width, height);
  });
  maps = keep(maps);
  if (cover) maps = covering(maps);
  const flow = new Float32Array(2 * frames * area);
  maps.forEach((map, t) => flow.set(flowOf(map, width, height), 2 * t * area));
  return { frames, width, height, rest: new Float32Array(4 * frames * area), trust: new Float32Array(frames * area).fill(1), flow };
}

/** In pixels, (2, h, w). */
export function flowOf(map, width, height) {
  const area = width * height;
  const flow = new Float32Array(2 * area);
  for (let i = 0; i < area; i++) {
    const [column, row] = place(i, width, height);
    for (let c = 0; c < 2; c++) flow[c * area + i] = (map[0][c] + column * map[1][c] + row * map[2][c]) * (c ? height : width);
  }
  return flow;
}

/** Column and row, in [-1/2, 1/2]. */
const place = (i, width, height) => [((i % width) + 0.5) / width - 0.5, (Math.floor(i / width) + 0.5) / height - 0.5];

/** How much each place shows of something to follow: mean absolute differences over cells, of mean 1, as far as opaque. */
function followed(picture, width, height) {
  const area = width * height;
  const [across, down] = [Math.floor(width / CELL), Math.floor(height / CELL)];
  const grey = new Float32Array(area);
  for (let i = 0; i < area; i++) grey[i] = (picture[i] + picture[area + i] + picture[2 * area + i]) / 3;
  const cells = new Float32Array(across * down);
  const cell = (x, y) => Math.min(down - 1, Math.floor((y * down) / height)) * across + Math.min(across - 1, Math.floor((x * across) / width));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const steps = (x < width - 1 ? Math.abs(grey[i + 1] - grey[i]) : 0) + (y < height - 1 ? Math.abs(grey[i + width] - grey[i]) : 0);
      cells[cell(x, y)] += steps / (CELL * CELL);
    }
  }
  const mean = Math.max(1e-6, cells.reduce((a, b) => a + b, 0) / cells.length);
  return Float32Array.from({ length: area }, (_, i) => ((cells[cell(i % width, Math.floor(i / width))] / mean) * (picture[3 * area + i] + 1)) / 2);
}

/** Weighted least squares of one frame's flow: rows for 1, column and row; columns for x and y, in shares of the sides. */
export function fit(flow, weights, width, height) {
  const area = width * height;
  const squares = [[0, 0, 0], [0, 0, 0], [0, 0, 0]];
  const wanted = [[0, 0], [0, 0], [0, 0]];
  let sum = 0;
  for (let i = 0; i < area; i++) {
    const weight = weights[i];
    const at = [1, ...place(i, width, height)];
    const to = [flow[i] / width, flow[area + i] / height];
    sum += weight;
    for (let a = 0; a < 3; a++) {
      for (let b = 0; b < 3; b++) squares[a][b] += weight * at[a] * at[b];
      for (let c = 0; c < 2; c++) wanted[a][c] += weight * at[a] * to[c];
    }
  }
  const left = squares.map((row, a) => row.map((v, b) => v / sum + (a === b && a > 0 ? RIDGE : 0)));
  return solved(left, wanted.map((row) => row.map((v) => v / sum)));
}

/** left x = right by elimination; left is symmetric and positive definite. */
function solved(left, right) {
  const rows = left.map((row, i) => [...row, ...right[i]]);
  for (let i = 0; i < 3; i++) {
    const pivot = rows[i].map((v) => v / rows[i][i]);
    rows[i] = pivot;
    for (let k = 0; k < 3; k++) if (k !== i) rows[k] = rows[k].map((v, j) => v - rows[k][i] * pivot[j]);
  }
  return rows.map((row) => row.slice(3));
}

/** Enlarged around the middle, all frames alike; less motion if that takes more than OVERSCAN. */
export function covering(maps) {
  while (zoom(maps) < 1 - OVERSCAN) maps = maps.map((map) => map.map((row) => row.map((v) => v / 2)));
  const share = zoom(maps);
  return maps.map(([shift, x, y]) => [shift, [share * (x[0] + 1) - 1, share * x[1]], [share * y[0], share * (y[1] + 1) - 1]]);
}

/** The largest share of the frame, at most 1, of which every frame's corners lie inside the picture. */
function zoom(maps) {
  let least = 1;
  for (const [shift, x, y] of maps) {
    const reach = [(Math.abs(x[0] + 1) + Math.abs(y[0])) / 2, (Math.abs(x[1]) + Math.abs(y[1] + 1)) / 2];
    for (let c = 0; c < 2; c++) least = Math.min(least, Math.max(0, (0.5 - Math.abs(shift[c])) / reach[c]));
  }
  return least;
}
