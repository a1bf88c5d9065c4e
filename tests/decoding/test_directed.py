"""Motion that a word asks for: it begins and ends at rest, goes where the word says, and stays in the window."""

import math

import pytest
import torch
import torch.nn.functional as F

from sfv.decoding.directed import (
    STRETCH,
    Body,
    body_of,
    carried,
    hardly_stretched,
    hops_only,
    taken,
    turned,
    turns_only,
)
from sfv.decoding.warping import moved, warped
from sfv.decoding.whereabouts import places

SIDE = 64
WORDS = ("shake", "spin", "float", "wave")


def body(half: float = 0.4) -> Body:
    """A square in the middle of the frame."""
    rows, columns = torch.meshgrid(*(2 * [(torch.arange(SIDE) + 0.5) / SIDE - 0.5]), indexing="ij")
    return body_of((rows.abs() < half) & (columns.abs() < half), (-0.5, -0.5, 0.5, 0.5))


def flows(word: str, n: int = 72) -> torch.Tensor:
    return carried(word, torch.arange(n) / n, 0.8, 3.0, body(), SIDE, SIDE)


def inside(flow: torch.Tensor) -> torch.Tensor:
    """The flow where the body is at rest."""
    return flow[..., 8:56, 8:56]


@pytest.mark.parametrize("word", WORDS)
def test_a_round_begins_at_rest_and_has_no_seam(word: str) -> None:
    flow = flows(word)
    assert flow[0].abs().max() < 1e-3
    steps = (flow - flow.roll(1, 0)).abs().mean((1, 2, 3))
    assert steps[0] <= 1.05 * steps.max() and steps.max() > 0.05


def test_a_shake_goes_aside_alone_and_quickly() -> None:
    """By a pixel's whole side, eight times a round of three seconds, without turning."""
    flow = inside(flows("shake"))
    aside = flow[:, 0].mean((1, 2))
    assert flow[:, 1].abs().max() < 0.15 and aside.abs().max() == pytest.approx(0.03 * SIDE, rel=0.1)
    assert int((aside[:-1] * aside[1:] < 0).sum()) >= 13


def test_a_float_goes_up_first_and_comes_back_once() -> None:
    up = inside(flows("float"))[:, 1].mean((1, 2))  # taken from below: the body is higher
    assert up[18] == pytest.approx(0.05 * SIDE, rel=0.2) and up[54] == pytest.approx(-0.05 * SIDE, rel=0.2)


def test_a_spin_is_a_whole_turn_clockwise() -> None:
    """A quarter round brings what was above to the right."""
    quarter = flows("spin")[18]
    y, x = SIDE // 2, SIDE - 12  # right of the middle
    taken = torch.tensor([x, y]) + quarter[:, y, x]
    assert taken[0] == pytest.approx(SIDE / 2, abs=1) and taken[1] < SIDE / 2 - 12


def test_a_wave_keeps_the_foot_and_bends_above() -> None:
    flow = flows("wave")
    foot, top = flow[:, 0, 57], flow[:, 0, 12]
    assert foot.abs().max() < 0.6 < 1 < top.abs().max()
    middle = flow[36, 0, :, SIDE // 2]
    assert middle.min() < -0.5 and middle.max() > 0.5, "bends to both sides at once"


@pytest.mark.parametrize("word", WORDS)
def test_no_body_is_cut_by_the_window(word: str) -> None:
    """A square that fills its frame is made smaller as it turns or shifts: what lies outside is not the body's."""
    full = body_of(torch.ones(SIDE, SIDE, dtype=torch.bool), (-0.5, -0.5, 0.5, 0.5))
    flow = carried(word, torch.arange(24) / 24, 0.8, 3.0, full, SIDE, SIDE)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    taken = torch.stack([columns, rows]) + flow
    for corner in ((0, 0), (0, SIDE - 1), (SIDE - 1, 0), (SIDE - 1, SIDE - 1)):
        here = taken[:, :, corner[0], corner[1]]
        assert (((here < 0.5) | (here > SIDE - 1.5)).any(1)).all(), "a corner of the frame shows the body's rim or none"


@pytest.mark.parametrize("word", WORDS)
def test_what_its_own_motion_brings_to_the_edge_is_not_cut(word: str) -> None:
    """A block rests eight pixels from the edge and is taken up to it by its own motion; then the word adds its own."""
    block = torch.full((1, 4, SIDE, SIDE), -1.0)
    block[:, :, 8:-8, 8:-8] = 1
    round_, there = torch.arange(24) / 24 * 2 * torch.pi, body_of(block[0, 3] > 0, (-0.5, -0.5, 0.5, 0.5))
    own = 8 * torch.stack([round_.sin(), -round_.sin()], 1)[:, :, None, None].expand(-1, -1, SIDE, SIDE)

    def rim(where: torch.Tensor | None) -> float:
        flow = carried(word, torch.arange(24) / 24, 0.8, 3.0, there, SIDE, SIDE, where)
        seen = moved(block, flow + warped(own, flow))[:, 3]
        edges = torch.cat([seen[:, 0], seen[:, -1], seen[:, :, 0], seen[:, :, -1]], 1)
        return float((edges > 0).float().mean(1).max())

    assert rim(places(own, there.points, torch.arange(24.0))) == 0 < 0.05 < rim(None)


def test_a_thing_without_room_shakes_and_floats_a_little_smaller() -> None:
    """By a tenth at most: then it goes less far, and as evenly as before."""
    full = body_of(torch.ones(SIDE, SIDE, dtype=torch.bool), (-0.5, -0.5, 0.5, 0.5))
    flow = carried("shake", torch.arange(72) / 72, 1.6, 3.0, full, SIDE, SIDE)
    across = 1 / (1 + (flow[:, 0, 32, -1] - flow[:, 0, 32, 0]) / (SIDE - 1))
    assert float(across.min()) == pytest.approx(0.9, abs=0.005)
    way = -flow[:, 0, 32, 31:33].mean(1) * across
    torch.testing.assert_close(way / way.max(), (8 * torch.arange(72) / 72 * 2 * torch.pi).sin(), atol=0.03, rtol=0)


@pytest.mark.parametrize("much", [0.8, 1.6])
def test_a_wide_thing_without_room_floats_still(much: float) -> None:
    """A card of 64 x 24 pixels in a window as large leans less, goes up and down, and hardly changes size."""
    there = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    there[20:44] = True
    card = body_of(there, (-0.5, 20 / 64 - 0.5, 0.5, 44 / 64 - 0.5))
    flow = carried("float", torch.arange(48) / 48, much, 3.0, card, SIDE, SIDE)
    size = 1 / (1 + (flow[:, 1, 43, 31:33] - flow[:, 1, 20, 31:33]).mean(1) / 23)
    way = -flow[:, 1, 31:33, 31:33].mean((1, 2))
    assert float(size.min()) > 0.88 and float(way.max() - way.min()) > 0.8
    lean = (flow[:, 1, 32, -1] - flow[:, 1, 32, 0]).abs().max()
    assert float(lean) > 0.2


@pytest.mark.parametrize("word", WORDS)
def test_where_a_word_takes_places(word: str) -> None:
    """What was taken from a place of the picture lies where the flow says that it came from there."""
    times = torch.arange(12) / 12
    flow = carried(word, times, 0.8, 3.0, body(), SIDE, SIDE)
    points = body(0.3).points[::97].expand(12, -1, -1)
    after = taken(word, flow, points)
    came = (
        after
        + F.grid_sample(flow, 2 * after.float()[:, None], padding_mode="border", align_corners=False)[:, :, 0].mT / SIDE
    )
    torch.testing.assert_close(came.double(), points.double(), atol=2e-3, rtol=0)


def test_sizes_follow_motion() -> None:
    slow, quick = (carried("shake", torch.arange(24) / 24, m, 3.0, body(), SIDE, SIDE) for m in (0.4, 0.8))
    assert quick.abs().max() == pytest.approx(2 * float(slow.abs().max()), rel=0.05)


def test_a_turn_is_what_is_kept_of_a_motion() -> None:
    """Of a turn about the foot with a shift beside it the turn alone stays; a faint one is made plain."""
    b, angle, still = body(0.2), torch.tensor([0.0, 0.2, -0.1]).double(), torch.zeros(3, 2).double()
    kept = turns_only(turned(angle, still + torch.tensor([0.0, 0.02]), b.foot, b), b.foot, b)
    assert angles(kept) == pytest.approx(angle.tolist(), abs=0.03)
    assert torch.allclose(kept, turned(torch.tensor(angles(kept)).double(), still, b.foot, b), atol=1e-6)
    faint = turns_only(turned(angle / 20, still, b.foot, b), b.foot, b)
    assert max(map(abs, angles(faint))) == pytest.approx(math.radians(5), rel=0.1)


@pytest.mark.parametrize(("network", "highest"), [(0.01, 0.07), (0.1, 0.1), (0.4, 0.14)])
def test_a_hop_is_what_is_kept_of_a_bounce(network: float, highest: float) -> None:
    """Of a lift with a turn and a stretch the middle's lift alone stays, within its bounds; none goes below ground."""
    b = body(0.2)
    lift = torch.tensor([0.0, 0.5, 1.0, -0.5]).double() * network
    maps = maps_of(torch.tensor([[1.1, 0.2], [-0.1, 0.8]]), b.middle.double()).repeat(4, 1, 1)
    maps[:, 0] += torch.stack([2 * lift, lift], 1)
    kept = hops_only(maps, b)
    assert torch.allclose(kept[:, 1:], torch.zeros(4, 2, 2).double(), atol=1e-9), (
        "neither turned nor smaller: there is room"
    )
    assert kept[:, 0, 0].abs().max() < 1e-9 and kept[3, 0, 1] == kept[0, 0, 1] == 0
    assert float(kept[2, 0, 1]) == pytest.approx(highest, abs=0.01)
    assert float(kept[1, 0, 1]) == pytest.approx(highest / 2, abs=0.01)
    assert hops_only(torch.zeros(3, 3, 2), b).abs().max() == 0


def angles(maps: torch.Tensor) -> list[float]:
    """Of turned bodies, radians."""
    back = maps[:, 1:] + torch.eye(2).double()
    return torch.atan2(back[:, 1, 0], back[:, 0, 0]).tolist()


def test_a_picture_without_a_thing_is_its_own_body() -> None:
    assert body_of(torch.zeros(8, 8, dtype=torch.bool), (-0.5, -0.5, 0.5, 0.5)).height == pytest.approx(7 / 8)


def maps_of(linear: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
    """Flows of shares of a square frame that leave one place where it is."""
    more = (linear - torch.eye(2)).mT[None].double()
    return torch.cat([-torch.einsum("j,njk->nk", fixed, more)[:, None], more], 1)


def test_a_stiff_body_is_hardly_stretched_about_the_place_that_moves_least() -> None:
    """Flattened to two thirds on its foot, it keeps its foot and nearly its height."""
    one = body()
    maps = maps_of(torch.diag(torch.tensor([1.0, 1.5])), one.foot)
    made = hardly_stretched(maps, one)
    assert made[0, 2, 1] == pytest.approx(math.exp(STRETCH) - 1, abs=0.01)
    foot = torch.cat([torch.ones(1, dtype=torch.float64), one.foot]) @ made[0]
    assert foot.abs().max() < 0.01


def test_turns_and_small_stretches_stay() -> None:
    c, s = math.cos(0.3), math.sin(0.3)
    turn = torch.tensor([[c, -s], [s, c]])
    for linear, near in ((turn, 1e-9), (torch.diag(torch.tensor([1.02, 0.99])), 2e-3), (turn * 1.02, 2e-3)):
        maps = maps_of(linear, body().middle)
        torch.testing.assert_close(hardly_stretched(maps, body()), maps, atol=near, rtol=0)


@pytest.mark.parametrize("word", WORDS)
def test_a_window_between_pixels_still_has_a_body(word: str) -> None:
    """As of a banner whose clip is two pixels high."""
    thin = body_of(torch.ones(SIDE, SIDE, dtype=torch.bool), (-0.5, -0.001, 0.5, 0.001))
    maps = maps_of(torch.diag(torch.tensor([1.0, 1.2])), torch.zeros(2, dtype=torch.float64))
    assert hardly_stretched(maps, thin).isfinite().all() and turns_only(maps, thin.foot, thin).isfinite().all()
    flow = carried(word, torch.arange(12) / 12, 0.8, 3.0, thin, SIDE, SIDE)
    assert flow.isfinite().all() and flow[0].abs().max() < 1e-3, "nor is it made smaller to fit between them"
