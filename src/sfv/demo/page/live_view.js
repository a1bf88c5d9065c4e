// The live view: a pad over the picture, sliders, the clip that follows them, and where the time goes.

import { $, element } from "./dom.js";
import { LiveLoop } from "./live_loop.js";
import { notice } from "./notice.js";
import { Pad } from "./pad.js";
import { Player } from "./player.js";
import { upload } from "./requests.js";
import { showValues } from "./settings.js";
import { state } from "./state.js";

const PARTS = [["encode", "picture"], ["unet", "network"], ["decode", "decoder"], ["rest", "page and transport"]];
const SLIDERS = ["motion", "seed", "fps"];
export const player = new Player($("live-clip"), true);
const loop = new LiveLoop(makeRequest, showClip, notice);
let pad = null;
let padChanged = false; // whether there are strokes that the server has not got
let drawings = 0; // every drawing that is sent has a number
let taken = 0; // that of the drawing in use: what was sent before it comes too late

/** `onKeep(drawing)` is called with the drawing, a blob or null, when the visitor takes the clip over to the first view. */
export function initLive(onKeep) {
  const changed = () => ((padChanged = true), loop.change());
  pad = new Pad($("pad"), $("pad-tools"), { size: 256, brush: 12, eager: true, changed });
  $("split").replaceChildren(...PARTS.map(([key]) => element("span", { className: key })));
  $("legend").replaceChildren(
    ...PARTS.map(([key, name]) => {
      const line = element("li", { className: key });
      line.append(element("span", { textContent: name }), element("b"));
      return line;
    }),
  );
  for (const name of SLIDERS) $(`live-${name}`).addEventListener("input", sliderMoved);
  $("sweep").addEventListener("click", () => sweep(!state.sweeping));
  $("keep").addEventListener("click", () => keep(onKeep).catch(notice));
}

/** Request the clip again. */
export const changeLive = () => loop.change();

/** Lay the page's picture on the pad. */
export function loadPad() {
  padChanged = false;
  taken = ++drawings;
  state.drawingId = null;
  if (state.picture?.bitmap) pad.load(state.picture.bitmap);
  else pad.resize(pad.canvas.width, pad.canvas.height); // one that the browser cannot show; not the one before
}

/** Move the motion slider up and down by itself, or stop. */
export function sweep(on) {
  state.sweeping = on;
  $("sweep").setAttribute("aria-pressed", String(on));
  const start = performance.now();
  requestAnimationFrame(function step(time) {
    if (!state.sweeping) return;
    $("live-motion").value = Math.round(127.5 - 127.5 * Math.cos((time - start) / 900));
    sliderMoved();
    requestAnimationFrame(step);
  });
}

function sliderMoved() {
  showValues();
  loop.change();
}

async function sendDrawing() {
  padChanged = false;
  const number = ++drawings;
  const { id } = await upload(await pad.blob());
  if (number < taken) return;
  taken = number;
  state.drawingId = id;
}

async function makeRequest() {
  if (!state.picture || !state.server?.ready) return null;
  if (padChanged) await sendDrawing();
  const settings = { frames: state.server.model.defaults.frames };
  for (const name of SLIDERS) settings[name] = Number($(`live-${name}`).value);
  if (state.server.model.loops) settings.play_fps = settings.fps; // the frames made, none between: soonest
  if (state.server.model.enlarges) settings.size = "256";
  return { ask: { picture: state.drawingId ?? state.picture.id, settings }, name: state.picture.name, format: "mp4" };
}

function showClip(clip, rate) {
  notice(null);
  player.bounce = !state.server.model.loops;
  player.show(clip);
  $("live-clip").dataset.turn = clip.turn;
  performance.mark("live-clip");
  const seconds = Object.values(clip.seconds).reduce((a, b) => a + b, 0);
  $("live-timing").textContent = `made in ${seconds.toFixed(2)} s`;
  if (rate) showShares(clip, rate, seconds);
}

function showShares(clip, rate, seconds) {
  $("rate").textContent = rate.toFixed(1);
  const parts = { ...clip.seconds, rest: Math.max(0, 1 / rate - seconds) };
  const all = Object.values(parts).reduce((a, b) => a + b, 0);
  PARTS.forEach(([key], i) => {
    $("split").children[i].style.setProperty("--share", (parts[key] ?? 0) / all);
    $("legend").children[i].lastChild.textContent = `${Math.round(1000 * (parts[key] ?? 0))} ms`;
  });
}

async function keep(onKeep) {
  sweep(false);
  for (const name of SLIDERS) $(name).value = $(`live-${name}`).value;
  $("frames").value = state.server.model.defaults.frames;
  showValues();
  await onKeep(state.drawingId ? await pad.blob() : null);
}
