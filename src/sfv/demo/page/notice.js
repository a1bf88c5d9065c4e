// The one line under the picture in which errors are shown.

import { $ } from "./dom.js";
import { UserError } from "./requests.js";

/** Show an error; null hides the line. What is not a UserError is a fault of the page and goes to the console too. */
export function notice(error) {
  if (error && !(error instanceof UserError)) console.error(error);
  $("notice").textContent = error ? (error instanceof UserError ? error.message : "Something went wrong in the page; try again.") : "";
  $("notice").hidden = !error;
}
