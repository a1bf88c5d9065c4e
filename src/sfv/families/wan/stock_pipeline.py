"""diffusers' own pipeline over a model's weights, as its users call it: what our speed is measured against."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanImageToVideoPipeline, WanTransformer3DModel
from torch import nn

from sfv.families.svd.stock_networks import quiet
from sfv.families.wan.folder import VAE, check_layout, part, text_encoder_hash
from sfv.families.wan.network import opened
from sfv.families.wan.prompts import Prompts, padded
from sfv.media.pictures import Uint8Picture
from sfv.settings import Defaults
from sfv.system.timing import clocked
from sfv.types import Frames


class WanStockPipeline:
    """WanImageToVideoPipeline under the scheduler of the folder, with the empty prompt embedded before."""

    def __init__(self, pipe: Any, words: torch.Tensor, device: torch.device) -> None:
        self.pipe, self.unet, self.device = pipe, pipe.transformer, device
        self.words = padded(words[None].float()).to(device)
        self.pipe.set_progress_bar_config(disable=True)

    def animate(self, picture: Uint8Picture, defaults: Defaults, seed: int) -> tuple[Frames, int, dict[str, float]]:
        """Frames, network calls (a guided step is two) and seconds by stage; there is no picture encoder."""
        vae = self.pipe.vae
        parts = {"unet": self.unet, "picture": nn.Identity(), "encode": vae.encoder, "decode": vae.decoder}
        with clocked(parts, self.device) as spent:
            made = self.pipe(
                self.pipe.video_processor.numpy_to_pil(picture.numpy() / 255)[0],
                height=defaults.height,
                width=defaults.width,
                num_frames=defaults.frames,
                num_inference_steps=defaults.steps,
                guidance_scale=defaults.guidance,
                prompt_embeds=self.words,
                negative_prompt_embeds=self.words,
                generator=torch.Generator().manual_seed(seed),
                output_type="np",
            ).frames[0]
        frames = torch.from_numpy((made * 255).round().astype("uint8"))
        return frames, defaults.steps * (2 if defaults.guidance > 1 else 1), spent


def open_stock(folder: Path, unet: str, device: torch.device, dtype: torch.dtype | None = None) -> WanStockPipeline:
    """Float32 on a CPU, float16 elsewhere, as our own models are loaded, unless a `dtype` is given: the transformer's
    then, beside a codec in float32, as its makers call it."""
    check_layout(folder)
    usual = torch.float32 if device.type == "cpu" else torch.float16
    with quiet():
        networks = {
            "transformer": opened(WanTransformer3DModel, folder / part(unet), dtype or usual),
            "vae": opened(AutoencoderKLWan, folder / VAE, torch.float32 if dtype else usual),
        }
        stock = WanImageToVideoPipeline.from_pretrained(folder, **networks, text_encoder=None, tokenizer=None)
    return WanStockPipeline(stock.to(device), Prompts(folder, text_encoder_hash(folder))(""), device)
