// What the page calls a picture: as in the lines that make the clip again, so that the file is found by them.

const LONGEST = 80; // characters

/** A file name without folders or control characters, that no shell or parser takes for a flag (demo/snippets.py). */
export function plainName(name) {
  const readable = name.split(/[\\/]/).pop().replace(/(?![\u200c\u200d])[\p{C}\p{Zl}\p{Zp}]/gu, ""); // joiners stay
  return [...readable].slice(-LONGEST).join("").replace(/^[-. ]+/, "") || "picture.png";
}
