"""SVD's family, as families/family.py lists it."""

from sfv.families.base import VideoModel
from sfv.families.svd.folder import export, load, shapes, weights_hash
from sfv.families.svd.rewrites.picture_stages import staged_pictures
from sfv.families.svd.rewrites.unet import rewritten, staged
from sfv.families.svd.stock_pipeline import open_stock

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


def for_gpu(model: VideoModel) -> VideoModel:
    """A rewritten model with GPU kernels (families/svd/rewrites/gpu.py), which need Triton."""
    from sfv.families.svd.rewrites import gpu as svd_kernels

    return svd_kernels.for_gpu(model)
