"""What straight lines add to a network that tells stiff things: each alone and both, on pictures that no part saw.

    python runs/quality/straight_lines.py STILLS OUT.json STORE [--model MODEL]

STILLS as in runs/quality/stills_sheet.py, without flags; STORE is a clip store (`sfv pack`), of whose validation split
the first frame of one clip of every family of faces, people and creatures counts. "ranked" is the share of pairs of a
still and one of those in which the still is higher, "stiff" the share of stills above what one in five of those passes.
"""

import json
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from stills_sheet import arguments, pictures
from torch import Tensor, nn
from tqdm import tqdm

import sfv
from sfv.data.stickers import ClipStore, by_family
from sfv.data.stiff_pictures import BENDING
from sfv.families.motion.stiffness import Stiffness
from sfv.families.motion.straight_lines import NUMBERS, straight_lines
from sfv.media import fit, replacing
from sfv.media.pictures import Uint8Picture
from sfv.media.pixels import as_layers


@torch.inference_mode()
def parts(network: Stiffness, some: list[Uint8Picture], size: tuple[int, int], what: str) -> Float[Tensor, "n 2"]:
    """What lines and what features say of each picture; together they say their sum."""
    assert network.lines is not None
    norm, answer = network.lines[0], cast(nn.Linear, network.lines[1])
    rows = []
    for picture in tqdm(some, desc=what, unit="picture"):
        first = as_layers(fit(picture, *size, "pad"))
        said = norm(torch.cat([straight_lines(first), network.by_features(first)[:, None]], 1)) * answer.weight
        rows.append(torch.stack([said[0, :NUMBERS].sum(), said[0, NUMBERS]]))
    return torch.stack(rows)


def judged(stills: Tensor, others: Tensor) -> dict[str, float]:
    limit = others.sort(descending=True).values[len(others) // 5 - 1]
    return {
        "ranked": round(float((stills[:, None] > others).float().mean()), 3),
        "stiff": round(float((stills > limit).float().mean()), 3),
    }


def main() -> None:
    parser = arguments(__doc__, 0)
    parser.add_argument("store", type=Path)
    asked = parser.parse_args()
    model, store = sfv.load(asked.model), ClipStore(asked.store)
    if not isinstance(model.stiffness, Stiffness) or model.stiffness.lines is None:
        parser.error(f"{asked.model} does not count straight lines; train its stiffness again")
    size = model.defaults.height, model.defaults.width
    families = by_family([c for c in store.split("val") if c.group in BENDING])
    faces = [torch.from_numpy(store.frames[f[0].start, ..., :3].copy()) for f in families]
    stills = parts(model.stiffness, [read() for read in pictures(asked.stills, "rigid").values()], size, "stills")
    others = parts(model.stiffness, faces, size, "faces")
    report = {
        "command": "python runs/quality/straight_lines.py STILLS docs/results/straight-lines.json STORE",
        "model": asked.model,
        "hash": model.hash,
        "stills": len(stills),
        "faces, people, creatures": len(others),
        "features": judged(stills[:, 1], others[:, 1]),
        "lines": judged(stills[:, 0], others[:, 0]),
        "both": judged(stills.sum(1), others.sum(1)),
    }
    with replacing(asked.out) as beside:
        Path(beside).write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
