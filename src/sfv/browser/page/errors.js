// Errors for the visitor: one sentence each.

/** An error whose message is one sentence for the visitor. */
export class UserError extends Error {}

/** The first letter in capitals, a full stop at the end. */
export const asSentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");

const MEMORY = /memory|bad_alloc|allocat|RangeError|abort\(OOM\)/i;

/** What a failure of the networks means for the visitor; anything unknown stays as it is. */
export function explained(error) {
  if (error instanceof UserError) return error;
  if (error instanceof RangeError || MEMORY.test(String(error?.message ?? error))) {
    return new UserError("There is not enough memory for the model here; close other pages and reload, or use a device with more.");
  }
  return error;
}

/** A module with one SIMD instruction, that browsers without SIMD refuse. */
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]);

/** Throw a UserError where the model cannot run at all. */
export function requireWasm() {
  if (typeof WebAssembly === "object" && WebAssembly.validate(SIMD)) return;
  throw new UserError("This browser has no WebAssembly SIMD, which the model needs; use a browser of 2023 or newer.");
}
