"""A blink: lids of the skin around each eye come down over it and open again, drawn on the picture itself."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from sfv.decoding.eyes import Eye, widened
from sfv.types import AnyFirst

SECONDS = 0.19
"""From the middle of a blink to its end."""
HELD = 1.5
"""Above 1: a lid stays down for a while."""
EVERY = 3.0
"""Seconds between blinks, about."""
WHEN = 0.55
"""Share of those seconds after which the first comes."""
SAG = 0.25
"""Of a closed lid's edge: how much lower its middle is than its ends, in heights of the eye; half-way it is even."""
EDGE, THINNEST = 0.1, 1.2
"""How thick it is, in heights of the eye, and in pixels at least."""
ALIKE = 0.5
"""How far, in [-1, 1], skin is from the usual colour around an eye: brows and glasses are not skin."""

Large = Float[Tensor, "1 c height width"]


def shares(count: int, seconds: float) -> list[float]:
    """How far eyes are closed, 0 to 1, in each of `count` even frames of a round of some seconds; open in the first.

    Each blink is at its end in a frame.
    """
    blinks = max(1, round(seconds / EVERY))
    peaks = [round((k + WHEN) / blinks * count - 1e-6) / count for k in range(blinks)]
    off = [min(abs(i / count - peak) for peak in peaks) * seconds for i in range(count)]
    return [0.0, *(min(1.0, max(0.0, HELD * (1 - v / SECONDS))) for v in off[1:])]


class Lids:
    """What closes the eyes of one fitted picture (1, 3 or 4, y, x in [-1, 1])."""

    def __init__(self, first: AnyFirst, eyes: Sequence[Eye]) -> None:
        picture = first[:, :3].float().cpu()
        self.size = picture.shape[2], picture.shape[3]
        rings = [_around(picture[0], eye) for eye in eyes]
        usual = torch.stack([picture[0][:, ring].median(1).values for ring in rings])
        dark = torch.stack([eye.dark for eye in eyes])
        skin = usual[(usual - dark).abs().sum(1).argmax()]
        alike = (picture[0] - skin[:, None, None]).abs().amax(0) < ALIKE
        around = torch.stack(rings).any(0)
        if first.shape[1] == 4:
            alpha = first[0, 3].float().cpu()
            alike &= alpha > alpha[around].median() - 0.1
        places = around & alike if (around & alike).any() else around
        self.lids = [_Lid(picture[0], places, eye) for eye in eyes]

    def over(self, picture: Large, share: float) -> Large:
        """The picture, or the same at a larger size, with its eyes closed by a share of 1; alpha stays.

        At 0 it is the picture itself.
        """
        if share == 0:
            return picture
        out = picture.clone()
        for lid in self.lids:
            lid.draw(out, share, self.size)
        return out


def _around(picture: Float[Tensor, "3 y x"], eye: Eye) -> Bool[Tensor, "y x"]:
    """A ring around an eye; further out if that is as dark as the eye, as glasses are."""
    for inner, outer in ((2, 4), (6, 9)):
        ring = widened(eye.pixels, outer) & ~widened(eye.pixels, inner)
        if (picture[:, ring].median(1).values - eye.dark).abs().amax() > ALIKE:
            break
    return ring


class _Lid:
    """Of one eye."""

    def __init__(self, picture: Float[Tensor, "3 y x"], skin: Bool[Tensor, "y x"], eye: Eye) -> None:
        there, beside = eye.pixels.any(1).nonzero(), eye.pixels.any(0).nonzero()
        self.top, self.bottom = float(there[0]), float(there[-1]) + 1
        self.left, self.right = float(beside[0]), float(beside[-1]) + 1
        rows, columns = (torch.arange(n) + 0.5 for n in eye.pixels.shape)
        across = (columns - (self.left + self.right) / 2) / ((self.right - self.left) / 2)
        down = (rows - (self.top + self.bottom) / 2) / ((self.bottom - self.top) / 2)
        whole = eye.pixels | (down.square()[:, None] + across.square() <= 1)  # with highlights at its edge
        near = widened(whole, 3).nonzero()
        weights = torch.cdist(near.float(), skin.nonzero().float()).clamp(min=0.5) ** -3  # Shepard (1968)
        self.skin = torch.zeros_like(picture)
        self.skin[:, near[:, 0], near[:, 1]] = picture[:, skin] @ (weights / weights.sum(1, keepdim=True)).T
        wide = widened(whole, 2).float()  # the eye with a pixel around it, and softly another: a hard edge is a saw's
        self.covered = F.avg_pool2d(wide[None], 3, 1, 1, count_include_pad=False)[0]
        self.dark = eye.dark

    def draw(self, picture: Large, share: float, size: tuple[int, int]) -> None:
        """In place, where the eye is."""
        (y, x), (height, width) = size, picture.shape[2:]
        tall, wide = height / y, width / x
        box = (
            slice(max(0, int((self.top - 3) * tall)), min(height, int((self.bottom + 3) * tall) + 1)),
            slice(max(0, int((self.left - 3) * wide)), min(width, int((self.right + 3) * wide) + 1)),
        )
        rows = ((torch.arange(height)[box[0]] + 0.5) / tall)[:, None]
        columns = (torch.arange(width)[box[1]] + 0.5) / wide
        whole = torch.cat([self.skin, self.covered[None]])[None]
        near = F.interpolate(whole, (height, width), mode="bilinear", align_corners=False)[0][:, box[0], box[1]]
        lid, edge = self._cover(rows, columns, share, y / height)
        colours = near[:3] + edge * (self.dark[:, None, None] - near[:3])
        part = picture[0, :3, box[0], box[1]]
        cover = (torch.maximum(lid, edge) * near[3]).to(part.device)
        part += cover * (colours.to(part.device) - part)

    def _cover(self, rows: Tensor, columns: Tensor, share: float, soft: float) -> tuple[Tensor, Tensor]:
        """How far each place is under the lids, and on the upper one's edge."""
        tall, middle = self.bottom - self.top, (self.left + self.right) / 2
        off = ((columns - middle) / ((self.right - self.left) / 2)).clamp(-1, 1)
        bow = tall * SAG * (0.9 - off**2)
        upper = self.top + share * tall / 2 + (2 * share - 1) * bow
        lower = self.bottom - share**2 * (tall / 2 - bow)
        lid = torch.maximum((upper - rows) / soft + 0.5, (rows - lower) / soft + 0.5).clamp(0, 1)
        thick = max(EDGE * tall, THINNEST)
        return lid, ((thick / 2 - (rows - upper).abs()) / soft + 0.5).clamp(0, 1) * min(1.0, 2 * share)
