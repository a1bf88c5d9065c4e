"""VideoMAE (2203.12602) through transformers: a clip's mean token, for Frechet distances that look at time."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfv.errors import SfvError
from sfv.families.diffusers_needed import needs_diffusers
from sfv.types import Frames

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def open_videomae(folder: Path) -> Callable[[Frames], Float[Tensor, " n"]]:
    """From a transformers folder (config.json, model.safetensors)."""
    with needs_diffusers("VideoMAE"):
        from transformers import VideoMAEModel

    try:
        network = VideoMAEModel.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval()
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise SfvError(f"{folder} is not a VideoMAE folder in transformers layout ({reason})") from error
    frames, side = network.config.num_frames, network.config.image_size

    @torch.inference_mode()
    def row(clip: Frames) -> Tensor:
        return network(preprocess(clip, frames, side)).last_hidden_state[0].mean(0)

    return row


def preprocess(clip: Frames, frames: int, side: int) -> Float[Tensor, "1 _ 3 side side"]:
    """The nearest frames to `frames` even times, bilinear with antialiasing to side x side, ImageNet's mean and std."""
    at = torch.linspace(0, len(clip) - 1, frames).round().long()
    x = clip[at].permute(0, 3, 1, 2).float()
    x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True, align_corners=False) / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    return ((x - mean) / std)[None]
