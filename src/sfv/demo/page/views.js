// The three views and their tabs; play and pause; light and dark.

import { $ } from "./dom.js";
import { isPlaying, setPlaying } from "./player.js";

let viewChanged = () => {};

/** `changed(name)` is called after a view was opened. */
export function initViews(changed) {
  viewChanged = changed;
  const tabs = [...document.querySelectorAll("[role=tab]")];
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => openView(tab.dataset.view));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(i + step + tabs.length) % tabs.length];
      next.focus();
      openView(next.dataset.view);
    });
  });
}

export function openView(name) {
  document.body.dataset.view = name;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const selected = tab.dataset.view === name;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !selected;
  }
  viewChanged(name);
}

/** Every such button plays and pauses all clips of the page: on the stage, in the gallery, live, in the race. */
export function initPlayButtons() {
  const buttons = document.querySelectorAll(".play");
  const show = () => {
    for (const button of buttons) {
      button.setAttribute("aria-label", isPlaying() ? "Pause" : "Play");
      button.innerHTML = isPlaying()
        ? `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9 6v12M15 6v12"/></svg>`
        : `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M8 5.500v13l10.500-6.500L8 5.500Z" class="fill"/></svg>`;
    }
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      setPlaying(!isPlaying());
      show();
    });
  }
  show();
}

export function initThemeButton() {
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("sfv-theme", root.dataset.theme);
  });
}
