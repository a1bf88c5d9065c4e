// Where pictures come from: a file, the clipboard, a drop, an example.

import { $, element } from "./dom.js";
import { plainName } from "./names.js";
import { notice } from "./notice.js";
import { UserError, upload } from "./requests.js";
import { state } from "./state.js";

const LIMIT = 20 * 2 ** 20; // bytes
let pictureChanged = () => {};
let choices = 0; // every picture that is chosen has a number
let taken = 0; // that of the page's picture: what was chosen before it comes too late

/** Listen to all sources; `changed()` is called after every new picture. */
export function initPicture(changed) {
  pictureChanged = changed;
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    if (file) usePicture(file, file.name);
    $("file").value = "";
  });
  addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((f) => f.type.startsWith("image/"));
    if (file) usePicture(file, file.name || "pasted.png");
    else if (event.clipboardData.files.length) notice(new UserError("What was pasted is not a picture."));
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
    if (file) usePicture(file, file.name);
  });
}

/** Check a picture on the server, and make it the page's, unless one that was chosen later is that already. */
export async function usePicture(blob, name, number = ++choices) {
  notice(null);
  try {
    if (blob.size > LIMIT) throw new UserError("The picture has more than 20 MB; send a smaller file.");
    const checked = await upload(blob);
    const bitmap = await createImageBitmap(blob).catch(() => null);
    if (number < taken) return;
    showPicture({ ...checked, name: plainName(name), blob, bitmap, url: URL.createObjectURL(blob) }, number);
    pictureChanged();
  } catch (error) {
    if (number >= taken) notice(error);
  }
}

/** Make a picture that is checked already the page's. */
export function showPicture(picture, number = ++choices) {
  taken = number;
  state.picture = picture;
  markExample();
}

/** Buttons for the pictures that come with the package. */
export function showExamples(names) {
  $("examples").replaceChildren(
    ...names.map((name) => {
      const button = element("button", { innerHTML: `<img alt="" width="48" height="48">` });
      button.firstChild.src = `examples/${encodeURIComponent(name)}`;
      button.dataset.name = name;
      button.setAttribute("aria-label", `Example: ${name.replace(/\.png$/, "").replaceAll("-", " ")}`);
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => useExample(name));
      return button;
    }),
  );
}

/** Make an example the page's picture; number 0 is the page's own first one, before all that a visitor chooses. */
export async function useExample(name, number = ++choices) {
  try {
    const response = await fetch(`examples/${encodeURIComponent(name)}`).catch(() => null);
    if (!response?.ok) throw new UserError(`The example ${name} cannot be fetched: its host does not answer; try again, or choose a picture.`);
    await usePicture(await response.blob(), name, number);
  } catch (error) {
    notice(error);
  }
}

/** Press the button of the example that is the page's picture, if it is one. */
function markExample() {
  const { name } = state.picture;
  for (const button of $("examples").children) button.setAttribute("aria-pressed", String(button.dataset.name === name));
}
