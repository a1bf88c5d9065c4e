"""What lies round a thing, and the thing cut free of it."""

import pytest
import torch
from torch import Tensor

from sfv.media.grounds import beyond, cut_free, fills_frame

SIDE = 64
GROUNDS = [(255, 255, 255), (0, 0, 0), (30, 120, 200)]


def ring() -> Tensor:
    """A red ring with a white face, alone on nothing, with a soft outline: (1, 4, SIDE, SIDE) in [0, 1], colours
    multiplied with alpha."""
    rows = torch.arange(SIDE) + 0.5 - SIDE / 2
    radius = (rows[:, None].square() + rows.square()).sqrt()
    alpha = (24 - radius).clamp(0, 1)
    red = torch.tensor([0.8, 0.1, 0.1])[:, None, None].expand(3, SIDE, SIDE)
    colours = torch.where(radius < 16, torch.ones(3, 1, 1), red)
    return torch.cat([colours * alpha, alpha[None]])[None]


def over(layers: Tensor, ground: tuple[int, int, int]) -> Tensor:
    """Opaque, in [-1, 1]."""
    under = torch.tensor(ground)[:, None, None] / 255 * (1 - layers[:, 3:])
    return torch.cat([layers[:, :3] + under, torch.ones_like(layers[:, 3:])], 1) * 2 - 1


def noise() -> Tensor:
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("ground", GROUNDS)
def test_a_picture_on_a_ground_does_not_fill_its_frame(ground: tuple[int, int, int]) -> None:
    on_ground = torch.tensor(ground).float()[:, None, None].expand(3, SIDE, SIDE) / 127.5 - 1
    assert not fills_frame(on_ground[None])
    assert fills_frame(noise())
    clear = torch.cat([noise()[0], torch.full((1, SIDE, SIDE), -1.0)])
    assert not fills_frame(clear[None])


@pytest.mark.parametrize("ground", GROUNDS)
def test_a_thing_cut_free_of_its_ground_is_the_thing(ground: tuple[int, int, int]) -> None:
    thing = ring()
    away = ((cut_free(over(thing, ground)) + 1) / 2 - thing).abs()
    outline = (thing[:, 3:] > 0) & (thing[:, 3:] < 1)
    assert float(torch.where(outline, 0, away).max()) < 1e-5, "the white face stays, over white too"
    assert float(away.mean()) < 0.01


def test_a_ground_with_the_faint_noise_of_a_lossy_file_is_a_ground() -> None:
    picture = over(ring(), (200, 210, 220))
    picture[:, :3] += 0.03 * noise()
    cut = cut_free(picture)
    assert float(cut[0, 3, 0].max()) == -1
    assert (cut[:, :3] <= cut[:, 3:]).all(), "colours stay multiplied with alpha"


@pytest.mark.parametrize("level", [5, 100, 250])
def test_five_levels_off_are_ground_however_bright_it_is(level: int) -> None:
    picture = torch.full((1, 4, SIDE, SIDE), level / 127.5 - 1)
    picture[:, 3] = 1
    picture[:, :3, 20:40, 20:40] = (level - 5) / 127.5 - 1
    assert float(cut_free(picture)[:, 3].max()) == -1
    picture[:, :3, 20:40, 20:40] = (level - 5) / 127.5 - 1 + 2 / 255 * 11
    assert float(cut_free(picture)[:, 3].max()) > -1


def test_each_of_a_batch_is_cut_by_itself_and_only_off_a_plain_ground() -> None:
    clear, photo = ring() * 2 - 1, torch.cat([noise(), torch.ones(1, 1, SIDE, SIDE)], 1)
    batch = torch.cat([clear, photo, over(ring(), GROUNDS[2])])
    cut = cut_free(batch)
    assert torch.equal(cut[:2], batch[:2])
    assert torch.equal(cut[2:], cut_free(batch[2:])) and float(cut[2, 3].min()) == -1


def test_what_lies_beyond_a_border() -> None:
    """Nothing round what has transparency, the ground round a thing that touches a plain one; else the border."""
    clear = torch.cat([noise()[0], torch.full((1, SIDE, SIDE), -1.0)])[None]
    nothing = beyond(clear)
    assert nothing is not None and torch.equal(nothing, torch.full((4,), -1.0))
    plain = over(ring(), (30, 120, 200))
    assert beyond(plain) is None and beyond(noise()) is None
    plain[:, :3, 28:36, 50:] = 0.9
    made = beyond(plain)
    assert made is not None
    torch.testing.assert_close(made, torch.tensor([30 / 127.5 - 1, 120 / 127.5 - 1, 200 / 127.5 - 1, 1.0]))
    without = beyond(plain[:, :3])
    assert without is not None and torch.equal(without, made[:3])
