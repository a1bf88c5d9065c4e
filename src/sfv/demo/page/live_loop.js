// The request loop of live mode. Up to three requests are under way: one is computed, one waits, and a newer one makes
// the server drop the one that waits.

import * as requests from "./requests.js";

const MAX_UNDER_WAY = 3;
const WINDOW = 2000; // milliseconds over which the rate is taken

export class LiveLoop {
  /** `makeRequest()` gives the current request or null; `show(clip, clips a second)` gets each clip, `fail(error)` each error. */
  constructor(makeRequest, show, fail) {
    Object.assign(this, { makeRequest, show, fail, underWay: 0, changed: false, newestTurn: 0, arrivals: [] });
  }

  /** Something changed. */
  change() {
    this.changed = true;
    this.#next();
  }

  async #next() {
    if (!this.changed || this.underWay >= MAX_UNDER_WAY) return;
    this.changed = false;
    this.underWay++;
    try {
      const request = await this.makeRequest();
      const clip = request && (await requests.clip(request, "live"));
      if (clip && clip.turn > this.newestTurn) this.#arrived(clip);
    } catch (error) {
      this.fail(error);
    } finally {
      this.underWay--;
      this.#next();
    }
  }

  #arrived(clip) {
    const now = performance.now();
    this.newestTurn = clip.turn;
    this.arrivals = [...this.arrivals.filter((t) => now - t < WINDOW), now];
    const span = now - this.arrivals[0];
    this.show(clip, this.arrivals.length > 1 ? ((this.arrivals.length - 1) / span) * 1000 : 0);
  }
}
