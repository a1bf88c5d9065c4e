"""One palette with transparency for a whole clip: what is opaque stays opaque, and what is clear stays clear."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, UInt8

Rgba = UInt8[np.ndarray, "f h w 4"]
Rows = Int[np.ndarray, " _"]

BITS = 6
"""Bits of each colour channel that are compared: pixels that differ in less are counted as one colour."""
AT_ONCE = 1 << 21
"""Pixels that are counted at a time."""
ROWS = 1 << 14
"""Colours that are compared with a palette at a time."""
ROUNDS = 3
"""How often colours go to their nearest entry, and entries to the middle of their colours."""
MANY, SOME = 64, 16
"""Entries from which there are nine and five steps of opacity; below, all is opaque or clear."""


class Counted(NamedTuple):
    """The colours of a clip, each once."""

    key: Rows
    step: Rows
    """Of opacity, 0 for what is clear."""
    colour: Float32[np.ndarray, "rows 3"]
    weight: Float32[np.ndarray, " rows"]
    """Pixels, by the square of how opaque they are: as an error of theirs counts."""


class Box(NamedTuple):
    """Colours of one step of opacity that share an entry."""

    error: float
    """Sum of squares over its pixels."""
    rows: Rows
    middle: Float32[np.ndarray, "3"]
    axis: int
    """The channel in which they lie furthest apart."""


def with_palette(frames: Rgba, entries: int) -> tuple[UInt8[np.ndarray, "f h w"], UInt8[np.ndarray, "entries 4"]]:
    """Every pixel's entry, and the palette's colours (RGBA), at most `entries` of them (2 to 256).

    Opacity is rounded to steps, of which 0 and 255 are two: it is out by 16 at most with 64 entries and more, by 32
    with 16 and more. Entries go where they lessen the error most, whatever the step.
    """
    entries = max(2, entries)
    steps = 9 if entries >= MANY else 5 if entries >= SOME else 2
    levels = np.rint(np.linspace(0, 255, steps)).astype(np.float32)
    step = np.abs(np.arange(256)[:, None] - levels).argmin(1)
    counted = _counted(frames, step, levels)
    boxes = _boxes(counted, entries)
    which = np.zeros(len(counted.key), np.intp)
    for i, box in enumerate(boxes):
        which[box.rows] = i
    opacity = np.array([counted.step[box.rows[0]] for box in boxes])
    middles = np.stack([box.middle for box in boxes])
    for _ in range(ROUNDS):
        which = _nearest(counted, middles, opacity)
        middles = _middles(counted, which, middles)
    entry = np.zeros(len(levels) << 3 * BITS, np.uint8)
    entry[counted.key] = which
    found = np.concatenate([np.rint(middles), levels[opacity][:, None]], 1).astype(np.uint8)
    return np.stack([entry[_keys(frame, step)] for frame in frames]), found


def _keys(pixels: UInt8[np.ndarray, "*n 4"], step: Rows) -> Int[np.ndarray, "*n"]:
    """One number of opacity and colour; what is clear has no colour."""
    key = step.astype(np.int32)[pixels[..., 3]]
    for channel in range(3):
        key <<= BITS
        key |= pixels[..., channel] >> 8 - BITS
    key[key < 1 << 3 * BITS] = 0
    return key


def _counted(frames: Rgba, step: Rows, levels: Float32[np.ndarray, " steps"]) -> Counted:
    size, each = len(levels) << 3 * BITS, max(1, AT_ONCE // (frames.shape[1] * frames.shape[2]))
    pixels, sums = np.zeros(size), np.zeros((3, size))
    for start in range(0, len(frames), each):
        some = frames[start : start + each].reshape(-1, 4)
        keys = _keys(some, step)
        pixels += np.bincount(keys, minlength=size)
        for channel in range(3):
            sums[channel] += np.bincount(keys, some[:, channel], minlength=size)
    key = np.flatnonzero(pixels)
    steps = key >> 3 * BITS
    colour = np.where(steps[:, None] > 0, (sums[:, key] / pixels[key]).T, 0)
    weight = pixels[key] * (levels[steps] / 255) ** 2
    return Counted(key, steps, colour.astype(np.float32), weight.astype(np.float32))


def _boxes(counted: Counted, entries: int) -> list[Box]:
    """One for each step of opacity; then the one with the largest error is cut at its middle, again and again."""
    boxes = [_box(counted, np.flatnonzero(counted.step == s)) for s in np.unique(counted.step)]
    while len(boxes) < entries:
        worst = max(range(len(boxes)), key=lambda i: boxes[i].error)
        box = boxes[worst]
        below = counted.colour[box.rows, box.axis] <= box.middle[box.axis]
        if box.error <= 0:
            break
        if below.all():
            boxes[worst] = box._replace(error=0.0)
            continue
        boxes[worst] = _box(counted, box.rows[below])
        boxes.append(_box(counted, box.rows[~below]))
    return boxes


def _box(counted: Counted, rows: Rows) -> Box:
    weight, colour = counted.weight[rows, None], counted.colour[rows]
    total = weight.sum()
    middle = (weight * colour).sum(0) / total if total > 0 else colour.mean(0)
    spread = (weight * (colour - middle) ** 2).sum(0)
    return Box(float(spread.sum()), rows, middle, int(spread.argmax()))


def _nearest(counted: Counted, middles: Float32[np.ndarray, "k 3"], opacity: Rows) -> Rows:
    """The entry of the same opacity whose colour is nearest, for each colour."""
    which = np.zeros(len(counted.key), np.intp)
    for step in np.unique(opacity):
        rows, among = np.flatnonzero(counted.step == step), np.flatnonzero(opacity == step)
        length = (middles[among] ** 2).sum(1)
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            which[some] = among[(length - 2 * counted.colour[some] @ middles[among].T).argmin(1)]
    return which


def _middles(counted: Counted, which: Rows, before: Float32[np.ndarray, "k 3"]) -> Float32[np.ndarray, "k 3"]:
    """The middle of what has gone to each entry; where nothing has, what it was."""
    weight = np.bincount(which, counted.weight, len(before))
    sums = [np.bincount(which, counted.weight * counted.colour[:, c], len(before)) for c in range(3)]
    middles = np.where(weight[:, None] > 0, np.stack(sums, 1) / np.maximum(weight, 1e-9)[:, None], before)
    return middles.astype(np.float32)
