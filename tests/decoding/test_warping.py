"""Moving maps by a flow: the quick ways give what torch's own functions give."""

import pytest
import torch
import torch.nn.functional as F

from sfv.decoding.warping import ENLARGED, WIDE, sharpened, warped


@pytest.mark.parametrize(("b", "size"), [(1, (20, 28)), (2, (9, 9))])
def test_a_picture_is_enlarged_as_torch_does(b: int, size: tuple[int, int]) -> None:
    picture = torch.rand(b, 4, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    other = F.interpolate(picture.double(), scale_factor=ENLARGED, mode="bicubic", align_corners=False).float()
    torch.testing.assert_close(sharpened(picture), other, atol=1e-5, rtol=0)


def test_what_is_not_moved_is_copied() -> None:
    picture = torch.rand(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sharpened(picture)[..., 1::ENLARGED, 1::ENLARGED], picture)


@pytest.mark.parametrize("b", [1, 2])
@pytest.mark.parametrize("channels", [3, WIDE])
def test_many_channels_and_many_frames_are_sampled_as_one_by_one(b: int, channels: int) -> None:
    made = torch.Generator().manual_seed(2)
    maps, flow = torch.randn(b, channels, 12, 10, generator=made), 3 * torch.randn(4 * b, 2, 12, 10, generator=made)
    with torch.no_grad():
        each = [warped(maps[i // 4 : i // 4 + 1], flow[i : i + 1]) for i in range(4 * b)]
        together = warped(maps, flow)
    with torch.enable_grad():  # which takes grid_sample for any number of channels
        slow = warped(maps, flow)
    torch.testing.assert_close(together, slow.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together, torch.cat(each), atol=1e-5, rtol=1e-5)
