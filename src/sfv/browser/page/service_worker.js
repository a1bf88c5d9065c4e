// Keeps the page's own files as they are first fetched, answers from there, and adds the headers that isolate the page.
// Everything else goes to the network; where the page is not any more, nothing of this stays.

const VERSION = "@VERSION@"; // of all files, written by the export
const OWN = new Set([]); // @OWN@ all files of the page
const SHELL = []; // @SHELL@ those that are kept at once
const HERE = `sfv-page-${new URL(registration.scope).pathname}-`; // pages in several folders of one host keep apart
const NAME = HERE + VERSION; // while it is there, this worker answers
const EARLIER = /^sfv-page-[0-9a-f]{16}$/; // what caches were called before
const HEADERS = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Resource-Policy": "same-origin" };
const PATIENCE = 3000; // milliseconds to wait for the host when the page is opened
let left = false; // whether the page is not here any more

addEventListener("install", (event) => {
  skipWaiting();
  event.waitUntil(keepShell());
});

addEventListener("activate", (event) => {
  event.waitUntil(forget((name) => name !== NAME && (name.startsWith(HERE) || EARLIER.test(name))).then(() => clients.claim()));
});

addEventListener("fetch", (event) => {
  const { request } = event;
  const path = pathOf(request.url);
  if (request.method !== "GET" || !OWN.has(path)) return;
  event.respondWith(request.mode === "navigate" ? opened(event, path) : answer(event, path));
});

/** A file's place in the page's folder, its root's too; null for addresses outside. Only the page itself has a query. */
function pathOf(url) {
  const { origin, pathname, search } = new URL(url);
  if (!(origin + pathname).startsWith(registration.scope)) return null;
  const path = (origin + pathname).slice(registration.scope.length) || "index.html";
  return search && path !== "index.html" ? null : path;
}

async function keepShell() {
  await caches.open(NAME); // it says that this worker serves, even where nothing may be kept
  const one = async (path) => {
    const fresh = await fresher(path); // the browser may hold that of an older page
    if (!fresh.ok) throw new Error(`${path}: ${fresh.status}`);
    await keep(path, fresh);
  };
  await Promise.all(SHELL.map(one));
}

/** The page itself, unless its folder holds something else by now: then the host answers, and this worker goes. */
async function opened(event, path) {
  const checked = isGone().then((gone) => gone && leave().then(() => true));
  event.waitUntil(checked);
  const gone = await Promise.race([checked, new Promise((done) => setTimeout(done, PATIENCE, false))]);
  return gone ? fetch(event.request) : answer(event, path);
}

/** Whether the host answers, and has not this page any more; one that cannot be reached may have it. */
async function isGone() {
  try {
    const asked = (path, method) => fetch(at(path), { method, cache: "no-store", redirect: "manual" });
    const [mark, worker] = await Promise.all([asked("files.json", "GET"), asked("service_worker.js", "HEAD")]);
    if ([mark, worker].some(({ status }) => status === 404 || status === 410)) return true;
    return mark.ok && !isOurs(await mark.text());
  } catch {
    return false;
  }
}

function isOurs(text) {
  try {
    const { sfv, files } = JSON.parse(text);
    return Boolean(sfv && files);
  } catch {
    return false;
  }
}

async function leave() {
  left = true;
  await forget((name) => name.startsWith(HERE) || EARLIER.test(name));
  await registration.unregister();
}

async function forget(which) {
  for (const name of await caches.keys()) if (which(name)) await caches.delete(name);
}

/** From the cache, else from the host, and kept if it comes whole; after `leave`, as without this worker. */
async function answer(event, path) {
  const kept = await caches.match(at(path), { cacheName: NAME });
  if (kept) return isolated(kept);
  if (!(await caches.has(NAME))) return fetch(event.request);
  const fresh = await fresher(path);
  if (fresh.ok) event.waitUntil(keep(path, fresh.clone()).catch(() => {}));
  return isolated(fresh);
}

const at = (path) => registration.scope + path;
const fresher = (path) => fetch(at(path), { cache: "no-cache" });

async function keep(path, fresh) {
  if (left || /no-store/i.test(fresh.headers.get("cache-control") ?? "")) return;
  await (await caches.open(NAME)).put(at(path), fresh);
}

function isolated(response) {
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
