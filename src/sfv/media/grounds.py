"""What lies round a thing in a picture: nothing (clear), a plain or shading ground, or a scene that fills the frame.

And a thing on a plain ground, cut free of it.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfv.types import AnyFirst, RgbaPicture

RIM = 2
"""Pixels of the border that are looked at."""
ALIKE = 24.5 / 255
"""Levels within which a border is of one colour, of 1."""
PLAIN = 0.6
"""Share of the border that must be alike for the picture to lie on a ground."""
STEP, SMOOTH = 5.5 / 255, 0.9
"""Levels, of 1, between neighbours along the border, and the share that must be below, for a ground that shades."""
NEAR = 5.5 / 255
"""Levels within which a pixel is ground, of 1: lossy files spread it a little."""
FLAT = 0.95
"""Share of a ground's border that must be as near to its colour, for the colour to go on for it beyond the border."""
WHOLE = 0.5
"""How far from the ground, of 1, a pixel at the outline is wholly the thing's."""


def fills_frame(first: AnyFirst) -> bool:
    """Whether a picture (1, 3 or 4, h, w in [-1, 1]) goes on to its border, instead of lying on a ground or in the
    clear: such a one is moved with its border outside the frame."""
    return not is_clear(first) and not _plain(first) and not _smooth(first)


def ground_shades(first: AnyFirst) -> bool:
    """Whether a picture lies on a ground of changing colour, such as a gradient: moved at its border it would show."""
    return not is_clear(first) and not _plain(first) and _smooth(first)


def is_clear(first: AnyFirst) -> bool:
    """Whether a picture is clear somewhere."""
    return first.shape[1] == 4 and float((first[:, 3:] > 0).float().mean()) < 1


def _plain(first: AnyFirst) -> bool:
    """Whether most of the border is of one colour."""
    colours = rim(first)
    far = (colours - colours.median(1, keepdim=True).values).abs().amax(0)
    return float((far < ALIKE).float().mean()) >= PLAIN


def rim(first: AnyFirst) -> Float[Tensor, "3 pixels"]:
    """The colours of the border, half as far apart as in [-1, 1]."""
    return torch.cat([part[0, :3].flatten(1) for part in _rims(first)], 1).float() / 2


def _smooth(first: AnyFirst) -> bool:
    """Whether the border has no texture: neighbours along it are alike."""
    steps = torch.cat([part[0, :3].float().diff(dim=2).abs().amax(0).flatten() / 2 for part in _rims(first)])
    return float((steps < STEP).float().mean()) >= SMOOTH


def _rims(first: AnyFirst) -> tuple[Tensor, ...]:
    """The four sides, along their length."""
    return first[..., :RIM, :], first[..., -RIM:, :], first[..., :RIM].mT, first[..., -RIM:].mT


def beyond(first: AnyFirst) -> Float[Tensor, " c"] | None:
    """What lies beyond the border of a picture that is moved, in [-1, 1]: nothing around one with transparency, and its
    ground around a thing that touches the border of a flat one. None: the border goes on outward."""
    if first.shape[1] == 4 and float(first[:, 3].min()) < 1:
        return -torch.ones_like(first[0, :, 0, 0])
    colours = rim(first)
    ground = colours.median(1).values
    far = (colours - ground[:, None]).abs().amax(0)
    near = far <= ALIKE
    if not _plain(first) or bool(near.all()) or float((far[near] <= NEAR).float().mean()) < FLAT:
        return None
    return torch.cat([2 * ground, ground.new_ones(first.shape[1] - 3)])


def cut_free(pictures: RgbaPicture) -> RgbaPicture:
    """(b, 4, h, w) in [-1, 1], colours multiplied with alpha -> the same, clear where an opaque picture's plain ground
    was. Pictures with transparency, and such as fill their frame, are left as they are.

    Clear is what is open to one of the four sides, straight across ground; what is shut in, as the white face of a
    clock over white, stays. No shape depends on the picture, so that it exports.
    """
    shares = (pictures.float() + 1) / 2
    colours, alpha = shares[:, :3], shares[:, 3:]
    border = torch.cat([part.flatten(2) for part in _rims(colours)], 2)
    ground = border.sort(2).values[..., (border.shape[2] - 1) // 2, None]  # the median, which has no ONNX operator
    alike = ((border - ground).abs().amax(1) < ALIKE).float().mean(1)
    lies = (alike >= PLAIN) & (alpha.amin((1, 2, 3)) >= 1)
    far = (colours - ground[..., None]).abs().amax(1, keepdim=True)
    clear = _open((far > NEAR).float())
    outline = (F.max_pool2d(clear, 3, 1, 1) > 0) & (clear == 0)
    share = torch.where(outline, (far / WHOLE).clamp(max=1), 1 - clear)
    own = (colours - (1 - share) * ground[..., None]).clamp(min=0)
    freed = torch.cat([torch.minimum(own, share), share], 1) * 2 - 1
    return torch.where(lies[:, None, None, None], freed.to(pictures.dtype), pictures)


def over_white(pictures: RgbaPicture) -> RgbaPicture:
    """(b, 4, h, w) in [-1, 1], colours multiplied with alpha -> the same, opaque, laid over white."""
    colours, alpha = pictures[:, :3], pictures[:, 3:]
    return torch.cat([colours + 1 - alpha, torch.ones_like(alpha)], 1)


def _open(walls: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """1 where no wall stands between a pixel and one of the four sides."""
    ways = [walls.cumsum(2), walls.cumsum(3), walls.flip(2).cumsum(2).flip(2), walls.flip(3).cumsum(3).flip(3)]
    return (torch.stack(ways).amin(0) < 0.5).float()
