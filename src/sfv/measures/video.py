"""Figures of frames: flicker, seams, drifts, warp error, motion. Pure functions."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfv.types import Frames

Fields = Float[Tensor, "_ h w 2"]


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio of uint8 tensors, dB; 99 for equal ones."""
    mse = (a.float() - b.float()).square().mean()
    return min(99.0, float(10 * torch.log10(255**2 / mse.clamp(min=1e-9))))


def flicker(frames: Frames) -> float:
    """Mean absolute second difference of the frames' mean luma: steady drift is none, alternation is."""
    luma = frames.float().mean((1, 2, 3))
    return float((luma[2:] - 2 * luma[1:-1] + luma[:-2]).abs().mean())


STEP_FLOOR = 1e-3
"""Levels from frame to frame below which a clip counts as moving this much."""


def seam(frames: Frames) -> float:
    """Step from the last frame to the first over the median step between neighbours (mean absolute differences).

    About 1 for a round that closes, more for one that jumps at its end; 0 for a still clip. At least two frames.
    """
    x = frames.float()
    steps = (x - x.roll(1, 0)).abs().mean((1, 2, 3))
    return float(steps[0] / steps[1:].median().clamp(min=STEP_FLOOR))


def distance_to(frames: Frames, picture: Tensor) -> Float[Tensor, " f"]:
    """Root mean square difference of each frame to a picture (h, w, 3 uint8), in levels of 255."""
    return (frames.float() - picture.float()).square().mean((1, 2, 3)).sqrt()


def sharpness_drift(frames: Frames, last: int = 4) -> float:
    """Variance of the Laplacian of luma, mean of the last frames over the first: 1 is kept, less is blurred."""
    luma = frames.float().mean(-1)[:, None]
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return _drift(F.conv2d(luma, kernel).var((1, 2, 3)), last)


def saturation_drift(frames: Frames, last: int = 4) -> float:
    """Mean of max - min over colours, mean of the last frames over the first: 1 is kept, less is greyed."""
    x = frames.float()
    return _drift((x.amax(-1) - x.amin(-1)).mean((1, 2)), last)


def _drift(figure: Tensor, last: int) -> float:
    return float(figure[-last:].mean() / figure[0].clamp(min=1e-6))


def warp_error(frames: Frames, fields: Fields) -> float:
    """Mean absolute difference, in levels, of each frame and the next one pulled back along the flow (h, w, xy).

    Only where the flow stays inside the picture. Motion that flow explains costs nothing; tearing does (Lai,
    1808.00449, without the occlusion mask).
    """
    x = frames.permute(0, 3, 1, 2).float()
    h, w = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    at = torch.stack([columns, rows], -1) + fields
    unit = at / torch.tensor([w - 1, h - 1]) * 2 - 1
    back = F.grid_sample(x[1:], unit, align_corners=True)
    inside = (unit.abs() <= 1).all(-1)[:, None]
    off = ((back - x[:-1]).abs() * inside).sum() / (3 * inside.sum().clamp(min=1))
    return float(off)


def top_share(values: Tensor, share: float = 0.05) -> Tensor:
    """Mean of the largest `share` of each map, (f, h, w) -> (f,)."""
    flat = values.flatten(1)
    return flat.topk(max(1, int(share * flat.shape[1])), dim=1).values.mean(1)


def moves(magnitudes: Float[Tensor, "f h w"]) -> bool:
    """VBench's dynamic degree of one clip (2311.17982, code): its flow's top 5 % exceed 6 px at a short side of 256
    in at least round(4 n / 16) of n frames."""
    short = min(magnitudes.shape[1:])
    count = len(magnitudes) + 1
    return int((top_share(magnitudes) > 6 * short / 256).sum()) >= round(4 * count / 16)
