// The start of the page: connects the modules, waits for the model, animates the first picture.

import { animate, cancel, initAnimate, showClip } from "./animate.js";
import { $ } from "./dom.js";
import { clearArrow, initArrow, showArrowState } from "./arrow.js";
import { initCamera, initDrawing } from "./drawing.js";
import { initGallery } from "./gallery.js";
import { changeLive, initLive, loadPad, sweep } from "./live_view.js";
import { clearMask, initMask, setMask } from "./mask.js";
import { notice } from "./notice.js";
import { initPicture, showExamples, showPicture, useExample, usePicture } from "./picture.js";
import { reducedMotion } from "./player.js";
import { initRace, resetRace } from "./race_view.js";
import { UserError, asSentence, serverState } from "./requests.js";
import { closeSeeds, initSeeds } from "./seeds.js";
import { fitSettings, initSettings, restoreSettings, setDefaults, setPlatforms } from "./settings.js";
import { state } from "./state.js";
import { initPlayButtons, initThemeButton, initViews, openView } from "./views.js";

function pictureChanged() {
  clearMask();
  clearArrow();
  closeSeeds();
  fitSettings();
  loadPad();
  resetRace();
  animate(0);
  if (document.body.dataset.view === "live") changeLive();
}

function viewChanged(name) {
  if (name !== "live") sweep(false);
  else if (state.picture) changeLive();
}

/** Show a clip of the gallery again, with its picture, mask and settings. */
function restore({ clip, request, picture, mask, format }) {
  cancel();
  const other = picture.id !== state.picture.id;
  state.drag = request.ask.settings.drag ?? null;
  showPicture(picture);
  if (other) closeSeeds();
  if (other) resetRace();
  setMask(mask);
  restoreSettings(request.ask.settings, format);
  showArrowState();
  loadPad();
  openView("animate");
  showClip(clip, request, { picture, mask, format });
  $("stage").scrollIntoView({ behavior: reducedMotion.matches ? "auto" : "smooth", block: "nearest" });
}

/** Take the live view's clip over to the first view: its picture, as drawn; live_view.js has set the sliders. */
async function keepLive(drawing) {
  openView("animate");
  if (drawing) await usePicture(drawing, "drawing.png");
  else animate(0);
}

async function start() {
  for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  initPicture(pictureChanged);
  initDrawing();
  initMask();
  initArrow();
  initCamera();
  initSettings(animate);
  initAnimate();
  initGallery(restore);
  initSeeds();
  initLive(keepLive);
  initRace();
  initViews(viewChanged);
  initThemeButton();
  initPlayButtons();
  if (!(await modelReady())) return;
  $("veil-text").textContent = "Making the first clip";
  const { model, cores, examples } = state.server;
  $("machine").textContent = model.device === "cpu" ? `${cores} CPU threads, no graphics card needed.` : `Computed on ${model.device}.`;
  setDefaults(model);
  setPlatforms(state.server.platforms);
  showExamples(examples);
  resetRace();
  if (state.picture) {
    fitSettings();
    animate(0);
  } else await useExample(examples.includes("cup.png") ? "cup.png" : examples[0], 0);
}

/** Wait until the server's model is loaded; false if it cannot be opened. */
async function modelReady() {
  const start = performance.now();
  for (;;) {
    state.server = await serverState().catch(notice);
    if (state.server?.error) {
      $("veil-text").textContent = "The model cannot be opened.";
      notice(new UserError(asSentence(state.server.error)));
      return false;
    }
    if (state.server?.ready) return true;
    const seconds = Math.round((performance.now() - start) / 1000);
    $("veil-text").textContent = `Loading ${state.server?.models[0] ?? "the model"}, ${seconds} s`;
    await new Promise((done) => setTimeout(done, 300));
  }
}

start().catch(notice);
