// Live: every change makes the clip again. Up to three wishes are on their way: one is computed, one waits, and a newer
// one makes the server drop the one that waits.

import * as wire from "./wire.js";

const AIRBORNE = 3;
const WINDOW = 2000;

export class Live {
  /** `wish()` is what is wanted now; `show(clip, rate)` gets each clip; `fail(error)` what goes wrong. */
  constructor(wish, show, fail) {
    Object.assign(this, { wish, show, fail, flying: 0, wanted: false, newest: 0, arrivals: [] });
  }

  /** Something changed. */
  change() {
    this.wanted = true;
    this.#pump();
  }

  async #pump() {
    if (!this.wanted || this.flying >= AIRBORNE) return;
    this.wanted = false;
    this.flying++;
    try {
      const wish = await this.wish();
      const clip = wish && (await wire.clip(wish));
      if (clip && clip.turn > this.newest) this.#arrived(clip);
    } catch (error) {
      this.fail(error);
    } finally {
      this.flying--;
      this.#pump();
    }
  }

  #arrived(clip) {
    const now = performance.now();
    this.newest = clip.turn;
    this.arrivals = [...this.arrivals.filter((t) => now - t < WINDOW), now];
    const span = now - this.arrivals[0];
    this.show(clip, this.arrivals.length > 1 ? ((this.arrivals.length - 1) / span) * 1000 : 0);
  }
}
