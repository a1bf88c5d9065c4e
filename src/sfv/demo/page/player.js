// Clips on canvases: one clock for all, so that clips of one rate move together.

const players = new Set();
export const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
let playing = !reducedMotion.matches; // all clips of the page, or none

/** Whether clips play. */
export const isPlaying = () => playing;

/** Play or pause all clips, those to come too. */
export function setPlaying(on) {
  playing = on;
}

export class Player {
  /** `bounce` shows the frames there and back. */
  constructor(canvas, bounce = false) {
    this.canvas = canvas;
    this.bounce = bounce;
    this.context = canvas.getContext("2d");
    this.clip = null;
    this.shown = -1;
    players.add(this);
  }

  /** Play another clip, from where the last one was. */
  show(clip) {
    const { width, height } = clip;
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    this.clip = clip;
    this.shown = -1;
    this.paint(performance.now());
  }

  paint(now) {
    if (!this.clip?.data) return;
    const { frames, width, height, fps, data } = this.clip;
    const index = playing ? this.frameAt(Math.floor((now / 1000) * (fps ?? 12)), frames) : Math.max(0, this.shown);
    if (index === this.shown) return;
    this.shown = index;
    const size = width * height * 4;
    this.context.putImageData(new ImageData(data.subarray(index * size, (index + 1) * size), width, height), 0, 0);
  }

  frameAt(tick, frames) {
    if (!this.bounce || frames < 3) return tick % frames;
    const at = tick % (2 * frames - 2);
    return at < frames ? at : 2 * frames - 2 - at;
  }

  /** Forget the clip, and stop. */
  close() {
    players.delete(this);
  }
}

requestAnimationFrame(function tick(now) {
  for (const player of players) if (player.canvas.offsetParent !== null) player.paint(now);
  requestAnimationFrame(tick);
});
