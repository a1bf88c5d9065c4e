// Scaling pictures as Pillow does, whose pictures the command line's clips begin with. A picture is {width, height, data},
// RGBA, 8 bits, colours not multiplied with alpha.

const LOBES = 3; // of the Lanczos kernel

export const blank = (width, height) => ({ width, height, data: new Uint8ClampedArray(4 * width * height) });

/** Rounded as Python rounds: halves to the even neighbour. */
export function roundEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

/** Lanczos, antialiased; of `box` (left, top, right, bottom), which is all of the picture unless given. Colours count as
 * far as they are seen. */
export function lanczos(picture, width, height, box = [0, 0, picture.width, picture.height]) {
  const whole = box[0] === 0 && box[1] === 0 && box[2] === picture.width && box[3] === picture.height;
  if (whole && picture.width === width && picture.height === height) return picture;
  const seen = multiplied(picture);
  const across = axis(picture.width, width, box[0], box[2]);
  const down = axis(picture.height, height, box[1], box[3]);
  const narrow = blank(width, picture.height);
  weigh(seen.data, narrow.data, across, picture.height, 4, picture.width * 4, 4, width * 4);
  const out = blank(width, height);
  weigh(narrow.data, out.data, down, width, width * 4, 4, width * 4, 4);
  return divided(out);
}

/** The nearest pixel of each, for icons whose pixels stay hard. */
export function nearest(picture, width, height) {
  const out = blank(width, height);
  const [from, to] = [new Uint32Array(picture.data.buffer, picture.data.byteOffset), new Uint32Array(out.data.buffer)];
  for (let y = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * picture.height) / height) * picture.width;
    for (let x = 0; x < width; x++) to[y * width + x] = from[row + Math.floor(((x + 0.5) * picture.width) / width)];
  }
  return out;
}

/** For each place of an axis, its first source and the weights from there. */
function axis(from, to, start, end) {
  const scale = (end - start) / to;
  const wide = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - LOBES * wide + 0.5));
    const last = Math.min(from, Math.trunc(centre + LOBES * wide + 0.5));
    const weights = Float64Array.from({ length: last - first }, (_, k) => kernel((first + k - centre + 0.5) / wide));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((w) => w / sum) };
  });
}

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const kernel = (x) => (Math.abs(x) < LOBES ? sinc(x) * sinc(x / LOBES) : 0);

/** One axis of all `lines`: steps are bytes from place to place and from line to line, in source and target. */
function weigh(source, target, places, lines, fromStep, fromLine, toStep, toLine) {
  for (let line = 0; line < lines; line++) {
    places.forEach(({ first, weights }, i) => {
      for (let c = 0; c < 4; c++) {
        let sum = 0;
        let at = line * fromLine + first * fromStep + c;
        for (let k = 0; k < weights.length; k++, at += fromStep) sum += weights[k] * source[at];
        target[line * toLine + i * toStep + c] = Math.floor(sum + 0.5);
      }
    });
  }
}

function multiplied(picture) {
  const out = { ...picture, data: picture.data.slice() };
  for (let i = 0; i < out.data.length; i += 4) {
    const alpha = out.data[i + 3];
    if (alpha < 255) for (let c = i; c < i + 3; c++) out.data[c] = Math.round((out.data[c] * alpha) / 255);
  }
  return out;
}

function divided(picture) {
  const { data } = picture;
  for (let i = 0; i < data.length; i += 4) {
    const alpha = data[i + 3];
    if (alpha > 0 && alpha < 255) for (let c = i; c < i + 3; c++) data[c] = Math.floor((data[c] * 255) / alpha);
  }
  return picture;
}
