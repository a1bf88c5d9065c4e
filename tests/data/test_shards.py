"""Sticker shards: what is damaged is named, an index, a note, or numbers that no training survives."""

import json
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = ShardWriter(tmp_path, "0" * 16, 8)
    clips = [Entry("shard-00000", start, 3, f"clip{start}", "family", 0) for start in (0, 3)]
    writer.write("shard-00000", clips, torch.zeros(6, 4, 2, 2), torch.zeros(6, 8))
    writer.close()
    assert len(Shards(tmp_path).entries) == 2
    return tmp_path


@pytest.mark.parametrize("changes", [{"count": 0}, {"count": 4}, {"start": 4}, {"start": -1}])
def test_a_clip_outside_its_shard(folder: Path, changes: dict[str, int]) -> None:
    index = json.loads((folder / "index.json").read_text())
    index["clips"][1] |= changes
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(SfvError, match=r"index\.json is damaged \(clip3 has .* holds 6 frames\); delete it"):
        Shards(folder)


def test_a_shard_outside_its_folder(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    index["clips"][1]["shard"] = f"../{folder.name}/shard-00000"
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(SfvError, match="of clip3 is not the name of a file in this folder"):
        Shards(folder)


@pytest.mark.parametrize("text", ["[{", "{}", '[{"shard": "shard-00000"}]'])
def test_a_damaged_note_is_named(folder: Path, text: str) -> None:
    (folder / "shard-00000.json").write_text(text)
    with pytest.raises(SfvError, match=r"shard-00000\.json is damaged .*; delete it, and the same command"):
        ShardWriter(folder, "0" * 16, 8).finished("shard-00000")
