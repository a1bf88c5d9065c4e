"""A tiny Wan2.2 TI2V of diffusers' and transformers' real classes with random weights, written as they write it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import wiggle_network
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanImageToVideoPipeline, WanTransformer3DModel
from diffusers.pipelines.wan import pipeline_wan_i2v
from PIL import Image
from transformers import T5TokenizerFast, UMT5Config, UMT5EncoderModel

from sfv.edm.sampling import euler, flow_sigmas
from sfv.families.base import VideoModel
from sfv.families.svd.stock_networks import quiet
from sfv.settings import Defaults

CHANNELS, SHIFT = 8, 5.0
DEFAULTS = Defaults(frames=5, height=64, width=64, fps=24, noise_aug=0, guidance=1)


def transformer() -> WanTransformer3DModel:
    return WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=32,
        freq_dim=16,
        ffn_dim=48,
        num_layers=4,
        rope_max_seq_len=32,
    )


def vae() -> AutoencoderKLWan:
    """Wan2.2's layout: residual shortcuts, patches of two pixels, 4 x 16 x 16."""
    return AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=CHANNELS,
        dim_mult=[1, 2, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1 * i - 0.3 for i in range(CHANNELS)],
        latents_std=[0.5 + 0.1 * i for i in range(CHANNELS)],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=4,
        scale_factor_spatial=16,
    )


def text_encoder() -> UMT5EncoderModel:
    config = UMT5Config(
        vocab_size=64,
        d_model=32,
        d_kv=8,
        d_ff=37,
        num_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        feed_forward_proj="gated-gelu",
    )
    return UMT5EncoderModel(config)


def tokenizer() -> T5TokenizerFast:
    """Single letters."""
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return T5TokenizerFast(vocab=[*marks, *((c, -3.0) for c in "abcdefghijklmnopqrstuvwxyz.,!")], extra_ids=0)


def pipeline() -> WanImageToVideoPipeline:
    torch.manual_seed(0)
    parts = {"transformer": transformer(), "vae": vae(), "text_encoder": text_encoder()}
    networks = {k: wiggle_network(v.eval().requires_grad_(False)) for k, v in parts.items()}
    scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    pipe = WanImageToVideoPipeline(**networks, tokenizer=tokenizer(), scheduler=scheduler, expand_timesteps=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


class PlainText:
    """In place of ftfy, which mends wrongly decoded text; the pipeline cannot read words without it."""

    @staticmethod
    def fix_text(text: str) -> str:
        return text


def stock(folder: Path, **parts: Any) -> WanImageToVideoPipeline:
    """diffusers' pipeline over a folder."""
    if not hasattr(pipeline_wan_i2v, "ftfy"):
        pipeline_wan_i2v.ftfy = PlainText
    with quiet():
        pipe = WanImageToVideoPipeline.from_pretrained(folder, **parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def written(folder: Path) -> Path:
    """As diffusers writes it, with the defaults of a tiny model."""
    with quiet():
        pipeline().save_pretrained(folder)
    (folder / "transformer" / "sfv.json").write_text(DEFAULTS.model_dump_json())
    return folder


SIZES = [((64, 64), 5), ((64, 96), 9)]
"""(height, width) and frames at which ours are held to theirs."""
WORDS = "a cat jumps, slowly."


def picture(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def pixels_of(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image))[None].permute(0, 3, 1, 2).float() / 127.5 - 1


def noise(model: VideoModel, frames: int, size: tuple[int, int], clips: int = 1) -> torch.Tensor:
    shape = model.codec.latent_shape(frames, *size)
    return torch.randn(clips, *shape, generator=torch.Generator().manual_seed(3))


def theirs(pipe: Any, image: Image.Image, n: torch.Tensor, frames: int, steps: int, scale: float, kind: str) -> Any:
    width, height = image.size
    made = pipe(
        image,
        WORDS,
        height=height,
        width=width,
        num_frames=frames,
        num_inference_steps=steps,
        guidance_scale=scale,
        latents=n.transpose(1, 2).clone(),
        output_type=kind,
    )
    return made.frames


@torch.inference_mode()
def ours(model: VideoModel, image: Image.Image, n: torch.Tensor, steps: int, scale: float) -> torch.Tensor:
    """Begun as the pipeline begins, at t = 1: x_t is the noise itself."""
    cond = model.conditioner(pixels_of(image), prompt=WORDS)
    sigmas = flow_sigmas(steps, model.flow_shift or 1)
    x = n * (1 + sigmas[0])
    if scale == 1:
        return euler(model.denoiser, x, sigmas, cond)
    guidance = model.conditioner.guidance_over_frames(scale, n.shape[1])
    return euler(model.denoiser, x, sigmas, cond, model.conditioner.unconditional(cond), guidance)


def apart(model: VideoModel, pipe: Any, size: tuple[int, int], frames: int, steps: int, scale: float) -> float:
    """How far our latents are from the pipeline's, as a share of theirs, after `steps` from the same noise."""
    n, image = noise(model, frames, size), picture(*size)
    want = theirs(pipe, image, n, frames, steps, scale, "latent").transpose(1, 2)
    return float((ours(model, image, n, steps, scale) - want).norm() / want.norm())
