// GIF (the GIF89a specification) with one palette for the whole clip, found by median cut (Heckbert 1982).

const COLOURS = 255; // and one that is clear
const CLEAR = 255;
const BITS = 5; // of each channel in the histogram

/** A blob of a clip {frames, width, height, fps, data}, that plays for ever. */
export function gif({ frames, width, height, fps, data }) {
  const palette = medianCut(histogram(data));
  const index = nearestIn(palette);
  const parts = [header(width, height, palette)];
  for (let i = 0; i < frames; i++) {
    const [start, end] = [i, i + 1].map((k) => Math.round((100 * k) / fps)); // hundredths of a second
    const pixels = new Uint8Array(width * height);
    for (let p = 0, at = 4 * i * pixels.length; p < pixels.length; p++, at += 4) {
      pixels[p] = data[at + 3] < 128 ? CLEAR : index(data[at], data[at + 1], data[at + 2]);
    }
    parts.push(frame(pixels, width, height, end - start));
  }
  return new Blob([...parts, Uint8Array.of(0x3b)], { type: "image/gif" });
}

const bin = (r, g, b) => ((r >> (8 - BITS)) << (2 * BITS)) | ((g >> (8 - BITS)) << BITS) | (b >> (8 - BITS));

/** Colours that are seen: {count, sum of each channel} by bin. */
function histogram(data) {
  const counts = new Uint32Array(1 << (3 * BITS));
  const sums = new Float64Array(3 * counts.length);
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] < 128) continue;
    const k = bin(data[at], data[at + 1], data[at + 2]);
    counts[k]++;
    for (let c = 0; c < 3; c++) sums[3 * k + c] += data[at + c];
  }
  const found = [];
  counts.forEach((count, k) => count && found.push({ count, mean: [0, 1, 2].map((c) => sums[3 * k + c] / count) }));
  return found.length ? found : [{ count: 1, mean: [0, 0, 0] }];
}

/** Boxes of colours, the one with the largest spread halved until there are enough; their means. */
function medianCut(colours) {
  const boxes = [measured(colours)];
  while (boxes.length < COLOURS) {
    const widest = boxes.reduce((a, b) => (b.score > a.score ? b : a));
    if (widest.colours.length < 2) break;
    const sorted = widest.colours.sort((a, b) => a.mean[widest.axis] - b.mean[widest.axis]);
    let [at, sum] = [0, 0];
    while (at < sorted.length - 1 && (sum += sorted[at].count) < widest.count / 2) at++;
    at = Math.max(1, at);
    boxes.splice(boxes.indexOf(widest), 1, measured(sorted.slice(0, at)), measured(sorted.slice(at)));
  }
  return boxes.map(({ mean }) => mean.map(Math.round));
}

/** A box with its mean, the channel that varies most, and how much its colours matter. */
function measured(colours) {
  const count = colours.reduce((sum, colour) => sum + colour.count, 0);
  const mean = [0, 1, 2].map((c) => colours.reduce((sum, colour) => sum + colour.count * colour.mean[c], 0) / count);
  const spread = [0, 1, 2].map((c) => colours.reduce((sum, colour) => sum + colour.count * (colour.mean[c] - mean[c]) ** 2, 0));
  const axis = spread.indexOf(Math.max(...spread));
  return { colours, count, mean, axis, score: colours.length > 1 ? spread[axis] : -1 };
}

/** The nearest colour's number; looked up once for each of 262144 shades. */
function nearestIn(palette) {
  const known = new Int16Array(1 << 18).fill(-1);
  return (r, g, b) => {
    const key = ((r >> 2) << 12) | ((g >> 2) << 6) | (b >> 2);
    if (known[key] < 0) {
      let least = Infinity;
      palette.forEach(([x, y, z], i) => {
        const far = (r - x) ** 2 + (g - y) ** 2 + (b - z) ** 2;
        if (far < least) [least, known[key]] = [far, i];
      });
    }
    return known[key];
  };
}

/** Signature, size, palette of 256 colours, and that it repeats for ever. */
function header(width, height, palette) {
  const out = [..."GIF89a"].map((letter) => letter.charCodeAt(0));
  out.push(width & 255, width >> 8, height & 255, height >> 8, 0xf7, 0, 0);
  for (let i = 0; i < 256; i++) out.push(...(palette[i] ?? [0, 0, 0]));
  out.push(0x21, 0xff, 11, ...[..."NETSCAPE2.0"].map((letter) => letter.charCodeAt(0)), 3, 1, 0, 0, 0);
  return Uint8Array.from(out);
}

/** One frame, which the next replaces; `delay` in hundredths of a second. */
function frame(pixels, width, height, delay) {
  const head = [0x21, 0xf9, 4, 0x09, delay & 255, delay >> 8, CLEAR, 0, 0x2c, 0, 0, 0, 0, width & 255, width >> 8, height & 255, height >> 8, 0, 8];
  const packed = lzw(pixels);
  const blocks = [Uint8Array.from(head)];
  for (let at = 0; at < packed.length; at += 255) {
    const part = packed.subarray(at, at + 255);
    blocks.push(Uint8Array.of(part.length), part);
  }
  return new Blob([...blocks, Uint8Array.of(0)]);
}

/** LZW with codes of 9 to 12 bits. */
function lzw(pixels) {
  const [clear, end] = [256, 257];
  const out = new Uint8Array(2 * pixels.length + 16);
  let [at, buffer, bits, size, next] = [0, 0, 0, 9, 258];
  const write = (code) => {
    buffer |= code << bits;
    bits += size;
    for (; bits >= 8; bits -= 8, buffer >>>= 8) out[at++] = buffer & 255;
  };
  const codes = new Map();
  write(clear);
  let current = pixels[0];
  for (let i = 1; i < pixels.length; i++) {
    const key = (current << 8) | pixels[i];
    const known = codes.get(key);
    if (known !== undefined) {
      current = known;
      continue;
    }
    write(current);
    if (next === 4096) {
      write(clear);
      codes.clear();
      [size, next] = [9, 258];
    } else {
      if (next === 1 << size) size++;
      codes.set(key, next++);
    }
    current = pixels[i];
  }
  write(current);
  write(end);
  if (bits) out[at++] = buffer & 255;
  return out.subarray(0, at);
}
