"""Lids: eyes are as they were at the begin, hidden in the middle of a blink, and nothing else changes."""

import pytest
import torch
import torch.nn.functional as F
from faces import Drawn, face

from sfv.decoding.blinking import Lids, shares
from sfv.decoding.eyes import eyes_in


def lids(drawn: Drawn) -> Lids:
    eyes = eyes_in(drawn.picture, drawn.there)
    assert eyes is not None
    return Lids(drawn.picture, eyes)


@pytest.mark.parametrize(("seconds", "fps", "blinks"), [(1, 24, 1), (3, 8, 1), (3, 24, 1), (6, 12, 2), (9, 24, 3)])
def test_a_blink_ends_in_one_of_the_frames(seconds: int, fps: int, blinks: int) -> None:
    closed = torch.tensor(shares(seconds * fps, seconds))
    down = closed > 0
    assert closed[0] == 0 and closed.max() == 1 and int((down & ~down.roll(1)).sum()) == blinks
    assert down.sum() / fps < 0.5 * blinks


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("white", [False, True])
def test_closed_eyes_are_skin_with_an_edge(times: int, white: bool) -> None:
    """At the picture's own size and larger; the face elsewhere and its transparency stay."""
    drawn = face(white=white)
    large = F.interpolate(drawn.picture, scale_factor=times, mode="bicubic") if times > 1 else drawn.picture
    made = lids(drawn).over(large, 1.0)
    skin = large[0, :3, 36 * times, 50 * times]
    for row, column in drawn.eyes:
        radius = 9 if white else 4
        near = made[
            0,
            :3,
            int((row - radius) * times) : int((row + radius) * times),
            int((column - 2) * times) : int((column + 2) * times),
        ]
        off = (near - skin[:, None, None]).abs().amax(0)
        assert 0.5 < float((off < 0.1).float().mean()) < 0.95, "skin, and the edge of the lid"
        assert off.max() > 0.8
    assert torch.equal(made[:, 3], large[:, 3])
    changed = (made != large).any(1)[0]
    rows, columns = changed.nonzero().T / times
    assert (
        rows.max() < 64 and rows.min() > 28 and ((columns - 50).abs() < 28).all() and ((columns - 50).abs() > 2).all()
    )


def test_lids_come_down() -> None:
    """The more they are closed the less is seen of what is dark, and open ones are the picture."""
    drawn = face(white=True)
    white = [
        int((lids(drawn).over(drawn.picture, share)[0, :3].amin(0) > 0.9).sum()) for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert white == sorted(white, reverse=True) and len(set(white)) == 5 and white[-1] == 0
    assert torch.equal(lids(drawn).over(drawn.picture, 0.0), drawn.picture)


@pytest.mark.parametrize("framed", [(1,), (0, 1)], ids=["monocle", "glasses"])
def test_a_frame_round_an_eye_is_not_its_skin(framed: tuple[int, ...]) -> None:
    """As dark as a pupil: the lid is of the other eye's skin, or of the skin beyond."""
    drawn = face(white=True)
    rows, columns = torch.meshgrid(torch.arange(100), torch.arange(100), indexing="ij")
    for k in framed:
        row, column = drawn.eyes[k]
        away = ((rows + 0.5 - row) ** 2 + (columns + 0.5 - column) ** 2).sqrt()
        drawn.picture[0, :3, (away > 10.5) & (away < 14)] = -0.8
    made = lids(drawn).over(drawn.picture, 1.0)
    lid = made[0, :3, int(drawn.eyes[1][0] - 4), int(drawn.eyes[1][1])]
    assert (lid - drawn.picture[0, :3, 30, 50]).abs().max() < 0.2


def test_a_highlight_at_the_edge_is_covered() -> None:
    drawn = face(radius=36)
    row, column = (int(v) for v in drawn.eyes[0])
    drawn.picture[0, :3, row - 4 : row - 1, column + 2 : column + 4] = 1.0
    made = lids(drawn).over(drawn.picture, 1.0)
    assert (made[0, :3, row - 8 : row + 8, column - 8 : column + 8].amin(0) < 0.9).all()


def test_a_face_that_is_seen_through_closes_its_eyes() -> None:
    """Half of its opacity, so no pixel around its eyes is opaque."""
    drawn = face()
    half = (drawn.picture + 1) / 2 - 1
    eyes = eyes_in(half, drawn.there)
    assert eyes is not None
    made = Lids(half, eyes).over(half, 1.0)
    assert made.isfinite().all()
    row, column = drawn.eyes[0]
    assert (made[0, :3, int(row - 3), int(column)] - half[0, :3, 30, 50]).abs().max() < 0.2
