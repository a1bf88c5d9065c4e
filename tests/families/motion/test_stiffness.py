"""What is said of a picture does not hang on its ground, where that is plain."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from sfv.families.motion.folder import weights_hash
from sfv.families.motion.stiffness import Ground, Stiffness, StiffnessConfig

SIDE = 96


def judge(ground: Ground) -> Stiffness:
    torch.manual_seed(0)
    config = StiffnessConfig(widths=(16, 16, 8), hidden=8, lines=True, motion=True, ground=ground)
    return Stiffness(config).eval().requires_grad_(False)


def card(ground: float | None) -> torch.Tensor:
    """A striped card in the clear, or on grey of a level (of 1): (1, 4, SIDE, SIDE) in [-1, 1]."""
    layers = torch.zeros(1, 4, SIDE, SIDE) if ground is None else torch.full((1, 4, SIDE, SIDE), ground)
    layers[:, 3:] = float(ground is not None)
    card = torch.stack([torch.linspace(0, 0.4, 48), torch.linspace(1, 0.6, 48), torch.full((48,), 0.2), torch.ones(48)])
    layers[0, :, 30:60, 24:72] = card[:, None]
    return layers * 2 - 1


@pytest.mark.parametrize(("ground", "where"), [("clear", None), ("white", 1.0)])
def test_it_is_the_same_over_a_ground_and_with_transparency(ground: Ground, where: float | None) -> None:
    """And there as a network says it that takes the picture as given."""
    same, as_given = judge(ground), judge("given")
    said = same.judged(card(where))
    assert torch.allclose(torch.stack(said), torch.stack(as_given.judged(card(where))), atol=1e-5)
    for other in {None, 1.0, 0.9, 0.05} - {where}:
        there = card(other)
        assert torch.allclose(torch.stack(said), torch.stack(same.judged(there)), atol=1e-4)
        assert torch.allclose(said[0], same(there), atol=1e-4)
        assert not torch.allclose(said[0], as_given(there), atol=1e-4)


def test_how_pictures_are_judged_is_part_of_the_hash(tmp_path: Path) -> None:
    for part in ("unet", "codec", "picture_tower", "stiffness"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "diffusion_pytorch_model.safetensors").write_bytes(save({"w": torch.zeros(2)}))
    (tmp_path / "model_index.json").write_text('{"sigma_min": 0.02, "sigma_max": 100}')
    (tmp_path / "unet" / "config.json").write_text('{"block_out_channels": [32], "num_attention_heads": [1]}')
    (tmp_path / "stiffness" / "config.json").write_text('{"ground": "given"}')
    before = weights_hash(tmp_path, "unet")
    (tmp_path / "stiffness" / "config.json").write_text('{"ground": "white"}')
    assert weights_hash(tmp_path, "unet") != before
