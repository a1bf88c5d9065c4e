"""What a dry run says: of which model it speaks, and among how many cards its networks are divided."""

import json
import os
from pathlib import Path
from typing import Any, Literal

import pytest

from sfv.costs import outlook
from sfv.costs.training import Account
from sfv.families.load import described
from sfv.families.svd.sizes import STICKER, Shapes, shapes
from sfv.training.config import TrainRequest

COUNTED = Account(3, 2, 10, 1, 4, 4, 0, 6, 10**12, state=7 * 10**9, host=13 * 10**9)


@pytest.mark.parametrize("preset", ["svd-small-cpu", "svd-small-gpu"])
def test_small_models_of_svds_kind_are_not_counted_as_svd(preset: str) -> None:
    assert outlook.sizes_of(preset) == shapes(STICKER) != Shapes()


@pytest.mark.parametrize("preset", ["svd-24gb", "svd-paper", "svd-24gb-warm"])
def test_presets_are_counted_as_the_model_that_they_are_named_after(preset: str) -> None:
    assert outlook.sizes_of(preset) == Shapes()
    assert outlook.sizes_of("wan-5b-24gb") == described("wan-5b")


def test_clips_of_shards_are_counted_as_large_and_long_as_they_are(tmp_path: Path) -> None:
    sizes = Shapes()
    assert outlook.of_shards(sizes, tmp_path / "not there yet") is sizes
    plan = {"sizes": ["320x576", "576x320", "256x448"]}
    (tmp_path / "plan.json").write_text("{}")
    assert outlook.of_shards(sizes, tmp_path) is sizes  # not finished
    clip = {"shard": "shard-0", "start": 0, "count": 8, "id": "a", "family": "a", "version": 0}
    (tmp_path / "shard-0.safetensors").touch()
    (tmp_path / "index.json").write_text(
        json.dumps({"kind": "videos", "codec": "0", "fps": 7, "frames": 8, "plan": plan, "clips": [clip]})
    )
    of = outlook.of_shards(sizes, tmp_path)
    assert (of.height, of.width, of.frames) == (320, 576, 8)


@pytest.mark.parametrize(
    ("preset", "launched", "parallel", "cards"),
    [
        ("svd-8x24gb", None, "ddp", 8),
        ("svd-80gb", None, "ddp", 1),
        ("svd-80gb", 4, "fsdp", 4),
        ("svd-8x24gb", 2, "fsdp", 2),
        ("svd-8x24gb", 8, "ddp", 1),
    ],
)
def test_cards_are_those_of_the_launch_else_of_the_preset(
    preset: str,
    launched: int | None,
    parallel: Literal["ddp", "fsdp"],
    cards: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under ddp each card holds everything."""
    asked: list[int] = []

    def counts(sizes: Any, stages: list[Any], ranks: int) -> list[Account]:
        asked.append(ranks)
        return [COUNTED for _ in stages]

    monkeypatch.setattr(outlook, "accounts", counts)
    monkeypatch.setattr(outlook, "matmul_rate", lambda device: 1e12)
    environment = {k: v for k, v in os.environ.items() if k != "WORLD_SIZE"}
    monkeypatch.setattr(os, "environ", environment | ({"WORLD_SIZE": str(launched)} if launched else {}))
    here = Path(".")
    request = TrainRequest(part="student", store=here, model=here, preset=preset, parallel=parallel, device="cpu")
    said = outlook.outlook(request)
    assert asked == [cards] and said["shards"] == cards
    (needs,) = said["needs"]
    assert needs["checkpoint_gb"] == 7 and needs["host_gb"] == 13


def test_a_part_that_is_not_counted_has_its_configuration_alone() -> None:
    here = Path(".")
    said = outlook.outlook(TrainRequest(part="student", store=here, model=here, preset="consistency-cpu", device="cpu"))
    assert said["stages"] and "needs" not in said
