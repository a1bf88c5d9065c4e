"""Pictures of clips for people: contact sheets and labelled side-by-sides."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from sfv.media.pictures import AnyPicture, Uint8Picture, scaled
from sfv.system.files import replacing
from sfv.types import Frames

Strip = UInt8[Tensor, "f _ _ 3"]
Film = UInt8[Tensor, "_ _ _ 3"]
"""A clip among others of other lengths and sizes."""
CAPTION = 22
INK, PAPER = (34, 34, 38), (255, 255, 255)


def write_picture(picture: AnyPicture, path: Path, note: str = "") -> None:
    """Save as the path's ending says; `note` is kept inside a png."""
    kept: dict[str, Any] = {}
    if note and path.suffix.lower() == ".png":
        kept["pnginfo"] = PngImagePlugin.PngInfo()
        kept["pnginfo"].add_itxt("sfv", note)
    with replacing(path) as beside:
        Image.fromarray(picture.numpy()).save(beside, **kept)


def _caption(text: str, width: int) -> Uint8Picture:
    strip = Image.new("RGB", (width, CAPTION), PAPER)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(13)
    left = max(4, (width - int(draw.textlength(text, font=font))) // 2)
    draw.text((left, 3), text, INK, font=font)
    return torch.from_numpy(np.array(strip))


def lettering(
    text: str, size: int, ink: tuple[int, int, int], card: tuple[int, int, int] | None = None
) -> UInt8[Tensor, "_ _ 4"]:
    """Words across the middle of a clear square of `size` pixels, or on a card with round corners."""
    image = Image.new("RGBA", (size, size), (*(card or ink), 0))
    draw = ImageDraw.Draw(image)
    if card is not None:
        draw.rounded_rectangle((size // 12, size // 6, size - size // 12, size - size // 6), size // 8, (*card, 255))
    font = ImageFont.load_default(0.5 * size)
    scale = min(1.0, 0.75 * size / max(1.0, draw.textlength(text, font=font)))
    draw.text((size / 2, size / 2), text, (*ink, 255), font=ImageFont.load_default(0.5 * size * scale), anchor="mm")
    return torch.from_numpy(np.array(image))


def enlarge(frames: Frames, times: int) -> Strip:
    """Bicubic, whole factor."""
    if times == 1:
        return frames
    x = frames.permute(0, 3, 1, 2).float()
    x = F.interpolate(x, scale_factor=times, mode="bicubic", align_corners=False)
    return x.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def in_step(clips: list[Film], rates: list[float], most: int) -> tuple[list[Film], float]:
    """Clips of any lengths, rates and sizes -> the same of one length and height, and the rate that all play at.

    That is the fastest one's; a clip that ends before the longest stays on its last frame. `most` frames, then all end.
    """
    rate, tall = max(rates), max(clip.shape[1] for clip in clips)
    seconds = max(len(clip) / own for clip, own in zip(clips, rates, strict=True))
    at = torch.arange(min(most, round(seconds * rate)))
    made = []
    for clip, own in zip(clips, rates, strict=True):
        shown = (at * (own / rate) + 1e-4).long().clamp(max=len(clip) - 1)
        made.append(_of_height(clip, tall)[shown])
    return made, rate


def _of_height(clip: Film, height: int) -> Film:
    """Scaled to it in its own shape."""
    if clip.shape[1] == height:
        return clip
    size = height, max(1, round(clip.shape[2] * height / clip.shape[1]))
    return torch.stack([scaled(frame, size) for frame in clip])


def side_by_side(clips: list[tuple[str, Film]], times: int = 2, gap: int = 8) -> Strip:
    """Captioned clips of one length and height in a row."""
    columns = []
    for text, clip in clips:
        big = enlarge(clip, times)
        caption = _caption(text, big.shape[2]).expand(len(big), -1, -1, -1)
        columns.append(torch.cat([big, caption], 1))
    space = torch.full((*columns[0].shape[:2], gap, 3), 255, dtype=torch.uint8)
    row = [part for column in columns for part in (space, column)] + [space]
    return torch.cat(row, 2)


def contact_sheet(rows: list[tuple[str, Film]], every: int = 1, gap: int = 2) -> UInt8[Tensor, "_ _ 3"]:
    """One captioned strip per clip: rows are clips, columns are frames; what is narrower ends in white."""
    strips = []
    for text, clip in rows:
        frames = F.pad(clip[::every], (0, 0, gap, gap, gap, gap), value=255)
        strip = torch.cat(list(frames), 1)
        strips += [_caption(text, strip.shape[1]), strip]
    wide = max(strip.shape[1] for strip in strips)
    return torch.cat([F.pad(strip, (0, 0, 0, wide - strip.shape[1]), value=255) for strip in strips])
