"""SVD's own sizes on a CPU: random weights, whole networks against diffusers' before and after our rewrites.

All are slow (`make slow`): about a minute each, up to 9 GiB of memory. Random weights say nothing about quality.
"""

import copy
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableVideoDiffusionPipeline
from diffusers.models.attention_processor import Attention as StockAttention
from diffusers.models.resnet import SpatioTemporalResBlock as StockResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from sfv.families.load import load, rewritten
from sfv.families.svd.autoencoder import Autoencoder
from sfv.families.svd.blocks import Attention, SpatioTemporalResBlock, SpatioTemporalTransformer, Upsample
from sfv.families.svd.random_weights import random_network, write_random
from sfv.families.svd.rewrites import exact as rewrites
from sfv.families.svd.sizes import SVD_VAE
from sfv.families.svd.stock_networks import stock_twin
from sfv.families.svd.unet import UNet
from sfv.system.memory import peak_resident, reset_peak

pytestmark = pytest.mark.slow
MOST_MEMORY = 9 << 30
BOUNDS = [(torch.float64, 1e-12), (torch.float32, 1e-5)]


@pytest.fixture(autouse=True)
def within_memory() -> Iterator[None]:
    gc.collect()
    known = reset_peak()
    yield
    assert not known or peak_resident() < MOST_MEMORY


def off(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


def shake(module: nn.Module, kind: torch.dtype) -> Any:
    """Flat weights away from 1, 0 and half, where mistakes would hide."""
    with torch.no_grad():
        for p in module.parameters():
            if p.dim() < 2:
                p += 0.1 * torch.randn(p.shape)
    return module.to(kind).eval().requires_grad_(False)


def inputs(kind: torch.dtype, f: int, y: int, x: int) -> dict[str, Tensor]:
    """A UNet's inputs at the level where a one-step model is called, 0.25 ln 700."""
    rng = torch.Generator().manual_seed(0)
    return {
        "sample": torch.randn(1, f, 8, y, x, generator=rng).to(kind),
        "timestep": torch.tensor([1.6378], dtype=kind),
        "encoder_hidden_states": torch.randn(1, 1, 1024, generator=rng).to(kind),
        "added_time_ids": torch.tensor([[6.0, 127.0, 0.02]], dtype=kind),
    }


@torch.inference_mode()
def call(unet: Any, kind: torch.dtype, *size: int) -> Tensor:
    out = unet(**inputs(kind, *size))
    return out if isinstance(out, Tensor) else out.sample  # type: ignore[no-any-return]


def cast_in_place(module: nn.Module, kind: torch.dtype) -> None:
    """Weight by weight, so that no second copy of a network stands beside the first."""
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.to(kind)


def test_whole_unet_in_float32_and_bfloat16() -> None:
    """Exact to 1e-5 in float32; in bfloat16 (the fast profile) no further from float32 than 1.2 times diffusers'."""
    size = 3, 16, 24
    unet = random_network(UNet, {}, torch.float32, 0)
    assert sum(p.numel() for p in unet.parameters()) == 1_524_623_082
    want = call(stock_twin(unet), torch.float32, *size)  # over the same memory
    assert off(call(unet, torch.float32, *size), want) <= 1e-5
    folded = rewrites.exact(unet)
    assert off(call(folded, torch.float32, *size), want) <= 1e-5
    folded.biases_of.clear()
    for network in (folded, unet):  # what they share is cast once
        cast_in_place(network, torch.bfloat16)
    theirs, ours = (off(call(network, torch.bfloat16, *size), want) for network in (stock_twin(unet), folded))
    print(f"bfloat16 against float32: diffusers {theirs:.2e}, ours {ours:.2e}")
    assert ours <= 1.2 * theirs and theirs < 0.1


def test_whole_unet_at_14x40x72() -> None:
    """320x576 in bfloat16, 12.1 TFLOP, diffusers' and ours; two bfloat16 roundings apart, 2 %."""
    size = 14, 40, 72
    unet = random_network(UNet, {}, torch.bfloat16, 0)
    want = call(stock_twin(unet), torch.bfloat16, *size)
    folded = rewrites.exact(unet)
    del unet
    got = call(folded, torch.bfloat16, *size)
    assert got.shape == (1, 14, 4, 40, 72) and bool(got.isfinite().all())
    error = off(got, want)
    print(f"14x40x72, bfloat16: {error:.2e}")
    assert error <= 0.02


@torch.inference_mode()
def test_whole_decoder() -> None:
    """Two frames of 192x320, polyphase: 1e-5 in float32; bfloat16 within 1.2 times diffusers' error."""
    vae = random_network(Autoencoder, SVD_VAE, torch.float32, 0)
    z = torch.randn(2, 4, 24, 40, generator=torch.Generator().manual_seed(1))
    stock = stock_twin(vae)
    want = stock.decode(z, num_frames=2).sample
    own = copy.deepcopy(vae)
    rewrites.polyphase(own.decoder)
    assert off(own.decode(z, 2), want) <= 1e-5
    half = z.bfloat16()
    theirs = off(nn.Module.to(stock, torch.bfloat16).decode(half, num_frames=2).sample, want)
    ours = off(own.to(torch.bfloat16).decode(half, 2), want)
    print(f"decoder, bfloat16 against float32: diffusers {theirs:.2e}, ours {ours:.2e}")
    assert ours <= 1.2 * theirs and theirs < 0.1


@pytest.mark.parametrize(("kind", "most"), BOUNDS, ids=["float64", "float32"])
@torch.inference_mode()
def test_whole_decoder_on_a_small_map(kind: torch.dtype, most: float) -> None:
    vae = random_network(Autoencoder, SVD_VAE, torch.float32, 0).to(kind)
    z = torch.randn(3, 4, 8, 6, generator=torch.Generator().manual_seed(1)).to(kind)
    want = stock_twin(vae).decode(z, num_frames=3).sample
    assert off(vae.decode(z, 3), want) <= most
    rewrites.polyphase(vae.decoder)
    assert off(vae.decode(z, 3), want) <= most


@pytest.mark.parametrize(("kind", "most"), BOUNDS, ids=["float64", "float32"])
@pytest.mark.parametrize(("wide", "out"), [(320, 320), (960, 640), (2560, 1280)])
@torch.inference_mode()
def test_residual_blocks(wide: int, out: int, kind: torch.dtype, most: float) -> None:
    """Blend, embedding and temporal convolutions of one full-size block, two clips with different embeddings."""
    torch.manual_seed(0)
    block = shake(SpatioTemporalResBlock(wide, out, 1280, 1e-6), kind)
    stock = StockResBlock(wide, out, temb_channels=1280, merge_strategy="learned_with_images").to(kind)
    stock.load_state_dict(block.state_dict())
    x, emb = torch.randn(2 * 4, wide, 9, 8).to(kind), torch.randn(2, 1280).to(kind)
    want = stock(x, emb.repeat_interleave(4, 0), torch.zeros(2, 4, dtype=kind))
    assert off(block(x, emb, 2), want) <= most
    rewrites.fold_blends(block)
    assert type(block) is rewrites.FoldedResBlock
    block.places = 0, 1
    parts = block.spatial_res_block, block.temporal_res_block
    biases = tuple(part.conv1.bias + part.time_emb_proj(F.silu(emb)) for part in parts)
    assert off(block(x, biases, 2), want) <= most


@pytest.mark.parametrize(("kind", "most"), BOUNDS, ids=["float64", "float32"])
@pytest.mark.parametrize(("heads", "channels"), [(5, 320), (10, 640), (20, 1280)])
@torch.inference_mode()
def test_transformers(heads: int, channels: int, kind: torch.dtype, most: float) -> None:
    """One-token cross-attention of one full-size transformer, in space and time."""
    torch.manual_seed(0)
    block = shake(SpatioTemporalTransformer(channels, heads, 1, 1024), kind)
    stock = TransformerSpatioTemporalModel(heads, 64, channels, cross_attention_dim=1024).to(kind)
    stock.load_state_dict(block.state_dict())
    x, token = torch.randn(2 * 4, channels, 9, 8).to(kind), torch.randn(2, 1, 1024).to(kind)
    want = stock(x, token.repeat_interleave(4, 0), torch.zeros(2, 4, dtype=kind)).sample
    assert off(block(x, token, 2), want) <= most
    rewrites.collapse_cross_attention(block)
    assert type(block) is rewrites.FoldedTransformer
    assert off(block(x, token, 2), want) <= most


@pytest.mark.parametrize(("kind", "most"), BOUNDS, ids=["float64", "float32"])
@pytest.mark.parametrize("channels", [256, 512, 640, 1280])
@torch.inference_mode()
def test_upsampling(channels: int, kind: torch.dtype, most: float) -> None:
    torch.manual_seed(0)
    layer = shake(Upsample(channels), kind)
    x = torch.randn(3, channels, 9, 8).to(kind)
    want = layer(x)
    rewrites.polyphase(layer)
    assert type(layer) is rewrites.PolyphaseUpsample and off(layer(x), want) <= most


@pytest.mark.parametrize(("kind", "most"), BOUNDS, ids=["float64", "float32"])
@pytest.mark.parametrize("tokens", [14, 1440])
@torch.inference_mode()
def test_attention(tokens: int, kind: torch.dtype, most: float) -> None:
    """14 frames of one position, and more tokens than a CPU takes by plain matrix products."""
    torch.manual_seed(0)
    layer = shake(Attention(640, 10), kind)
    stock = StockAttention(640, heads=10, dim_head=64).to(kind)
    stock.load_state_dict(layer.state_dict())
    x = torch.randn(2, tokens, 640).to(kind)
    assert off(layer(x), stock(x)) <= most


@torch.inference_mode()
def test_a_full_size_folder_against_diffusers_own_pipeline(tmp_path: Path) -> None:
    """Every network of SVD's size from one folder in bfloat16: picture encoder, encoder, UNet, decoder, one step."""
    kind, f, side = torch.bfloat16, 3, 128
    assert write_random(tmp_path, "full", kind) == 1_524_623_082 + 97_742_847 + 632_076_800
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    n = torch.randn(1, f, 4, side // 8, side // 8, generator=torch.Generator().manual_seed(3))
    want, embedded = _diffusers(tmp_path, picture, n)
    model = rewritten(load(tmp_path, dtype=kind))
    assert (model.defaults.height, model.defaults.width, model.defaults.frames) == (576, 1024, 14)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert off(model.conditioner.embed(pixels), embedded) <= 0.03
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(7), dtype=kind).float()
    cond = model.conditioner(pixels, fps=7, noise=noise)
    latents = model.denoiser(n * (700**2 + 1) ** 0.5, torch.tensor([700.0]), cond)
    assert off(latents, want[0]) <= 0.03
    got = (model.codec.decode(latents) / 2 + 0.5).clamp(0, 1)
    assert float((got - want[1]).abs().mean()) <= 0.02


def _diffusers(folder: Path, picture: Any, n: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Latents, frames in [0, 1] and the picture's embedding."""
    pipe = StableVideoDiffusionPipeline.from_pretrained(folder, dtype=torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)
    seen: list[Tensor] = []
    pipe.image_encoder.register_forward_hook(lambda _m, _i, out: seen.append(out.image_embeds[:, None]))
    how = {"num_frames": n.shape[1], "num_inference_steps": 1, "max_guidance_scale": 1.0, "output_type": "latent"}
    height, width = picture.shape[:2]
    rng = torch.Generator().manual_seed(7)
    latents = pipe(Image.fromarray(picture), height, width, latents=n.bfloat16(), generator=rng, **how).frames
    frames = pipe.decode_latents(latents.bfloat16(), n.shape[1]).transpose(1, 2)
    return (latents.float(), (frames.float() / 2 + 0.5).clamp(0, 1)), seen[0].float()
