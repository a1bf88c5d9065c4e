"""Wan's causal codec against diffusers' own, and its shapes."""

from typing import Any

import pytest
import torch

from sfv.errors import SfvError
from sfv.families.base import VideoModel


def test_latents_are_standardised_and_decoding_undoes_it(wan: VideoModel) -> None:
    vae: Any = wan.codec.vae
    pixels = torch.rand(2, 9, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, spread = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    with torch.inference_mode():
        raw = vae.encode(pixels.transpose(1, 2)).latent_dist.mode()
        z = wan.codec.encode(pixels)
        torch.testing.assert_close(z.transpose(1, 2), (raw - mean) / spread)
        want = vae.decode(raw, return_dict=False)[0].transpose(1, 2)
        torch.testing.assert_close(wan.codec.decode(z), want, atol=1e-4, rtol=1e-4)
    assert z.shape[1:] == wan.codec.latent_shape(9, 64, 96) == (3, 8, 4, 6)


def test_the_first_latents_are_the_picture_alone(wan: VideoModel) -> None:
    """So a clip's own first latents are its condition in training."""
    pixels = torch.rand(1, 5, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(wan.codec.encode(pixels)[:, :1], wan.codec.encode(pixels[:, :1]))


@pytest.mark.parametrize(
    ("shape", "says"),
    [((6, 64, 64), "frames 6: .* ask for 5 or 9"), ((5, 64, 48), "multiples of 32"), ((4, 64, 64), "ask for 1 or 5")],
)
def test_what_it_cannot_make(wan: VideoModel, shape: tuple[int, int, int], says: str) -> None:
    with pytest.raises(SfvError, match=says):
        wan.codec.latent_shape(*shape)
