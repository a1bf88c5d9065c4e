"""Where a clip keeps still its picture's pixels stay, and beside it the motion fades instead of being seen twice."""

import torch

from sfv.decoding.decoder import Decoded
from sfv.decoding.holding import held
from sfv.decoding.warping import moved

SIZE = 48


def test_motion_fades_toward_what_keeps_still() -> None:
    rng = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 4, SIZE, SIZE, generator=rng) * 2 - 1
    flow = torch.full((2, 2, SIZE, SIZE), 5.0)
    trust = torch.full((1, 2, 4, SIZE, SIZE), 0.75)
    there = moved(picture, flow)[None]
    frames = trust * there + 0.1
    weights = torch.linspace(1.5, -0.5, SIZE).clamp(0, 1).expand(SIZE, SIZE)
    made = held(Decoded(frames, there, trust, flow[None]), picture, weights)
    assert made.flow is not None and made.trust is not None
    still, free = weights[0] == 1, weights[0] == 0
    expected = picture[:, None].expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(made.frames[..., still], expected[..., still], atol=2e-3, rtol=0)
    torch.testing.assert_close(made.frames[..., free], frames[..., free], atol=1e-5, rtol=0)
    steps = made.flow[0, :, 0].diff(dim=2)
    assert float(steps.min()) >= -1e-6 and float(steps.max()) < 0.3, "no step: nothing is torn or doubled"
