// The race view: its button, and how much quicker the first model was.

import { $ } from "./dom.js";
import { notice } from "./notice.js";
import * as race from "./race.js";
import { atMost, currentRequest } from "./settings.js";
import { state } from "./state.js";

export function initRace() {
  $("start").addEventListener("click", () => (state.race ? state.race.abort() : state.picture && state.server?.ready && run()));
}

/** Lanes with the page's picture on them, unless a race runs. */
export function resetRace() {
  if (!state.race && state.server?.models) race.prepare($("lanes"), state.server.models, state.picture?.bitmap);
}

async function run() {
  state.race = new AbortController();
  $("start").textContent = "Stop";
  $("verdict").textContent = "";
  try {
    const { ask, ...rest } = currentRequest();
    const request = { ...rest, ask: { ...ask, settings: atMost(ask.settings, 1) } }; // clips and previews have the network's own size
    showRatios(await race.run(request, $("lanes"), state.picture.bitmap, state.race.signal));
  } catch (error) {
    if (error.name !== "AbortError") notice(error);
    race.prepare($("lanes"), state.server.models, state.picture.bitmap);
  } finally {
    state.race = null;
    $("start").textContent = "Race again";
  }
}

function showRatios(ratios) {
  const lines = state.server.models.slice(1).map((name, i) => `<b>${ratios[i + 1].toFixed(1)}×</b> quicker than ${escaped(name)}`);
  $("verdict").innerHTML = lines.length ? `<span>${lines.join("</span><span>")}</span>` : "";
  $("verdict").dataset.ratio = ratios[1] ?? 1;
}

const escaped = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
