"""Wan's family, as families/family.py lists it. Its networks are diffusers' own, imported when one is opened."""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from sfv.families.base import VideoModel
from sfv.families.diffusers_needed import needs_diffusers
from sfv.families.family import LoraNames
from sfv.families.plain import for_gpu, graphs, rewritten, staged, staged_pictures

if TYPE_CHECKING:
    from sfv.families.counted import Shapes
    from sfv.families.wan.stock_pipeline import WanStockPipeline

__all__ = [
    "NOTICE",
    "export",
    "export_lora",
    "export_single",
    "for_gpu",
    "graphs",
    "load",
    "open_stock",
    "rewritten",
    "save",
    "save_denoiser",
    "shapes",
    "sized",
    "staged",
    "staged_pictures",
    "weights_hash",
]


NOTICE = "If these weights derive from Wan2.2, its Apache-2.0 licence and notices go with every copy."


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


def open_stock(folder: Path, unet: str, device: torch.device, dtype: torch.dtype | None = None) -> "WanStockPipeline":
    """The peer over the same weights; its imports are heavy and seldom needed."""
    with needs_diffusers("diffusers' own pipeline"):
        from sfv.families.wan import stock_pipeline

    return stock_pipeline.open_stock(folder, unet, device, dtype)


def shapes(folder: Path, unet: str) -> "Shapes":
    """What a folder's configuration files say, without opening weights."""
    with needs_diffusers("counting diffusers' own networks"):
        from sfv.families.wan import sizes

    return sizes.shapes(folder, unet)


def sized(name: str) -> "Shapes":
    """Of "wan-5b"."""
    with needs_diffusers("counting diffusers' own networks"):
        from sfv.families.wan import sizes

    return sizes.WanShapes()


def export_single(folder: Path, out: Path, dtype: torch.dtype) -> str:
    """Write the transformer as one file of the original layout, with the licence notice inside."""
    with needs_diffusers("a Wan model"):
        from sfv.families.wan import single_file

    return single_file.export_single(folder, out, dtype, NOTICE)


def export_lora(folder: Path, out: Path, to: LoraNames) -> None:
    """Write the adapters of a folder's student run under another program's names, with the licence notice inside."""
    with needs_diffusers("a Wan model"):
        from sfv.families.wan import single_file

    single_file.export_lora(folder, out, to, NOTICE)
