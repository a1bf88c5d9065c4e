"""SVD's family, as families/family.py lists it."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sfv.families.base import VideoModel
from sfv.families.diffusers_needed import needs_diffusers
from sfv.families.svd.folder import (
    NOTICE,
    export,
    export_lora,
    export_single,
    load,
    save,
    save_denoiser,
    shapes,
    weights_hash,
)
from sfv.families.svd.graphs import graphs
from sfv.families.svd.rewrites.exact import rewritten, staged
from sfv.families.svd.rewrites.picture_stages import staged_pictures
from sfv.families.svd.sizes import sized

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


def for_gpu(model: VideoModel) -> VideoModel:
    """A rewritten model with GPU kernels (families/svd/rewrites/gpu.py), which need Triton."""
    from sfv.families.svd.rewrites import gpu as svd_kernels

    return svd_kernels.for_gpu(model)


def open_stock(folder: Path, unet: str, device: torch.device, dtype: torch.dtype | None = None) -> "StockPipeline":
    """The peer over the same weights; its imports, diffusers' pipelines among them, are heavy and seldom needed."""
    with needs_diffusers("diffusers' own pipeline"):
        from sfv.families.svd import stock_pipeline

    return stock_pipeline.open_stock(folder, unet, device, dtype)
