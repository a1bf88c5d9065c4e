"""Latent shards: what training reads. One safetensors file per few clips, and an index.

`latents` (n, c, h, w) fp16 scaled latents of every kept frame; `embeds` (n, e) fp16 picture embeddings of the
same frames. The index says where each clip lies, which codec made it (hash), and how it was drawn.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sfv.errors import SfvError
from sfv.media import replacing


@dataclass(frozen=True)
class Entry:
    """One encoded clip: rows start .. start + count of a shard; `version` is its augmentation (0 = none)."""

    shard: str
    start: int
    count: int
    id: str
    family: str
    version: int


class ShardWriter:
    """Writes shards in order; finished shards are kept when a killed run is started again."""

    def __init__(self, out: Path, codec_hash: str, fps: float) -> None:
        self.out, self.meta = out, {"codec": codec_hash, "fps": fps}
        self.entries: list[Entry] = []
        out.mkdir(parents=True, exist_ok=True)

    def finished(self, shard: str) -> bool:
        """Whether this shard already lies on disk; if so its entries are taken over."""
        note = self.out / f"{shard}.json"
        if not note.exists() or not (self.out / f"{shard}.safetensors").exists():
            return False
        self.entries += [Entry(**e) for e in json.loads(note.read_text())]
        return True

    def write(self, shard: str, entries: list[Entry], latents: Tensor, embeds: Tensor) -> None:
        """Store one shard, its entries last, so that a shard with entries is whole."""
        with replacing(self.out / f"{shard}.safetensors") as path:
            save_file({"latents": latents.half().contiguous(), "embeds": embeds.half().contiguous()}, path)
        with replacing(self.out / f"{shard}.json") as path:
            path.write_text(json.dumps([asdict(e) for e in entries]))
        self.entries += entries

    def close(self) -> None:
        """Write the index."""
        with replacing(self.out / "index.json") as path:
            path.write_text(json.dumps(self.meta | {"clips": [asdict(e) for e in self.entries]}))


class Shards:
    """All latents in memory (a sticker set is 0.2 GB) behind clip windows."""

    def __init__(self, folder: Path, codec_hash: str | None = None) -> None:
        try:
            meta = json.loads((folder / "index.json").read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise SfvError(f"{folder} holds no finished shards ({error}); make them with `sfv encode`") from error
        if codec_hash and meta["codec"] != codec_hash:
            raise SfvError(f"{folder} was encoded by another codec; encode again with this model")
        self.fps, self.entries = float(meta["fps"]), [Entry(**e) for e in meta["clips"]]
        files = {e.shard: load_file(folder / f"{e.shard}.safetensors") for e in self.entries}
        self.latents = {k: v["latents"] for k, v in files.items()}
        self.embeds = {k: v["embeds"] for k, v in files.items()}

    def window(self, e: Entry, first: int, frames: int, stride: int) -> Tensor:
        """(frames, c, h, w) fp32 latents from kept frame `first` on; loops around."""
        at = e.start + (first + stride * torch.arange(frames)) % e.count
        return self.latents[e.shard][at].float()

    def embed(self, e: Entry, first: int) -> Tensor:
        """(1, e) the condition frame's embedding."""
        return self.embeds[e.shard][e.start + first % e.count].float()[None]
