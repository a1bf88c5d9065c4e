"""What is straight in a picture, and that it counts in what is stiff."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from sfv.families.motion.stiffness import Stiffness, StiffnessConfig
from sfv.families.motion.straight_lines import straight_lines, votes
from sfv.training.objectives.stiffness import fit_lines, fit_motion

SIDE = 96


def drawn(kind: str, turn: float = 0, size: float = 0.5, middle: tuple[float, float] = (0.5, 0.5)) -> torch.Tensor:
    """Layers (1, 4, y, x) in [-1, 1] of a dark box or disc in the clear."""
    image = Image.new("RGBA", (4 * SIDE, 4 * SIDE))
    x, y, half = 4 * SIDE * middle[0], 4 * SIDE * middle[1], 2 * SIDE * size
    pen = ImageDraw.Draw(image)
    {"box": pen.rectangle, "disc": pen.ellipse}[kind]([x - half, y - half, x + half, y + half], fill="#304060")
    image = image.rotate(turn, Image.Resampling.BICUBIC, center=(x, y)).resize((SIDE, SIDE), Image.Resampling.BOX)
    data = torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)
    return torch.cat([data[:3] * data[3:], data[3:]])[None] * 2 - 1


def test_a_box_has_four_lines_and_a_disc_none() -> None:
    box, turned, disc = (straight_lines(p)[0] for p in (drawn("box"), drawn("box", 30), drawn("disc")))
    assert min(box[2], turned[2]) > 2 * disc[2], "what the strongest twelve hold"
    assert box[5] > 0.7 and turned[5] < 0.3 and disc[5] < 0.3, "upright and level ones"
    assert disc[6] > max(box[6], turned[6]) + 1, "directions"


@pytest.mark.parametrize("angle", [0, 1, 45, 89, 90, 91, 135, 179])
def test_a_line_is_the_same_from_both_sides(angle: float) -> None:
    """Its edges have opposite directions: both vote for one line, wherever angles begin."""
    y, x = torch.meshgrid(*(2 * [torch.arange(SIDE) + 0.5 - SIDE / 2]), indexing="ij")
    turn = torch.deg2rad(torch.tensor(float(angle)))
    off = x * turn.cos() + y * turn.sin() - 12
    bar = torch.where(off.abs() < 2, -0.5, 1.0).expand(3, -1, -1)
    found = votes(torch.cat([bar, torch.ones(1, SIDE, SIDE)])[None])[0]
    assert float(found.sum()) == pytest.approx(3, abs=1e-3)
    row, column = divmod(int(found.argmax()), found.shape[1])
    apart = abs((row + 0.5) * 5 - angle)
    assert min(apart, 180 - apart) <= 7.5
    middle, cell = found.shape[1] / 2, 2 * 128 / 3 / SIDE  # pixels of the picture in a cell
    assert abs(abs(column + 0.5 - middle) / (found.shape[1] * 2 / 3 / SIDE) - 12) < 4, cell


def test_the_clear_is_white_and_pictures_do_not_depend_on_each_other() -> None:
    clear = drawn("box", 20)
    white = torch.cat([clear[:, :3] + 1 - clear[:, 3:], torch.ones_like(clear[:, 3:])], 1)
    both = straight_lines(torch.cat([clear, drawn("disc")]))
    torch.testing.assert_close(straight_lines(white), straight_lines(clear))
    torch.testing.assert_close(both, torch.cat([straight_lines(clear), straight_lines(drawn("disc"))]))


def test_an_empty_picture_has_none() -> None:
    assert straight_lines(torch.full((1, 4, SIDE, SIDE), -1.0))[0].abs().max() < 1e-4


def network() -> Stiffness:
    torch.manual_seed(0)
    made = Stiffness(StiffnessConfig(widths=(16, 16, 8), hidden=8, lines=True)).eval().requires_grad_(False)
    made.answer[-1].bias.fill_(-9)  # type: ignore[operator]
    return made


def test_lines_are_fitted_and_tell_boxes_from_discs() -> None:
    """Of others than those they were fitted to; as many of what bends pass as was asked for."""
    made = network()  # by features nothing is stiff
    rng = np.random.default_rng(0)

    def some(kind: str, count: int) -> list[torch.Tensor]:
        return [
            drawn(kind, rng.uniform(0, 90), rng.uniform(0.3, 0.5), tuple(rng.uniform(0.4, 0.6, 2)))
            for _ in range(count)
        ]

    discs, boxes = some("disc", 20), some("box", 12)
    fit_lines(made, discs, boxes, 0.25)
    assert sum(float(made(p)) > 0 for p in discs) == 5
    fit_lines(made, discs, boxes, 0.01)
    unseen = [[float(made(p)) for p in some(kind, 10)] for kind in ("disc", "box")]
    assert max(unseen[0]) < min(unseen[1])
    made.answer[-1].bias.fill_(9)  # type: ignore[operator]
    assert all(float(made(p)) > 0 for p in discs), "features alone are enough"


def test_motion_is_fitted_and_tells_boxes_from_discs() -> None:
    """Boxes here move more than discs, by as many ids as they did on average; the answer of stiffness stays."""
    torch.manual_seed(0)
    made = Stiffness(StiffnessConfig(widths=(16, 16, 8), hidden=8, motion=True)).eval().requires_grad_(False)
    before = made(drawn("box"))
    turns = range(5, 85, 4)
    fit_motion(made, [(drawn(k, t, 0.4), m + t % 3) for t in turns for k, m in (("box", 150.0), ("disc", 90.0))])
    (_, box), (_, disc) = (made.judged(drawn(k, 33, 0.42)) for k in ("box", "disc"))
    assert 15 < float(box) < 45 and -45 < float(disc) < -15
    assert torch.equal(made(drawn("box")), before) and torch.equal(made.judged(drawn("box"))[0], before)


def test_a_network_that_was_not_fitted_moves_nothing_more() -> None:
    assert float(network().judged(drawn("disc"))[1]) == 0
