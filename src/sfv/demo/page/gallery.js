// This visit's clips: newest first, the oldest are dropped.

import { $, element } from "./dom.js";
import { Player } from "./player.js";
import { state } from "./state.js";

const MAX_CLIPS = 24;
const MAX_BYTES = 200e6; // unless the server says less
const entries = [];
let restore = () => {};

/** `onSelect(entry)` shows an entry {clip, request, picture, mask, format} again. */
export function initGallery(onSelect) {
  restore = onSelect;
}

/** Add a clip of `source`, {picture, mask, format}, unless one of the same picture, mask and settings is there. */
export function addToGallery(clip, request, source) {
  const { picture, mask, settings } = request.ask;
  const key = JSON.stringify([picture, mask, settings]);
  if (entries.some((entry) => entry.key === key)) return;
  const canvas = element("canvas");
  const button = element("button", { className: "thumb" });
  button.append(canvas);
  button.setAttribute("aria-label", `Show again: ${request.name}, seed ${settings.seed}, motion ${settings.motion}`);
  const player = new Player(canvas);
  player.show(clip);
  const entry = { key, button, player, clip, request, ...source };
  button.addEventListener("click", () => restore(entry));
  entries.unshift(entry);
  $("thumbs").prepend(button);
  $("gallery").hidden = false;
  dropOldest();
}

function dropOldest() {
  let bytes = 0;
  const tooMany = entries.findIndex((entry, i) => (bytes += entry.clip.data.length) > (state.server.keptBytes ?? MAX_BYTES) && i > 0);
  for (const entry of entries.splice(tooMany < 0 ? MAX_CLIPS : Math.min(tooMany, MAX_CLIPS))) {
    entry.player.close();
    entry.button.remove();
  }
}
