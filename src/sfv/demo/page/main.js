// The page: what is chosen, what is asked for, what is shown.

import { Live } from "./live.js";
import { Pad } from "./pad.js";
import { Player, calm } from "./player.js";
import * as race from "./race.js";
import * as wire from "./wire.js";

const $ = (id) => document.getElementById(id);
const KEPT = 24; // clips in the gallery
const ROOM = 200e6; // and their bytes
const SIDE = 512; // pixels of a mask's longer side
const now = { server: null, picture: null, mask: null, clip: null, racing: null, sweeping: false };
const stage = new Player($("clip"));
const liveStage = new Player($("live-clip"), true);

// --- what is asked for ---

const format = () => ({ format: $("format").value.split("-")[0], transparent: $("format").value.endsWith("-clear") });

function settings(transparent) {
  return {
    seed: Math.max(0, Math.trunc(Number($("seed").value)) || 0),
    motion: Number($("motion").value),
    fps: Number($("fps").value),
    frames: Number($("frames").value),
    boomerang: chosen("loop") === "boomerang",
    fit: chosen("fit"),
    enlarge: Number(chosen("enlarge")),
    transparent,
  };
}

const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;

function wish() {
  const { format: kind, transparent } = format();
  const ask = { picture: now.picture.id, mask: now.mask?.id ?? null, settings: settings(transparent) };
  return { ask, name: now.picture.name, format: kind };
}

// --- animate ---

let pending = 0;
let working = 0;

/** Make the clip, soon: sliders that move on ask once. */
function animate(wait = 120) {
  clearTimeout(pending);
  if (now.picture && now.server?.ready) pending = setTimeout(make, wait);
}

async function make() {
  const wanted = wish();
  const picture = now.picture;
  $("busy").hidden = false;
  working++;
  try {
    const began = performance.now();
    const clip = await wire.clip(wanted);
    if (!clip || picture !== now.picture) return;
    clip.waited = (performance.now() - began) / 1000;
    show(clip, wanted);
  } catch (error) {
    notice(error);
  } finally {
    if (!--working) $("busy").hidden = true;
  }
}

function show(clip, wanted) {
  now.clip = clip;
  notice(null);
  stage.show(clip);
  $("veil").hidden = true;
  $("stage").dataset.clear = wanted.ask.settings.transparent;
  $("clip").dataset.turn = clip.turn;
  performance.mark("clip");
  const busy = Object.values(clip.seconds).reduce((a, b) => a + b, 0);
  const calls = clip.calls === 1 ? "one network call" : `${clip.calls} network calls`;
  $("told").textContent = `${busy.toFixed(2)} s, ${calls}, ${clip.frames} frames`;
  $("command").replaceChildren(...unbroken(clip.command));
  $("python").textContent = clip.python;
  $("recipe").hidden = false;
  links();
  remember(clip, wanted);
}

/** Words that a line may end between, but not within. */
const unbroken = (text) =>
  text.split(" ").flatMap((word, i) => [i ? " " : "", Object.assign(document.createElement("span"), { textContent: word })]);

function links() {
  const { picture, mask } = now;
  $("save-picture").href = picture.url;
  $("save-picture").download = picture.name;
  $("save-mask").hidden = !mask;
  if (mask) $("save-mask").href = mask.url;
  $("needs").textContent = mask ? `${picture.name} and mask.png must lie in the folder.` : `${picture.name} must lie in the folder.`;
}

// --- pictures ---

/** Take a picture: check it on the server, and animate it. */
async function take(blob, name) {
  notice(null);
  try {
    if (blob.size > 20 * 2 ** 20) throw new wire.Sentence("The picture has more than 20 MB; send a smaller file.");
    const known = await wire.upload(blob);
    const bitmap = await createImageBitmap(blob).catch(() => null);
    now.picture = { ...known, name, blob, bitmap, url: URL.createObjectURL(blob) };
    unmask();
    fitFormat();
    fitSize();
    fitLoop();
    mark(name);
    loadPad();
    if (!now.racing && now.server?.models) race.prepare($("lanes"), now.server.models, bitmap);
    animate(0);
    if (document.body.dataset.view === "live") live.change();
  } catch (error) {
    notice(error);
  }
}

/** Transparent formats are for transparent pictures and models with a matte. */
function fitFormat() {
  const clear = now.picture.transparent && now.server?.model?.matte;
  for (const option of $("format").options) if (option.value.endsWith("-clear")) option.disabled = !clear;
  if (clear && !$("format").dataset.touched) $("format").value = "webp-clear";
  if (!clear && $("format").value.endsWith("-clear")) $("format").value = "mp4";
}

/** Clips of a model of whole loops have no jump at their end: they are played forward until the visitor chooses. */
function fitLoop() {
  if (!now.server?.model?.loops || $("loops").dataset.touched) return;
  document.querySelector("input[name=loop][value=forward]").checked = true;
}

/** The size of the picture, up to four times the network's, until the visitor has chosen one. */
function fitSize() {
  const own = now.server?.model;
  $("sizes").hidden = !own?.enlarges;
  if (!own?.enlarges) return;
  const { width, height } = own.defaults;
  for (const { value, nextSibling } of sizes()) nextSibling.textContent = width === height ? `${width * value}` : `${width * value} x ${height * value}`;
  if ($("sizes").dataset.touched) return;
  const side = Math.max(now.picture.width / width, now.picture.height / height);
  [...sizes()].find((one) => Number(one.value) >= side || one.value === "4").checked = true;
}

const sizes = () => document.querySelectorAll("input[name=enlarge]");

function mark(name) {
  for (const one of $("examples").children) one.setAttribute("aria-pressed", String(one.dataset.name === name));
}

async function example(name) {
  try {
    const answer = await fetch(`/examples/${encodeURIComponent(name)}`);
    await take(await answer.blob(), name);
  } catch (error) {
    notice(error);
  }
}

function examples(names) {
  $("examples").replaceChildren(
    ...names.map((name) => {
      const made = document.createElement("button");
      made.innerHTML = `<img alt="" width="48" height="48">`;
      made.firstChild.src = `/examples/${encodeURIComponent(name)}`;
      made.dataset.name = name;
      made.setAttribute("aria-label", `Example: ${name.replace(/\.png$/, "").replaceAll("-", " ")}`);
      made.setAttribute("aria-pressed", "false");
      made.addEventListener("click", () => example(name));
      return made;
    }),
  );
}

function notice(error) {
  if (error && !(error instanceof wire.Sentence)) console.error(error);
  $("notice").textContent = error ? (error instanceof wire.Sentence ? error.message : "Something went wrong in the page; try again.") : "";
  $("notice").hidden = !error;
}

function sources() {
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    if (file) take(file, file.name);
    $("file").value = "";
  });
  addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((f) => f.type.startsWith("image/"));
    if (file) take(file, file.name || "pasted.png");
    else if (event.clipboardData.files.length) notice(new wire.Sentence("What was pasted is not a picture."));
  });
  let depth = 0;
  addEventListener("dragenter", (event) => event.dataTransfer?.types.includes("Files") && (depth++, ($("dropping").hidden = false)));
  addEventListener("dragleave", () => (depth = Math.max(0, depth - 1)) || ($("dropping").hidden = true));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    $("dropping").hidden = true;
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
  });
}

// --- drawing, mask, camera ---

function dialogs() {
  for (const close of document.querySelectorAll("[data-close]")) close.addEventListener("click", () => close.closest("dialog").close());
  const board = new Pad($("draw-board"), $("draw-tools"), { size: 256 });
  $("draw").addEventListener("click", () => $("draw-dialog").showModal());
  $("draw-done").addEventListener("click", async () => {
    if (board.touched) take(await board.blob(), "drawing.png");
    $("draw-dialog").close();
  });
  masks();
  cameras();
}

let brush = null;

function masks() {
  $("mask").addEventListener("click", () => {
    if (!now.picture) return;
    const { width, height, bitmap } = now.picture;
    const scale = SIDE / Math.max(width, height);
    brush ??= new Pad($("mask-board"), $("mask-tools"), { colours: [["Still", "#5546d8"]], brush: 30 });
    if (brush.of !== now.picture.id) brush.resize(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
    brush.of = now.picture.id;
    brush.canvas.classList.add("mask");
    $("mask-board").style.aspectRatio = `${width} / ${height}`;
    $("mask-board").style.backgroundImage = bitmap ? `url("${now.picture.url}")` : "";
    $("mask-dialog").showModal();
  });
  $("mask-done").addEventListener("click", async () => {
    $("mask-dialog").close();
    try {
      await keep();
    } catch (error) {
      notice(error);
    }
  });
  $("unmask").addEventListener("click", () => {
    unmask();
    animate(0);
  });
}

/** The brushed region, white on black, as a picture of its own. */
async function keep() {
  if (!brush.touched) return;
  const { width, height } = brush.canvas;
  const flat = Object.assign(document.createElement("canvas"), { width, height });
  const context = flat.getContext("2d");
  const pixels = brush.context.getImageData(0, 0, width, height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const held = pixels.data[i + 3] >= 128 ? 255 : 0;
    pixels.data.set([held, held, held, 255], i);
  }
  context.putImageData(pixels, 0, 0);
  const blob = await new Promise((done) => flat.toBlob(done, "image/png"));
  now.mask = { ...(await wire.upload(blob)), url: URL.createObjectURL(blob) };
  $("mask-text").textContent = "Change what is kept still";
  $("unmask").hidden = false;
  animate(0);
}

function unmask() {
  now.mask = null;
  if (brush) brush.of = null;
  $("mask-text").textContent = "Brush what may not move";
  $("unmask").hidden = true;
}

function cameras() {
  const video = $("viewfinder");
  const stop = () => video.srcObject?.getTracks().forEach((track) => track.stop());
  $("camera").addEventListener("click", async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 640 } });
      await video.play();
      $("camera-dialog").showModal();
    } catch {
      notice(new wire.Sentence("No camera can be used; allow it for this page, or choose a picture."));
    }
  });
  $("camera-dialog").addEventListener("close", stop);
  $("snap").addEventListener("click", () => {
    const side = Math.min(video.videoWidth, video.videoHeight);
    const flat = Object.assign(document.createElement("canvas"), { width: 512, height: 512 });
    const [x, y] = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2];
    flat.getContext("2d").drawImage(video, x, y, side, side, 0, 0, 512, 512);
    flat.toBlob((blob) => take(blob, "camera.png"), "image/png");
    $("camera-dialog").close();
  });
}

// --- controls ---

function outputs() {
  for (const out of document.querySelectorAll("output[for]")) out.textContent = $(out.htmlFor.value).value;
}

function controls() {
  $("controls").addEventListener("input", (event) => {
    outputs();
    if (event.target.id === "format") $("format").dataset.touched = "yes";
    if (event.target.name === "enlarge") $("sizes").dataset.touched = "yes";
    if (event.target.name === "loop") $("loops").dataset.touched = "yes";
    animate(event.target.type === "range" || event.target.type === "number" ? 120 : 0);
  });
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("shuffle").addEventListener("click", () => {
    $("seed").value = Math.floor(Math.random() * 1e6);
    animate(0);
  });
  $("play").addEventListener("click", () => playing(!stage.playing));
  $("download").addEventListener("click", download);
  for (const copy of document.querySelectorAll("[data-copy]")) copy.addEventListener("click", () => copied(copy));
  $("theme").addEventListener("click", theme);
}

function playing(on) {
  stage.playing = liveStage.playing = on;
  $("play").setAttribute("aria-label", on ? "Pause" : "Play");
  $("play").setAttribute("aria-pressed", String(on));
  $("play").innerHTML = on
    ? `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9 6v12M15 6v12"/></svg>`
    : `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M8 5.500v13l10.500-6.500L8 5.500Z" class="fill"/></svg>`;
}

async function download() {
  if (!now.clip) return;
  $("download").disabled = true;
  try {
    const wanted = wish();
    const url = URL.createObjectURL(await wire.file(wanted));
    const stem = wanted.name.replace(/\.[^.]*$/, "") || "picture";
    Object.assign(document.createElement("a"), { href: url, download: `${stem}-clip.${wanted.format}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  } catch (error) {
    notice(error);
  } finally {
    $("download").disabled = false;
  }
}

async function copied(button) {
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

function theme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("sfv-theme", root.dataset.theme);
}

// --- gallery ---

const gallery = [];

function remember(clip, wanted) {
  const key = JSON.stringify([wanted.ask.picture, wanted.ask.mask, wanted.ask.settings]);
  if (gallery.some((one) => one.key === key)) return;
  const canvas = document.createElement("canvas");
  const card = document.createElement("button");
  card.className = "thumb";
  card.append(canvas);
  card.setAttribute("aria-label", `Show again: ${wanted.name}, seed ${wanted.ask.settings.seed}, motion ${wanted.ask.settings.motion}`);
  const player = new Player(canvas);
  player.show(clip);
  const kept = { key, card, player, clip, wanted, picture: now.picture, mask: now.mask, choice: $("format").value };
  card.addEventListener("click", () => recall(kept));
  gallery.unshift(kept);
  $("thumbs").prepend(card);
  $("gallery").hidden = false;
  let held = 0;
  const fits = gallery.findIndex((one, i) => (held += one.clip.data.length) > ROOM && i > 0);
  for (const old of gallery.splice(fits < 0 ? KEPT : Math.min(fits, KEPT))) {
    old.player.close();
    old.card.remove();
  }
}

function recall({ clip, wanted, picture, mask, choice }) {
  const { settings: was } = wanted.ask;
  Object.assign(now, { picture, mask });
  for (const name of ["seed", "motion", "fps", "frames"]) $(name).value = was[name];
  for (const [name, value] of [["loop", was.boomerang ? "boomerang" : "forward"], ["fit", was.fit], ["enlarge", was.enlarge]]) {
    document.querySelector(`input[name=${name}][value=${value}]`).checked = true;
  }
  fitFormat();
  $("format").value = choice;
  $("unmask").hidden = !mask;
  $("mask-text").textContent = mask ? "Change what is kept still" : "Brush what may not move";
  outputs();
  mark(picture.name);
  loadPad();
  view("animate");
  show(clip, wanted);
  $("stage").scrollIntoView({ behavior: calm.matches ? "auto" : "smooth", block: "nearest" });
}

// --- live ---

const PARTS = [["encode", "picture"], ["unet", "network"], ["decode", "decoder"], ["rest", "page and transport"]];
let drawn = false;

const live = new Live(
  async () => {
    if (!now.picture || !now.server?.ready) return null;
    if (drawn) {
      drawn = false;
      now.sketch = (await wire.upload(await pad.blob())).id;
    }
    const given = { seed: "live-seed", motion: "live-motion", fps: "live-fps" };
    const picked = Object.fromEntries(Object.entries(given).map(([k, id]) => [k, Number($(id).value)]));
    const ask = { picture: now.sketch ?? now.picture.id, settings: { frames: now.server.model.defaults.frames, ...picked } };
    return { ask, name: now.picture.name, format: "mp4" };
  },
  (clip, rate) => {
    notice(null);
    liveStage.show(clip);
    $("live-clip").dataset.turn = clip.turn;
    performance.mark("live-clip");
    const busy = Object.values(clip.seconds).reduce((a, b) => a + b, 0);
    $("live-told").textContent = `made in ${busy.toFixed(2)} s`;
    if (rate) measured(clip, rate, busy);
  },
  notice,
);

function measured(clip, rate, busy) {
  $("rate").textContent = rate.toFixed(1);
  const parts = { ...clip.seconds, rest: Math.max(0, 1 / rate - busy) };
  const all = Object.values(parts).reduce((a, b) => a + b, 0);
  PARTS.forEach(([key], i) => {
    $("split").children[i].style.setProperty("--share", (parts[key] ?? 0) / all);
    $("legend").children[i].lastChild.textContent = `${Math.round(1000 * (parts[key] ?? 0))} ms`;
  });
}

let pad = null;

function lives() {
  pad = new Pad($("pad"), $("pad-tools"), { size: 256, brush: 12, eager: true, changed: () => ((drawn = true), live.change()) });
  $("split").replaceChildren(...PARTS.map(([key]) => Object.assign(document.createElement("span"), { className: key })));
  $("legend").replaceChildren(
    ...PARTS.map(([key, name]) => {
      const line = Object.assign(document.createElement("li"), { className: key });
      line.append(Object.assign(document.createElement("span"), { textContent: name }), document.createElement("b"));
      return line;
    }),
  );
  for (const id of ["live-motion", "live-seed", "live-fps"]) {
    $(id).addEventListener("input", () => {
      outputs();
      live.change();
    });
  }
  $("sweep").addEventListener("click", () => sweep(!now.sweeping));
  $("keep").addEventListener("click", () => keepLive().catch(notice));
}

/** Take what live mode shows over to the first view: its picture, as drawn, and its sliders. */
async function keepLive() {
  sweep(false);
  for (const name of ["motion", "seed", "fps"]) $(name).value = $(`live-${name}`).value;
  $("frames").value = now.server.model.defaults.frames;
  outputs();
  const drawing = now.sketch ? await pad.blob() : null;
  view("animate");
  if (drawing) await take(drawing, "drawing.png");
  else animate(0);
}

/** Move the motion slider up and down by itself. */
function sweep(on) {
  now.sweeping = on;
  $("sweep").setAttribute("aria-pressed", String(on));
  const began = performance.now();
  requestAnimationFrame(function step(at) {
    if (!now.sweeping) return;
    $("live-motion").value = Math.round(127.5 - 127.5 * Math.cos((at - began) / 900));
    outputs();
    live.change();
    requestAnimationFrame(step);
  });
}

function loadPad() {
  drawn = false;
  now.sketch = null;
  if (now.picture?.bitmap) pad.load(now.picture.bitmap);
}

// --- race ---

function races() {
  $("start").addEventListener("click", async () => {
    if (!now.picture) return;
    if (now.racing) return now.racing.abort();
    now.racing = new AbortController();
    $("start").textContent = "Stop";
    $("verdict").textContent = "";
    try {
      const { ask, ...rest } = wish(); // at the network's own size: previews are
      const own = { ...rest, ask: { ...ask, settings: { ...ask.settings, enlarge: 1 } } };
      verdict(await race.run(own, $("lanes"), now.picture?.bitmap, now.racing.signal));
    } catch (error) {
      if (error.name !== "AbortError") notice(error);
      race.prepare($("lanes"), now.server.models, now.picture?.bitmap);
    } finally {
      now.racing = null;
      $("start").textContent = "Race again";
    }
  });
}

function verdict(ratios) {
  const told = now.server.models.slice(1).map((name, i) => `<b>${ratios[i + 1].toFixed(1)}×</b> quicker than ${escaped(name)}`);
  $("verdict").innerHTML = told.length ? `<span>${told.join("</span><span>")}</span>` : "";
  $("verdict").dataset.ratio = ratios[1] ?? 1;
}

const escaped = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

// --- views ---

function view(name) {
  document.body.dataset.view = name;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const here = tab.dataset.view === name;
    tab.setAttribute("aria-selected", String(here));
    tab.tabIndex = here ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !here;
  }
  if (name !== "live") sweep(false);
  else if (now.picture) live.change();
}

function tabs() {
  const all = [...document.querySelectorAll("[role=tab]")];
  all.forEach((tab, i) => {
    tab.addEventListener("click", () => view(tab.dataset.view));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = all[(i + step + all.length) % all.length];
      next.focus();
      view(next.dataset.view);
    });
  });
}

// --- start ---

function ranges({ defaults }) {
  for (const prefix of ["", "live-"]) {
    $(`${prefix}motion`).value = defaults.motion;
    $(`${prefix}fps`).value = defaults.fps;
  }
  $("frames").max = Math.min(200, 2 * defaults.frames);
  $("frames").value = defaults.frames;
  outputs();
}

async function start() {
  [sources, dialogs, controls, lives, races, tabs, outputs].forEach((prepare) => prepare());
  playing(!calm.matches);
  const began = performance.now();
  for (let told = await known(); ; told = await known()) {
    now.server = told;
    if (told?.error) return broken(told.error);
    if (told?.ready) break;
    $("veil-text").textContent = `Loading ${told?.models[0] ?? "the model"}, ${Math.round((performance.now() - began) / 1000)} s`;
    await new Promise((done) => setTimeout(done, 300));
  }
  $("veil-text").textContent = "Making the first clip";
  const { model, cores } = now.server;
  $("machine").textContent = model.device === "cpu" ? `${cores} CPU threads, no graphics card needed.` : `Computed on ${model.device}.`;
  ranges(model);
  examples(now.server.examples);
  race.prepare($("lanes"), now.server.models, now.picture?.bitmap);
  if (now.picture) {
    fitFormat();
    fitSize();
    fitLoop();
    animate(0);
  } else await example(now.server.examples.includes("cup.png") ? "cup.png" : now.server.examples[0]);
}

const known = () => wire.state().catch((error) => notice(error));

function broken(why) {
  $("veil-text").textContent = "The model cannot be opened.";
  notice(new wire.Sentence(wire.sentence(why)));
}

start().catch(notice);
