"""What a small decoder takes from the picture itself: its features and its pixels, moved to where each frame has them.

Latents of one call are torn and soft where things move, the picture is whole. The decoder therefore estimates how the
picture moves (a flow, from coarse to fine) and how far to trust it (a mask), and draws the rest. A decoder that sees
the first frame is ToonCrafter's idea (2405.17933); flow, mask and residue are those of frame interpolation and of
FOMM (2003.00196); the coarsest flow is matched as GMFlow does (2111.13680), among neighbours. A flow found so may be
made to move things in one piece (decoding/rigid_flow.py).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfv.decoding.rigid_flow import locally_affine, texture
from sfv.types import Picture

Maps = Float[Tensor, "_ _ _ _"]
Flow = Float[Tensor, "_ 2 _ _"]
"""From where each position is taken: (x, y) offsets in positions of its own level."""
Mask = Float[Tensor, "_ 1 _ _"]
DOUBT = -1.0
"""Logit of a fresh mask: the picture is trusted a quarter."""
LOOK = 32
"""Channels from which a flow is corrected."""
REACH, HEAT, NEAR = 4, 0.02, 0.005
"""Positions around each that are searched for its match; the softmax's first temperature, and its price of distance,
in mean squared difference of latents (per squared position)."""
ENLARGED = 3
"""Times the picture is enlarged by cubic interpolation before it is moved: samples between its own pixels would blur
it. Odd, so that what does not move is copied as it is."""


class Guide(nn.Module):
    """Features of the picture at every level of a decoder, and the decoder's flow and mask heads.

    A fresh guide joins nothing, and its flow is the matched one: joins and corrections start at zero. Features are
    joined at the `joined` coarsest levels (all, if None): the finest frames get the picture's pixels anyway. With
    `window` (of the coarsest positions) the flow moves whole pieces of about that size; it then needs no finest level.
    """

    def __init__(self, widths: tuple[int, ...], joined: int | None = None, window: float = 0.0) -> None:
        super().__init__()
        self.levels, self.window = len(widths), window
        fine, coarse = widths[::-1], widths[:joined]
        found = widths[: self.found]
        self.entry = nn.Conv2d(12, fine[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(fine, fine[1:], strict=False))
        self.join = nn.ModuleList(nn.Conv2d(w, w, 1) for w in coarse)
        self.look = nn.ModuleList(nn.Conv2d(w + 2, LOOK, 3, padding=1) for w in found)
        self.flow = nn.ModuleList(nn.Conv2d(LOOK, 2, 3, padding=1) for w in found)
        self.mask = nn.Conv2d(widths[-1], 4, 3, padding=1)
        for conv in (*self.join, *self.flow, self.mask):
            nn.init.zeros_(conv.weight)  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.mask.bias, DOUBT)  # type: ignore[arg-type]
        self.heat = nn.Parameter(torch.tensor([HEAT]).log())
        self.near = nn.Parameter(torch.tensor([NEAR]).log())

    @property
    def found(self) -> int:
        """Levels at which the flow is corrected, from the coarsest."""
        return max(1, self.levels - 1) if self.window else self.levels

    @torch.no_grad()
    def set_trust_bias(self, more: float) -> None:
        """Trust the moved picture more (or less): add to the mask's logit."""
        self.mask.bias += more  # type: ignore[operator,assignment]

    def matched(self, z: Maps, b: int) -> Flow:
        """From where each latent position of a clip is taken in its first frame: the mean over near matches."""
        with torch.autocast(z.device.type, enabled=False):
            places = surroundings(z.float()).flatten(2).unflatten(0, (b, -1)).transpose(2, 3)
            away, at = neighbours(z.shape[2], z.shape[3], REACH, z.device)
            cost = distances(places, places[:, 0], at) + self.near.float().exp() * away.square().sum(1)
            share = (-cost / self.heat.float().exp()).softmax(3)
            return (share @ away).transpose(2, 3).reshape(len(z), 2, *z.shape[2:])

    def pyramid(self, picture: Picture) -> list[Maps]:
        """The picture's features from coarse to fine."""
        maps = [F.relu(self.entry(F.pixel_unshuffle(picture, 2)))]
        for conv in self.down:
            maps.append(F.relu(conv(maps[-1])))
        return maps[::-1]

    def joined(self, i: int, h: Maps, seen: Maps, flow: Flow) -> Maps:
        """A level's features and the picture's, moved; these are mixed before they are moved, which is the same."""
        if i >= len(self.join):
            return h
        return h + warped(each(self.join[i](seen).float(), len(h)), flow).to(h.dtype)

    def refined(self, i: int, h: Maps, flow: Flow) -> Flow:
        """The flow after level i: corrected by what is seen, and by itself (single matches may be wild)."""
        if i >= self.found:
            return flow
        seen = self.look[i](torch.cat([F.relu(h), flow.to(h.dtype)], 1))
        more: Tensor = self.flow[i](F.relu(seen)).float()
        return flow + more

    def whole(self, flow: Flow, picture: Picture) -> Flow:
        """The finished flow, in pixels."""
        if self.window:
            clips = flow.unflatten(0, (len(picture), -1))
            flow = (clips - clips[:, :1]).flatten(0, 1)  # the first frame is the picture
            here = each(texture(picture, *flow.shape[2:]), len(flow))
            flow = locally_affine(flow, here, self.window * 2 ** (self.found - 1))
        for _ in range(self.levels - self.found + 1):
            flow = finer(flow)
        return flow

    def composed(self, rgb: Maps, h: Maps, flow: Flow, picture: Picture) -> tuple[Maps, Maps, Mask, Flow]:
        """What was drawn and, as far as the mask trusts it, the moved picture; that picture; the mask; the flow."""
        whole = self.whole(flow, picture)
        there = moved(picture, whole)
        trust = F.pixel_shuffle(self.mask(F.relu(h)), 2).float().sigmoid()
        return rgb.float() + trust * (there - rgb.float()), there, trust, whole


class Guidance:
    """A guide at work on one batch: the picture, its features, and the flow so far."""

    def __init__(self, guide: Guide, picture: Picture, z: Maps, b: int) -> None:
        self.guide, self.picture = guide, picture
        self.seen, self.flow = guide.pyramid(picture.to(z.dtype)), guide.matched(z, b)

    def join(self, i: int, h: Maps) -> Maps:
        """Features on their way into level i, with the picture's."""
        self.flow = finer(self.flow) if 0 < i < self.guide.found else self.flow
        return self.guide.joined(i, h, self.seen[i], self.flow)

    def correct(self, i: int, h: Maps) -> None:
        """The flow, by what level i made."""
        self.flow = self.guide.refined(i, h, self.flow)

    def compose(self, rgb: Maps, h: Maps) -> tuple[Maps, Maps, Mask, Flow]:
        """Frames, and what they were made of."""
        return self.guide.composed(rgb, h, self.flow, self.picture)


def surroundings(maps: Maps) -> Maps:
    """Every position with the eight around it, on channels."""
    n, _, y, x = maps.shape
    return F.unfold(F.pad(maps, (1, 1, 1, 1), "replicate"), 3).view(n, -1, y, x)


def distances(
    mine: Float[Tensor, "b f p c"], theirs: Float[Tensor, "b p c"], at: Int[Tensor, "p k"]
) -> Float[Tensor, "b f p k"]:
    """Mean squared differences between each position of a frame and k positions of the first; a frame at a time."""
    there, where = theirs.transpose(1, 2), at.expand(len(mine), -1, -1)
    near = torch.stack([torch.bmm(frame, there).gather(2, where) for frame in mine.unbind(1)], 1)
    sums = mine.square().sum(3, keepdim=True) + theirs.square().sum(2)[:, at][:, None]
    return (sums - 2 * near) / mine.shape[3]


def neighbours(y: int, x: int, reach: int, device: torch.device) -> tuple[Float[Tensor, "k 2"], Int[Tensor, "p k"]]:
    """(x, y) offsets of all neighbours within `reach`, and where they are for each of y * x positions (the nearest
    position there is, beyond the border)."""
    steps = torch.arange(-reach, reach + 1, device=device)
    dy, dx = (d.flatten() for d in torch.meshgrid(steps, steps, indexing="ij"))
    rows = (torch.arange(y, device=device)[:, None] + dy).clamp(0, y - 1)
    columns = (torch.arange(x, device=device)[:, None] + dx).clamp(0, x - 1)
    return torch.stack([dx, dy], 1).float(), (rows[:, None] * x + columns).flatten(0, 1)


def each(maps: Maps, n: int) -> Maps:
    """Pictures' maps as their n frames', without a copy for one picture."""
    return maps.expand(n, -1, -1, -1) if len(maps) == 1 else maps.repeat_interleave(n // len(maps), 0)


def moved(maps: Maps, flow: Flow) -> Maps:
    """Pictures (or what belongs to them, of their size) as each of their frames has them."""
    sharp = F.interpolate(maps.float(), scale_factor=ENLARGED, mode="bicubic", align_corners=False)
    return warped(each(sharp, len(flow)), flow)


def finer(flow: Flow) -> Flow:
    """The same flow at twice the size."""
    return 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)


def warped(maps: Maps, flow: Flow) -> Maps:
    """Bilinear samples of `maps` at each position plus its flow; beyond the border the border goes on.

    Maps may be finer than the flow, whose positions then are cells of them.
    """
    n, _, y, x = flow.shape
    rows, columns = (torch.arange(s, device=flow.device, dtype=torch.float32) for s in (y, x))
    at = torch.stack([columns + flow[:, 0].float(), rows[:, None] + flow[:, 1].float()], -1)
    grid = (2 * at + 1) / torch.tensor([x, y], device=flow.device) - 1
    return F.grid_sample(maps.float(), grid, padding_mode="border", align_corners=False)
