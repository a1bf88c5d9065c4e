"""What an arrow drags: it is at the arrow's end in the middle of a round, nothing folds, and the rest stays."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfv.decoding.directed import Body, body_of
from sfv.decoding.dragging import Arrow, dragged

ROWS, COLUMNS = 48, 64
TIMES = torch.arange(24) / 24
PLACES = st.tuples(*(2 * [st.floats(-0.4, 0.4)]))


def body(half: float = 0.3) -> Body:
    """A rectangle in the middle of the frame."""
    rows, columns = torch.meshgrid(*((torch.arange(s) + 0.5) / s - 0.5 for s in (ROWS, COLUMNS)), indexing="ij")
    return body_of((rows.abs() < half) & (columns.abs() < half), (-0.5, -0.5, 0.5, 0.5))


def flow(start: tuple[float, float], end: tuple[float, float], whole: bool, half: float = 0.3) -> torch.Tensor:
    return dragged(Arrow(start, end), TIMES, body(half), ROWS, COLUMNS, whole)


def taken(flows: torch.Tensor, frame: int, place: tuple[float, float]) -> torch.Tensor:
    """From where (shares) a place of a frame is taken."""
    column, row = (min(int((share + 0.5) * size), size - 1) for share, size in zip(place, (COLUMNS, ROWS), strict=True))
    here = torch.tensor([(column + 0.5) / COLUMNS - 0.5, (row + 0.5) / ROWS - 0.5])
    return here + flows[frame, :, row, column] / torch.tensor([COLUMNS, ROWS])


@pytest.mark.parametrize("whole", [False, True])
def test_what_lies_at_the_start_is_at_the_end_in_the_middle_of_a_round(whole: bool) -> None:
    flows = flow((-0.1, 0.0), (0.0, -0.1), whole)
    assert flows[0].abs().max() < 1e-3
    assert taken(flows, 12, (0.0, -0.1)) == pytest.approx(torch.tensor([-0.1, 0.0]), abs=1 / ROWS)
    steps = (flows - flows.roll(1, 0)).abs().mean((1, 2, 3))
    assert steps[0] <= steps.max() and steps.max() > 0.05


def test_a_soft_thing_stays_where_it_is_far_from_the_arrow() -> None:
    flows = flow((-0.25, -0.25), (-0.3, -0.3), False)
    assert flows[..., ROWS // 2 :, COLUMNS // 2 :].abs().max() < 0.5 < flows[..., :20, :20].abs().max()


@given(PLACES, PLACES)
def test_nothing_is_folded(start: tuple[float, float], end: tuple[float, float]) -> None:
    """Neighbours are taken from neighbours, in their order."""
    flows = flow(start, end, False)
    assert (flows[:, 0].diff(dim=2) > -1).all() and (flows[:, 1].diff(dim=1) > -1).all()


def test_a_stiff_thing_goes_as_far_as_there_is_room() -> None:
    """A body that almost fills the frame gets a little smaller and moves less than the arrow says."""
    flows = flow((0.0, 0.0), (0.4, 0.0), True, half=0.45)
    corner = taken(flows, 12, (0.49, 0.0))
    assert corner[0] <= 0.49, "its side is in the frame"
    wide = flows[12, 0].diff(dim=1) + 1
    assert wide == pytest.approx(torch.full_like(wide, 1 / 0.8), abs=0.1)
