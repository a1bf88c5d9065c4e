"""Tiny real models: SVD's networks at 16x16 latents, random weights, no downloads. How a run is shared out."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks lose by a second; what tests start inherits it

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton

import numpy as np

from sfv.families.base import VideoModel
from sfv.families.load import load
from sfv.families.svd.folder import save
from sfv.families.svd.sizes import TINY, new_model

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
N = TypeVar("N", bound=torch.nn.Module)
LONGEST = (
    "serve/test_supervisor",
    "ray/test_ray",
    "browser/test_page",
    "speed/test_onnx",
    "demo/test_page",
    "training/test_parallel",
    "evaluation/test_evaluation",
    "costs/test_costs",
    "training/test_health",
    "training/objectives/test_consistency",
    "training/objectives/test_adversarial",
    "training/test_training",
    "families/motion/test_motion",
    "contracts/test_keystone",
    "contracts/test_gpu_bench",
    "serve/test_serve",
    "training/objectives/test_distribution",
    "contracts/test_packaging",
)
"""Files that take long begin first, so that workers end together."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files to the front."""
    items.sort(key=lambda item: next((i for i, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST)))


INTERRUPTS: list[int] = []
set_signal = signal.signal


def noted(number: int, handler: Any) -> Any:
    """`signal.signal`, with a note of every Ctrl-C: commands and trainings answer it, but pytest must end."""

    def both(number: int, frame: Any) -> Any:
        INTERRUPTS.append(number)
        return handler(number, frame)

    own = number == signal.SIGINT and callable(handler) and not hasattr(handler, "noted")
    both.noted = True  # type: ignore[attr-defined]
    return set_signal(number, both if own else handler)


def pytest_sessionstart() -> None:
    """Watch for Ctrl-C."""
    signal.signal = noted
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[Any]:
    """A test during which Ctrl-C came is the last."""
    done = yield
    if INTERRUPTS:
        raise KeyboardInterrupt
    return done


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
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny Wan2.2 TI2V, as diffusers writes it; what its text encoder says is kept in a cache of the tests' own."""
    import tiny_wan  # takes seconds to import

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFV_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield tiny_wan.written(tmp_path_factory.mktemp("models") / "wan")


@pytest.fixture(scope="session")
def wan(wan_folder: Path) -> VideoModel:
    """The same, loaded."""
    return load(wan_folder, decode_dtype=torch.float32)


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


def begun(folder: Path, store: Path, preset: str, *parts: str) -> Path:
    from trainers import train_part  # takes seconds to import

    for part in parts:
        train_part(part, store, folder, preset)
    return folder


@pytest.fixture(scope="session")
def begun_svd(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose codec, picture encoder and teacher are trained for a few steps; to be read or copied."""
    return begun(tmp_path_factory.mktemp("begun") / "svd", store, "debug", "codec", "picture-encoder", "teacher")


@pytest.fixture(scope="session")
def begun_loops(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of whole loops: codec and teacher."""
    return begun(tmp_path_factory.mktemp("begun") / "loops", store, "loops-debug", "codec", "teacher")
