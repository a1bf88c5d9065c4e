"""Our picture tower against transformers' class over the same weights."""

import pytest
import torch
from conftest import wiggle_network

from sfv.families.svd.clip_tower import ClipTower, TowerConfig
from sfv.families.svd.stock_networks import stock_twin

SMALL = TowerConfig(
    hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, patch_size=56, projection_dim=32
)


@pytest.mark.parametrize("act", ["gelu", "quick_gelu"])
def test_the_same_numbers_and_names(act: str) -> None:
    network = wiggle_network(ClipTower(SMALL.model_copy(update={"hidden_act": act}))).double().eval()
    twin, pictures = stock_twin(network), torch.randn(2, 3, 224, 224, dtype=torch.float64)
    assert list(network.state_dict()) == list(twin.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(network(pictures), twin(pictures).image_embeds, atol=1e-12, rtol=0)


def test_fresh_weights_have_clips_spreads() -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = TowerConfig(hidden_size=240, intermediate_size=480, num_hidden_layers=2, patch_size=56, projection_dim=240)
    torch.manual_seed(0)
    ours, theirs = ClipTower(config), CLIPVisionModelWithProjection(CLIPVisionConfig(**config.model_dump()))
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert float(a.detach().std()) == pytest.approx(float(b.detach().std()), rel=0.15, abs=1e-8), name


def test_svds_tower_is_vit_h() -> None:
    from sfv.families.svd.sizes import SVD_CLIP

    network = ClipTower.on_meta(**SVD_CLIP)
    assert sum(p.numel() for p in network.parameters()) == 632_076_800
