"""Tiny real models: SVD's networks at 16x16 latents, random weights, no downloads."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton

import json

import numpy as np
import torch

from sfv.families.base import VideoModel
from sfv.families.load import load
from sfv.families.svd.folder import save
from sfv.families.svd.sizes import TINY, new_model

torch.set_num_threads(2)
N = TypeVar("N", bound=torch.nn.Module)


def wiggle(model: VideoModel, seed: int = 1) -> VideoModel:
    """Random weights everywhere: fresh models have zero and half-way parts that would hide mistakes."""
    rng = torch.Generator().manual_seed(seed)
    for part in (model.denoiser, model.codec, model.conditioner):
        _shake(part, rng)
    return model


def wiggle_network(network: N, seed: int = 1) -> N:
    """The same of one network."""
    _shake(network, torch.Generator().manual_seed(seed))
    return network


@torch.no_grad()
def _shake(module: torch.nn.Module, rng: torch.Generator) -> None:
    for p in module.parameters():
        p += 0.05 * torch.randn(p.shape, generator=rng)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SVD-architecture model on disk, with SVD's own noise law and a scaling factor that is not 1."""
    model = wiggle(new_model(TINY, 0))
    vae = model.codec.vae
    vae.config = vae.config.model_copy(update={"scaling_factor": 0.4})  # type: ignore[operator,union-attr,assignment]
    svd_law = replace(model, sigma_max=700.0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save(svd_law, folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> VideoModel:
    """The same, loaded."""
    return load(tiny_folder, decode_dtype=torch.float32)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six families of a coloured disc that travels, at 32x32 with alpha."""
    folder = tmp_path_factory.mktemp("store")
    y, x = np.mgrid[0:32, 0:32]
    clips, frames = [], []
    for i in range(6):
        for t in range(24):
            alpha = ((y - 16) ** 2 + (x - 8 - (t + i) % 16) ** 2 < 36).astype(np.uint8)
            rgba = np.full((32, 32, 4), 255, np.uint8)
            rgba[alpha > 0, :3] = (40 * i, 200 - 30 * i, 120)
            rgba[..., 3] = 255 * alpha
            frames.append(rgba)
        split = "val" if i == 5 else "train"
        clips.append(
            {
                "id": f"c{i}",
                "name": f"disc {i}",
                "group": "",
                "family": f"f{i}",
                "split": split,
                "start": 24 * i,
                "count": 24,
            }
        )
    np.stack(frames).tofile(folder / "frames.u8")
    (folder / "store.json").write_text(json.dumps({"size": 32, "fps": 24, "clips": clips}))
    return folder
