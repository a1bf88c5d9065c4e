"""Faults do nothing at 0, what they say at 1, and more in between."""

import pytest
import torch

from sfv.evaluation.corruption_study import spoil
from sfv.measures.corruptions import FAULTS
from sfv.measures.recogniser import ROW, Recogniser, load_recogniser, prepare, save_recogniser
from sfv.types import Frames


@pytest.fixture(scope="module")
def clip() -> Frames:
    """A square that wanders over a coloured ramp."""
    x = torch.arange(64.0)
    ramp = torch.stack([x[:, None].expand(64, 64) * 3, x[None].expand(64, 64) * 3, torch.full((64, 64), 90.0)], -1)
    frames = ramp.expand(12, -1, -1, -1).clone()
    for t in range(12):
        frames[t, 20 + t : 36 + t, 4 * t : 4 * t + 16] = torch.tensor([220.0, 40.0, 10.0])
    return frames.round().to(torch.uint8)


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_at_zero_and_more_with_strength(fault: str, clip: Frames) -> None:
    off = [float((spoil(clip, fault, s, "c").float() - clip.float()).abs().mean()) for s in (0.0, 0.3, 1.0)]
    assert off[0] == 0 and off[2] > 0 and off[1] <= off[2]
    if fault != "reversed":
        assert 0 < off[1] < off[2]
    assert torch.equal(spoil(clip, fault, 0.6, "c"), spoil(clip, fault, 0.6, "c"))


def test_faults_are_what_they_are_called(clip: Frames) -> None:
    assert torch.equal(spoil(clip, "frozen", 1.0, "c"), clip[:1].expand_as(clip))
    assert torch.equal(spoil(clip, "frozen", 0.5, "c")[:6], clip[:6])
    assert torch.equal(spoil(clip, "reversed", 1.0, "c"), clip.flip(0))
    places = [next(i for i in range(12) if torch.equal(f, clip[i])) for f in spoil(clip, "shuffled", 1.0, "c")]
    assert sorted(places) == list(range(12)) and all(i != p for i, p in enumerate(places))
    backwards = [torch.equal(spoil(clip, "reversed", 0.5, str(i)), clip.flip(0)) for i in range(200)]
    assert 70 < sum(backwards) < 130
    more = [torch.equal(spoil(clip, "reversed", 0.75, str(i)), clip.flip(0)) for i in range(200)]
    assert all(b for a, b in zip(backwards, more, strict=True) if a)
    assert torch.equal(spoil(clip, "saturation", 1.0, "c")[0], clip[0])
    grey = clip.float().mean(-1, keepdim=True).round().to(torch.uint8).expand_as(clip).contiguous()
    assert (spoil(grey, "saturation", 1.0, "c").int() - grey.int()).abs().max() <= 1


def test_recogniser_is_kept_in_half_precision_and_sees_a_clip_alone(tmp_path: object, clip: Frames) -> None:
    from pathlib import Path

    torch.manual_seed(0)
    network, path = Recogniser().eval(), Path(str(tmp_path)) / "r.safetensors"
    save_recogniser(network, path)
    again = load_recogniser(path)
    x = prepare(clip)
    with torch.no_grad():
        rows, told = again(x)
        assert rows.shape == (1, ROW) and told.shape == (1, len(FAULTS))
        assert torch.allclose(rows, network.rows(x), rtol=0.02, atol=0.02)
        assert torch.allclose(again.rows(torch.cat([x, x.flip(1)]))[:1], rows, atol=1e-5)
        assert not torch.allclose(again.rows(x.flip(1)), rows, atol=1e-3), "time's arrow is lost"
