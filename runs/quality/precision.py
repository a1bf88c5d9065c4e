"""How far each way of running a model is from float32, beside diffusers' own modules in bfloat16.

    python runs/quality/precision.py MODEL OUT.json

The bundled examples, one unguided call each from the same noise, drawn by the codec's own decoder (in bfloat16 but for
the reference, which is in float32 throughout). Relative error of latents and of pixels, medians.
"""

import json
import statistics
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

import sfv
from sfv import Settings, VideoModel
from sfv.batch.compare import example
from sfv.edm.denoiser import per_clip
from sfv.edm.noise import seeded_noise
from sfv.families.load import load_stock
from sfv.generation.fitting import resolve
from sfv.generation.sampling import condition
from sfv.media import fit, replacing
from sfv.media.pixels import as_pixels
from sfv.types import Cond

Made = tuple[Tensor, Tensor]
"""Latents and pixels."""


def ours(model: VideoModel, first: Tensor, noise: Tensor, want: Settings) -> Made:
    sigma = torch.tensor([model.sigma_max])
    latents = model.denoiser(noise * float((sigma**2 + 1).sqrt()), sigma, condition(model, first, want))
    return latents, model.decode(latents, first, "full")


def theirs(unet: nn.Module, model: VideoModel, first: Tensor, noise: Tensor, cond: Cond) -> Made:
    """diffusers' UNet in bfloat16 between the same formulas in float32, as its pipeline calls it; our codec."""
    sigma, kind = torch.tensor([model.sigma_max]), torch.bfloat16
    c, x = model.denoiser.coefficients(sigma), noise * float((sigma**2 + 1).sqrt())
    picture = cond["image_latents"][:, None].expand(-1, x.shape[1], -1, -1, -1)
    seen = torch.cat([per_clip(c.c_in) * x, picture], 2).to(kind)
    token, ids = cond["image_embeds"].to(kind), cond["added_time_ids"].to(kind)
    raw = unet(seen, c.c_noise, encoder_hidden_states=token, added_time_ids=ids, return_dict=False)[0]
    latents = per_clip(c.c_skip) * x + per_clip(c.c_out) * raw.float()
    return latents, model.decode(latents, first, "full")


def off(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@torch.inference_mode()
def main(name: str, out: Path) -> None:
    loaded = sfv.load(name)
    truth = sfv.load(name, decode_dtype=torch.float32)
    unet = load_stock(name)[0].unet.to(torch.bfloat16)
    ways = {p: sfv.optimize(loaded, p, "eager") for p in ("exact", "fast")}
    want, own = resolve(Settings(steps=1, guidance=1), truth), truth.defaults
    found: dict[str, list[list[float]]] = {k: [] for k in (*ways, "diffusers bf16")}
    for path in tqdm(sorted(example().parent.glob("*.png")), desc="precision", unit="picture"):
        first = as_pixels(fit(sfv.read_picture(path), own.height, own.width), truth.device)
        noise = seeded_noise([0], truth.codec.latent_shape(own.frames, own.height, own.width), truth.device)
        right = ours(truth, first, noise, want)
        made = {k: ours(m, first, noise, want) for k, m in ways.items()}
        made["diffusers bf16"] = theirs(unet, loaded, first, noise, condition(truth, first, want))
        for k, v in made.items():
            found[k].append([off(a, b) for a, b in zip(v, right, strict=True)])
    result = {
        k: dict(zip(("latents", "pixels"), map(statistics.median, zip(*v, strict=True)), strict=True))
        for k, v in found.items()
    }
    with replacing(out) as beside:
        beside.write_text(json.dumps({"model": truth.hash, **result}, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
