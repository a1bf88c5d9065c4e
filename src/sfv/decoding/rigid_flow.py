"""Flow that moves things in one piece: near every position it turns, stretches and shifts, and bends only slowly.

A flow that is found position by position is a little wrong everywhere, and what it moves has ragged edges and bent
letters. Fitted by an affine one within a soft window (moving least squares, Schaefer et al. 2006), weighted by where
the picture shows anything to follow, its errors average out, and empty ground goes along with the thing beside it.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Flow = Float[Tensor, "n 2 y x"]
Weight = Float[Tensor, "n 1 y x"]
RIDGE = 0.05
"""Added to the variance of the positions in a window (of 1): a thin thing's bends across it are not believed."""
FAINT = 0.05
"""Share of the picture's mean texture at which half of the fitted motion is believed: what nothing is near stays."""


def texture(picture: Float[Tensor, "b 3 y x"], y: int, x: int) -> Float[Tensor, "b 1 _ _"]:
    """How much there is to follow in each of (y, x) cells: mean absolute differences, of mean 1."""
    gray = picture.float().mean(1, keepdim=True)
    across, down = gray.diff(dim=3).abs(), gray.diff(dim=2).abs()
    cells = F.adaptive_avg_pool2d(F.pad(across, (0, 1)) + F.pad(down, (0, 0, 0, 1)), (y, x))
    return cells / cells.mean((2, 3), keepdim=True).clamp(min=1e-6)


def locally_affine(flow: Flow, weight: Weight, window: float) -> Flow:
    """The flow's weighted affine fit around each position; `window` is the Gaussian's sigma, in positions."""
    y, x = (gaussian(s, window, flow.device) for s in flow.shape[2:])
    at = torch.stack(torch.meshgrid(*(places(len(g), window, flow.device) for g in (x, y)), indexing="xy"))
    columns, rows = at
    squares = torch.stack([columns * columns, columns * rows, rows * rows])
    n = flow.shape[0]
    terms = [torch.ones_like(flow[:, :1]), at.expand(n, -1, -1, -1), squares.expand(n, -1, -1, -1)]
    terms += [flow, flow * columns, flow * rows]
    with torch.autocast(flow.device.type, enabled=False):  # variances are small differences of large sums
        sums = y @ (weight * torch.cat(terms, 1)).float() @ x.T
    near = sums[:, :1]
    means = sums[:, 1:] / near.clamp(min=1e-9)
    mid, spread, shift, along = means[:, :2], means[:, 2:5], means[:, 5:7], means[:, 7:].unflatten(1, (2, 2))
    slopes = solved(spread - products(mid), along - mid[:, :, None] * shift[:, None])
    away = at - mid
    away = away / away.square().sum(1, keepdim=True).sqrt().clamp(min=1)  # no extrapolation from further away
    fitted = shift + (away[:, :, None] * slopes).sum(1)
    return fitted * near / (near + FAINT)


def solved(spread: Float[Tensor, "n 3 y x"], along: Float[Tensor, "n 2 2 y x"]) -> Float[Tensor, "n 2 2 y x"]:
    """Slopes (by position's axis, of flow's axis) from (co)variances of positions, and of positions with flow."""
    a, b, c = spread[:, 0:1] + RIDGE, spread[:, 1:2], spread[:, 2:3] + RIDGE
    u, v = along[:, 0], along[:, 1]
    return torch.stack([c * u - b * v, a * v - b * u], 1) / (a * c - b * b)[:, None]


def products(mid: Float[Tensor, "n 2 y x"]) -> Float[Tensor, "n 3 y x"]:
    """x x, x y and y y."""
    return torch.stack([mid[:, 0] * mid[:, 0], mid[:, 0] * mid[:, 1], mid[:, 1] * mid[:, 1]], 1)


def gaussian(size: int, window: float, device: torch.device) -> Float[Tensor, "s s"]:
    """Weights of all positions along an axis around each of them; each row's sum is 1 far from the ends."""
    i = torch.arange(size, device=device, dtype=torch.float32)
    near: Tensor = torch.exp(-0.5 * ((i[:, None] - i) / window) ** 2)
    return near / (window * (2 * torch.pi) ** 0.5)


def places(size: int, window: float, device: torch.device) -> Float[Tensor, " s"]:
    """Positions along an axis, in windows from its middle."""
    return (torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2) / window
