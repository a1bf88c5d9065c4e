"""Latent shards: what training reads. One safetensors file per few clips, and an index.

Sticker shards: `latents` (n, c, h, w) fp16 scaled latents of every kept frame; `embeds` (n, e) fp16 picture
embeddings of the same frames. Video shards: `latents` (clips, f, c, h, w), `embeds` (clips, tokens, e) and `pictures`
(clips, 3, h, w) uint8 of the first frames alone. The index says where each clip lies, which codec made it (hash), and
how it was drawn.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sfv.errors import SfvError
from sfv.media import replacing
from sfv.system.files import make_folder


@dataclass(frozen=True)
class Entry:
    """One encoded clip: frames start .. start + count of a shard; `version` is its augmentation (0 = none); `motion`
    its mean optical flow where that was measured."""

    shard: str
    start: int
    count: int
    id: str
    family: str
    version: int
    motion: float = 0.0


def checked_entries(listed: Any) -> list[Entry]:
    """Clips as a file lists them; ValueError for what is none, and for a shard that is no name of a file beside it."""
    try:
        entries = TypeAdapter(list[Entry]).validate_python(listed)
    except ValidationError as error:
        raise ValueError(_first(error)) from error
    for entry in entries:
        if not re.fullmatch(r"\w[\w.-]*", entry.shard, re.ASCII):
            raise ValueError(f"shard {entry.shard!r} of {entry.id} is not the name of a file in this folder")
    return entries


def write_clips(out: Path, shard: str, latents: Tensor, embeds: Tensor, pictures: Tensor) -> None:
    """Store one shard of video clips of equal size."""
    tensors = {"latents": latents, "embeds": embeds, "pictures": pictures}
    with replacing(out / f"{shard}.safetensors") as path:
        save_file({k: v.contiguous() for k, v in tensors.items()}, path)


def close_index(out: Path, meta: dict[str, Any], clips: list[dict[str, Any]]) -> None:
    """Write the index of a shard folder: what made it, and its clips."""
    with replacing(out / "index.json") as path:
        path.write_text(json.dumps(meta | {"clips": clips}))


def read_index(folder: Path, codec_hash: str | None = None) -> tuple[dict[str, Any], list[Entry]]:
    """What made a shard folder, and its clips; SfvError if it is not finished, damaged, or of another codec."""
    try:
        meta = json.loads((folder / "index.json").read_text())
        entries = checked_entries(meta.pop("clips"))
        rate, codec = float(meta["fps"]), str(meta["codec"])
        meta["frames"] = int(meta.get("frames", 0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SfvError(f"{folder} holds no finished shards ({error}); make them with `sfv encode`") from error
    if codec_hash and codec != codec_hash:
        raise SfvError(f"{folder} was encoded by another codec; encode again with this model")
    missing = next((e.shard for e in entries if not (folder / f"{e.shard}.safetensors").exists()), None)
    if not entries or missing:
        raise SfvError(f"{folder} holds {f'no {missing}.safetensors' if missing else 'no clips'}; encode again")
    return meta | {"fps": rate}, entries


def _check_lies(folder: Path, entries: Iterable[Entry], frames: int, of: int | None = None) -> None:
    """SfvError for an entry that lies outside its shard of so many frames, or that is no whole clip of `of` frames."""
    for e in entries:
        if e.start < 0 or e.count < 1 or e.start + e.count > frames or (of and (e.count != of or e.start % of)):
            holds = f"{frames // of} clips of {of} frames" if of else f"{frames} frames"
            raise SfvError(
                f"{folder / 'index.json'} is damaged ({e.id} has {e.count} frames from {e.start} on, where "
                f"{e.shard}.safetensors holds {holds}); delete it, then encode again"
            )


def _first(error: ValidationError) -> str:
    """What is wrong with which entry of an index."""
    first = error.errors()[0]
    return f"clips.{'.'.join(map(str, first['loc']))}: {first['msg']}"


class ShardWriter:
    """Writes shards in order; finished shards are kept when a killed run is started again."""

    def __init__(self, out: Path, codec_hash: str, fps: float) -> None:
        self.out, self.meta = out, {"codec": codec_hash, "fps": fps}
        self.entries: list[Entry] = []
        make_folder(out)

    def finished(self, shard: str) -> bool:
        """Whether this shard already lies on disk; if so its entries are taken over."""
        note = self.out / f"{shard}.json"
        if not note.exists() or not (self.out / f"{shard}.safetensors").exists():
            return False
        try:
            self.entries += checked_entries(json.loads(note.read_text()))
        except (OSError, ValueError) as error:
            raise SfvError(f"{note} is damaged ({error}); delete it, and the same command makes it again") from error
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
        close_index(self.out, self.meta, [asdict(e) for e in self.entries])


class Shards:
    """All latents in memory (a sticker set is 0.2 GB) behind clip windows."""

    def __init__(self, folder: Path, codec_hash: str | None = None) -> None:
        self.folder = folder
        meta, self.entries = read_index(folder, codec_hash)
        self.fps = float(meta["fps"])
        try:
            files = {e.shard: load_file(folder / f"{e.shard}.safetensors") for e in self.entries}
            self.latents = {k: v["latents"] for k, v in files.items()}
            self.embeds = {k: v["embeds"] for k, v in files.items()}
        except (SafetensorError, OSError, KeyError) as error:
            raise SfvError(
                f"a shard of {folder} is damaged ({error}); delete it with its note, then encode again"
            ) from error
        for shard, latents in self.latents.items():
            _check_lies(folder, [e for e in self.entries if e.shard == shard], len(latents))

    def window(self, e: Entry, first: int, frames: int, stride: int) -> Tensor:
        """(frames, c, h, w) fp32 latents from kept frame `first` on; loops around."""
        at = e.start + (first + stride * torch.arange(frames)) % e.count
        latents = self.latents[e.shard][at].float()
        _check_finite(self.folder, e, latents)
        return latents

    def embed(self, e: Entry, first: int) -> Tensor:
        """(1, e) the condition frame's embedding."""
        return self.embeds[e.shard][e.start + first % e.count].float()[None]


class ClipShards:
    """Video clips read from their shards when asked for: memory holds none of them."""

    def __init__(self, folder: Path, codec_hash: str | None = None) -> None:
        self.folder = folder
        meta, self.entries = read_index(folder, codec_hash)
        if meta.get("kind") != "videos":
            raise SfvError(f"{folder} holds shards of stickers, not of videos; make them with `sfv encode`")
        self.fps, self.frames = meta["fps"], meta["frames"]
        self.sizes: dict[tuple[int, ...], list[int]] = {}
        for shard in sorted({e.shard for e in self.entries}):
            with self._open(shard) as file:
                clips, frames, *rest = file.get_slice("latents").get_shape()
            inside = [i for i, e in enumerate(self.entries) if e.shard == shard]
            _check_lies(folder, [self.entries[i] for i in inside], clips * frames, frames)
            self.sizes.setdefault((frames, *rest), []).extend(inside)

    @contextmanager
    def _open(self, shard: str) -> Iterator[Any]:
        path = self.folder / f"{shard}.safetensors"
        try:
            with safe_open(path, "pt") as file:
                yield file
        except (SafetensorError, OSError, IndexError, ValueError) as error:
            raise SfvError(f"{path} is damaged ({error}); delete it and its job's note, then encode again") from error

    def clip(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Latents (f, c, y, x) and embedding (tokens, e) in fp32, first frame (3, h, w) in [-1, 1]; SfvError if they
        hold numbers that are not finite."""
        e = self.entries[index]
        with self._open(e.shard) as file:
            at = e.start // e.count
            latents, embeds, picture = (file.get_slice(k)[at] for k in ("latents", "embeds", "pictures"))
        _check_finite(self.folder, e, latents, embeds)
        return latents.float(), embeds.float(), picture.float() / 127.5 - 1


def _check_finite(folder: Path, e: Entry, *tensors: Tensor) -> None:
    """SfvError that names the shard and the clip, if numbers of it are not finite: no training survives them."""
    if not all(bool(t.isfinite().all()) for t in tensors):
        raise SfvError(
            f"{folder / e.shard}.safetensors: {e.id} holds numbers that are not finite; delete the shard and its "
            "job's note, then encode again"
        )
