"""What a small decoder costs: real validation clips through the codec, drawn by its own decoder and by the small one.

    python runs/ablate_decoder.py STORE MODEL WEIGHTS OUT.json

For each way: PSNR and LPIPS to the real clip (WEIGHTS holds lpips_alexnet.safetensors), flicker as a share of the real
clip's, PSNR of the first frame, milliseconds of a clip; beside them those of one UNet call, all in one process, on the
profile "fast". Medians over clips. A guided decoder bends the picture instead of drawing what the latents say, so its
PSNR to a real clip says how far its motion is from the real one, not how clean its frames are.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

import sfv
from sfv.evaluation.clipsets import open_set
from sfv.evaluation.facts import facts
from sfv.evaluation.features.weights import read_weights
from sfv.evaluation.protocol import read_protocol
from sfv.generation import to_frames
from sfv.media import replacing
from sfv.memory import keep_memory

WAYS = ("full", "small")


def one(model: sfv.VideoModel, real: Tensor, judge: dict[str, Tensor], fps: float) -> dict[str, dict[str, float]]:
    """Figures of one clip (f, h, w, 3), by way."""
    pixels = real.permute(0, 3, 1, 2)[None].float() / 127.5 - 1
    latents, found = model.codec.encode(pixels), {}
    told = facts(real, real, fps, None)
    for way in WAYS:
        start = time.perf_counter()
        frames = to_frames(model.decode(latents, pixels[:, 0], way))
        seconds = time.perf_counter() - start
        seen = facts(frames, real, fps, judge)
        assert seen.lpips_real is not None
        found[way] = {
            "psnr": seen.real_psnr,
            "lpips": seen.lpips_real,
            "flicker": seen.flicker / max(told.flicker, 1e-3),
            "first_psnr": seen.first_psnr,
            "ms": 1e3 * seconds,
        }
    return found


def main(store: Path, name: str, weights: Path, out: Path) -> None:
    keep_memory()
    protocol = read_protocol("sticker")
    model = sfv.optimize(sfv.load(name), "fast", "eager")
    real, judge = open_set(store, protocol), read_weights(weights / "lpips_alexnet.safetensors")
    with torch.inference_mode():
        sfv.generate(model, real.clips[0].read()[0])
        every = [one(model, c.read(), judge, protocol.fps) for c in tqdm(real.clips, desc="decode", unit="clip")]
        unet = [sfv.generate(model, c.read()[0]).seconds["unet"] for c in real.clips[:9]]
    result = {"model": model.hash, "clips": len(every), "unet_ms": 1e3 * statistics.median(unet)}
    for way in WAYS:
        result[way] = {k: statistics.median(e[way][k] for e in every) for k in every[0][way]}  # type: ignore[assignment]
    with replacing(out) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
