"""Our autoencoder against diffusers' class over the same weights, in every storage order and with few frames."""

import pytest
import torch
from conftest import wiggle_network
from torch import Tensor

from sfv.families import framewise
from sfv.families.svd.autoencoder import DOWN_ENCODER, Autoencoder, AutoencoderConfig
from sfv.families.svd.stock_networks import stock_twin

EXACT = [(torch.float64, 1e-12), (torch.float32, 1e-5)]


def fresh(layers: int = 1) -> Autoencoder:
    config = AutoencoderConfig(
        block_out_channels=(32, 64), down_block_types=DOWN_ENCODER * 2, latent_channels=4, layers_per_block=layers
    )
    torch.manual_seed(0)
    return wiggle_network(Autoencoder(config)).eval()


def off(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("dtype", "most"), EXACT, ids=["fp64", "fp32"])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_the_decoder(dtype: torch.dtype, most: float, last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framewise, "CACHE", 64 * 16 * 16 * 2)
    network = fresh().to(dtype)
    z = torch.randn(10, 4, 8, 8, dtype=dtype)
    given = z.contiguous(memory_format=torch.channels_last) if last else z
    with torch.inference_mode():
        want = stock_twin(network).decode(z, num_frames=5).sample
        assert off(network.decode(given, 5), want) <= most
        with framewise.at_most(1):
            assert off(network.decode(given, 5), want) <= most


@pytest.mark.parametrize("layers", [2, 3])
def test_more_layers_in_a_block(layers: int) -> None:
    network = fresh(layers).double()
    twin, z = stock_twin(network), torch.randn(4, 4, 4, 6, dtype=torch.float64)
    frames = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    with torch.no_grad():
        assert off(network.decode(z, 2), twin.decode(z, num_frames=2).sample) <= 1e-12
        assert off(network.moments(frames), twin.encode(frames).latent_dist.parameters) <= 1e-12


def test_the_encoder() -> None:
    network, frames = fresh(), torch.rand(3, 3, 16, 24)
    with torch.no_grad():
        assert off(network.moments(frames), stock_twin(network).encode(frames).latent_dist.parameters) <= 1e-6


def test_names_and_gradients() -> None:
    network = fresh().double()
    twin, z = stock_twin(network).requires_grad_(True), torch.randn(3, 4, 8, 8, dtype=torch.float64)
    assert list(network.state_dict()) == list(twin.state_dict())
    network.requires_grad_(True).decode(z, 3).square().mean().backward()
    twin.decode(z, num_frames=3).sample.square().mean().backward()
    compared = 0
    for (name, a), b in zip(network.named_parameters(), twin.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, atol=1e-10, rtol=1e-8, msg=name)
            compared += 1
    assert compared > 50


def test_a_seed_gives_diffusers_fresh_weights() -> None:
    from diffusers import AutoencoderKLTemporalDecoder

    config = AutoencoderConfig(block_out_channels=(32, 64), down_block_types=DOWN_ENCODER * 2)
    torch.manual_seed(0)
    ours = Autoencoder(config)
    torch.manual_seed(0)
    theirs = AutoencoderKLTemporalDecoder(**config.model_dump())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
