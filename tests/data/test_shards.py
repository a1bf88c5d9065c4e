"""Shards that hold what no training survives."""

from pathlib import Path

import pytest
import torch

from sfv.data.shards import Entry, Shards, ShardWriter
from sfv.errors import SfvError


def test_a_window_that_is_not_finite_names_its_shard_and_clip(tmp_path: Path) -> None:
    latents = torch.zeros(6, 4, 2, 2)
    latents[4] = torch.inf
    writer = ShardWriter(tmp_path, "codec", 12.0)
    writer.write("one", [Entry("one", 0, 6, "cat", "animals", 0)], latents, torch.zeros(6, 3))
    writer.close()
    shards = Shards(tmp_path)
    assert shards.window(shards.entries[0], 0, 4, 1).shape == (4, 4, 2, 2)
    with pytest.raises(SfvError, match="one.safetensors: cat holds numbers that are not finite; delete the shard"):
        shards.window(shards.entries[0], 2, 4, 1)
