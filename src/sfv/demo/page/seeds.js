// Eight clips of the picture with the seeds that follow, small and playing: a click makes one of them the page's clip.

import { animate } from "./animate.js";
import { $, element } from "./dom.js";
import { notice } from "./notice.js";
import { Player } from "./player.js";
import * as requests from "./requests.js";
import { atMost, currentRequest } from "./settings.js";
import { state } from "./state.js";

const COUNT = 8;
const players = [];
let run = 0; // grows with every grid, so that an older one stops

export function initSeeds() {
  $("eight").addEventListener("click", () => ($("seeds").hidden ? open() : closeSeeds()));
}

/** Take the grid away: it is of another picture, or was chosen from. */
export function closeSeeds() {
  run++;
  for (const player of players.splice(0)) player.close();
  $("seed-thumbs").replaceChildren();
  $("seeds").hidden = true;
  $("eight").setAttribute("aria-expanded", "false");
}

async function open() {
  if (!state.picture || !state.server?.ready) return;
  closeSeeds();
  const mine = run;
  const { ask, ...rest } = currentRequest();
  const before = Math.min(ask.settings.seed, Number($("seed").max) - COUNT);
  $("seeds").hidden = false;
  $("eight").setAttribute("aria-expanded", "true");
  $("seeds").scrollIntoView({ block: "nearest" });
  try {
    for (let i = 1; i <= COUNT && mine === run; i++) {
      $("seeds-about").textContent = `${i} of ${COUNT} is made`;
      const settings = { ...atMost(ask.settings, 1), seed: before + i };
      settings.transparent &&= state.picture.transparent;
      const clip = await requests.clipInTurn({ ...rest, ask: { ...ask, settings } });
      if (mine === run) add(clip, settings.seed);
    }
    if (mine === run) $("seeds-about").textContent = "choose one to keep";
  } catch (error) {
    if (mine !== run) return; // of a grid that is gone
    notice(error);
    $("seeds-about").textContent = players.length ? "the others could not be made" : "";
    if (!players.length) closeSeeds();
  }
}

function add(clip, seed) {
  const canvas = element("canvas");
  const button = element("button", { className: "thumb", type: "button" });
  button.append(canvas, element("span", { textContent: seed }));
  button.dataset.seed = seed;
  button.setAttribute("aria-label", `Keep seed ${seed}`);
  const player = new Player(canvas);
  player.show(clip);
  players.push(player);
  button.addEventListener("click", () => {
    $("seed").value = seed;
    for (const other of $("seed-thumbs").children) other.setAttribute("aria-pressed", String(other === button));
    animate(0);
    $("stage").scrollIntoView({ block: "nearest" });
  });
  $("seed-thumbs").append(button);
}
