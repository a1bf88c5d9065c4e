"""How a clip moves. The only importer of OpenCV."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sfv.errors import SfvError
from sfv.types import Frames


def flow_fields(frames: Frames) -> Float[Tensor, "_ h w 2"]:
    """Optical flow from each frame to the next, pixels (x, y) (DIS, 1603.03590, medium preset)."""
    return _fields(frames[:-1], frames[1:])


def flow_to(frames: Frames, picture: UInt8[Tensor, "h w 3"]) -> Float[Tensor, "f h w 2"]:
    """Optical flow from each frame to one picture: where its pixels are found there."""
    return _fields(frames, picture.expand(len(frames), -1, -1, -1))


def _fields(ones: Frames, others: Frames) -> Float[Tensor, "_ h w 2"]:
    try:
        import cv2  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise SfvError("optical flow needs OpenCV; install it with: pip install 'sfv[train]' or 'sfv[eval]'") from error
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = ([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in clip.numpy()] for clip in (ones, others))
    fields = [dis.calc(a, b, None) for a, b in zip(*grey, strict=True)]
    return torch.from_numpy(np.stack(fields))


def flow(frames: Frames) -> Float[Tensor, "_ h w"]:
    """Optical flow magnitude between neighbouring frames, pixels per frame."""
    return torch.linalg.norm(flow_fields(frames), dim=-1)
