// The command and the Python lines that make a clip of the page again (src/sfv/demo/snippets.py).

import { plainName } from "./names.js";

const EMBEDDED = "sticker"; // the model that a command takes for itself
const USUAL = { seed: 0, boomerang: false, transparent: false, enlarge: 1, move: "auto", stiff: "auto", size: null, fit: null };

/** Settings that are neither the schema's defaults nor the model's own, by name. */
function choices(settings, defaults) {
  const chosen = Object.entries(settings).filter(([name, value]) => value !== (USUAL[name] ?? null) && value !== defaults[name]);
  return chosen.filter(([name, value]) => !(name === "fit" && value === "own"));
}

const stemOf = (name) => plainName(name).replace(/\.[^.]*$/, "");
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

/** `sfv generate` for a POSIX shell; the picture must lie in the current folder. */
export function commandLine({ ask, name, format }, { model, defaults }) {
  const words = ["sfv", "generate", plainName(name), "-o", `${stemOf(name)}-clip.${format}`];
  if (model !== EMBEDDED) words.push("--model", model);
  for (const [key, value] of choices(ask.settings, defaults)) {
    const flag = `--${key.replaceAll("_", "-")}`;
    words.push(...(value === true ? [flag] : [flag, String(value)]));
  }
  return words.map(quoted).join(" ");
}

/** The same clip through the library. */
export function pythonLines({ ask, name, format }, { model, defaults }) {
  const given = choices(ask.settings, defaults).map(([key, value]) => `${key}=${{ string: JSON.stringify(value), boolean: "True" }[typeof value] ?? value}`);
  const [read, frames] = ask.settings.transparent ? ["read_sticker", "clip.stickers()"] : ["read_picture", "clip.frames"];
  return [
    "from pathlib import Path",
    "import sfv",
    "",
    `model = sfv.load(${JSON.stringify(model)})`,
    `picture = sfv.${read}(Path(${JSON.stringify(plainName(name))}))`,
    `clip = sfv.generate(${["model", "picture", ...given].join(", ")})`,
    `sfv.write_clip(${frames}, Path(${JSON.stringify(`${stemOf(name)}-clip.${format}`)}), clip.fps)`,
  ].join("\n");
}
