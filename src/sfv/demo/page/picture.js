// Where pictures come from: a file, the clipboard, a drop, an example.

import { $, element } from "./dom.js";
import { notice } from "./notice.js";
import { UserError, upload } from "./requests.js";
import { state } from "./state.js";

const LIMIT = 20 * 2 ** 20; // bytes
let pictureChanged = () => {};

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

/** Check a picture on the server, and make it the page's. */
export async function usePicture(blob, name) {
  notice(null);
  try {
    if (blob.size > LIMIT) throw new UserError("The picture has more than 20 MB; send a smaller file.");
    const checked = await upload(blob);
    const bitmap = await createImageBitmap(blob).catch(() => null);
    state.picture = { ...checked, name, blob, bitmap, url: URL.createObjectURL(blob) };
    markExample();
    pictureChanged();
  } catch (error) {
    notice(error);
  }
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

export async function useExample(name) {
  try {
    const response = await fetch(`examples/${encodeURIComponent(name)}`);
    await usePicture(await response.blob(), name);
  } catch (error) {
    notice(error);
  }
}

/** Press the button of the example that is the page's picture, if it is one. */
export function markExample() {
  const { name } = state.picture;
  for (const button of $("examples").children) button.setAttribute("aria-pressed", String(button.dataset.name === name));
}
