"""Finding a pair of open eyes in a drawn face: two dark spots alike, side by side, with what is white around each.

No network: spots are what is darker than a level and surrounded by what is lighter (as in MSER, Matas et al. 2002),
at several levels; the pair that is most alike wins.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from sfv.types import AnyFirst

LEVELS = tuple(0.1 + 0.058 * k for k in range(13))
"""Brightness, of 1, below which a spot lies."""
SMALLEST, TALLEST, WIDEST = 0.025, 0.3, 0.25
"""Sides of a spot, as shares of the thing's size: the root of its area."""
FLATTEST, THINNEST, FILLED = 0.55, 3.0, 0.58
"""Height over width of an open eye, least and most, and the share of its box that it fills; what is closed does not."""
CONTRAST = 0.08
"""Of brightness between a spot and what is around it."""
WHITE, PALE, ROUND_IT = 0.72, 0.16, 0.15
"""Brightness and spread of colours of an eye's white, and the share of a pupil's surroundings that is white there."""
BALL = 2.2
"""Half the sides of an eye with its white, at most, in the pupil's longer sides."""
IRIS, BRIGHTER, DISC = 0.2, 0.05, 0.65
"""How far colours of a ring round the pupil lie apart, how much brighter it is than what is beyond (a panda's patches
are darker than its face), and the share of its box that it fills with the pupil."""
SAME = 0.7
"""Of one ring's area, the other's."""
FURTHEST = 80
"""Pixels that an eye's white or its ring reaches."""
LEAST = -1.0
"""Score from which two spots are eyes."""
UNDER, BESIDE, NARROWEST, WORSE = (0.15, 0.8), 0.25, 0.6, 1.0
"""Of eyes under brows, in the distance between the brows: how far down, how far to a side at most; the lesser of both
distances over the other; and by how much the score of the brows may be higher."""
FLAT, WHITER = 1.2, 2.0
"""Width over height of a brow at least, and the share of white around eyes over that around brows."""
MOST = 300
"""Spots that are compared, those of most contrast: what has more is a pattern."""


@dataclass(frozen=True)
class Eye:
    """Which pixels of the picture it has, and the colour of what is dark in it, in [-1, 1]."""

    pixels: Bool[Tensor, "y x"]
    dark: Float[Tensor, " 3"]


@dataclass(frozen=True)
class _Spot:
    """Something dark: its pixels, its box, mean brightness, and how much brighter its surroundings are."""

    pixels: Bool[Tensor, "y x"]
    level: int
    middle: tuple[float, float]
    height: int
    width: int
    area: int
    brightness: float
    contrast: float


Pair = tuple[int, int]
Both = tuple[_Spot, _Spot]


class _Face(NamedTuple):
    """Box and pixels of the thing."""

    top: int
    left: int
    bottom: int
    right: int
    area: int


def eyes_in(first: AnyFirst, there: Bool[Tensor, "y x"]) -> tuple[Eye, Eye] | None:
    """The open eyes, left and right, of the thing in a fitted picture, whose pixels are `there`; None without a pair.

    Deterministic; the same on every device, since it runs on the CPU.
    """
    found = rated_eyes(first, there)
    return None if found is None else found[0]


def rated_eyes(first: AnyFirst, there: Bool[Tensor, "y x"]) -> tuple[tuple[Eye, Eye], float] | None:
    """The same with their score: how much they look like eyes, LEAST to about 3."""
    colours, there = (first[0, :3].float().cpu() + 1) / 2, _filled(there.cpu())
    spots = _spots(colours, there)
    if len(spots) > MOST:
        spots = sorted(spots, key=lambda s: -s.contrast)[:MOST]
    if not spots:
        return None
    face = _Face(*_box(there), int(there.sum()))
    near = [_patch(colours, spot) for spot in spots]
    pairs = combinations(range(len(spots)), 2)
    scores = {(i, k): _alike(spots[i], spots[k], (near[i], near[k]), face) for i, k in pairs}
    best = max(scores, key=scores.__getitem__, default=None)
    if best is None or scores[best] <= LEAST:
        return None
    pairs_of = {pair: _ordered(spots, pair) for pair, score in scores.items() if score > LEAST}
    best = _under_brows(best, scores, pairs_of, colours)
    left, right = pairs_of[best]
    return _with_rings((_eye(left, colours), _eye(right, colours)), colours), scores[best]


def _ordered(spots: list[_Spot], pair: Pair) -> Both:
    """The left one, the right one."""
    left, right = sorted((spots[i] for i in pair), key=lambda s: s.middle[1])
    return left, right


def _under_brows(
    best: Pair, scores: dict[Pair, float], pairs: dict[Pair, Both], colours: Float[Tensor, "3 y x"]
) -> Pair:
    """The best pair, or, if its spots are flat and so may be brows, the best right under it with more white around."""
    brows = pairs[best]
    if any(s.width < FLAT * s.height for s in brows):
        return best
    white = max(ROUND_IT, WHITER * max(_whiteness(s, colours) for s in brows))
    apart, row, column = _place(brows)
    found = []
    for pair, both in pairs.items():
        wide, low, middle = _place(both)
        near = UNDER[0] * apart < low - row < UNDER[1] * apart and abs(middle - column) < BESIDE * apart
        alike = min(wide, apart) > NARROWEST * max(wide, apart) and scores[pair] > scores[best] - WORSE
        if near and alike and min(_whiteness(s, colours) for s in both) >= white:
            found.append(pair)
    return max(found, key=scores.__getitem__, default=best)


def _place(both: Both) -> tuple[float, float, float]:
    """How far apart a pair's spots are, and the row and the column of its middle."""
    (y1, x1), (y2, x2) = (spot.middle for spot in both)
    return x2 - x1, (y1 + y2) / 2, (x1 + x2) / 2


def _filled(there: Bool[Tensor, "y x"]) -> Bool[Tensor, "y x"]:
    """With what has some of the thing on all four sides: an eye's white may be of the ground's colour."""
    ways = [there.int(), there.int().flip(0), there.int().mT, there.int().mT.flip(0)]
    above, below, left, right = (way.cummax(0).values for way in ways)
    return (above * below.flip(0) * left.mT * right.flip(0).mT) > 0


def _spots(colours: Float[Tensor, "3 y x"], there: Bool[Tensor, "y x"]) -> list[_Spot]:
    """Dark spots of an eye's size and shape, wholly inside the thing."""
    bright = _brightness(colours)
    size = math.sqrt(float(there.sum()))
    return [
        spot
        for k, level in enumerate(LEVELS)
        for pixels, box in _parts((bright < level) & there, size)
        if (spot := _spot(pixels, box, k, bright, there)) is not None
    ]


def _parts(inside: Bool[Tensor, "y x"], size: float) -> Iterator[tuple[Bool[Tensor, "y x"], list[int]]]:
    """Connected parts (8 neighbours) of an eye's size and shape, and top, left, bottom and right of each."""
    rows, starts, ends = _runs(inside.numpy())
    for part in _joined(rows, starts, ends, inside.shape[1]):
        box = [int(rows[part[0]]), int(starts[part].min()), int(rows[part[-1]]) + 1, int(ends[part].max())]
        tall, wide = box[2] - box[0], box[3] - box[1]
        area = int((ends[part] - starts[part]).sum())
        fits = min(tall, wide) >= SMALLEST * size and tall <= TALLEST * size and wide <= WIDEST * size
        if fits and FLATTEST * wide <= tall <= THINNEST * wide and area >= FILLED * tall * wide:
            pixels = torch.zeros_like(inside)
            for row, start, end in zip(rows[part], starts[part], ends[part], strict=True):
                pixels[row, start:end] = True
            yield pixels, box


def _runs(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, start and end of every run of pixels along a row, in reading order."""
    edges = np.diff(np.pad(inside.astype(np.int8), ((0, 0), (1, 1))))
    rows, starts = np.nonzero(edges == 1)
    return rows, starts, np.nonzero(edges == -1)[1]


def _joined(rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, width: int) -> list[list[int]]:
    """Which runs touch, corners included: the runs of each connected part, in reading order (union-find)."""
    key = width + 2
    below = (rows + 1) * key
    first = np.searchsorted(rows * key + ends, below + starts, "left")
    last = np.searchsorted(rows * key + starts, below + ends, "right")
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, (a, b) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        for k in range(a, b):
            one, other = sorted((root(i), root(k)))
            parent[other] = one
    found: dict[int, list[int]] = {}
    for i in range(len(rows)):
        found.setdefault(root(i), []).append(i)
    return list(found.values())


def _spot(
    pixels: Bool[Tensor, "y x"], box: list[int], level: int, bright: Float[Tensor, "y x"], there: Bool[Tensor, "y x"]
) -> _Spot | None:
    """A connected part that is darker than what is around it inside the thing; None for others."""
    top, left, bottom, right = box
    near = slice(max(0, top - 2), bottom + 2), slice(max(0, left - 2), right + 2)
    around = ~pixels[near]
    if top < 2 or left < 2 or bottom > len(pixels) - 2 or right > pixels.shape[1] - 2 or not there[near][around].all():
        return None
    brightness = float(bright[pixels].mean())
    contrast = float(bright[near][around].mean()) - brightness
    if contrast < CONTRAST:
        return None
    middle = (top + bottom) / 2, (left + right) / 2
    return _Spot(pixels, level, middle, bottom - top, right - left, int(pixels.sum()), brightness, contrast)


def _alike(one: _Spot, other: _Spot, near: tuple[Tensor, Tensor], face: _Face) -> float:
    """How well two spots are a pair of eyes; minus infinity if they cannot be."""
    apart, down = abs(one.middle[1] - other.middle[1]), abs(one.middle[0] - other.middle[0])
    width = max(one.width, other.width)
    ratios = [min(a, b) / max(a, b) for a, b in ((one.height, other.height), (one.width, other.width))]
    areas = min(one.area, other.area) / max(one.area, other.area)
    side_by_side = 1.3 * width <= apart <= 9 * width and down <= 0.25 * apart
    if abs(one.level - other.level) > 1 or not side_by_side or min(*ratios, areas) < 0.5:
        return -math.inf
    if abs(one.brightness - other.brightness) > 0.15:
        return -math.inf
    across = ((one.middle[1] + other.middle[1]) / 2 - face.left) / (face.right - face.left)
    high = ((one.middle[0] + other.middle[0]) / 2 - face.top) / (face.bottom - face.top)
    if not 0.2 < across < 0.8 or high > 0.75:
        return -math.inf
    a, b = near  # what is around each
    unlike = min(float((a - c).abs().mean()) for c in (b, b.flip(-1)))
    if unlike > 0.15:
        return -math.inf
    contrast = min(one.contrast, 0.5) + min(other.contrast, 0.5)
    place = 1.5 * abs(across - 0.5) + max(2.5 * (high - 0.42), 0.42 - high)
    sizes = 0.3 * math.log(one.area * other.area / face.area)
    return 0.5 * math.log(areas) - 3 * down / apart - 6 * unlike + 2 * contrast - place + sizes


def _patch(colours: Float[Tensor, "3 y x"], spot: _Spot) -> Float[Tensor, "3 16 12"]:
    """What is around a spot, at a size of its own."""
    y, x = colours.shape[1:]
    rows = torch.linspace(-0.75, 0.75, 16) * spot.height + spot.middle[0]
    columns = torch.linspace(-0.75, 0.75, 12) * spot.width + spot.middle[1]
    at = torch.stack([(columns * 2 / x - 1).expand(16, -1), (rows * 2 / y - 1)[:, None].expand(-1, 12)], -1)
    return F.grid_sample(colours[None], at[None], padding_mode="border", align_corners=False)[0]


def _eye(spot: _Spot, colours: Float[Tensor, "3 y x"]) -> Eye:
    """A spot with the white that is around it, if that ends soon; fur does not."""
    pixels, dark = spot.pixels, 2 * colours[:, spot.pixels].mean(1) - 1
    if _whiteness(spot, colours) < ROUND_IT:
        return Eye(pixels, dark)
    white = _white(colours)
    window = _window(pixels, spot.middle, BALL * max(spot.height, spot.width))
    ball = spread(pixels.float(), (white | pixels) & window, FURTHEST) > 0
    return Eye(pixels if (widened(ball, 1) & (white | pixels) & ~window).any() else ball, dark)


def _white(colours: Float[Tensor, "3 y x"]) -> Bool[Tensor, "y x"]:
    """What has the colour of an eye's white."""
    return (colours.mean(0) > WHITE) & (colours.amax(0) - colours.amin(0) < PALE)


def _whiteness(spot: _Spot, colours: Float[Tensor, "3 y x"]) -> float:
    """How much of what is around a spot is white."""
    ring = widened(spot.pixels, 2) & ~widened(spot.pixels, 1)
    return float(_white(colours)[ring].float().mean())


def _with_rings(eyes: tuple[Eye, Eye], colours: Float[Tensor, "3 y x"]) -> tuple[Eye, Eye]:
    """With the coloured ring round each pupil, as an owl has it, if both have one."""
    balls = [_ringed(eye.pixels, colours) for eye in eyes]
    areas = [0 if ball is None else int(ball.sum()) for ball in balls]
    if balls[0] is None or balls[1] is None or min(areas) < SAME * max(areas):
        return eyes
    return Eye(balls[0], eyes[0].dark), Eye(balls[1], eyes[1].dark)


def _ringed(pixels: Bool[Tensor, "y x"], colours: Float[Tensor, "3 y x"]) -> Bool[Tensor, "y x"] | None:
    """A pupil with what is of one colour around it, if that ends soon, is a disc, and brighter than what is beyond."""
    top, left, bottom, right = _box(pixels)
    ring = widened(pixels, 2) & ~widened(pixels, 1)
    colour = colours[:, ring].median(1).values
    alike = (colours - colour[:, None, None]).abs().amax(0) < IRIS
    window = _window(pixels, ((top + bottom) / 2, (left + right) / 2), BALL * max(bottom - top, right - left))
    ball = (spread((ring & alike).float(), alike & window, FURTHEST) > 0) | pixels
    if (widened(ball, 1) & alike & ~window).any():
        return None
    top, left, bottom, right = _box(ball)
    beyond = colours[:, widened(ball, 3) & ~widened(ball, 1)].median(1).values
    brighter = float(_brightness(colour[:, None, None]) - _brightness(beyond[:, None, None])) > BRIGHTER
    return ball if brighter and int(ball.sum()) >= DISC * (bottom - top) * (right - left) else None


def _window(pixels: Bool[Tensor, "y x"], middle: tuple[float, float], reach: float) -> Bool[Tensor, "y x"]:
    """A square around a place, `reach` to each side."""
    rows, columns = ((torch.arange(n) + 0.5 - at).abs() <= reach for n, at in zip(pixels.shape, middle, strict=True))
    return rows[:, None] & columns


def _box(pixels: Bool[Tensor, "y x"]) -> tuple[int, int, int, int]:
    """Top, left, bottom and right."""
    rows, columns = pixels.any(1).nonzero(), pixels.any(0).nonzero()
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def widened(pixels: Bool[Tensor, "y x"], by: int) -> Bool[Tensor, "y x"]:
    """With what lies within `by` pixels, in squares."""
    return F.max_pool2d(pixels[None, None].float(), 2 * by + 1, 1, by)[0, 0] > 0


def spread(seeds: Float[Tensor, "y x"], inside: Bool[Tensor, "y x"], most: int) -> Float[Tensor, "y x"]:
    """The largest seed that reaches each pixel by at most so many steps to neighbours (8) inside."""
    reached = torch.zeros_like(seeds)
    if inside.any():
        top, left, bottom, right = _box(inside)
        window = slice(max(0, top - 1), bottom + 1), slice(max(0, left - 1), right + 1)
        seeds, inside = seeds[window], inside[window]
        for _ in range(most):
            further = F.max_pool2d(seeds[None, None], 3, 1, 1)[0, 0] * inside
            if torch.equal(further, seeds):
                break
            seeds = further
        reached[window] = seeds * inside
    return reached


def _brightness(colours: Float[Tensor, "3 y x"]) -> Float[Tensor, "y x"]:
    return torch.einsum("c,cyx->yx", torch.tensor([0.299, 0.587, 0.114]), colours)
