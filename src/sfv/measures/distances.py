"""Pure functions of feature rows and frames."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfv.types import Frames

Rows = Float[Tensor, "n d"]
Fields = Float[Tensor, "_ h w 2"]


def frechet_distance(a: Rows, b: Float[Tensor, "m d"]) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2), float64, never negative.

    The root's trace is the sum of the singular values of B A^T (centred rows over sqrt(n - 1), or their triangular
    factors if there are more rows than columns): C = A^T A, so C_a C_b has the eigenvalues of (A B^T)(B A^T). Exact
    for rank-deficient covariances, no matrix square root, no imaginary part to throw away.
    """
    a, b = a.double(), b.double()
    means = (a.mean(0) - b.mean(0)).square().sum()
    ca, cb = _factor(a), _factor(b)
    root = torch.linalg.svdvals(ca @ cb.T).sum()
    return float((means + ca.square().sum() + cb.square().sum() - 2 * root).clamp(min=0))


def _factor(rows: Rows) -> Float[Tensor, "_ d"]:
    """A with A^T A the covariance, min(n, d) rows."""
    centred = (rows - rows.mean(0)) / (len(rows) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r")[1] if len(rows) > rows.shape[1] else centred


def kernel_distance(a: Rows, b: Float[Tensor, "m d"]) -> float:
    """Unbiased squared maximum mean discrepancy, kernel (x.y / d + 1)^3, float64 (KID, 1801.01401, Sec. 4).

    Zero on average for equal laws, whatever the number of rows, so single values may be negative.
    """
    a, b = a.double(), b.double()
    n, m, d = len(a), len(b), a.shape[1]
    aa, bb, ab = ((x @ y.T / d + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    within = (aa.sum() - aa.trace()) / (n * (n - 1)) + (bb.sum() - bb.trace()) / (m * (m - 1))
    return float(within - 2 * ab.mean())


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval; `bias` is what drawing clips with repeats adds to it on average.

    The bias of the figure itself, from having few clips, is of that order: compare at equal numbers of clips only.
    """

    value: float
    low: float
    high: float
    bias: float


@dataclass(frozen=True)
class Draws:
    """A figure of all clips, and the same of every draw of clips (float64).

    The draws depend on the number of clips and the seed alone: draw i of two figures is of the same clips.
    """

    value: float
    each: Float[Tensor, " draws"]

    def interval(self) -> Interval:
        """The spread of the draws around their own mean, put around the value, not below 0.

        A draw has fewer distinct clips, which inflates every distance, so where the draws lie does not count.
        """
        low, high = (_ends(self.each) + self.value).clamp(min=0).tolist()
        return Interval(self.value, low, high, float(self.each.mean()) - self.value)


def resample(measure: Callable[[Rows, Rows], float], a: Rows, b: Rows, draws: int, seed: int = 0) -> Draws:
    """measure(a, b) over clips drawn with repeats, row i of a and of b together (they are pairs)."""
    value = measure(a, b)
    rng = torch.Generator().manual_seed(seed)
    picks = [torch.randint(len(a), (len(a),), generator=rng) for _ in range(draws)]
    return Draws(value, torch.tensor([measure(a[i], b[i]) for i in picks] or [value], dtype=torch.float64))


def bootstrap(measure: Callable[[Rows, Rows], float], a: Rows, b: Rows, draws: int, seed: int = 0) -> Interval:
    """Interval of measure(a, b) over clips drawn with repeats."""
    return resample(measure, a, b, draws, seed).interval()


@dataclass(frozen=True)
class Ratio:
    """One positive figure over another, with its 95 % interval."""

    value: float
    low: float
    high: float


def paired_ratio(one: Draws, other: Draws) -> Ratio:
    """Interval of one / other, both positive and over the same draws: clips that are hard for both do not widen it.

    As for single figures, the spread of the draws' logarithms around their own mean counts, not where they lie.
    """
    least = torch.finfo(torch.float64).tiny
    logs = one.each.clamp(min=least).log() - other.each.clamp(min=least).log()
    value = math.log(max(one.value, least)) - math.log(max(other.value, least))
    low, high = (_ends(logs) + value).exp().tolist()
    return Ratio(math.exp(value), low, high)


def _ends(draws: Float[Tensor, " draws"]) -> Float[Tensor, "2"]:
    """Of the middle 95 %, from the mean on."""
    return torch.quantile(draws - draws.mean(), torch.tensor([0.025, 0.975], dtype=torch.float64))


class Basis:
    """z-scoring and principal axes of reference rows, so that Frechet distances need fewer clips than channels.

    A channel that hardly varies in the reference counts as if it varied by LEAST of what the median channel does:
    otherwise the first speck of noise in it outweighs everything else.
    """

    LEAST = 0.1

    def __init__(self, reference: Rows, dims: int) -> None:
        x = reference.double()
        spread = x.std(0)
        least = self.LEAST * spread.median() + 1e-9 * x.abs().max() + 1e-30
        self.mean, self.std = x.mean(0), spread.clamp(min=float(least))
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


STEP_FLOOR = 1e-3
"""Levels from frame to frame below which a clip counts as moving this much."""


def seam(frames: Frames) -> float:
    """Step from the last frame to the first over the median step between neighbours (mean absolute differences).

    About 1 for a round that closes, more for one that jumps at its end; 0 for a still clip. At least two frames.
    """
    x = frames.float()
    steps = (x - x.roll(1, 0)).abs().mean((1, 2, 3))
    return float(steps[0] / steps[1:].median().clamp(min=STEP_FLOOR))


def distance_to(frames: Frames, picture: Tensor) -> Float[Tensor, " f"]:
    """Root mean square difference of each frame to a picture (h, w, 3 uint8), in levels of 255."""
    return (frames.float() - picture.float()).square().mean((1, 2, 3)).sqrt()


def sharpness_drift(frames: Frames, last: int = 4) -> float:
    """Variance of the Laplacian of luma, mean of the last frames over the first: 1 is kept, less is blurred."""
    luma = frames.float().mean(-1)[:, None]
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return _drift(F.conv2d(luma, kernel).var((1, 2, 3)), last)


def saturation_drift(frames: Frames, last: int = 4) -> float:
    """Mean of max - min over colours, mean of the last frames over the first: 1 is kept, less is greyed."""
    x = frames.float()
    return _drift((x.amax(-1) - x.amin(-1)).mean((1, 2)), last)


def _drift(figure: Tensor, last: int) -> float:
    return float(figure[-last:].mean() / figure[0].clamp(min=1e-6))


def warp_error(frames: Frames, fields: Fields) -> float:
    """Mean absolute difference, in levels, of each frame and the next one pulled back along the flow (h, w, xy).

    Only where the flow stays inside the picture. Motion that flow explains costs nothing; tearing does (Lai,
    1808.00449, without the occlusion mask).
    """
    x = frames.permute(0, 3, 1, 2).float()
    h, w = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    at = torch.stack([columns, rows], -1) + fields
    unit = at / torch.tensor([w - 1, h - 1]) * 2 - 1
    back = F.grid_sample(x[1:], unit, align_corners=True)
    inside = (unit.abs() <= 1).all(-1)[:, None]
    off = ((back - x[:-1]).abs() * inside).sum() / (3 * inside.sum().clamp(min=1))
    return float(off)


def top_share(values: Tensor, share: float = 0.05) -> Tensor:
    """Mean of the largest `share` of each map, (f, h, w) -> (f,)."""
    flat = values.flatten(1)
    return flat.topk(max(1, int(share * flat.shape[1])), dim=1).values.mean(1)


def moves(magnitudes: Float[Tensor, "f h w"]) -> bool:
    """VBench's dynamic degree of one clip (2311.17982, code): its flow's top 5 % exceed 6 px at a short side of 256
    in at least round(4 n / 16) of n frames."""
    short = min(magnitudes.shape[1:])
    count = len(magnitudes) + 1
    return int((top_share(magnitudes) > 6 * short / 256).sum()) >= round(4 * count / 16)
