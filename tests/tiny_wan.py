"""A tiny Wan2.2 TI2V of diffusers' and transformers' real classes with random weights, written as they write it."""

from pathlib import Path
from typing import Any

import torch
from conftest import wiggle_network
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanImageToVideoPipeline, WanTransformer3DModel
from diffusers.pipelines.wan import pipeline_wan_i2v
from transformers import T5TokenizerFast, UMT5Config, UMT5EncoderModel

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
