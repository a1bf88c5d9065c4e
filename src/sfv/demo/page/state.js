// What the page shows at the moment. Every module reads it; the module named in the comment writes it.

export const state = {
  server: null, // main.js: the last answer of /api/state
  picture: null, // picture.js: {id, width, height, transparent, name, blob, bitmap, url}
  mask: null, // mask.js: {id, url}, the region that is kept still
  drag: null, // arrow.js: the arrow on the picture, as --drag takes it
  clip: null, // animate.js: the clip on the stage
  drawingId: null, // live_view.js: id of the picture as it was drawn on in live mode
  sweeping: false, // live_view.js: whether the motion slider moves by itself
  race: null, // race_view.js: the AbortController of the race that runs
};
