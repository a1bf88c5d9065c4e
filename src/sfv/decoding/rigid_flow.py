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
Weight = Float[Tensor, "_ 1 y x"]
"""Of every flow, or of every clip."""
Limits = Float[Tensor, "n 1 1 1"]
RIDGE = 0.05
"""Added to the variance of the positions in a window (of 1): a thin thing's bends across it are not believed."""
FAINT = 0.05
"""Share of the picture's mean texture at which half of the fitted motion is believed: what nothing is near stays."""
WIDER = 4.0
"""Windows of the pieces that what would be strained goes with."""


def texture(picture: Float[Tensor, "b 3 y x"], y: int, x: int) -> Float[Tensor, "b 1 _ _"]:
    """How much there is to follow in each of (y, x) cells: mean absolute differences, of mean 1."""
    gray = picture.float().mean(1, keepdim=True)
    across, down = gray.diff(dim=3).abs(), gray.diff(dim=2).abs()
    cells = F.adaptive_avg_pool2d(F.pad(across, (0, 1)) + F.pad(down, (0, 0, 0, 1)), (y, x))
    return cells / cells.mean((2, 3), keepdim=True).clamp(min=1e-6)


def locally_affine(flow: Flow, weight: Weight, window: float) -> Flow:
    """The flow's weighted affine fit around each position; `window` is the Gaussian's sigma, in positions.

    `weight` is one for every flow, or one for all frames of a clip: (b, 1, y, x) for b * f flows.
    """
    y, x = (gaussian(s, window, flow.device) for s in flow.shape[2:])
    at = torch.stack(torch.meshgrid(*(places(len(g), window, flow.device) for g in (x, y)), indexing="xy"))
    columns, rows = at
    each = flow.unflatten(0, (len(weight), -1))
    about = torch.cat([torch.ones_like(at[:1]), at, torch.stack([columns * columns, columns * rows, rows * rows])])
    with torch.autocast(flow.device.type, enabled=False):  # variances are small differences of large sums
        known = (y @ (weight * about).float() @ x.T)[:, None]
        found = y @ (weight[:, None] * torch.cat([each, each * columns, each * rows], 2)).float() @ x.T
    near = known[:, :, :1]
    (mid, spread), means = (known[:, :, 1:] / near.clamp(min=1e-9)).split([2, 3], 2), found / near.clamp(min=1e-9)
    shift, along = means[:, :, :2], means[:, :, 2:].unflatten(2, (2, 2))
    slopes = solved(spread - products(mid), along - mid[:, :, :, None] * shift[:, :, None])
    away = at - mid
    away = away / away.square().sum(2, keepdim=True).sqrt().clamp(min=1)  # no extrapolation from further away
    fitted = shift + (away[:, :, :, None] * slopes).sum(2)
    return (fitted * near / (near + FAINT)).flatten(0, 1)


def calmer(flow: Flow, weight: Weight, window: float, limit: float | Limits) -> Flow:
    """The flow, where it strains what it moves by more than `limit` (one, or one for every flow), as it is of pieces
    `WIDER` windows wide.

    From 1.4 times the limit on, and near it, it is theirs alone: an eye or a letter then goes with what is around it
    where the flow would squeeze it, and what hardly bends stays as it is.
    """
    reach = max(1, round(2 * window))
    y, x = (_means(s, reach, flow.device) for s in flow.shape[2:])
    much = _most(_most(squared_strain(flow) / limit**2, 2, reach), 3, reach)
    with torch.autocast(flow.device.type, enabled=False):
        much = y @ much @ x.T
    return flow + (much - 1).clamp(0, 1) * (locally_affine(flow, weight, WIDER * window) - flow)


def _most(values: Float[Tensor, "n 1 y x"], axis: int, reach: int) -> Float[Tensor, "n 1 y x"]:
    """The largest within `reach` along an axis, of values that are not negative: of pairs, pairs of pairs and so on,
    in a thirtieth of the time of `max_pool2d` on a CPU."""
    ends = (0, 0, reach, reach) if axis == 2 else (reach, reach)
    most, seen, wide = F.pad(values, ends), 1, 2 * reach + 1
    while seen < wide:
        step = min(seen, wide - seen)
        left = most.shape[axis] - step
        most, seen = torch.maximum(most.narrow(axis, 0, left), most.narrow(axis, step, left)), seen + step
    return most


def _means(size: int, reach: int, device: torch.device) -> Float[Tensor, "s s"]:
    """Shares of all positions along an axis in the mean within `reach` of each; beyond the ends the ends go on."""
    i = torch.arange(size, device=device, dtype=torch.float32)
    up_to = (i - i[:, None] + reach + 1).clamp(0, 2 * reach + 1)  # how many of a window lie at or before a position
    up_to = torch.cat([torch.zeros_like(up_to[:, :1]), up_to[:, :-1], torch.full_like(up_to[:, :1], 2 * reach + 1)], 1)
    return up_to.diff(dim=1) / (2 * reach + 1)


def squared_strain(flow: Flow) -> Float[Tensor, "n 1 y x"]:
    """Size of Green's strain (A^T A - 1) / 2, squared (its root has no gradient at 0), A the slopes of where each
    position comes from. The size is 0 where it turns or shifts, 1.5 where one side comes from twice its length, 0.5
    where from none."""
    wide = F.pad(flow, (1, 1, 1, 1), mode="replicate")
    across = (wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]) / 2
    down = (wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]) / 2
    a, c, b, d = 1 + across[:, :1], across[:, 1:], down[:, :1], 1 + down[:, 1:]
    along, upright, skew = (a * a + c * c - 1) / 2, (b * b + d * d - 1) / 2, (a * b + c * d) / 2
    return along.square() + upright.square() + 2 * skew.square()


def solved(spread: Float[Tensor, "b _ 3 y x"], along: Float[Tensor, "b f 2 2 y x"]) -> Float[Tensor, "b f 2 2 y x"]:
    """Slopes (by position's axis, of flow's axis) from (co)variances of positions, and of positions with flow."""
    a, b, c = spread[:, :, 0:1] + RIDGE, spread[:, :, 1:2], spread[:, :, 2:3] + RIDGE
    u, v = along[:, :, 0], along[:, :, 1]
    return torch.stack([c * u - b * v, a * v - b * u], 2) / (a * c - b * b)[:, :, None]


def products(mid: Float[Tensor, "b _ 2 y x"]) -> Float[Tensor, "b _ 3 y x"]:
    """x x, x y and y y."""
    x, y = mid.unbind(2)
    return torch.stack([x * x, x * y, y * y], 2)


def gaussian(size: int, window: float, device: torch.device) -> Float[Tensor, "s s"]:
    """Weights of all positions along an axis around each of them; each row's sum is 1 far from the ends."""
    i = torch.arange(size, device=device, dtype=torch.float32)
    near: Tensor = torch.exp(-0.5 * ((i[:, None] - i) / window) ** 2)
    return near / (window * (2 * torch.pi) ** 0.5)


def places(size: int, window: float, device: torch.device) -> Float[Tensor, " s"]:
    """Positions along an axis, in windows from its middle."""
    return (torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2) / window
