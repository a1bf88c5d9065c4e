"""Pure functions of feature rows and frames."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Rows = Float[Tensor, "n d"]


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


def kernel_distance(a: Rows, b: Float[Tensor, "m d"], pairs: bool = False) -> float:
    """Unbiased squared maximum mean discrepancy, kernel (x.y / d + 1)^3, float64 (KID, 1801.01401, Sec. 4).

    Zero on average for equal laws, whatever the number of rows, so single values may be negative. `pairs`: row i of
    both is of one picture, so k(a_i, b_i) is no draw of two independent clips and is left out, as k(a_i, a_i) is
    (Gretton et al. 2012, Lemma 6); rows against themselves are 0 then, exactly.
    """
    a, b = a.double(), b.double()
    n, m, d = len(a), len(b), a.shape[1]
    aa, bb, ab = ((x @ y.T / d + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    within = (aa.sum() - aa.trace()) / (n * (n - 1)) + (bb.sum() - bb.trace()) / (m * (m - 1))
    across = (ab.sum() - ab.trace()) / (n * (n - 1)) if pairs else ab.mean()
    return float(within - 2 * across)


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
class Resampled:
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


def resample(measure: Callable[[Rows, Rows], float], a: Rows, b: Rows, draws: int, seed: int = 0) -> Resampled:
    """measure(a, b) over clips drawn with repeats, row i of a and of b together (they are pairs)."""
    value = measure(a, b)
    rng = torch.Generator().manual_seed(seed)
    picks = [torch.randint(len(a), (len(a),), generator=rng) for _ in range(draws)]
    return Resampled(value, torch.tensor([measure(a[i], b[i]) for i in picks] or [value], dtype=torch.float64))


def averaged(figures: Sequence[Resampled]) -> Resampled:
    """The mean of figures over the same draws of clips: of several takes of the same pictures, for one."""
    each = torch.stack([f.each for f in figures]).mean(0)
    return Resampled(sum(f.value for f in figures) / len(figures), each)


def bootstrap(measure: Callable[[Rows, Rows], float], a: Rows, b: Rows, draws: int, seed: int = 0) -> Interval:
    """Interval of measure(a, b) over clips drawn with repeats."""
    return resample(measure, a, b, draws, seed).interval()


@dataclass(frozen=True)
class Ratio:
    """One positive figure over another, with its 95 % interval."""

    value: float
    low: float
    high: float


def paired_ratio(one: Resampled, other: Resampled) -> Ratio:
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
