// Requests to the server of this page.

import { messages, parse } from "./wire.js";

/** An error whose message is one sentence for the visitor. */
export class UserError extends Error {}

const visit = crypto.randomUUID?.() ?? String(Math.random());
let turn = 0;

/** What the server can do, and whether it is ready. */
export const serverState = async () => (await send("api/state", {})).json();

/** Upload a picture; resolves to {id, width, height, transparent}. */
export async function upload(blob) {
  const response = await send("api/picture", { method: "POST", body: blob, headers: { "content-type": "application/octet-stream" } });
  return response.json();
}

/** A clip, or null if a newer request for the same view ("stage" or "live") overtook it. */
export async function clip(request, view = "stage") {
  const response = await post("api/clip", { ...request, ask: { ...request.ask, visit: `${visit} ${view}`, turn: ++turn } });
  if (response.status === 204) return null;
  return parse(await response.arrayBuffer());
}

/** A clip that no newer request overtakes: for several that are all wanted. */
export async function clipInTurn(request) {
  return parse(await (await post("api/clip", request)).arrayBuffer());
}

/** A clip as a file. */
export async function file(request) {
  return (await post("api/file", request)).blob();
}

/** The messages of a race as they come. */
export async function* race(request, signal) {
  yield* messages(await post("api/race", request, { signal }));
}

/** The first letter in capitals, a full stop at the end. */
export const asSentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");

const post = (path, body, options = {}) =>
  send(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" }, ...options });

/** The response; a UserError if the server refuses or does not answer. */
async function send(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new UserError("The server does not answer; is sfv demo still running?");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new UserError(asSentence(body.error?.message ?? body.error ?? `the server answered ${response.status}`));
}
