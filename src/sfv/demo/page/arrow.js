// An arrow on the picture: what lies at its start is dragged to its end and back, once a round.

import { animate } from "./animate.js";
import { $ } from "./dom.js";
import { state } from "./state.js";

const SIDE = 512; // pixels of the board's longer side
const STEP = 0.02; // share of a side that a key moves the end
const SHORTEST = 0.01; // as the command line has it
let drawn = null; // [from x, from y, to x, to y], shares of the picture

export function initArrow() {
  const board = $("arrow-canvas");
  let from = null;
  const place = ({ clientX, clientY }) => {
    const box = board.getBoundingClientRect();
    return [share((clientX - box.left) / box.width), share((clientY - box.top) / box.height)];
  };
  board.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    board.setPointerCapture(event.pointerId);
    from = place(event);
    show([...from, ...from]);
  });
  board.addEventListener("pointermove", (event) => from && show([...from, ...place(event)]));
  for (const end of ["pointerup", "pointercancel"]) board.addEventListener(end, () => (from = null));
  board.addEventListener("keydown", byKey);
  $("arrow").addEventListener("click", open);
  $("arrow-done").addEventListener("click", () => {
    $("arrow-dialog").close();
    if (drawn && isLong(drawn)) keep(`${drawn[0]},${drawn[1]}:${drawn[2]},${drawn[3]}`);
  });
  $("no-arrow").addEventListener("click", () => keep(null));
}

function open() {
  if (!state.picture) return;
  const { url, width, height, bitmap } = state.picture;
  const board = $("arrow-board");
  const scale = SIDE / Math.max(width, height);
  Object.assign($("arrow-canvas"), { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  board.style.aspectRatio = `${width} / ${height}`;
  board.style.backgroundImage = bitmap ? `url("${url}")` : "";
  show(state.drag ? state.drag.split(/[,:]/).map(Number) : null);
  $("arrow-dialog").showModal();
}

/** The end by the arrow keys, from the middle if nothing is drawn; the start with Shift. */
function byKey(event) {
  const way = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
  if (!way) return;
  event.preventDefault();
  const next = [...(drawn ?? [0.5, 0.5, 0.5, 0.5])];
  const moved = event.shiftKey ? [0, 2] : [2];
  for (const at of moved) {
    next[at] = share(next[at] + way[0]);
    next[at + 1] = share(next[at + 1] + way[1]);
  }
  show(next);
}

/** Four digits are a tenth of a pixel of the largest clip. */
const share = (value) => Math.round(1e4 * Math.min(1, Math.max(0, value))) / 1e4;

const isLong = ([x, y, toX, toY]) => Math.max(Math.abs(toX - x), Math.abs(toY - y)) >= SHORTEST;

function show(arrow) {
  drawn = arrow;
  const { width, height } = $("arrow-canvas");
  const c = $("arrow-canvas").getContext("2d");
  c.clearRect(0, 0, width, height);
  if (!arrow) return;
  const [x, y, toX, toY] = arrow.map((value, i) => value * (i % 2 ? height : width));
  const angle = Math.atan2(toY - y, toX - x);
  const head = Math.min(28, Math.hypot(toX - x, toY - y));
  for (const [colour, line] of [["#fff", 14], ["#5546d8", 8]]) {
    Object.assign(c, { strokeStyle: colour, fillStyle: colour, lineWidth: line, lineCap: "round", lineJoin: "round" });
    c.beginPath();
    c.arc(x, y, line, 0, 2 * Math.PI);
    c.fill();
    c.beginPath();
    c.moveTo(x, y);
    c.lineTo(toX, toY);
    for (const turn of [2.6, -2.6]) {
      c.moveTo(toX, toY);
      c.lineTo(toX + head * Math.cos(angle + turn), toY + head * Math.sin(angle + turn));
    }
    c.stroke();
  }
}

function keep(drag) {
  state.drag = drag;
  showArrowState();
  animate(0);
}

export function clearArrow() {
  state.drag = null;
  showArrowState();
}

/** The button's text, and whether there is an arrow to remove. */
export function showArrowState() {
  $("arrow-text").textContent = state.drag ? "Change the arrow" : "Drag a part by an arrow";
  $("no-arrow").hidden = !state.drag;
}
