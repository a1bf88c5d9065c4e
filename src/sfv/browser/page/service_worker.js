// Keeps every file of the page as it is first fetched, answers from there, and adds the headers that isolate the page.

const VERSION = "@VERSION@"; // of all files, written by the export
const SHELL = []; // @SHELL@ files that are kept at once
const NAME = `sfv-page-${VERSION}`;
const HEADERS = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Resource-Policy": "same-origin" };

addEventListener("install", (event) => {
  skipWaiting();
  const shell = SHELL.map((url) => new Request(url, { cache: "no-cache" })); // the browser may hold those of an older page
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(shell)));
});

addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) if (name.startsWith("sfv-page-") && name !== NAME) await caches.delete(name);
      await clients.claim();
    })(),
  );
});

addEventListener("fetch", (event) => {
  const { request } = event;
  const own = request.url.startsWith(registration.scope);
  if (request.method === "GET" && own) event.respondWith(answer(event, request));
});

/** From the cache, else from the host, and kept if it comes whole. */
async function answer(event, request) {
  const cache = await caches.open(NAME);
  const address = new URL(request.url);
  address.search = address.hash = "";
  if (address.href === registration.scope) address.pathname += "index.html";
  const kept = await cache.match(address.href);
  if (kept) return isolated(kept);
  const fresh = await fetch(address.href, { cache: "no-cache" });
  if (fresh.ok) event.waitUntil(cache.put(address.href, fresh.clone()).catch(() => {}));
  return isolated(fresh);
}

function isolated(response) {
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
