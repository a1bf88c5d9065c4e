"""Does a model tell stiff things from bending ones? Unseen stills against unseen animated faces, people and creatures.

    python runs/quality/stiffness.py STILLS OUT.json STORE [--model MODEL]

STILLS as in runs/quality/stills_sheet.py, without flags; STORE is a clip store (`sfv pack`), of whose validation split
the first frame of one clip of every family counts, and apart from that of every clip. All are opaque, over white.
"ranked" is the share of pairs of a still and a clip in which the still has the higher logit; "stiff" are called so.
"""

import json
from pathlib import Path

import torch
from stills_sheet import arguments, pictures

import sfv
from sfv.data.stickers import ClipStore, by_family
from sfv.data.stiff_pictures import BENDING
from sfv.media import fit
from sfv.media.pictures import Uint8Picture
from sfv.media.pixels import as_layers


@torch.inference_mode()
def logits(model: sfv.VideoModel, some: list[Uint8Picture]) -> torch.Tensor:
    """Of each picture; above 0 is stiff."""
    size = model.defaults.height, model.defaults.width
    return torch.cat([model.stiffness(as_layers(fit(p, *size, "pad"))) for p in some])  # type: ignore[misc]


def share(which: torch.Tensor) -> float:
    return round(float(which.float().mean()), 3)


def judged(stills: torch.Tensor, bends: torch.Tensor) -> dict[str, float]:
    return {"count": len(bends), "stiff": share(bends > 0), "ranked": share(stills[:, None] > bends)}


def main() -> None:
    parser = arguments(__doc__, 0)
    parser.add_argument("store", type=Path)
    asked = parser.parse_args()
    model, store = sfv.load(asked.model), ClipStore(asked.store)
    every = [c for c in store.split("val") if c.group in BENDING]
    bends, all_of_them = (
        logits(model, [torch.from_numpy(store.frames[c.start, ..., :3].copy()) for c in some])
        for some in ([family[0] for family in by_family(every)], every)
    )
    stills = logits(model, [read() for read in pictures(asked.stills, "rigid").values()])
    report = {
        "model": asked.model,
        "hash": model.hash,
        "stills": {"count": len(stills), "stiff": share(stills > 0)},
        "faces, people, creatures": {
            "families": judged(stills, bends),
            "clips": judged(stills, all_of_them),
        },
    }
    asked.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
