"""A thing stays inside what is shown: less of a way that would go over the edge, less motion where there is no room."""

import pytest
import torch

from sfv.decoding.decoder import Decoded
from sfv.decoding.directed import Body, body_of
from sfv.decoding.inside import LEAST, SHRINK, cut_off, fitting, kept_inside
from sfv.decoding.warping import moved

SIZE, FRAMES = 64, 8
UNCUT = torch.zeros(2, 2, dtype=torch.bool)
WHOLE = (-0.5, -0.5, 0.5, 0.5)
PHASE = torch.arange(FRAMES) / FRAMES * 2 * torch.pi


def disc(row: float, column: float, radius: float) -> torch.Tensor:
    """A picture (1, 4, h, w) in [-1, 1]: white, with soft edges."""
    at = torch.arange(SIZE) + 0.5
    away = ((at[:, None] - row) ** 2 + (at[None] - column) ** 2).sqrt()
    return (2 * (radius + 0.5 - away).clamp(0, 1) - 1).expand(1, 4, SIZE, SIZE)


def body(picture: torch.Tensor, window: tuple[float, float, float, float] = WHOLE) -> Body:
    return body_of(picture[0, 3] > 0, window)


def along(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A flow (n, 2, h, w) that takes everything x and y pixels to the right and down."""
    return -torch.stack([x, y], 1)[:, :, None, None].expand(-1, -1, SIZE, SIZE)


def clip(picture: torch.Tensor, flow: torch.Tensor) -> Decoded:
    there = moved(picture, flow)[None]
    return Decoded(there, there, torch.ones_like(there[:, :, :1]), flow[None])


def seen(made: Decoded) -> torch.Tensor:
    """How much of the thing every frame shows."""
    return ((made.frames[0, :, 3] + 1) / 2).sum((1, 2))


def middles(made: Decoded) -> torch.Tensor:
    """Rows and columns of the thing's middle in every frame (n, 2)."""
    there = (made.frames[0, :, 3] + 1) / 2
    at = torch.arange(SIZE) + 0.5
    return torch.stack([(there.sum(3 - k) * at).sum(1) / there.sum((1, 2)) for k in (1, 2)], 1)


def test_what_has_room_is_left_as_it_is() -> None:
    picture = disc(32, 32, 10)
    made = clip(picture, along(8 * PHASE.sin(), 8 * PHASE.cos()))
    assert kept_inside(made, picture, body(picture), UNCUT) is made


def test_the_way_over_the_edge_is_shortened_and_the_others_stay() -> None:
    """It may go 4 pixels down and would go 12; up it goes all the way."""
    picture = disc(50, 32, 10)
    flow = along(6 * PHASE.sin(), 12 * PHASE.sin())
    before, made = clip(picture, flow), kept_inside(clip(picture, flow), picture, body(picture), UNCUT)
    assert float(seen(before).min()) < 0.8 * float(seen(before).max()), "it was cut"
    whole = float(((picture[0, 3] + 1) / 2).sum())
    assert float(seen(made).min()) > 0.97 * whole
    rows, columns = middles(made).T
    assert float(rows.max()) == pytest.approx(54, abs=0.4)
    assert float(rows.min()) == pytest.approx(38, abs=0.2)
    torch.testing.assert_close(columns, 32 + 6 * PHASE.sin(), atol=0.2, rtol=0)
    assert float((made.frames[0, 0] - picture[0]).abs().max()) < 1e-3, "the first frame is the picture"


def test_the_way_is_as_even_as_before() -> None:
    """It does not stop at the edge: all of the way down is shortened."""
    picture = disc(50, 32, 10)
    made = kept_inside(clip(picture, along(0 * PHASE, 12 * PHASE.sin())), picture, body(picture), UNCUT)
    down = middles(made)[1:4, 0] - 50
    torch.testing.assert_close(down / down.max(), PHASE[1:4].sin(), atol=0.06, rtol=0)


def test_only_the_part_of_the_frame_that_is_shown_counts() -> None:
    picture = disc(32, 32, 5)
    flow = along(0 * PHASE, 12 * PHASE.sin())
    strip = (-0.5, -0.125, 0.5, 0.125)
    made = middles(kept_inside(clip(picture, flow), picture, body(picture, strip), UNCUT))
    assert float((made[:, 0] - 32).abs().max()) == pytest.approx(3, abs=0.4)


def swelling(larger: float) -> torch.Tensor:
    """A flow that makes things so much larger at half a round, about the middle."""
    at = torch.arange(SIZE) + 0.5 - SIZE / 2
    shrink = (1 / (1 + larger * (PHASE / 2).sin() ** 2) - 1)[:, None, None]
    return torch.stack([(shrink * v).expand(FRAMES, SIZE, SIZE) for v in (at[None, None], at[None, :, None])], 1)


def touching(made: Decoded) -> float:
    """Share of the left and upper edge where something is seen half a round later."""
    rims = torch.cat([made.frames[0, 4, 3, 0], made.frames[0, 4, 3, :, 0]])
    return float((rims > 0).float().mean())


def test_what_gets_larger_than_its_room_is_smaller_for_that_moment() -> None:
    """A disc of 40 of 64 pixels: half as large again it has room; two thirds as large again it lacks 4 %."""
    picture = disc(32, 32, 20)
    small, large = (clip(picture, swelling(larger)) for larger in (0.5, 0.67))
    assert kept_inside(small, picture, body(picture), UNCUT) is small
    made = kept_inside(large, picture, body(picture), UNCUT)
    assert touching(large) > 0.3 > 0.25 > touching(made)
    torch.testing.assert_close(seen(made)[:4], seen(large)[:4], rtol=0.01, atol=0)
    assert 1 - SHRINK < (float(seen(made)[4]) / (torch.pi * (1.67 * 20.5) ** 2)) ** 0.5 < 0.98


def test_what_gets_much_larger_moves_less_too() -> None:
    picture = disc(32, 32, 20)
    large = clip(picture, swelling(1.0))
    made = kept_inside(large, picture, body(picture), UNCUT)
    assert touching(large) > 0.7 > 0.3 > touching(made) and float(seen(made)[4]) > 2 * float(seen(made)[0])
    assert made.flow is not None and large.flow is not None
    share = made.flow[0, 1] / large.flow[0, 1]
    torch.testing.assert_close(share, share[:1, :1, :1].expand_as(share), atol=1e-3, rtol=0)
    assert 0.3 < float(share.mean()) < 0.95


def test_some_motion_is_left_without_any_room() -> None:
    """It is made smaller for that, as far as it must."""
    picture = disc(32, 32, 20)
    flow, strip = swelling(1.0), (-0.4, -0.33, 0.4, 0.33)
    made = kept_inside(clip(picture, flow), picture, body(picture, strip), UNCUT)
    assert made.flow is not None
    rows = (made.frames[0, :, 3].amax(2) > 0).sum(1)
    assert int(rows.max()) <= 44 and float((made.flow[0, 4] - flow[4]).abs().max()) > 1
    still = kept_inside(clip(picture, LEAST / 4 * flow), picture, body(picture, strip), UNCUT).flow
    assert still is not None and float(still.abs().max()) > 0.1


def test_a_card_from_edge_to_edge_turns_inside_its_frame() -> None:
    """Turned by five degrees it would lose its corners."""
    turn = torch.tensor(5 * torch.pi / 180) * PHASE.sin()
    at = (torch.arange(SIZE) + 0.5 - SIZE / 2).expand(SIZE, SIZE)
    c, s = (turn.cos() - 1)[:, None, None], turn.sin()[:, None, None]
    flow = torch.stack([c * at + s * at.T, c * at.T - s * at], 1)
    picture = torch.full((1, 4, SIZE, SIZE), -1.0)
    picture[:, :, 1:-1, 1:-1] = 1
    made = kept_inside(clip(picture, flow), picture, body(picture), UNCUT)
    assert made.flow is not None
    corner = (made.flow[0, 2] - flow[2]).abs().amax((1, 2))
    assert float(corner.max()) > 1, "it is smaller"
    low = torch.cat(
        [made.frames[0, 2, 3, 0], made.frames[0, 2, 3, -1], made.frames[0, 2, 3, :, 0], made.frames[0, 2, 3, :, -1]]
    )
    assert float((low > 0).float().mean()) < 0.1
    across = made.flow[0, 2, 1, 32, -8] - made.flow[0, 2, 1, 32, 8]
    assert float(across) < -0.5 * 48 * float(turn.max()), "and turns"


@pytest.mark.parametrize(("high", "least"), [(8, 0.0), (32, LEAST)])
def test_a_banner_that_tilts_keeps_its_length(high: int, least: float) -> None:
    """It fills its picture from edge to edge, and got a fifth shorter with every tilt; other things keep a quarter of
    their motion."""
    turn = torch.tensor(torch.pi / 5) * PHASE.sin()
    at = (torch.arange(SIZE) + 0.5 - SIZE / 2).expand(SIZE, SIZE)
    c, s = (turn.cos() - 1)[:, None, None], turn.sin()[:, None, None]
    flow = torch.stack([c * at + s * at.T, c * at.T - s * at], 1)
    picture = block(32 - high // 2, 32 + high // 2, 0, SIZE)
    fit = fitting(flow, body(picture, (-0.5, -high / 2 / SIZE, 0.5, high / 2 / SIZE)), UNCUT)
    assert fit is not None
    if least:
        assert fit.less == least
    else:
        assert 0 < fit.less < LEAST and float(fit.size.min()) > 1 - SHRINK - 1e-3


def block(top: int, bottom: int, left: int, right: int) -> torch.Tensor:
    picture = torch.full((1, 4, SIZE, SIZE), -1.0)
    picture[:, :, top:bottom, left:right] = 1
    return picture


def along_sides(picture: torch.Tensor) -> torch.Tensor:
    """What share of each side something covers."""
    there = (picture[0, 3] > 0).float()
    return torch.stack([there[:, 0], there[0], there[:, -1], there[-1]]).mean(1).view(2, 2)


@pytest.mark.parametrize(
    ("place", "cut"),
    [
        ((20, 50, 20, 50), []),
        ((20, 64, 20, 50), ["lower"]),
        ((20, 64, 30, 40), []),  # a thin leg
        ((0, 50, 20, 50), ["upper"]),
        ((20, 50, 40, 64), ["right"]),
        ((0, 64, 20, 50), ["lower", "upper"]),  # a column
        ((0, 64, 0, 64), []),  # a card
        ((20, 64, 0, 64), ["lower"]),  # a box with straight walls
    ],
)
def test_which_sides_cut_a_thing_off(place: tuple[int, int, int, int], cut: list[str]) -> None:
    names = [["left", "upper"], ["right", "lower"]]
    found = cut_off(along_sides(block(*place)))
    assert sorted(names[k][axis] for k, axis in found.nonzero().tolist()) == cut


@pytest.mark.parametrize("anchored", [True, False])
def test_what_the_picture_cuts_off_stays_cut_off(anchored: bool) -> None:
    """A bust that would be lifted by 6 pixels and turned stays on the lower edge, goes over it, and sways as before."""
    picture = block(24, 64, 12, 52)
    lift = along(5 * PHASE.sin(), 6 * PHASE.sin())
    rows = (torch.arange(SIZE) + 0.5 - SIZE / 2).expand(SIZE, SIZE)
    lift[:, 1] += 0.05 * PHASE.sin()[:, None, None] * rows
    made = kept_inside(clip(picture, lift), picture, body(picture), cut_off(along_sides(picture)), anchored)
    assert made.flow is not None
    gap = made.flow[0, :, 1, -1, 16:48].amax()  # pixels of nothing below it
    assert float(gap) < 0.1 if anchored else float(gap) > 4
    torch.testing.assert_close(middles(made)[:, 1], 32 + 5 * PHASE.sin(), atol=0.5, rtol=0)
    assert float(made.flow[0, 2, 1, 32, 32]) < -4, "down it goes over the edge"


def test_what_is_drawn_goes_along() -> None:
    picture = disc(50, 32, 10)
    flow = along(0 * PHASE, 8 * PHASE.sin())
    there = moved(picture, flow)[None]
    trust = torch.full_like(there[:, :, :1], 0.25)
    spot = moved(disc(50, 32, 3), flow)[None]
    made = kept_inside(Decoded(0.25 * there + 0.75 * spot, there, trust, flow[None]), picture, body(picture), UNCUT)
    assert made.flow is not None and made.trust is not None
    again, rows = moved(picture, made.flow[0])[None], middles(made)[:, 0]
    drawn = (made.frames - 0.25 * again) / 0.75
    torch.testing.assert_close(made.trust, trust)
    there = ((drawn[0, :, 3] + 1) / 2).clamp(0, 1)
    spots = (there.sum(2) * (torch.arange(SIZE) + 0.5)).sum(1) / there.sum((1, 2))
    torch.testing.assert_close(spots, rows, atol=0.5, rtol=0)
    assert float(spots.max()) < 55
