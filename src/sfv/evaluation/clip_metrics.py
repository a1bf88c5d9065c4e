"""Figures of one clip alone: motion, consistency, distance to its picture; and those facts over many clips."""

import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from sfv.evaluation.features.lpips import lpips
from sfv.evaluation.features.weights import Weights
from sfv.measures.video import (
    distance_to,
    flicker,
    moves,
    psnr,
    saturation_drift,
    seam,
    sharpness_drift,
    top_share,
    warp_error,
)
from sfv.media import flow_fields
from sfv.types import Frames


@dataclass(frozen=True)
class Facts:
    """Of one clip, measured against its real one, whose first frame is the condition picture."""

    flow: float
    """Mean optical flow, pixels per frame."""
    flow_top: float
    """Mean of the fastest 5 % of each frame's pixels."""
    moves: bool
    """VBench's dynamic degree, by DIS flow in place of RAFT, at the clip's own rate (it is about 8 fps or thinned)."""
    warp: float
    """What flow does not explain from frame to frame, levels."""
    flicker: float
    seam: float
    """Step from the last frame to the first over the clip's usual step: about 1 where a round closes."""
    sharpness: float
    """Last four frames over the first."""
    saturation: float
    """Last four frames over the first."""
    from_picture: list[float]
    """Root mean square difference of every frame to the condition picture, levels."""
    first_psnr: float
    """dB of the first frame to the condition picture."""
    real_psnr: float
    """dB of the whole clip to the real one: what a codec is judged by; of a generated clip it says little."""
    lpips_first: float | None
    """LPIPS of the first frame to the condition picture."""
    lpips_real: float | None
    """LPIPS to the real clip, mean over frames: what happens need not be what happened, so no target."""


VBENCH_FPS = 8
MOTION_FLOOR = 1e-3
"""Pixels per frame below which a reference clip counts as this still in ratios."""


@torch.inference_mode()
def facts(clip: Frames, real: Frames, fps: float, w: Weights | None) -> Facts:
    """Everything that needs one clip alone."""
    fields = flow_fields(clip)
    speed = torch.linalg.norm(fields, dim=-1)
    return Facts(
        flow=float(speed.mean()),
        flow_top=float(top_share(speed).mean()),
        moves=_moves(clip, speed, fps),
        warp=warp_error(clip, fields),
        flicker=flicker(clip),
        seam=seam(clip),
        sharpness=sharpness_drift(clip),
        saturation=saturation_drift(clip),
        from_picture=distance_to(clip, real[0]).tolist(),
        first_psnr=psnr(clip[0], real[0]),
        real_psnr=psnr(clip, real),
        lpips_first=None if w is None else float(lpips(clip[:1], real[:1], w)[0]),
        lpips_real=None if w is None else float(lpips(clip, real, w).mean()),
    )


def _moves(clip: Frames, speed: Tensor, fps: float) -> bool:
    """VBench thins videos to about 8 frames a second."""
    every = max(1, round(fps / VBENCH_FPS))
    return moves(speed if every == 1 else torch.linalg.norm(flow_fields(clip[::every]), dim=-1))


def ratio(mine: list[Facts], other: list[Facts]) -> float:
    """Median over clips of my flow over the other's; where one has several takes of each clip, over those."""
    takes = max(len(mine), len(other))
    a, b = (some * (takes // len(some)) for some in (mine, other))
    return statistics.median(x.flow / max(y.flow, MOTION_FLOOR) for x, y in zip(a, b, strict=True))


def summary(all_: list[Facts]) -> dict[str, float | list[float] | None]:
    """Means over clips; ratios as medians, since one dark first frame would carry a mean away."""
    frames = list(zip(*(f.from_picture for f in all_), strict=True))
    seen = [(f.lpips_first, f.lpips_real) for f in all_ if f.lpips_first is not None and f.lpips_real is not None]
    return {
        "flow": statistics.fmean(f.flow for f in all_),
        "flow_top": statistics.fmean(f.flow_top for f in all_),
        "dynamic_degree": statistics.fmean(f.moves for f in all_),
        "warp_error": statistics.fmean(f.warp for f in all_),
        "flicker": statistics.fmean(f.flicker for f in all_),
        "seam": statistics.median(f.seam for f in all_),
        "seam_top": float(torch.tensor([f.seam for f in all_]).quantile(0.95)),
        "sharpness": statistics.median(f.sharpness for f in all_),
        "saturation": statistics.median(f.saturation for f in all_),
        "from_picture": [statistics.fmean(v) for v in frames],
        "first_frame_psnr": statistics.median(f.first_psnr for f in all_),
        "psnr_to_real": statistics.fmean(f.real_psnr for f in all_),
        "first_frame_lpips": statistics.fmean(s[0] for s in seen) if seen else None,
        "lpips_to_real": statistics.fmean(s[1] for s in seen) if seen else None,
    }
