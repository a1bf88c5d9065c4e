"""Clips -> latent shards, once, so that denoiser training never runs the encoder over whole clips."""

import zlib
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from sfv.data.shards import Entry, ShardWriter
from sfv.data.stickers import Clip, ClipStore, by_family, over_background, random_background, random_placement
from sfv.families.base import Codec, Conditioner
from sfv.system.device import bf16_autocast


def render(store: ClipStore, clip: Clip, version: int, first: int, count: int, stride: int) -> Tensor:
    """Pixels (count, 3, h, w) of one version of a clip: 0 on white as drawn; others placed and flipped at random,
    half of them over a coloured background. A version always looks the same."""
    rgba = store.rgba(clip, first, count, stride)
    if version == 0:
        return over_background(rgba, torch.ones(3, store.size, store.size))
    rng = torch.Generator().manual_seed(zlib.crc32(f"{clip.id}/{version}".encode()))
    placed = random_placement(rgba, rng)
    return over_background(placed, random_background(store.size, rng, plain=0.8))


@torch.no_grad()
def encode(
    store: ClipStore,
    codec: Codec,
    conditioner: Conditioner,
    out: Path,
    codec_hash: str,
    versions: tuple[int, ...],
    fps: float,
) -> None:
    """Encode training clips at `fps`: of version v at most versions[v] of a family; a killed run goes on."""
    writer, stride = ShardWriter(out, codec_hash, fps), round(store.fps / fps)
    families = by_family(store.split("train"))
    jobs = [(c, v) for v, most in enumerate(versions) for f in families for c in f[:most]]
    parts = [jobs[i : i + 64] for i in range(0, len(jobs), 64)]
    for number, part in enumerate(tqdm(parts, desc="encode", unit="shard")):
        shard = f"shard-{number:05d}"
        if not writer.finished(shard):
            _encode_shard(store, codec, conditioner, writer, shard, part, stride)
    writer.close()


def _encode_shard(
    store: ClipStore,
    codec: Codec,
    conditioner: Conditioner,
    writer: ShardWriter,
    shard: str,
    jobs: list[tuple[Clip, int]],
    stride: int,
) -> None:
    entries, latents, embeds, start = [], [], [], 0
    for clip, version in jobs:
        device = next(codec.parameters()).device
        pixels = render(store, clip, version, 0, clip.count // stride, stride).to(device)
        with bf16_autocast(device):
            latents.append(codec.encode(pixels[None])[0].float().cpu())
            embeds.append(conditioner.embed(pixels)[:, 0].float().cpu())
        entries.append(Entry(shard, start, len(pixels), clip.id, clip.family, version))
        start += len(pixels)
    writer.write(shard, entries, torch.cat(latents), torch.cat(embeds))
