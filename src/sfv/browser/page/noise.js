// Unit Gaussian noise as torch.randn makes it on a CPU for the same seed, so that a seed means the same clip everywhere:
// Mersenne Twister (Matsumoto and Nishimura 1998), then Box-Muller on groups of 16 numbers.

const SIZE = 624;
const SHIFT = 397;

/** Float32Array of `count` numbers, a multiple of 16; of `seed` the low 32 bits count, as in torch. */
export function noise(seed, count) {
  if (count % 16) throw new Error(`noise of ${count} numbers: must be a multiple of 16`);
  const next = twister(Number(BigInt(seed) & 0xffffffffn));
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = (next() & 0xffffff) / 0x1000000;
  for (let start = 0; start < count; start += 16) {
    for (let i = start; i < start + 8; i++) {
      const radius = Math.sqrt(-2 * Math.log(1 - out[i]));
      const angle = 2 * Math.PI * out[i + 8];
      out[i] = radius * Math.cos(angle);
      out[i + 8] = radius * Math.sin(angle);
    }
  }
  return out;
}

/** A function that gives the next 32 random bits. */
function twister(seed) {
  const words = new Uint32Array(SIZE);
  words[0] = seed;
  for (let i = 1; i < SIZE; i++) {
    const last = words[i - 1] ^ (words[i - 1] >>> 30);
    words[i] = Math.imul(1812433253, last) + i;
  }
  let at = SIZE;
  return () => {
    if (at === SIZE) {
      for (let i = 0; i < SIZE; i++) {
        const joined = (words[i] & 0x80000000) | (words[(i + 1) % SIZE] & 0x7fffffff);
        words[i] = words[(i + SHIFT) % SIZE] ^ (joined >>> 1) ^ (joined & 1 ? 0x9908b0df : 0);
      }
      at = 0;
    }
    let y = words[at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
}
