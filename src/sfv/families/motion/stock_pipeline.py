"""What our speed is measured against for models of whole loops: diffusers' UNet class and scheduler in plain PyTorch.

The same weights, in the order that diffusers' StableVideoDiffusionPipeline works: guided pairs in one batch, float32 on
a CPU unless another precision is asked for. Nothing of ours but the codec's and the tower's networks as they were
trained.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
from torch import Tensor

from sfv.families.motion.folder import load
from sfv.families.motion.networks import MotionCodec, MotionConditioner
from sfv.families.svd.folder import SCHEDULER
from sfv.families.svd.stock_networks import quiet
from sfv.families.svd.stock_pipeline import StockPipeline
from sfv.media.pictures import Uint8Picture
from sfv.media.pixels import as_layers, laid_over
from sfv.settings import Defaults
from sfv.system.timing import clocked
from sfv.types import Frames


class MotionStock(StockPipeline):
    """The peer of a model of whole loops.

    `computes` is what UNet and decoder compute in beside float32, as ours do under the profile "fast"; None: all in
    float32 on a CPU, in float16 elsewhere.
    """

    def __init__(self, folder: Path, unet: str, device: torch.device, computes: torch.dtype | None = None) -> None:
        dtype = torch.float32 if computes or device.type == "cpu" else torch.float16
        with quiet():
            network = UNetSpatioTemporalConditionModel.from_pretrained(folder / unet)
            self.unet: Any = network.to(device, computes or dtype).eval()
        model = load(folder, unet, dtype, str(folder)).to(device)
        assert isinstance(model.codec, MotionCodec) and isinstance(model.conditioner, MotionConditioner)
        model.codec.networks.decoder.to(computes or dtype)
        self.codec, self.conditioner, self.device, self.dtype = model.codec, model.conditioner, device, dtype
        sigmas = {"sigma_min": model.sigma_min, "sigma_max": model.sigma_max}
        self.scheduler: Any = EulerDiscreteScheduler.from_config(SCHEDULER | sigmas)

    @torch.no_grad()
    def animate(self, picture: Uint8Picture, defaults: Defaults, seed: int) -> tuple[Frames, int, dict[str, float]]:
        """Frames, network calls (a guided pair counts as two) and seconds by stage."""
        parts = {"unet": self.unet, "picture": self.conditioner.tower, "decode": self.codec.networks.decoder}
        first, guided = as_layers(picture, self.device).to(self.dtype), defaults.guidance > 1
        with clocked(parts, self.device) as spent:
            cond = self.conditioner(first, fps=defaults.fps, motion=defaults.motion)
            shape = self.codec.latent_shape(defaults.frames, defaults.height, defaults.width)
            noise = torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed)).to(self.device, self.dtype)
            latents = self._denoised(noise, cond, defaults, guided)
            latents[:, 0] = 0
            frames = laid_over(self.codec.networks.draw(latents, first).frames)
        return frames, defaults.steps * (2 if guided else 1), spent | {"encode": 0.0}  # no picture latents here

    def _denoised(self, noise: Tensor, cond: dict[str, Tensor], defaults: Defaults, guided: bool) -> Tensor:
        """The pipeline's loop; a round has no later frames, so guidance is the same for all."""
        self.scheduler.set_timesteps(defaults.steps, device=self.device)
        x = noise * self.scheduler.init_noise_sigma
        quick = self.unet.dtype
        token, map_, ids = (cond[k].to(quick) for k in ("image_embeds", "image_latents", "added_time_ids"))
        beside = map_[:, None].expand(-1, defaults.frames, -1, -1, -1)
        if guided:
            token, beside = (torch.cat([torch.zeros_like(v), v]) for v in (token, beside))
            ids = torch.cat([ids, ids])
        for t in self.scheduler.timesteps:
            both = self.scheduler.scale_model_input(torch.cat([x, x]) if guided else x, t)
            out = self.unet(torch.cat([both.to(quick), beside], 2), t, token, ids, return_dict=False)[0].to(x.dtype)
            if guided:
                without, with_ = out.chunk(2)
                out = without + defaults.guidance * (with_ - without)
            x = self.scheduler.step(out, t, x).prev_sample
        return x


def open_stock(folder: Path, unet: str, device: torch.device, dtype: torch.dtype | None = None) -> MotionStock:
    """Float32 on a CPU, float16 elsewhere, as our own models are loaded, unless a `dtype` is given."""
    return MotionStock(folder, unet, device, dtype)
