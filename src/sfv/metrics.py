"""Pure functions of feature rows and frames."""

import torch
from jaxtyping import Float
from torch import Tensor

from sfv.types import Frames

Rows = Float[Tensor, "n d"]


def frechet_distance(a: Rows, b: Rows) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2), float64, never negative.

    The root's trace is taken from the singular values of B A^T (centred rows over sqrt(n - 1)): C = A^T A, so
    C_a C_b has the eigenvalues of (A B^T)(B A^T). Exact for rank-deficient covariances, no matrix square root.
    """
    a, b = a.double(), b.double()
    means = (a.mean(0) - b.mean(0)).square().sum()
    ca, cb = (x - x.mean(0) for x in (a, b))
    ca, cb = ca / (len(a) - 1) ** 0.5, cb / (len(b) - 1) ** 0.5
    root = torch.linalg.svdvals(ca @ cb.T).sum()
    return float((means + ca.square().sum() + cb.square().sum() - 2 * root).clamp(min=0))


class Basis:
    """z-scoring and principal axes of reference rows, so that Frechet distances need fewer clips than channels."""

    def __init__(self, reference: Rows, dims: int) -> None:
        x = reference.double()
        self.mean, self.std = x.mean(0), x.std(0).clamp(min=1e-9 * float(x.abs().max()))
        _, _, axes = torch.linalg.svd((x - self.mean) / self.std, full_matrices=False)
        self.axes = axes[:dims]

    def __call__(self, rows: Rows) -> Float[Tensor, "n _"]:
        """(n, d) -> (n, dims), per original channel: distances do not grow with d."""
        return (rows.double() - self.mean) / self.std @ self.axes.T / self.mean.numel() ** 0.5


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio of uint8 tensors, dB; 99 for equal ones."""
    mse = (a.float() - b.float()).square().mean()
    return min(99.0, float(10 * torch.log10(255**2 / mse.clamp(min=1e-9))))


def flicker(frames: Frames) -> float:
    """Mean absolute second difference of the frames' mean luma: steady drift is none, alternation is."""
    luma = frames.float().mean((1, 2, 3))
    return float((luma[2:] - 2 * luma[1:-1] + luma[:-2]).abs().mean())
