// The form of settings: what is chosen, and what may be chosen for this picture and this model.

import { $, element } from "./dom.js";
import { state } from "./state.js";

const checked = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const check = (name, value) => (document.querySelector(`input[name=${name}][value="${value}"]`).checked = true);
const sizes = () => document.querySelectorAll("input[name=enlarge]");

/** The whole number in the field, within its limits, beyond which numbers here are not exact; the field shows it. */
function seedNow() {
  const field = $("seed");
  const seed = Math.min(Math.max(Math.trunc(Number(field.value)) || 0, Number(field.min)), Number(field.max));
  if (field.value !== "" && Number(field.value) !== seed) field.value = seed;
  return seed;
}

/** The request that the form describes, for the picture and the mask of the page. */
export function currentRequest() {
  const chosen = $("format").selectedOptions[0]?.dataset.platform ?? null;
  const [format, clear] = chosen ? ["mp4"] : $("format").value.split("-");
  const settings = {
    seed: seedNow(),
    motion: Number($("motion").value),
    fps: Number($("fps").value),
    frames: Number($("frames").value),
    boomerang: checked("loop") === "boomerang",
    transparent: clear === "clear",
  };
  const times = Number(checked("enlarge"));
  if (checked("fit") === "own") settings.size = String(times * Math.max(state.server.model.defaults.width, state.server.model.defaults.height));
  else Object.assign(settings, { fit: checked("fit"), enlarge: times });
  if (state.server?.model?.loops) Object.assign(settings, { move: $("move").value, stiff: $("stiff").value, drag: state.drag });
  return { ask: { picture: state.picture.id, mask: state.mask?.id ?? null, settings }, name: state.picture.name, format, platform: chosen };
}

/** The same clip at so many times the network's size at most. */
export function atMost(settings, times) {
  const { width, height } = state.server.model.defaults;
  if (!settings.size) return { ...settings, enlarge: Math.min(times, settings.enlarge) };
  return { ...settings, size: String(Math.min(Number(settings.size), times * Math.max(width, height))) };
}

/** Call `changed(milliseconds to wait)` when the visitor changes a setting. */
export function initSettings(changed) {
  $("controls").addEventListener("input", (event) => {
    showValues();
    if (event.target.id === "format") $("format").dataset.touched = "yes";
    if (event.target.name === "enlarge") $("sizes").dataset.touched = "yes";
    if (event.target.name === "fit") $("own").dataset.touched = "yes";
    if (event.target.name === "loop") $("loops").dataset.touched = "yes";
    changed(event.target.type === "range" || event.target.type === "number" ? 120 : 0);
  });
  $("seed").addEventListener("change", () => ($("seed").value = seedNow())); // where nothing or no number was left
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("shuffle").addEventListener("click", () => {
    $("seed").value = Math.floor(Math.random() * 1e6);
    changed(0);
  });
  showValues();
}

/** The messengers whose files can be made; the picture's ground stays clear where they want that. */
export function setPlatforms(platforms) {
  const option = (name) => {
    const made = element("option", { value: `for-${name}`, textContent: name[0].toUpperCase() + name.slice(1).replace("-", " ") });
    made.dataset.platform = name;
    return made;
  };
  $("platforms").replaceChildren(...Object.keys(platforms).map(option));
}

/** The model's own motion, rate and length. */
export function setDefaults({ defaults }) {
  for (const prefix of ["", "live-"]) {
    $(`${prefix}motion`).value = defaults.motion;
    $(`${prefix}fps`).value = defaults.fps;
  }
  $("frames").max = Math.min(200, 2 * defaults.frames);
  $("frames").value = defaults.frames;
  showValues();
}

/** Settings of an earlier clip, and the format that was chosen for it. */
export function restoreSettings(settings, format) {
  for (const name of ["seed", "motion", "fps", "frames"]) $(name).value = settings[name];
  check("loop", settings.boomerang ? "boomerang" : "forward");
  const { width, height } = state.server.model.defaults;
  check("fit", settings.fit ?? "own");
  check("enlarge", settings.size ? Number(settings.size) / Math.max(width, height) : settings.enlarge);
  $("move").value = settings.move ?? "auto";
  $("stiff").value = settings.stiff ?? "auto";
  fitFormat();
  $("format").value = format;
  showValues();
}

/** Beside each slider, its value. */
export function showValues() {
  for (const output of document.querySelectorAll("output[for]")) output.textContent = $(output.htmlFor.value).value;
}

/** Formats, size and loop that suit the picture and the model. */
export function fitSettings() {
  fitFormat();
  fitSize();
  fitLoop();
}

/** Transparent formats are for transparent pictures and models with a matte. */
function fitFormat() {
  const clear = state.picture.transparent && state.server?.model?.matte;
  for (const option of $("format").options) if (option.value.endsWith("-clear")) option.disabled = !clear;
  const first = (wanted) => ([...$("format").options].find((o) => o.value.endsWith("-clear") === wanted && !o.disabled) ?? $("format").options[0]).value;
  if (clear && !$("format").dataset.touched) $("format").value = first(true);
  if (!clear && $("format").value.endsWith("-clear")) $("format").value = first(false);
}

/** The shape and size of the picture, up to four times the network's, until the visitor has chosen others. */
function fitSize() {
  const model = state.server?.model;
  $("sizes").hidden = $("own").hidden = !model?.enlarges;
  $("moves").hidden = $("arrows").hidden = !model?.loops;
  if (!model?.enlarges) return;
  if (!$("own").dataset.touched) check("fit", "own");
  const { width, height } = model.defaults;
  for (const { value, nextSibling } of sizes()) nextSibling.textContent = width === height ? `${width * value}` : `${width * value} x ${height * value}`;
  if ($("sizes").dataset.touched) return;
  const side = Math.max(state.picture.width / width, state.picture.height / height);
  [...sizes()].find((size) => Number(size.value) >= side || size.value === "4").checked = true;
}

/** Clips of a model of whole loops have no jump at their end: they are played forward until the visitor chooses. */
function fitLoop() {
  if (!state.server?.model?.loops || $("loops").dataset.touched) return;
  check("loop", "forward");
}
