// The region that is kept still, or that alone moves: brushed over the picture, sent as a picture of its own.

import { animate } from "./animate.js";
import { $, element } from "./dom.js";
import { notice } from "./notice.js";
import { Pad } from "./pad.js";
import { upload } from "./requests.js";
import { state } from "./state.js";

const SIDE = 512; // pixels of the mask's longer side
let pad = null;
let newest = 0; // grows with every mask and picture, so that a mask that was sent before is dropped
let paddedPicture = null; // id of the picture that the pad's strokes belong to

export function initMask() {
  $("mask").addEventListener("click", open);
  $("mask-done").addEventListener("click", async () => {
    $("mask-dialog").close();
    try {
      await keepStrokes();
    } catch (error) {
      notice(error);
    }
  });
  $("unmask").addEventListener("click", noMask);
}

function noMask() {
  clearMask();
  animate(0);
}

function open() {
  if (!state.picture) return;
  const { id, url, width, height, bitmap } = state.picture;
  const scale = SIDE / Math.max(width, height);
  pad ??= new Pad($("mask-board"), $("mask-tools"), { colours: [["Still", "#5546d8"]], brush: 30 });
  if (paddedPicture !== id) pad.resize(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  paddedPicture = id;
  pad.canvas.classList.add("mask");
  $("mask-board").style.aspectRatio = `${width} / ${height}`;
  $("mask-board").style.backgroundImage = bitmap ? `url("${url}")` : "";
  $("mask-dialog").showModal();
}

/** The page's mask from now on: white is what keeps still, which is what was brushed or all the rest. */
async function keepStrokes() {
  if (!pad.touched) {
    if (state.mask && pad.history.length) noMask(); // all strokes were cleared
    return;
  }
  const mine = ++newest;
  const { width, height } = pad.canvas;
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d");
  const pixels = pad.context.getImageData(0, 0, width, height);
  const still = document.querySelector("input[name=brushed]:checked").value === "still";
  for (let i = 0; i < pixels.data.length; i += 4) {
    const level = pixels.data[i + 3] >= 128 === still ? 255 : 0;
    pixels.data.set([level, level, level, 255], i);
  }
  context.putImageData(pixels, 0, 0);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const sent = await upload(blob);
  if (mine !== newest) return;
  setMask({ ...sent, url: URL.createObjectURL(blob) });
  animate(0);
}

export function clearMask() {
  paddedPicture = null;
  setMask(null);
}

/** Make a mask, or none, the page's; the button's text, and whether there is a mask to remove. */
export function setMask(mask) {
  newest++;
  state.mask = mask;
  $("mask-text").textContent = state.mask ? "Change what moves" : "Brush what may move";
  $("unmask").hidden = !state.mask;
}
