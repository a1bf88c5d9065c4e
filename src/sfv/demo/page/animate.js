// The first view: request the clip that the form describes, show it, download it.

import { $, element } from "./dom.js";
import { addToGallery } from "./gallery.js";
import { notice } from "./notice.js";
import { Player } from "./player.js";
import * as requests from "./requests.js";
import { atMost, currentRequest } from "./settings.js";
import { state } from "./state.js";

export const player = new Player($("clip"));
const PREVIEW = 2; // times the network's size
let timer = 0;
let underWay = 0;
let newest = 0; // grows with every change, so that what was requested before it is not shown

export function initAnimate() {
  $("download").addEventListener("click", download);
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
}

/** Request the clip after `wait` milliseconds: a slider that moves on starts one request, not many. */
export function animate(wait = 120) {
  cancel();
  if (state.picture && state.server?.ready) timer = setTimeout(requestClip, wait);
}

/** Show nothing of what was requested before. */
export function cancel() {
  clearTimeout(timer);
  newest++;
}

async function requestClip() {
  const request = currentRequest();
  const { picture, mask } = state;
  const source = { picture, mask, format: $("format").value };
  const mine = newest;
  $("busy").hidden = false;
  underWay++;
  try {
    if (!(await previewed(request))) return;
    const clip = await requests.clip(request);
    if (clip && mine === newest) showClip(clip, request, source);
  } catch (error) {
    if (mine === newest) notice(error);
  } finally {
    if (!--underWay) $("busy").hidden = true;
  }
}

/** Show the frames made, small and none between, until the whole clip is there; false if something changed meanwhile. */
async function previewed(request) {
  const mine = newest;
  const { ask } = request;
  const smaller = atMost(ask.settings, PREVIEW);
  if (!state.server.previews || (smaller.size === ask.settings.size && smaller.enlarge === ask.settings.enlarge)) return true;
  const clip = await requests.clip({ ...request, ask: { ...ask, settings: { ...smaller, play_fps: smaller.fps } } });
  if (mine !== newest) return false;
  if (clip) paint(clip, request);
  performance.mark("preview");
  return true;
}

/** Play a clip on the stage. */
function paint(clip, request) {
  notice(null);
  player.show(clip);
  $("veil").hidden = true;
  $("stage").dataset.clear = request.ask.settings.transparent;
}

/** Put a clip of `source`, {picture, mask, format}, on the stage, with its times and the lines that make it again. */
export function showClip(clip, request, source) {
  state.clip = clip;
  paint(clip, request);
  $("clip").dataset.turn = clip.turn;
  performance.mark("clip");
  const seconds = Object.values(clip.seconds).reduce((a, b) => a + b, 0);
  const calls = clip.calls === 1 ? "one network call" : `${clip.calls} network calls`;
  $("timing").textContent = `${seconds.toFixed(2)} s, ${calls}, ${clip.frames} frames`;
  $("command").replaceChildren(...breakBetweenWords(clip.command));
  $("python").textContent = clip.python;
  $("recipe").hidden = false;
  showLinks(source);
  addToGallery(clip, request, source);
}

/** Lines may break between the words, but not within one. */
const breakBetweenWords = (text) => text.split(" ").flatMap((word, i) => [i ? " " : "", element("span", { textContent: word })]);

function showLinks({ picture, mask }) {
  $("save-picture").href = picture.url;
  $("save-picture").download = picture.name;
  $("save-mask").hidden = !mask;
  if (mask) $("save-mask").href = mask.url;
  $("needs").textContent = mask ? `${picture.name} and mask.png must lie in the folder.` : `${picture.name} must lie in the folder.`;
}

async function download() {
  if (!state.clip) return;
  $("download").disabled = true;
  try {
    const request = currentRequest();
    const url = URL.createObjectURL(await requests.file(request));
    const stem = request.name.replace(/\.[^.]*$/, "") || "picture";
    element("a", { href: url, download: request.platform ? `${stem}-${request.platform}.${state.server.platforms[request.platform]}` : `${stem}-clip.${request.format}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  } catch (error) {
    notice(error);
  } finally {
    $("download").disabled = false;
  }
}

async function copy(button) {
  const text = $(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(text);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 1600);
}
