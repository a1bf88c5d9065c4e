"""What is done to a finished clip: a region that keeps still, and the way there and back. Pure functions of tensors."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from sfv.errors import SfvError
from sfv.media.pictures import fit, stretch

Mask = UInt8[Tensor, "h w"]
"""255 keeps still, 0 moves."""
Weights = Float[Tensor, "h w"]
SOFT = 32
"""A soft edge is this part of the shorter side wide, on either side of its middle."""
COLOURFUL = 16
"""Levels between a pixel's channels, on the mean, from which a picture is no mask."""
ASPECT = 0.02
"""Relative difference of aspect up to which a mask is scaled to its picture."""


def fit_mask(mask: UInt8[Tensor, "mh mw 3"], source: tuple[int, int], size: tuple[int, int], mode: str) -> Mask:
    """A mask (white keeps still) laid over a picture of `source` (height, width) and fitted with it to `size`: by "pad"
    or "crop", or "own", where `size` is the picture's shape but for rounding.

    Grey counts as white from its middle on. SfvError for a mask of another shape than the picture's, or of colours.
    """
    height, width = source
    if not _alike((mask.shape[0], mask.shape[1]), source):
        sizes = f"{mask.shape[1]}x{mask.shape[0]}, the picture {width}x{height}"
        raise SfvError(f"the mask is {sizes}; paint it over the picture itself, so that both have one shape")
    if float((mask.amax(2).float() - mask.amin(2)).mean()) > COLOURFUL:
        raise SfvError("the mask is a colour picture: paint it in white and black alone")
    over = mask if mode == "own" else stretch(mask, height, width)
    grey = (stretch(over, *size) if mode == "own" else fit(over, *size, mode, "black")).float().mean(2)
    return torch.where(grey >= 127.5, 255, 0).to(torch.uint8)


def _alike(mask: tuple[int, int], picture: tuple[int, int]) -> bool:
    """Whether they have one shape, but for a little, and for a pixel of the smaller one's sides."""
    (height, width), (tall, wide) = mask, picture
    if abs(width * tall / (height * wide) - 1) <= ASPECT:
        return True
    times = max(mask) / max(picture)
    scale = min(times, 1.0)  # of whole pixels of the smaller one
    return all(abs(mine / times - yours) * scale <= 1 for mine, yours in ((height, tall), (width, wide)))


def soft_edge(mask: Mask) -> Weights:
    """1 wherever the mask keeps still, falling to 0 outside over 1/16 of the shorter side.

    The edge lies outside what was painted, so that a thin stroke holds as firmly as a wide one.
    """
    reach = max(1, min(mask.shape) // SOFT)
    held = (mask > 0).float()[None, None]
    wide = F.max_pool2d(held, 2 * reach + 1, 1, reach)
    kernel = torch.hann_window(2 * reach + 3, periodic=False)[1:-1]
    rows, columns = (kernel / kernel.sum()).view(1, 1, -1, 1), (kernel / kernel.sum()).view(1, 1, 1, -1)
    padded = F.pad(wide, (reach,) * 4, mode="replicate")
    soft = F.conv2d(F.conv2d(padded, rows), columns)[0, 0]
    return torch.where(held[0, 0] > 0, 1.0, soft.clamp(0, 1))


def keep_still(frames: UInt8[Tensor, "f h w c"], still: UInt8[Tensor, "h w c"], weights: Weights) -> Tensor:
    """Each frame with the still picture laid over it as far as the weights say, uint8 (f, h, w, c)."""
    share = weights[..., None]
    mixed = share * still.float() + (1 - share) * frames.float()
    return mixed.round().to(torch.uint8)


def there_and_back(frames: Tensor) -> Tensor:
    """f frames and, backwards, the f - 2 between the ends: a loop without a jump, (2f - 2, ...)."""
    return torch.cat([frames, frames[1:-1].flip(0)])
