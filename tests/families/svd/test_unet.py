"""Our UNet against diffusers' class over the same weights: every number, every name, every fresh weight."""

from typing import Any

import pytest
import torch
from conftest import wiggle_network
from pydantic import ValidationError
from torch import Tensor

from sfv.families.svd.sizes import small_unet
from sfv.families.svd.stock_networks import stock_twin
from sfv.families.svd.unet import DOWN, UP, UNet, UNetConfig

SMALL = small_unet((32, 64), 32, 32, in_channels=8, out_channels=4, cross_attention_dim=32, num_frames=4)
OTHERS: dict[str, dict[str, Any]] = {
    "as ours": {},
    "two layers": {"layers_per_block": 2},
    "layers and widths by block": {
        "layers_per_block": (1, 2),
        "num_attention_heads": (2, 4),
        "transformer_layers_per_block": (1, 2),
        "cross_attention_dim": (32, 32),
    },
    "no transformers but in the middle": {"down_block_types": DOWN[1:] * 2, "up_block_types": UP[1:] * 2},
}


def inputs(config: UNetConfig, dtype: torch.dtype, tokens: int = 1, side: int = 8) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {
        "sample": torch.randn(2, 3, config.in_channels, side, side, generator=rng).to(dtype),
        "timestep": torch.tensor([1.6, -0.3], dtype=dtype),
        "encoder_hidden_states": torch.randn(2, tokens, config.context, generator=rng).to(dtype),
        "added_time_ids": torch.tensor([[6.0, 127.0, 0.02], [9.0, 30.0, 0.1]], dtype=dtype),
    }


def off(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["fp64", "fp32"])
def test_the_same_numbers(changes: dict[str, Any], dtype: torch.dtype, most: float) -> None:
    network = wiggle_network(UNet(SMALL.model_copy(update=changes))).to(dtype).eval()
    twin, given = stock_twin(network).to(dtype), inputs(SMALL, dtype)
    with torch.no_grad():
        assert off(network(**given), twin(**given).sample) <= most


@pytest.mark.parametrize(("tokens", "side"), [(5, 8), (1, 6), (1, 7)], ids=["five tokens", "side 6", "side 7"])
def test_more_tokens_and_sides_that_do_not_halve(tokens: int, side: int) -> None:
    network = wiggle_network(UNet(SMALL)).double().eval()
    twin, given = stock_twin(network), inputs(SMALL, torch.float64, tokens, side)
    with torch.no_grad():
        assert off(network(**given), twin(**given).sample) <= 1e-12


def test_the_same_gradients() -> None:
    network = wiggle_network(UNet(SMALL)).double()
    twin, given = stock_twin(network).requires_grad_(True), inputs(SMALL, torch.float64)
    network(**given).square().mean().backward()
    twin(**given).sample.square().mean().backward()
    for (name, a), b in zip(network.named_parameters(), twin.parameters(), strict=True):
        if a.grad is not None:  # over one token, queries and keys are not read
            torch.testing.assert_close(a.grad, b.grad, atol=1e-10, rtol=1e-8, msg=name)
        else:
            assert float(b.grad.abs().max()) < 1e-12, name


def test_names_their_order_and_fresh_weights() -> None:
    """Optimizer states of older runs are kept by order; a seed gives the weights that diffusers' class gives."""
    torch.manual_seed(0)
    network = UNet(SMALL)
    torch.manual_seed(0)
    twin = stock_fresh(network)
    assert list(network.state_dict()) == list(twin.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))


def stock_fresh(network: UNet) -> Any:
    from diffusers import UNetSpatioTemporalConditionModel

    return UNetSpatioTemporalConditionModel(**network.config.model_dump())


def test_svds_own_size_is_the_default() -> None:
    network = UNet.on_meta(num_frames=14, sample_size=96)
    assert sum(p.numel() for p in network.parameters()) == 1_524_623_082
    assert network.config.context == 1024 and network.device.type == "meta"


@pytest.mark.parametrize(
    ("field", "value"),
    [("down_block_types", ("CrossAttnDownBlock2D",) * 4), ("layers_per_block", (1, 2)), ("in_channels", 0)],
)
def test_another_architecture_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        UNetConfig(**{field: value})
