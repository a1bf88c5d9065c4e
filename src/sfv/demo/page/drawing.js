// Two dialogs that give a picture: a drawing, and a photograph by the camera.

import { $, element } from "./dom.js";
import { notice } from "./notice.js";
import { Pad } from "./pad.js";
import { usePicture } from "./picture.js";
import { UserError } from "./requests.js";

export function initDrawing() {
  const pad = new Pad($("draw-board"), $("draw-tools"), { size: 256 });
  $("draw").addEventListener("click", () => $("draw-dialog").showModal());
  $("draw-done").addEventListener("click", async () => {
    if (pad.touched) usePicture(await pad.blob(), "drawing.png");
    $("draw-dialog").close();
  });
}

export function initCamera() {
  const video = $("viewfinder");
  const stop = () => {
    video.srcObject?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
  $("camera").addEventListener("click", async () => {
    $("camera").disabled = true; // while it is asked for: a second camera would never be let go
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 640 } });
      await video.play();
      $("camera-dialog").showModal();
    } catch {
      stop();
      notice(new UserError("No camera can be used; allow it for this page, or choose a picture."));
    } finally {
      $("camera").disabled = false;
    }
  });
  $("camera-dialog").addEventListener("close", stop);
  $("snap").addEventListener("click", () => {
    const side = Math.min(video.videoWidth, video.videoHeight);
    const square = element("canvas", { width: 512, height: 512 });
    const [x, y] = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2];
    square.getContext("2d").drawImage(video, x, y, side, side, 0, 0, 512, 512);
    square.toBlob((blob) => usePicture(blob, "camera.png"), "image/png");
    $("camera-dialog").close();
  });
}
