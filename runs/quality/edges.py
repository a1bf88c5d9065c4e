"""Does a thing stay inside its picture? The share of clips of unseen stills that an edge cuts.

    python runs/quality/edges.py STILLS OUT.json STORE [--model MODEL] [--count 366] [--seed 0] [--moves auto]

STILLS as in runs/quality/stills_sheet.py, with their transparency: once as they are, once cut to what is in them, as
people trim logos. Of a clip counts by how much the opaque share of its outermost pixels grows, at its most; from a
hundredth on (five pixels of 128 x 128) an edge cuts it. The validation clips of STORE, a clip store, tell how often
that happens in drawn animations. OUT also says how many stills are taken for cut off at a side, before anything moves.
Flags of countries are left out. MOVES are words for motion, each of which every still follows.
"""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from stills_sheet import arguments, called, drawn
from torch import Tensor
from tqdm import tqdm

import sfv
from sfv.data.stickers import ClipStore
from sfv.generation.directing import cut_sides
from sfv.generation.fitting import first_pixels
from sfv.generation.generate import begin
from sfv.media import PICTURE_ENDINGS, read_sticker
from sfv.media.pictures import Uint8Sticker

CUT = 0.01
VISIBLE = 8
"""Levels of opacity."""


def stickers(place: Path) -> dict[str, bytes]:
    """Name -> file of the unseen stills."""
    archive = zipfile.ZipFile(place)
    names = sorted(n for n in archive.namelist() if Path(n).suffix.lower() in PICTURE_ENDINGS)[1::2]
    every = {called(Path(n).stem): archive.read(n) for n in names}
    return {k: v for k, v in every.items() if not k.startswith("flag")}


def trimmed(sticker: Uint8Sticker) -> Uint8Sticker:
    """What is in it."""
    there = sticker[..., 3] > VISIBLE
    rows, columns = (there.any(along).nonzero().flatten() for along in (1, 0))
    return sticker[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].contiguous()


def grown(alpha: Tensor) -> float:
    """By how much the opaque share of the outermost pixels (n, h, w) grows over its first frame's, at its most."""
    rim = torch.cat([alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]], 1).float().mean(1) / 255
    return float((rim - rim[0]).max())


def figures(shares: list[float]) -> dict[str, Any]:
    """Of all clips."""
    cut = sum(v >= CUT for v in shares)
    return {"clips": len(shares), "cut": cut, "share": round(cut / len(shares), 4)}


def main() -> None:
    parser = arguments(__doc__, 366)
    parser.add_argument("store", type=Path)
    parser.add_argument("--moves", nargs="+", default=["auto"])
    asked = parser.parse_args()
    found, model = stickers(asked.stills), sfv.optimize(sfv.load(asked.model), "fast", "eager")
    taken = {"as they are": 0, "trimmed": 0}
    shares: dict[str, dict[str, list[float]]] = {m: {"as they are": [], "trimmed": []} for m in asked.moves}
    for name in tqdm(drawn(found, asked.count, asked.seed)):
        whole = read_sticker(io.BytesIO(found[name]))
        for way, sticker in (("as they are", whole), ("trimmed", trimmed(whole))):
            start = begin(model, sticker, {"transparent": True, "size": "128"})
            taken[way] += bool(cut_sides(first_pixels(model, start.still), start.still).any())
            for move in asked.moves:
                clip = sfv.generate(
                    model, sticker, transparent=True, size="128", play_fps=model.defaults.fps, move=move
                )
                assert clip.alpha is not None
                shares[move][way].append(grown(clip.alpha[..., 0]))
    store = ClipStore(asked.store)
    real = [grown(torch.from_numpy(store.frames[c.start : c.start + c.count, ..., 3])) for c in store.split("val")]
    report = {"model": asked.model, "hash": model.hash, "taken for cut off": taken, "drawn animations": figures(real)}
    for move, ways in shares.items():
        each = {way: figures(some) for way, some in ways.items()}
        report |= each if move == "auto" else {move: each}
    asked.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
