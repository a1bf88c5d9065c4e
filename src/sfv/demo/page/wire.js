// Requests, and the binary messages that carry clips: u32 head length, u32 body length, JSON head, RGBA frames.

export class Sentence extends Error {}

const visit = crypto.randomUUID?.() ?? String(Math.random());
let turn = 0;

/** The JSON answer of a request; a Sentence if the server says no, or does not answer. */
export async function ask(path, options = {}) {
  return (await sent(path, options)).json();
}

/** What the server can do, and whether it is ready. */
export const state = () => ask("/api/state");

/** Upload a picture; resolves to {id, width, height, transparent}. */
export function upload(blob) {
  return ask("/api/picture", { method: "POST", body: blob, headers: { "content-type": "application/octet-stream" } });
}

/** A clip, or null if a newer wish of this visit overtook it. */
export async function clip(wish, options = {}) {
  const order = { ...wish, ask: { ...wish.ask, visit, turn: ++turn } };
  const answer = await posted("/api/clip", order, options);
  if (answer.status === 204) return null;
  return parse(await answer.arrayBuffer());
}

/** A clip as a file. */
export async function file(wish) {
  return (await posted("/api/file", wish)).blob();
}

/** The messages of a race as they come. */
export async function* race(wish, signal) {
  const answer = await posted("/api/race", wish, { signal });
  const reader = answer.body.getReader();
  let held = new Uint8Array(0);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held = joined(held, value);
    for (let size = whole(held); size && held.length >= size; size = whole(held)) {
      yield parse(held.slice(0, size).buffer);
      held = held.subarray(size);
    }
  }
}

const posted = (path, body, options = {}) =>
  sent(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" }, ...options });

async function sent(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Sentence("The server does not answer; is sfv demo still running?");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Sentence(sentence(said.error?.message ?? said.error ?? `the server said ${answer.status}`));
}

/** The first letter in capitals, a full stop at the end. */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");

function whole(bytes) {
  if (bytes.length < 8) return 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  return 8 + view.getUint32(0, true) + view.getUint32(4, true);
}

function joined(a, b) {
  if (!a.length) return b;
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function parse(buffer) {
  const view = new DataView(buffer);
  const head = 8 + view.getUint32(0, true);
  const told = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, head - 8)));
  const size = view.getUint32(4, true);
  return { ...told, data: size ? new Uint8ClampedArray(buffer, head, size) : null };
}
