"""Clips of other lengths, rates and sizes on one sheet."""

import torch

from sfv.media import contact_sheet, in_step, side_by_side


def numbered(frames: int, height: int, width: int) -> torch.Tensor:
    """Each frame is of its own number's grey."""
    return torch.arange(frames, dtype=torch.uint8)[:, None, None, None].expand(frames, height, width, 3).contiguous()


def test_clips_are_brought_to_one_length_rate_and_height() -> None:
    """By time: a second frame of 2 a second is shown at half a second; what ends first stays."""
    clips, rate = in_step([numbered(4, 8, 12), numbered(6, 16, 16)], [2, 4], 100)
    assert rate == 4 and [c.shape for c in clips] == [(8, 16, 24, 3), (8, 16, 16, 3)]
    assert clips[0][:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert clips[1][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 5, 5]
    captioned = list(zip("ab", clips, strict=True))
    assert side_by_side(captioned).shape == (8, 32 + 22, 2 * 40 + 3 * 8, 3)
    assert contact_sheet(captioned).shape == (2 * (22 + 20), 8 * 28, 3)


def test_equal_clips_stay_as_they_are_and_none_is_endless() -> None:
    clips, rate = in_step([numbered(72, 4, 4), numbered(72, 4, 4)], [23.976, 23.976], 100)
    assert rate == 23.976 and all(torch.equal(c, numbered(72, 4, 4)) for c in clips)
    clips, _ = in_step([numbered(200, 4, 4), numbered(200, 4, 4)], [2, 60], 100)
    assert [len(c) for c in clips] == [100, 100]
