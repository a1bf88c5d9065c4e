"""A finished clip, and what one begins with."""

from dataclasses import dataclass, field

import torch
from jaxtyping import UInt8
from torch import Tensor

from sfv.decoding.dragging import Arrow
from sfv.decoding.eyes import Eye
from sfv.errors import SfvError
from sfv.generation.framing import Box
from sfv.media.edits import Mask
from sfv.media.pictures import Fitted, FittedSticker, Uint8Picture, Uint8Sticker
from sfv.settings import Settings
from sfv.types import Frames, Latents, Stickers


@dataclass
class Clip:
    """What came out, how, and how long each stage took."""

    frames: Frames
    latents: Latents
    picture: Uint8Picture
    settings: Settings
    calls: int
    seconds: dict[str, float] = field(default_factory=dict)
    sticker: Uint8Sticker | None = None
    """The fitted picture with its transparency, if that was asked for."""
    alpha: UInt8[Tensor, "f h w 1"] | None = None
    """How opaque every pixel is; `frames` are over white."""
    mask: Mask | None = None
    """What was kept still, fitted as the picture was."""
    source: tuple[int, int] | None = None
    """Height and width of the picture as it was given; an arrow is in shares of it."""

    def stickers(self) -> Stickers:
        """RGBA frames: white is taken out of the colours. SfvError for a clip made without `transparent`."""
        if self.alpha is None:
            raise SfvError("the clip has no transparency; make it with transparent=True")
        made = torch.cat([self.frames, self.alpha], -1)
        for frame, alpha in zip(made, self.alpha, strict=True):  # one at a time: whole clips as floats are large
            share = alpha.float() / 255
            frame[..., :3] = ((frame[..., :3] - 255 * (1 - share)) / share.clamp(min=1 / 255)).round_().clamp_(0, 255)
        return made

    @property
    def fps(self) -> float:
        """Frames per second to play at."""
        return float(self.settings.play_fps or self.settings.fps or 7)


@dataclass(frozen=True)
class Still:
    """The fitted picture, and, if transparency is wanted, the same with alpha; as the network sees it and as large as
    the clip will be."""

    small: Uint8Picture
    sticker: Uint8Sticker | None
    large: Fitted
    large_sticker: FittedSticker | None
    box: Box | None = None
    """Where in the large picture the clip is; None: it is all of it."""
    source: tuple[int, int] | None = None
    """Height and width of the picture before it was fitted."""

    @property
    def enlarged(self) -> bool:
        """Whether the clip is of another scale than the network's."""
        return self.large.shape != self.small.shape


@dataclass(frozen=True)
class Start:
    """What a clip begins with: settings in full, the fitted picture, its mask, an arrow on it, and eyes that blink."""

    want: Settings
    still: Still
    mask: Mask | None
    arrow: Arrow | None = None
    """What is dragged, in the network's frame."""
    eyes: tuple[Eye, Eye] | None = None
    """What blinks, in the picture as the network sees it."""
    motion: float = 0.0
    """The motion id that the network is given: what was asked for, by how much such pictures move."""
    softness: float = 0.0
    """How sure it is that the thing bends (generation/stiff.py)."""
    much: float = 1.0
    """How far a word that a program carries out goes; 1 at the model's usual motion."""

    @property
    def small(self) -> Uint8Picture:
        """The picture as the network sees it."""
        return self.still.small
