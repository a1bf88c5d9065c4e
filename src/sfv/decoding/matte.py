"""How much of every pixel of a made clip is the sticker: frames over white and the picture's own alpha -> alpha.

A small network of ours; it stands beside the model, in the sub-folder `matte`. With it a sticker stays a sticker: clips
may be written with transparency.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sfv.decoding.decoder import Block
from sfv.decoding.folder import load_side_part, save_side_part
from sfv.types import Alpha, Picture, Pixels

PictureAlpha = Float[Tensor, "b 1 h w"]


class MatteConfig(BaseModel):
    """Sizes; the coarsest level has 1 / 2 ** len(widths) of the picture's sides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = Field(default=(24, 48, 64), min_length=1, max_length=5)
    """From half the picture down."""


class Matte(nn.Module):
    """A U-Net of residual blocks, each with a convolution over time. Alpha as logits, so that its ends are reached."""

    def __init__(self, config: MatteConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.entry = nn.Conv2d(4 * (3 + 3 + 1), widths[0], 3, padding=1)
        self.encode = nn.ModuleList(Block(w) for w in widths)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, 2) for a, b in zip(widths, widths[1:], strict=False))
        self.decode = nn.ModuleList(Block(w) for w in widths[:-1])
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(widths, widths[1:], strict=False))
        self.exit = nn.Conv2d(widths[0], 4, 3, padding=1)

    def forward(self, frames: Pixels, picture: Picture, alpha: PictureAlpha) -> Alpha:
        """Frames and the picture, both over white, in [-1, 1]; alphas in [0, 1]."""
        return self.logits(frames, picture, alpha).sigmoid()

    def logits(self, frames: Pixels, picture: Picture, alpha: PictureAlpha) -> Alpha:
        """Before the sigmoid."""
        b, f, _, height, width = frames.shape
        known = torch.cat([picture, 2 * alpha - 1], 1)[:, None].expand(-1, f, -1, -1, -1)
        seen = torch.cat([frames, known], 2).flatten(0, 1).to(self.entry.weight.dtype)
        unit = 2 ** len(self.config.widths)
        seen = F.pad(seen, (0, -width % unit, 0, -height % unit), "replicate")
        h = self.entry(F.pixel_unshuffle(seen, 2).contiguous(memory_format=torch.channels_last))
        passed = []
        for i, block in enumerate(self.encode):
            h = block(h if i == 0 else self.down[i - 1](h), b)
            passed.append(h)
        for i in reversed(range(len(self.decode))):
            h = self.decode[i](passed[i] + F.interpolate(self.up[i](h), scale_factor=2), b)
        alpha = F.pixel_shuffle(self.exit(F.relu(h)), 2)[..., :height, :width]
        return alpha.float().unflatten(0, (b, f))


def save_matte(matte: Matte, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write config.json and one safetensors file; `dtype` casts what is stored."""
    save_side_part(matte, matte.config, folder, dtype)


def load_matte(folder: Path, dtype: torch.dtype) -> Matte:
    """Open a matte strictly."""
    return load_side_part(folder, dtype, MatteConfig, Matte, "matte")
