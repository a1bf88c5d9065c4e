"""Stiff things move as one body: an affine map of every frame, the network's own, and nothing is drawn."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfv.decoding.decoder import Decoded
from sfv.decoding.one_body import OVERSCAN, RIDGE, covering, fitted, flow_of, grid, one_body

SIZE = 64
ALL = torch.ones(1, 1, SIZE, SIZE)


def noise(channels: int = 4) -> torch.Tensor:
    return torch.rand(1, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def drawn(flow: torch.Tensor, trust: float = 1.0, channels: int = 4) -> Decoded:
    frames = torch.zeros(1, len(flow), channels, SIZE, SIZE)
    return Decoded(frames, frames, torch.full_like(frames, trust), flow[None])


def turned(degrees: float) -> torch.Tensor:
    """As maps of shares of the frame."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[[0.0, 0.0], [c - 1, s], [-s, c - 1]]], dtype=torch.float64)


def test_what_is_affine_stays_itself() -> None:
    maps = torch.tensor([[[0.03, -0.02], [0.05, 0.1], [-0.08, 0.02]]], dtype=torch.float64)
    again = fitted(flow_of(maps, SIZE, SIZE), ALL)
    torch.testing.assert_close(again, maps, rtol=13 * RIDGE, atol=1e-4)


def test_a_torn_flow_becomes_one_map_and_what_was_drawn_is_left_out() -> None:
    flow = flow_of(turned(8), SIZE, SIZE) + torch.randn(1, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    flow[..., 20:30, 20:30] += 15
    made = one_body(drawn(flow, trust=0.4), torch.ones(1, 4, SIZE, SIZE))
    assert made.flow is not None and made.trust is not None
    second = made.flow[0].diff(n=2, dim=2).abs().max(), made.flow[0].diff(n=2, dim=3).abs().max()
    assert max(map(float, second)) < 1e-4, "straight lines stay straight"
    assert float(made.trust.min()) == 1 and not made.frames.isnan().any()


def test_the_thing_is_followed_and_its_ground_is_not() -> None:
    picture = torch.full((1, 4, SIZE, SIZE), -1.0)
    thing = (..., slice(16, 48), slice(16, 48))
    picture[thing] = noise()[thing]
    picture[:, 3][thing] = 1
    flow = torch.full((1, 2, SIZE, SIZE), 30.0)
    flow[thing] = flow_of(turned(5), SIZE, SIZE)[thing]
    made = one_body(drawn(flow), picture).flow
    assert made is not None
    torch.testing.assert_close(made[0][thing], flow[thing], atol=0.25, rtol=0)


def test_a_still_stays_a_still_to_the_level() -> None:
    picture = noise()
    made = one_body(drawn(torch.zeros(3, 2, SIZE, SIZE)), picture, cover=True)
    torch.testing.assert_close(made.frames[0], picture.expand(3, -1, -1, -1), atol=2 / 255, rtol=0)


@settings(max_examples=40, deadline=None)
@given(st.floats(-25, 25), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2))
def test_a_picture_without_borders_never_shows_one(degrees: float, right: float, down: float, grow: float) -> None:
    maps = turned(degrees).repeat(2, 1, 1) * torch.tensor([1.0, -0.5])[:, None, None]
    maps[0, 0] = torch.tensor([right, down])
    maps[1, 1, 0] += grow
    made = covering(maps)
    at = grid(SIZE, SIZE, maps.device)[:, 1:] + grid(SIZE, SIZE, maps.device) @ made
    assert float(at.abs().max()) <= 0.5 + 1e-9
    zoom = float(made[:, 1, 0].min()) + 1
    assert zoom > 0.6, f"enlarged by {OVERSCAN} for covering, and by what moves itself"


@pytest.mark.parametrize("channels", [3, 4])
def test_pictures_with_and_without_transparency(channels: int) -> None:
    made = one_body(drawn(flow_of(turned(3), SIZE, SIZE), channels=channels), noise(channels))
    assert made.frames.shape == (1, 1, channels, SIZE, SIZE)
