"""Pictures of clips for people: contact sheets and labelled side-by-sides."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from sfv.media.pictures import AnyPicture, Uint8Picture
from sfv.system.files import replacing
from sfv.types import Frames

Strip = UInt8[Tensor, "f _ _ 3"]
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


def side_by_side(clips: list[tuple[str, Frames]], times: int = 2, gap: int = 8) -> Strip:
    """Captioned clips of one length and size in a row."""
    columns = []
    for text, clip in clips:
        big = enlarge(clip, times)
        caption = _caption(text, big.shape[2]).expand(len(big), -1, -1, -1)
        columns.append(torch.cat([big, caption], 1))
    space = torch.full((*columns[0].shape[:2], gap, 3), 255, dtype=torch.uint8)
    row = [part for column in columns for part in (space, column)] + [space]
    return torch.cat(row, 2)


def contact_sheet(rows: list[tuple[str, Frames]], every: int = 1, gap: int = 2) -> UInt8[Tensor, "_ _ 3"]:
    """One captioned strip per clip: rows are clips, columns are frames."""
    strips = []
    for text, clip in rows:
        frames = F.pad(clip[::every], (0, 0, gap, gap, gap, gap), value=255)
        strip = torch.cat(list(frames), 1)
        strips += [_caption(text, strip.shape[1]), strip]
    return torch.cat(strips)
