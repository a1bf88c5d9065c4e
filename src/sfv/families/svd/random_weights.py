"""A folder in SVD's layout with random weights: to try a machine before a licence is accepted. It makes noise."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from sfv.errors import SfvError
from sfv.families.svd.autoencoder import Autoencoder
from sfv.families.svd.clip_tower import ClipTower
from sfv.families.svd.folder import save_around
from sfv.families.svd.network import Network
from sfv.families.svd.sizes import SVD_CLIP, SVD_VAE
from sfv.families.svd.unet import UNet
from sfv.media import replacing

SMALL_UNET: Mapping[str, Any] = {
    "block_out_channels": (32, 32, 64, 64),
    "num_attention_heads": (1, 1, 2, 2),
    "cross_attention_dim": 32,
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
    "layers_per_block": 2,
    "sample_size": 8,
    "num_frames": 4,
}
SMALL_VAE: Mapping[str, Any] = dict(SVD_VAE) | {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
SMALL_CLIP: Mapping[str, Any] = dict(SVD_CLIP) | {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "patch_size": 112,
    "projection_dim": 32,
}
SIZES: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = {
    "full": ({"sample_size": 96, "num_frames": 14}, SVD_VAE, SVD_CLIP),
    "tiny": (SMALL_UNET, SMALL_VAE, SMALL_CLIP),
}
"""UNet, autoencoder and picture encoder; full is SVD's own (2.25 billion weights), tiny has its blocks and levels."""
SPREAD = 0.05
N = TypeVar("N", bound=Network)
README = """# Random weights

Every number in this folder was drawn at random (`runs/recipes/random_svd.py`, seed {seed}). It has the layout and the
shapes of a Stable Video Diffusion folder ({size}) and nothing of its weights: what it makes is noise. It is for trying
loading, memory and speed.
"""


def write_random(folder: Path, size: str = "full", dtype: torch.dtype = torch.float16, seed: int = 0) -> int:
    """Write such a folder, one network in memory at a time; returns the number of weights.

    SfvError for an unknown size, or a folder that already holds something.
    """
    if size not in SIZES:
        raise SfvError(f"size {size!r} is unknown; choose from {', '.join(SIZES)}")
    if folder.exists() and any(folder.iterdir()):
        raise SfvError(f"{folder} is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for part, network in _networks(size, dtype, seed):
        network.store(folder / part)
        count += sum(p.numel() for p in network.parameters())
        del network
    save_around(folder, 0.002, 700.0)
    with replacing(folder / "README.md") as beside:
        beside.write_text(README.format(seed=seed, size=size))
    return count


def random_network(cls: type[N], config: Mapping[str, Any], dtype: torch.dtype, seed: int) -> N:
    """Fresh weights, made in `dtype` from the start, and every flat one of them shaken.

    Fresh norms are 1 and 0 and fresh blends half and half: that would hide mistakes.
    """
    torch.manual_seed(seed)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        network = cls(cls.Config.model_validate(config))
    finally:
        torch.set_default_dtype(usual)
    with torch.no_grad():
        for p in network.parameters():
            if p.dim() < 2:
                p.add_(torch.randn_like(p), alpha=SPREAD)
    return network.to(dtype).eval().requires_grad_(False)


def _networks(size: str, dtype: torch.dtype, seed: int) -> Iterator[tuple[str, Network]]:
    unet, vae, clip = SIZES[size]
    yield "unet", random_network(UNet, unet, dtype, seed)
    yield "vae", random_network(Autoencoder, vae, dtype, seed)
    yield "image_encoder", random_network(ClipTower, clip, dtype, seed)
