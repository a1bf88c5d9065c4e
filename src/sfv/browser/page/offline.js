// The service worker: keeps the page for offline use, and isolates it, so that WebAssembly may use threads.

const PATIENCE = 4000; // milliseconds to wait for it

/** Register it; false if the page is about to load again under its control, once, to be isolated. */
export async function stayOffline() {
  if (!("serviceWorker" in navigator)) return true;
  try {
    await navigator.serviceWorker.register("service_worker.js");
    await Promise.race([controlled(), new Promise((done) => setTimeout(done, PATIENCE))]);
  } catch {
    return true; // such as in a private window: the page works without
  }
  if (crossOriginIsolated || !navigator.serviceWorker.controller || sessionStorage.getItem("sfv-isolated")) return true;
  sessionStorage.setItem("sfv-isolated", "tried");
  location.reload();
  return false;
}

const controlled = () =>
  new Promise((done) => {
    if (navigator.serviceWorker.controller) done();
    else navigator.serviceWorker.addEventListener("controllerchange", done, { once: true });
  });
