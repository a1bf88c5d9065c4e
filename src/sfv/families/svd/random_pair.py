"""diffusers' own pipeline and our model over one set of random weights: for speed and precision, not for pictures."""

import copy
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import StableVideoDiffusionPipeline

from sfv.decoding.decoder import new_decoder
from sfv.edm.noise import NoiseRange
from sfv.families.base import VideoModel
from sfv.families.svd.autoencoder import Autoencoder
from sfv.families.svd.clip_tower import ClipTower
from sfv.families.svd.folder import save_around
from sfv.families.svd.networks import SVDCodec, SVDConditioner, SVDDenoiser
from sfv.families.svd.random_weights import SIZES, random_network
from sfv.families.svd.stock_networks import quiet, stock_twin
from sfv.families.svd.stock_pipeline import StockPipeline
from sfv.families.svd.unet import UNet
from sfv.settings import Defaults

SVD_NOISE = NoiseRange(0.002, 700.0)
"""SVD's sigma_min, sigma_max and rho."""


def random_pair(size: str, clip: tuple[int, int, int], device: torch.device, dtype: torch.dtype) -> Any:
    """(StockPipeline, VideoModel) of a size of `random_weights.SIZES` for clips of (frames, height, width).

    Both hold the very same weights, made on the device in `dtype`; ours has a small decoder beside them.
    """
    sizes = SIZES[size]
    with torch.device(device):
        unet, vae, tower = (
            random_network(UNet, sizes[0], dtype, seed=0),
            random_network(Autoencoder, sizes[1], dtype, seed=0),
            random_network(ClipTower, sizes[2], dtype, seed=0),
        )
    with tempfile.TemporaryDirectory() as folder, quiet():
        save_around(Path(folder), *SVD_NOISE[:2])
        twins = {"unet": stock_twin(unet), "vae": stock_twin(vae), "image_encoder": stock_twin(tower)}
        pipe = StableVideoDiffusionPipeline.from_pretrained(folder, **twins)
    frames, height, width = clip
    codec = SVDCodec(vae)
    defaults = Defaults(frames=frames, height=height, width=width, steps=1, guidance=1)
    ours = VideoModel(
        name=f"random-{size}",
        family="svd",
        denoiser=SVDDenoiser(unet),
        codec=codec,
        conditioner=SVDConditioner(tower, codec),
        sigma_min=SVD_NOISE.sigma_min,
        sigma_max=SVD_NOISE.sigma_max,
        rho=SVD_NOISE.rho,
        defaults=defaults,
        hash="random",
        small=new_decoder(4, codec.stride, 0).to(device, dtype).eval(),
    )
    return StockPipeline(pipe, device), ours


def random_denoiser(size: str, device: torch.device) -> SVDDenoiser:
    """A UNet of random weights in float32, to train."""
    with torch.device(device):
        unet = random_network(UNet, SIZES[size][0], torch.float32, seed=0)
    return SVDDenoiser(unet).to(device)


def random_codec(size: str, device: torch.device) -> SVDCodec:
    """An autoencoder of random weights in bfloat16."""
    with torch.device(device):
        return SVDCodec(random_network(Autoencoder, SIZES[size][1], torch.bfloat16, seed=0)).to(device)


def widened(model: VideoModel) -> VideoModel:
    """The same weights in float32, as a model of its own."""
    assert isinstance(model.codec, SVDCodec) and isinstance(model.conditioner, SVDConditioner)
    denoiser, codec = copy.deepcopy(model.denoiser).float(), copy.deepcopy(model.codec).float()
    conditioner = SVDConditioner(copy.deepcopy(model.conditioner.image_encoder).float(), codec)
    return replace(model, denoiser=denoiser, codec=codec, conditioner=conditioner, small=None)
