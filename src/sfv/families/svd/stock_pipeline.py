"""diffusers' own pipeline over a model's weights, as its users call it: what our speed is measured against."""

from pathlib import Path
from typing import Any

import torch
from diffusers import StableVideoDiffusionPipeline, UNetSpatioTemporalConditionModel

from sfv.families.svd.stock_networks import quiet
from sfv.media.pictures import Uint8Picture
from sfv.settings import Defaults
from sfv.system.timing import clocked
from sfv.types import Frames


class StockPipeline:
    """StableVideoDiffusionPipeline with nothing of ours in it."""

    def __init__(self, pipe: Any, device: torch.device) -> None:
        self.pipe, self.unet = pipe, pipe.unet
        self.pipe.set_progress_bar_config(disable=True)
        self.device = device

    def animate(self, picture: Uint8Picture, defaults: Defaults, seed: int) -> tuple[Frames, int, dict[str, float]]:
        """Frames, network calls (a guided pair, batched by the pipeline, counts as two) and seconds by stage."""
        parts = {"unet": self.pipe.unet, "picture": self.pipe.image_encoder}
        parts |= {"encode": self.pipe.vae.encoder, "decode": self.pipe.vae.decoder}
        with clocked(parts, self.device) as spent:
            generated = self.pipe(
                self.pipe.video_processor.numpy_to_pil(picture.numpy() / 255)[0],
                height=defaults.height,
                width=defaults.width,
                num_frames=defaults.frames,
                num_inference_steps=defaults.steps,
                max_guidance_scale=defaults.guidance,
                fps=round(defaults.fps),
                motion_bucket_id=round(defaults.motion),
                noise_aug_strength=defaults.noise_aug,
                decode_chunk_size=defaults.frames,
                generator=torch.Generator().manual_seed(seed),
                output_type="np",
            ).frames[0]
        frames = torch.from_numpy((generated * 255).round().astype("uint8"))
        return frames, defaults.steps * (2 if defaults.guidance > 1 else 1), spent


def open_stock(folder: Path, unet: str, device: torch.device, dtype: torch.dtype | None = None) -> StockPipeline:
    """Float32 on a CPU, float16 elsewhere, as our own models are loaded, unless a `dtype` is given for all of it."""
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.float16)
    with quiet():
        network = UNetSpatioTemporalConditionModel.from_pretrained(folder / unet)
        stock = StableVideoDiffusionPipeline.from_pretrained(folder, unet=network).to(device, dtype)
    return StockPipeline(stock, device)
