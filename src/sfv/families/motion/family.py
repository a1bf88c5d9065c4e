"""The family of whole loops, as families/family.py lists it."""

from pathlib import Path

from sfv.errors import SfvError
from sfv.families.motion.folder import export, load, weights_hash
from sfv.families.motion.rewrites import for_gpu, rewritten, staged, staged_pictures
from sfv.families.motion.stock_pipeline import open_stock
from sfv.families.svd.sizes import Shapes

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
