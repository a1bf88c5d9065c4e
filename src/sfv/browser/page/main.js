// The start of the page that needs no server: fetches the model, opens it, animates the first picture.

import { animate, cancel, initAnimate, showClip } from "./animate.js";
import { clearArrow, initArrow, showArrowState } from "./arrow.js";
import { openReference, tryGraphics } from "./backends.js";
import { $ } from "./dom.js";
import { initCamera, initDrawing } from "./drawing.js";
import { explained } from "./errors.js";
import { initGallery } from "./gallery.js";
import { changeLive, initLive, loadPad, sweep } from "./live_view.js";
import { notice } from "./notice.js";
import { stayOffline } from "./offline.js";
import { initPicture, showExamples, showPicture, useExample, usePicture } from "./picture.js";
import { reducedMotion } from "./player.js";
import { records } from "./recorded.js";
import { UserError } from "./requests.js";
import { fitSettings, initSettings, restoreSettings, setDefaults } from "./settings.js";
import { state } from "./state.js";
import { initPlayButtons, initThemeButton, initViews, openView } from "./views.js";

const LIVE = 2.5; // seconds of a clip up to which there is a live view
const LIVE_WANTED = new URLSearchParams(location.search).get("live") === "on";
const KEPT = 24e6; // bytes of clips in the gallery: a page has less memory than a server

function pictureChanged() {
  clearArrow();
  fitSettings();
  loadPad();
  animate(0);
  if (document.body.dataset.view === "live") changeLive();
}

function viewChanged(name) {
  if (name !== "live") sweep(false);
  else if (state.picture) changeLive();
}

/** Show a clip of the gallery again, with its picture and settings. */
function restore({ clip, request, picture, format }) {
  cancel();
  state.drag = request.ask.settings.drag ?? null;
  showPicture(picture);
  restoreSettings(request.ask.settings, format);
  showArrowState();
  loadPad();
  openView("animate");
  showClip(clip, request, { picture, mask: null, format });
  $("stage").scrollIntoView({ behavior: reducedMotion.matches ? "auto" : "smooth", block: "nearest" });
}

/** Take the live view's clip over to the first view: its picture, as drawn; live_view.js has set the sliders. */
async function keepLive(drawing) {
  openView("animate");
  if (drawing) await usePicture(drawing, "drawing.png");
  else animate(0);
}

const megabytes = (bytes) => Math.round(bytes / 1e6);
const fetching = ({ bytes, all }) => ($("veil-text").textContent = bytes < all ? `Fetching the model: ${megabytes(bytes)} of ${megabytes(all)} MB` : "Opening the model");

async function start() {
  for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  initPicture(pictureChanged);
  initDrawing();
  initArrow();
  initCamera();
  initSettings(animate);
  initAnimate();
  initGallery(restore);
  initLive(keepLive);
  initViews(viewChanged);
  initThemeButton();
  initPlayButtons();
  await keepFormats();
  if (!(await stayOffline())) return;
  const facts = await openModel();
  if (!facts) return;
  $("veil-text").textContent = "Making the first clip";
  const model = { model: facts.model, defaults: facts.defaults, loops: true, enlarges: true, matte: true };
  const { examples } = await (await fetch("files.json")).json();
  state.server = { ready: true, models: [facts.model], model, examples, keptBytes: KEPT };
  setDefaults(model);
  showExamples(examples);
  if (state.picture) pictureChanged();
  else await useExample(examples.includes("cat.png") ? "cat.png" : examples[0], 0);
  await settled();
  const seconds = Object.values(state.clip?.seconds ?? {}).reduce((a, b) => a + b, 0);
  $("tab-live").parentElement.hidden = seconds > LIVE && !LIVE_WANTED;
  const { said, graphics } = await tryGraphics(() => {});
  $("machine").textContent = said;
  if (graphics) $("tab-live").parentElement.hidden = false;
  document.body.dataset.ready = "yes";
}

/** Until the first clip is shown, or an error instead of it. */
async function settled() {
  while (!state.clip && $("notice").hidden) await new Promise((done) => setTimeout(done, 50));
}

/** Formats that this browser cannot write are taken away. */
async function keepFormats() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const webp = canvas.toDataURL("image/webp").startsWith("data:image/webp") && "OffscreenCanvas" in window;
  for (const option of [...$("format").options]) {
    const [format] = option.value.split("-");
    if ((format === "webp" && !webp) || (["webm", "mp4"].includes(format) && !records(format))) option.remove();
  }
}

/** The model's facts once it is open; null if it cannot be, which is then said. */
async function openModel() {
  try {
    return await openReference(fetching);
  } catch (error) {
    $("veil-text").textContent = "The model cannot be opened.";
    const known = explained(error);
    notice(known);
    if (!(known instanceof UserError)) console.error(error);
    return null;
  }
}

start().catch(notice);
