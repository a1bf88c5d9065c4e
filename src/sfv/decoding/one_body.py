"""Stiff things: a clip whose picture turns, stretches and shifts as one body; nothing of it bends and nothing is drawn.

The motion is the network's own: of every frame's flow the affine map that fits best, by weighted least squares.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from sfv.decoding.decoder import Decoded
from sfv.decoding.rigid_flow import texture
from sfv.decoding.warping import Flow, Maps, moved

Affine = Float[Tensor, "n 3 2"]
"""Flow (x, y) in shares of the frame's sides = (1, column, row) @ this; columns and rows in [-1/2, 1/2]."""
CELL = 4
"""Pixels of a side of a cell, over which texture is counted."""
RIDGE = 1e-3
"""Added to the variance of places (1/12 for the whole frame): slopes across a thin thing are not believed."""
OVERSCAN = 0.1
"""Share of its size by which a picture without borders may be enlarged, so that none is seen."""


def one_body(
    drawn: Decoded, picture: Maps, cover: bool = False, keep: Callable[[Affine], Affine] = lambda maps: maps
) -> Decoded:
    """The same clip, its picture moved as one body.

    `drawn` is one clip with its flow and mask, `picture` (1, 3 or 4, h, w) what it was made of. `cover`: the picture
    fills its frame, so it is enlarged as far as its motion would show its border, and moves less if that is not enough.
    `keep` says what of the motion is kept.
    """
    assert drawn.flow is not None and drawn.trust is not None
    flow = drawn.flow[0].float()
    where = "cpu" if flow.device.type == "mps" else flow.device  # Apple's GPUs have no float64
    maps = keep(fitted(flow.to(where), followed(picture, drawn.trust[0].float()).to(where)))
    if cover:
        maps = covering(maps)
    whole = flow_of(maps, flow.shape[2], flow.shape[3]).to(flow.device)
    there = moved(picture, whole)[None]
    return Decoded(there, there, torch.ones_like(drawn.trust), whole[None])


def followed(picture: Maps, trust: Float[Tensor, "n _ y x"]) -> Float[Tensor, "n 1 y x"]:
    """How much each place of each frame says about the motion: where the picture shows something and is moved."""
    y, x = picture.shape[2:]
    seen = texture(picture[:, :3], max(1, y // CELL), max(1, x // CELL))
    seen = torch.nn.functional.interpolate(seen, (y, x))
    if picture.shape[1] == 4:
        seen = seen * (picture[:, 3:] + 1) / 2
    return seen * trust.mean(1, keepdim=True) + 1e-6


def fitted(flow: Flow, weight: Float[Tensor, "n 1 y x"]) -> Affine:
    """Weighted least squares of each frame's flow (pixels)."""
    y, x = flow.shape[2:]
    at, share = grid(y, x, flow.device), (weight / weight.sum((2, 3), keepdim=True)).flatten(2).transpose(1, 2)
    sides = torch.tensor([x, y], device=flow.device, dtype=torch.float64)
    wanted = flow.double().flatten(2).transpose(1, 2) / sides
    squares = at.T @ (share * at)
    ridge = torch.diag(torch.tensor([0.0, RIDGE, RIDGE], device=flow.device, dtype=torch.float64))
    maps: Tensor = torch.linalg.solve(squares + ridge, at.T @ (share * wanted))
    return maps


def flow_of(maps: Affine, y: int, x: int) -> Flow:
    """In pixels, float32."""
    sides = torch.tensor([x, y], device=maps.device, dtype=torch.float64)
    return (grid(y, x, maps.device) @ maps * sides).float().transpose(1, 2).unflatten(2, (y, x))


def grid(y: int, x: int, device: torch.device) -> Float[Tensor, "places 3"]:
    """1, column and row of every place."""
    rows, columns = (((torch.arange(s, device=device) + 0.5) / s - 0.5).double() for s in (y, x))
    one = torch.ones(y, x, device=device, dtype=torch.float64)
    return torch.stack([one, columns.expand(y, x), rows[:, None].expand(y, x)], -1).flatten(0, 1)


def covering(maps: Affine) -> Affine:
    """Enlarged around the middle, all frames alike, until no frame shows the border; less motion if that takes more
    than OVERSCAN."""
    while (zoom := _zoom(maps)) < 1 - OVERSCAN:
        maps = maps / 2
    still = torch.zeros_like(maps)
    still[:, 1, 0] = still[:, 2, 1] = 1
    at = maps + still  # places, not offsets
    return torch.cat([at[:, :1], zoom * at[:, 1:]], 1) - still


def covered(flow: Flow) -> Affine:
    """A flow that moves everything as one body, enlarged so that no border shows."""
    return covering(fitted(flow, torch.ones_like(flow[:, :1])))


def _zoom(maps: Affine) -> float:
    """The largest share of the frame, at most 1, of which every frame's corners lie inside the picture."""
    across = maps[:, 1:] + torch.eye(2, device=maps.device, dtype=maps.dtype)
    reach, away = across.abs().sum(1) / 2, maps[:, 0].abs()
    return float(((0.5 - away) / reach).clamp(0, 1).min())
