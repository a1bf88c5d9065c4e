"""How well transparency is told: the matte on validation clips, beside the picture's own alpha held still.

    python runs/quality/bench_matte.py STORE MODEL OUT.json [SHEET.png]

Real clips over white go through the codec and its own decoder (a guided one would move them a little). Per pixel: mean
error of alpha, of alpha where the picture's own and the true one differ (the part that moved), and intersection over
union of what is at least half opaque; and PSNR over black against the real clip over black, with the true alpha as the
best that can be had. SHEET shows one-call clips of the model over a dark ground, where edges that are wrong light up.
"""

import json
import statistics
import sys
from pathlib import Path

import torch
from torch import Tensor

import sfv
from sfv.data.stickers import ClipStore, over_background
from sfv.families.base import VideoModel
from sfv.media import contact_sheet, write_picture

SHOWN, DARK = 8, torch.tensor([40.0, 30.0, 70.0])


def held(rgb: Tensor, alpha: Tensor) -> Tensor:
    """(f, 3, h, w) over white in [0, 1], laid over black by (f, 1, h, w)."""
    return (rgb - (1 - alpha)).clamp(min=0)


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())


def figures(model: VideoModel, rgba: Tensor) -> dict[str, dict[str, float]]:
    """Of one clip (f, 4, h, w) in [0, 1]: of the matte, of alpha held still, of the true alpha."""
    assert model.matte is not None
    pixels = over_background(rgba, torch.ones(3, *rgba.shape[-2:]))[None]
    seen, true = model.decode(model.codec.encode(pixels), decoder="full").clamp(-1, 1), rgba[:, 3:]
    estimated = model.matte(seen, pixels[:, 0], true[None, 0])[0]
    rgb, black = (seen[0] + 1) / 2, held((pixels[0] + 1) / 2, true)
    moved = (true - true[:1]).abs() > 0.25
    found = {}
    for name, alpha in {"matte": estimated, "still alpha": true[:1].expand_as(true), "true alpha": true}.items():
        error, solid, real = (alpha - true).abs(), alpha >= 0.5, true >= 0.5
        found[name] = {
            "error": float(error.mean()),
            "error_where_moved": float(error[moved].mean()) if moved.any() else 0.0,
            "overlap": float((solid & real).sum() / (solid | real).sum().clamp(min=1)),
            "psnr_over_black": psnr(held(rgb, alpha), black),
        }
    return found


def sheet(model: VideoModel, store: ClipStore, path: Path) -> None:
    rows = []
    for clip in list({c.family: c for c in store.split("val")}.values())[:SHOWN]:
        picture = (store.rgba(clip, 0, 1, 1)[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
        made = sfv.generate(model, picture, transparent=True).stickers().float()
        share = made[..., 3:] / 255
        rows.append((clip.name[:24], (share * made[..., :3] + (1 - share) * DARK).round().to(torch.uint8)))
    write_picture(contact_sheet(rows), path)


@torch.inference_mode()
def main(data: Path, name: str, out: Path, drawn: Path | None = None) -> None:
    store, model = ClipStore(data), sfv.load(name)
    step = round(store.fps / model.defaults.fps)
    clips = list({c.family: c for c in store.split("val")}.values())
    every = [figures(model, store.rgba(c, 0, model.defaults.frames, step)) for c in clips]
    result = {
        kind: {k: round(statistics.fmean(e[kind][k] for e in every), 4) for k in every[0][kind]} for kind in every[0]
    }
    whole = {"clips": len(clips), "model": model.hash, **result}
    out.write_text(json.dumps(whole, indent=1) + "\n")
    print(json.dumps(whole, indent=1))
    if drawn:
        sheet(model, store, drawn)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *(Path(v) for v in sys.argv[3:]))
