// The large files of the page: fetched once with progress, checked, and kept by the service worker.

import { UserError } from "./errors.js";

const base = new URL(".", import.meta.url);
const CACHE = "sfv-page"; // begins the names of the service worker's caches

/** The bytes of files of the page, {path: ArrayBuffer}; `progress(bytes so far, of how many)`. UserError. */
export async function download(paths, progress) {
  const { files } = await (await reached("files.json")).json();
  const all = paths.reduce((sum, path) => sum + files[path].bytes, 0);
  const found = {};
  let before = 0;
  for (const path of paths) {
    found[path] = await whole(path, files[path], (bytes) => progress(before + bytes, all));
    before += files[path].bytes;
  }
  return found;
}

async function whole(path, { bytes, sha256 }, progress) {
  const parts = new Uint8Array(bytes);
  const reader = (await reached(path)).body.getReader();
  let at = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (at + value.length > bytes) throw new Error("too long");
      parts.set(value, at);
      at += value.length;
      progress(at);
    }
  } catch {
    at = -1;
  }
  if (at === bytes && (await intact(parts, sha256))) return parts.buffer;
  await forget(path);
  throw new UserError(`The download of ${path} was cut short or damaged; reload the page to try again.`);
}

/** Whether bytes have a hash; outside a secure context nothing can be hashed, and their number must do. */
async function intact(bytes, sha256) {
  if (!globalThis.crypto?.subtle) return true;
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return [...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, "0")).join("") === sha256;
}

async function reached(path) {
  let response;
  try {
    response = await fetch(new URL(path, base));
  } catch {
    throw new UserError("The page's host does not answer, and not everything was kept from an earlier visit; go online and reload.");
  }
  if (!response.ok) throw new UserError(`The page's host has no ${path} (${response.status}); the folder may not be whole, upload it again.`);
  return response;
}

async function forget(path) {
  if (!globalThis.caches) return;
  for (const name of await caches.keys()) if (name.startsWith(CACHE)) await (await caches.open(name)).delete(new URL(path, base));
}
