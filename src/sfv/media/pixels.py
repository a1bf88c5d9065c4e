"""uint8 pictures and frames <-> what networks compute with: RGB, or RGBA multiplied with alpha, in [-1, 1]."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sfv.media.pictures import AnyPicture, Uint8Picture
from sfv.types import Frames, Picture, RgbaPicture

Opacity = UInt8[Tensor, "f height width 1"]
"""How opaque every pixel of a clip is."""


def as_pixels(picture: Uint8Picture, device: torch.device | str = "cpu") -> Picture:
    """(h, w, 3) uint8 -> (1, 3, h, w) in [-1, 1]."""
    return (picture.permute(2, 0, 1)[None].float() / 127.5 - 1).to(device)


def as_layers(picture: AnyPicture, device: torch.device | str = "cpu") -> RgbaPicture:
    """RGB (opaque) or RGBA (h, w, 4), uint8 -> (1, 4, h, w): colours multiplied with alpha, in [-1, 1]."""
    shares = picture.permute(2, 0, 1)[None].float() / 255
    alpha = shares[:, 3:] if shares.shape[1] == 4 else torch.ones_like(shares[:, :1])
    return (torch.cat([shares[:, :3] * alpha, alpha], 1) * 2 - 1).to(device)


def to_frames(pixels: Tensor) -> Frames:
    """(1, f, 3, h, w) in [-1, 1] -> uint8 on the CPU."""
    return _on_cpu(pixels)


def _on_cpu(pixels: Tensor) -> Tensor:
    """(1, f, c, h, w) -> uint8 (f, h, w, c); rounding happens before the one copy."""
    levels = (pixels[0].float() * 127.5).add_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    levels = levels.permute(0, 2, 3, 1).contiguous()
    if not levels.is_cuda:
        return levels.cpu()
    host = torch.empty(levels.shape, dtype=levels.dtype, pin_memory=True)  # several times quicker to copy to
    return host.copy_(levels)


def laid_over(layers: Float[Tensor, "1 f 4 h w"], colour: tuple[int, ...] = (255, 255, 255)) -> Frames:
    """Frames with transparency over one colour (levels), as uint8 RGB."""
    ground = torch.tensor(colour[:3], device=layers.device).view(3, 1, 1) / 255
    return to_frames(torch.addcmul(layers[:, :, :3], 1 - layers[:, :, 3:].clamp(-1, 1), ground))


def opacity(layers: Float[Tensor, "1 f 4 h w"]) -> Opacity:
    """Their alpha."""
    return _on_cpu(layers[:, :, 3:])


def shown(pixels: Tensor) -> Frames:
    """(1, f, 3 or 4, h, w) as a contact sheet shows it: transparency over white."""
    return laid_over(pixels) if pixels.shape[2] == 4 else to_frames(pixels)
