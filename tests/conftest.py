"""Tiny real models: the diffusers classes at 16x16 latents, random weights, no downloads."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

from dataclasses import replace
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton

from sfv.families.base import VideoModel
from sfv.families.load import load
from sfv.families.svd.folder import save
from sfv.families.svd.sizes import TINY, new_model

torch.set_num_threads(2)


def wiggle(model: VideoModel, seed: int = 1) -> VideoModel:
    """Random weights everywhere: fresh models have zero and half-way parts that would hide mistakes."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in (model.denoiser, model.codec, model.conditioner):
            for p in part.parameters():
                p += 0.05 * torch.randn(p.shape, generator=rng)
    return model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SVD-architecture model on disk, with SVD's own noise law and a scaling factor that is not 1."""
    model = wiggle(new_model(TINY, 0))
    model.codec.vae.register_to_config(scaling_factor=0.4)  # type: ignore[operator]
    svd_law = replace(model, sigma_max=700.0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save(svd_law, folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> VideoModel:
    """The same, loaded."""
    return load(tiny_folder, decode_dtype=torch.float32)
