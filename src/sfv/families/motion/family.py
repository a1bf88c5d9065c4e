"""The family of whole loops, as families/family.py lists it."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sfv.errors import SfvError
from sfv.families.motion.folder import export, load, weights_hash
from sfv.families.motion.rewrites import for_gpu, rewritten, staged, staged_pictures
from sfv.families.svd.sizes import Shapes

if TYPE_CHECKING:
    from sfv.families.svd.stock_pipeline import StockPipeline

__all__ = [
    "export",
    "for_gpu",
    "load",
    "open_stock",
    "rewritten",
    "shapes",
    "staged",
    "staged_pictures",
    "weights_hash",
]


def shapes(folder: Path, unet: str) -> Shapes:
    """Accounts count SVD's parts, which these models have not."""
    raise SfvError(f"{folder} is a model of whole loops; accounts are for SVD-architecture models, such as svd")


def open_stock(folder: Path, unet: str, device: torch.device) -> "StockPipeline":
    """The peer over the same weights; its imports, diffusers' pipelines among them, are heavy and seldom needed."""
    from sfv.families.motion import stock_pipeline

    return stock_pipeline.open_stock(folder, unet, device)
