"""Layers that take few frames at a time, and clips laid out for layers over time."""

import pytest
import torch
from torch import nn

from sfv.families.framewise import clips, flat_conv, frame_wise, frames_of


def test_frame_wise_never_changes_the_result() -> None:
    layer = nn.Conv2d(3, 4, 3, padding=1).double()
    x = torch.randn(7, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(frame_wise(layer, x, few=2), layer(x), atol=1e-12, rtol=0)


def test_a_flat_convolution_is_conv3d() -> None:
    conv = nn.Conv3d(3, 5, (3, 1, 1), padding=(1, 0, 0)).double()
    x = torch.randn(2, 3, 6, 4, 7, dtype=torch.float64)
    got = flat_conv(x.flatten(3), conv).unflatten(3, (4, 7))
    torch.testing.assert_close(got, conv(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_clips_and_back(last: bool) -> None:
    frames = torch.randn(6, 5, 4, 3)
    given = frames.contiguous(memory_format=torch.channels_last) if last else frames
    clip = clips(given, 2)
    assert torch.equal(clip[1, :, 2].unflatten(1, (4, 3)), frames[5])
    assert torch.equal(frames_of(clip, given), frames)
