// Clips as videos, by the browser's own encoder: it records a canvas while the clip plays once.

import { UserError } from "./errors.js";

const TYPES = { webm: ["video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"], mp4: ["video/mp4;codecs=avc1.42E01E", "video/mp4"] };
const RATE = 4e6; // bits a second

const typeOf = (format) => globalThis.MediaRecorder && TYPES[format].find((type) => MediaRecorder.isTypeSupported(type));

/** Whether this browser writes a format. */
export const records = (format) => Boolean(typeOf(format));

/** A blob of one round of a clip {frames, width, height, fps, data}; takes as long as the round. */
export async function recorded({ frames, width, height, fps, data }, format) {
  const type = typeOf(format);
  if (!type) throw new UserError(`This browser writes no ${format}; choose another format.`);
  const canvas = Object.assign(document.createElement("canvas"), { width: width & ~1, height: height & ~1 });
  const context = canvas.getContext("2d");
  const paint = (i) => context.putImageData(new ImageData(data.subarray(4 * width * height * i, 4 * width * height * (i + 1)), width, height), 0, 0);
  paint(0);
  const stream = canvas.captureStream(0);
  const [track] = stream.getVideoTracks();
  const recorder = new MediaRecorder(stream, { mimeType: type, videoBitsPerSecond: RATE });
  const parts = [];
  recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
  const stopped = new Promise((done) => recorder.addEventListener("stop", done));
  recorder.start();
  const start = performance.now();
  for (let i = 0; i < frames; i++) {
    paint(i);
    track.requestFrame();
    const wait = start + (1000 * (i + 1)) / fps - performance.now();
    await new Promise((done) => setTimeout(done, Math.max(0, wait)));
  }
  recorder.stop();
  await stopped;
  track.stop();
  return new Blob(parts, { type: type.split(";")[0] });
}
