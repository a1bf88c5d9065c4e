"""What a small decoder costs: real validation clips through the codec, drawn by its own decoder and by the small one.

    python runs/quality/ablate_decoder.py STORE MODEL WEIGHTS OUT.json [DECODER...]

Each DECODER is a folder with another small one for the same latents. A guided one is shown twice: as it is, and
"drawn", without the bias of its mask toward the moved picture (training's `trust`). For each way: PSNR and LPIPS to the
real clip (WEIGHTS holds lpips_alexnet.safetensors), flicker as a share of the real clip's, PSNR of the first frame,
milliseconds of a clip; beside them those of one UNet call, all in one process, on the profile "fast". Medians over
clips. A guided decoder bends the picture instead of drawing what the latents say, so its PSNR to a real clip says how
far its motion is from the real one, not how clean its frames are.
"""

import copy
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

import sfv
from sfv.decoding.decoder import load_decoder
from sfv.evaluation.clip_metrics import facts
from sfv.evaluation.features.weights import read_weights
from sfv.evaluation.protocol import read_protocol
from sfv.evaluation.real_clips import open_set
from sfv.media import replacing
from sfv.media.pixels import to_frames
from sfv.system.memory import keep_memory

TRUST_BIAS = -5.0
"""What takes the bias of the shipped mask away."""
Ways = dict[str, tuple[sfv.VideoModel, str]]


def ways(model: sfv.VideoModel, folders: list[Path]) -> Ways:
    """Name -> a model and which of its decoders draws."""
    own = model.small
    assert own is not None
    size = (own.config.latent_channels, own.stride)
    small = {"small": own} | {str(f): load_decoder(f, torch.float32, *size) for f in folders}
    found: Ways = {"full": (model, "full")}
    for name, decoder in small.items():
        decoder.compute = own.compute
        found[name] = (replace(model, small=decoder), "small")
        if decoder.guide is not None:
            drawn = copy.deepcopy(decoder)
            drawn.guide.set_trust_bias(TRUST_BIAS)  # type: ignore[union-attr]
            found[f"{name}, drawn"] = (replace(model, small=drawn), "small")
    return found


def one(by: Ways, real: Tensor, judge: dict[str, Tensor], fps: float) -> dict[str, dict[str, float]]:
    """Figures of one clip (f, h, w, 3), by way."""
    pixels = real.permute(0, 3, 1, 2)[None].float() / 127.5 - 1
    latents, found = by["full"][0].codec.encode(pixels), {}
    true = facts(real, real, fps, None)
    for way, (model, which) in by.items():
        start = time.perf_counter()
        frames = to_frames(model.decode(latents, pixels[:, 0], which))
        seconds = time.perf_counter() - start
        seen = facts(frames, real, fps, judge)
        assert seen.lpips_real is not None
        found[way] = {
            "psnr": seen.real_psnr,
            "lpips": seen.lpips_real,
            "flicker": seen.flicker / max(true.flicker, 1e-3),
            "first_psnr": seen.first_psnr,
            "ms": 1e3 * seconds,
        }
    return found


def main(store: Path, name: str, weights: Path, out: Path, *folders: Path) -> None:
    keep_memory()
    protocol = read_protocol("sticker")
    model = sfv.optimize(sfv.load(name), "fast", "eager")
    real, judge = open_set(store, protocol), read_weights(weights / "lpips_alexnet.safetensors")
    with torch.inference_mode():
        sfv.generate(model, real.clips[0].read()[0])
        by = ways(model, list(folders))
        every = [one(by, c.read(), judge, protocol.fps) for c in tqdm(real.clips, desc="decode", unit="clip")]
        unet = [sfv.generate(model, c.read()[0]).seconds["unet"] for c in real.clips[:9]]
    result = {"model": model.hash, "clips": len(every), "unet_ms": 1e3 * statistics.median(unet)}
    for way in by:
        result[way] = {k: statistics.median(e[way][k] for e in every) for k in every[0][way]}  # type: ignore[assignment]
    with replacing(out) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(Path, sys.argv[3:]))
