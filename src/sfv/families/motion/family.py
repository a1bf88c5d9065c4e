"""The family of whole loops, as families/family.py lists it."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sfv.families.diffusers_needed import needs_diffusers
from sfv.families.motion.folder import export, load, save, save_denoiser, weights_hash
from sfv.families.motion.graphs import graphs
from sfv.families.motion.rewrites import for_gpu, rewritten, staged, staged_pictures
from sfv.families.plain import NOTICE, export_lora, export_single, shapes, sized

if TYPE_CHECKING:
    from sfv.families.svd.stock_pipeline import StockPipeline

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


def open_stock(folder: Path, unet: str, device: torch.device, dtype: torch.dtype | None = None) -> "StockPipeline":
    """The peer over the same weights; its imports, diffusers' pipelines among them, are heavy and seldom needed."""
    with needs_diffusers("diffusers' own pipeline"):
        from sfv.families.motion import stock_pipeline

    return stock_pipeline.open_stock(folder, unet, device, dtype)
