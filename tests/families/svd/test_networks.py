"""SVD's codec when memory is short."""

import pytest
import torch

from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.framewise import AT_MOST
from sfv.families.svd.networks import antialiased_resize, decoding_bytes


def test_decoding_goes_on_with_fewer_frames_when_memory_is_short(
    tiny: VideoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pixels from the same latents; when nothing is left to try, one sentence."""
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 5, 4, 8, 8, generator=rng)
    with torch.no_grad():
        whole, real = tiny.codec.decode(latents), tiny.codec.decode_raw
        tried: list[int] = []

        def short_of_memory(raw: torch.Tensor) -> torch.Tensor:
            tried.append(AT_MOST.get())
            if tried[-1] > least:
                raise torch.OutOfMemoryError("full")
            return real(raw)

        monkeypatch.setattr(tiny.codec, "decode_raw", short_of_memory)
        least = 1
        assert torch.allclose(tiny.codec.decode(latents), whole, atol=1e-5) and tried == [5, 4, 1]
        least = 0
        with pytest.raises(SfvError, match="even a frame at a time"):
            tiny.codec.decode(latents)
    assert AT_MOST.get() > 1000


def test_decoding_is_planned_by_an_estimate() -> None:
    """Fewer frames together need less; 14 frames of 576 x 1024 in half precision, all at once: 15 GB."""
    frame = 128 * 576 * 1024 * 2
    needs = [decoding_bytes(frame, 14, n) for n in (14, 4, 1)]
    assert needs == sorted(needs, reverse=True) and 14e9 < needs[0] < 16e9


class Resized(torch.nn.Module):
    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return antialiased_resize(picture, 25)


def test_a_resize_is_exported_twice_and_leaves_nothing_behind() -> None:
    picture = torch.rand(1, 3, 67, 67, generator=torch.Generator().manual_seed(0))
    made = [torch.export.export(Resized(), (picture,)).module()(picture) for _ in range(2)]
    for one in made:
        torch.testing.assert_close(one, antialiased_resize(picture, 25))
