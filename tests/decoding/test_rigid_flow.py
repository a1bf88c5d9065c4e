"""Flow that moves whole pieces: what is affine stays, what is torn is mended, what is empty goes along or stays."""

import pytest
import torch
import torch.nn.functional as F

from sfv.decoding.decoder import new_decoder
from sfv.decoding.guide import Guide
from sfv.decoding.rigid_flow import FAINT, WIDER, calmer, locally_affine, squared_strain, texture
from sfv.errors import SfvError

FULL = torch.ones(1, 1, 24, 32)


def turned(y: int, x: int) -> torch.Tensor:
    """A shift, a turn and a stretch about the middle."""
    rows, columns = torch.meshgrid(torch.arange(y) - y / 2, torch.arange(x) - x / 2, indexing="ij")
    return torch.stack([2 + 0.05 * columns - 0.1 * rows, -1 + 0.1 * columns + 0.02 * rows])[None]


def test_a_turn_stays_a_turn() -> None:
    flow = turned(24, 32)
    made = locally_affine(flow, FULL, 3.0) * (1 + FAINT)
    inner = (..., slice(6, -6), slice(6, -6))
    assert float((made - flow)[inner].abs().max()) < 0.1 * float(flow[inner].abs().max())


def test_errors_of_single_positions_average_out() -> None:
    noise = torch.randn(4, 2, 24, 32, generator=torch.Generator().manual_seed(0))
    made = locally_affine(noise, FULL.expand(4, -1, -1, -1), 4.0)
    assert float(made.std()) < 0.25 * float(noise.std())


def test_the_ground_beside_a_thing_goes_along_and_far_ground_stays() -> None:
    weight, flow = torch.zeros(1, 1, 24, 32), torch.zeros(1, 2, 24, 32)
    weight[..., 8:16, 4:12], flow[..., 8:16, 4:12] = 9.0, 3.0
    flow[..., 20:] = 50  # whatever was found where there is nothing to see
    made = locally_affine(flow, weight, 2.0)
    torch.testing.assert_close(made[..., 9:15, 12:14], torch.full((1, 2, 6, 2), 3.0), rtol=0.05, atol=0)
    assert float(made[..., 24:].abs().max()) < 0.05


def slopes(*rows: tuple[float, float]) -> torch.Tensor:
    """The flow of a picture whose every place comes from `rows` times it."""
    places = torch.stack(torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="xy"))
    return (torch.einsum("ij,jyx->iyx", torch.tensor(rows), places) - places)[None]


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (((1.0, 0.0), (0.0, 1.0)), 0.0),
        (((0.8, -0.6), (0.6, 0.8)), 0.0),  # a turn
        (((2.0, 0.0), (0.0, 1.0)), 1.5),
        (((0.0, 0.0), (0.0, 1.0)), 0.5),
    ],
)
def test_strain_is_of_stretching_alone(rows: tuple[tuple[float, float], ...], wanted: float) -> None:
    inner = squared_strain(slopes(*rows))[..., 1:-1, 1:-1].sqrt()
    torch.testing.assert_close(inner, torch.full_like(inner, wanted), atol=1e-5, rtol=0)


def test_what_would_be_squeezed_goes_with_what_is_around_it() -> None:
    """A spot that the flow shrinks to a quarter; a turn is left as it is."""
    rows, columns = torch.meshgrid(torch.arange(48) - 23.5, torch.arange(48) - 23.5, indexing="ij")
    near = (-(rows**2 + columns**2) / 18).exp()
    flow, weight = torch.stack([3 * columns * near, 3 * rows * near])[None], torch.ones(1, 1, 48, 48)
    made = calmer(flow, weight, 2.5, 0.25)
    middle = (..., slice(18, 30), slice(18, 30))
    assert squared_strain(made)[middle].max() < 0.16 * squared_strain(flow)[middle].max()
    turn = 0.2 * torch.stack([-rows, columns])[None]
    torch.testing.assert_close(calmer(turn, weight, 2.5, 0.25), turn, atol=0.1, rtol=0)


def test_what_does_not_move_has_a_gradient() -> None:
    flow = torch.zeros(1, 2, 16, 16, requires_grad=True)
    calmer(flow, torch.ones(1, 1, 16, 16), 2.5, 0.25).square().sum().backward()  # type: ignore[no-untyped-call]
    assert flow.grad is not None and flow.grad.isfinite().all()


def test_how_much_is_strained_nearby_is_as_pooling_finds_it() -> None:
    """The largest strain within a window, then its mean over one, beyond the border as at it."""
    made, wide = torch.Generator().manual_seed(4), 11
    flow, weight = torch.randn(3, 2, 24, 17, generator=made), torch.ones(1, 1, 24, 17)
    flow = F.avg_pool2d(flow, 5, 1, 2)
    most = F.max_pool2d(squared_strain(flow) / 0.2**2, wide, 1, wide // 2)
    mean = F.avg_pool2d(F.pad(most, (wide // 2,) * 4, mode="replicate"), wide, 1)
    share = (mean - 1).clamp(0, 1)
    assert 0.1 < float(share.mean()) < 0.9
    wider = flow + share * (locally_affine(flow, weight, WIDER * 2.5) - flow)
    torch.testing.assert_close(calmer(flow, weight, 2.5, 0.2), wider, atol=1e-5, rtol=1e-5)


def test_every_flow_may_have_its_own_limit() -> None:
    made = torch.Generator().manual_seed(5)
    flow, weight = torch.randn(2, 2, 16, 16, generator=made), torch.ones(1, 1, 16, 16)
    both = calmer(flow, weight, 2.5, torch.tensor([0.2, 9.0]).view(2, 1, 1, 1))
    each = [calmer(flow[i : i + 1], weight, 2.5, limit) for i, limit in enumerate((0.2, 9.0))]
    torch.testing.assert_close(both, torch.cat(each))
    assert torch.equal(both[1], flow[1]) and not torch.equal(both[0], flow[0])


def test_reduced_precision_around_it_changes_nothing() -> None:
    """Variances far from the middle are small differences of large sums: in bfloat16 they are noise."""
    weight = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    flow = turned(32, 32).expand(2, -1, -1, -1)
    with torch.autocast("cpu", torch.bfloat16):
        made = locally_affine(flow, weight, 3.0)
    assert made.dtype == torch.float32
    assert torch.equal(made, locally_affine(flow, weight, 3.0))


def test_one_weight_serves_all_frames_of_a_clip() -> None:
    made = torch.Generator().manual_seed(2)
    flow, weight = torch.randn(6, 2, 16, 24, generator=made), torch.rand(2, 1, 16, 24, generator=made)
    each = locally_affine(flow, weight.repeat_interleave(3, 0), 3.0)
    torch.testing.assert_close(locally_affine(flow, weight, 3.0), each, atol=1e-5, rtol=1e-5)


def test_texture_is_where_the_picture_changes() -> None:
    picture = torch.ones(1, 3, 32, 32)
    assert not texture(picture, 8, 8).any()
    picture[..., 8:16, 8:16] = -1
    there = texture(picture, 8, 8)
    assert float(there[0, 0, 5:, 5:].max()) == 0 < float(there[0, 0, 2, 1])
    assert float(there.mean()) == pytest.approx(1)


def test_torn_matches_move_a_thing_in_one_piece() -> None:
    """A guide with a window takes a letter from where most of it went."""
    torn = Guide((16, 8)), Guide((16, 8), 1, 2.0)
    flow = 1 + torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    bends = [float(guide.whole(flow, picture).diff(dim=3).abs().mean()) for guide in torn]
    assert bends[1] < 0.5 * bends[0]
    assert [len(guide.flow) for guide in torn] == [2, 1]
    assert not torn[1].whole(flow, picture)[0].any() and torn[0].whole(flow, picture)[0].any()  # the picture itself


def test_pieces_need_levels_below_the_finest() -> None:
    with pytest.raises(SfvError, match="no flow is found at the finest"):
        new_decoder(4, 4, 0).locally_affine(2.0)
    whole = new_decoder(4, 4, 0, depth=(1, 1), joined=1)
    made = whole.locally_affine(2.0).eval()
    assert torch.equal(made.entry.weight, whole.entry.weight)
    z, picture = torch.randn(2, 3, 4, 8, 8), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        drawn = made.draw(z, picture)
    assert drawn.frames.shape == (2, 3, 3, 32, 32) and drawn.flow is not None and drawn.flow.shape[-3:] == (2, 32, 32)
