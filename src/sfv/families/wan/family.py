"""Wan's family, as families/family.py lists it. Its networks are diffusers' own, imported when one is opened."""

from pathlib import Path
from types import ModuleType

import torch

from sfv.families.base import VideoModel
from sfv.families.diffusers_needed import needs_diffusers
from sfv.families.plain import for_gpu, graphs, open_stock, rewritten, shapes, staged, staged_pictures

__all__ = [
    "export",
    "for_gpu",
    "graphs",
    "load",
    "open_stock",
    "rewritten",
    "save",
    "save_denoiser",
    "shapes",
    "staged",
    "staged_pictures",
    "weights_hash",
]


def _folder() -> ModuleType:
    with needs_diffusers("a Wan model"):
        from sfv.families.wan import folder

    return folder


def load(folder: Path, unet: str, dtype: torch.dtype, name: str) -> VideoModel:
    """Open a folder; `unet` names the denoiser's sub-folder, and is transformer for "unet"."""
    model: VideoModel = _folder().load(folder, unet, dtype, name)
    return model


def weights_hash(folder: Path, unet: str) -> str:
    """The hash of a folder's weights, without opening them; SfvError if files are missing."""
    return str(_folder().weights_hash(folder, unet))


def save(model: VideoModel, folder: Path, unet: str = "unet", dtype: torch.dtype | None = None) -> None:
    """Write the layout."""
    _folder().save(model, folder, unet, dtype)


def save_denoiser(model: VideoModel, folder: Path, unet: str, dtype: torch.dtype | None = None) -> None:
    """Write one transformer sub-folder with its defaults."""
    _folder().save_denoiser(model, folder, unet, dtype)


def export(folder: Path, out: Path, dtype: torch.dtype) -> None:
    """Write a trained folder anew in `dtype`, without its runs."""
    _folder().export(folder, out, dtype)
