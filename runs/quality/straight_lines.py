"""Would straight lines help to tell stiff things? A study: the embedded model does not use them.

    python runs/quality/straight_lines.py STILLS OUT.json STORE [--model MODEL]

STILLS is stills.zip of the emoji set, STORE a clip store (`sfv pack`). Edges of a picture vote for the lines they may
lie on (Hough; Duda and Hart 1972), each for its own direction; how much of all votes the strongest lines hold, and in
which directions, are seven numbers. A logistic regression on them, alone and added to the model's own logit (in units
of its spread), learns from every other still and from training families, and is judged on the rest: "ranked" is the
share of pairs of a still and a face, person or creature in which the still is higher, "stiff" the share of stills above
the logit that one in five of the others passes.
"""

import io
import json
import math
import zipfile
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from stills_sheet import arguments, called, pictures
from torch import Tensor
from tqdm import tqdm

import sfv
from sfv.data.stickers import ClipStore, by_family
from sfv.data.stiff_pictures import BENDING
from sfv.media import PICTURE_ENDINGS, fit, read_picture, replacing
from sfv.media.pictures import Uint8Picture
from sfv.media.pixels import as_layers
from sfv.types import AnyFirst

ANGLES, OFFSETS = 36, 96
"""Cells of the votes; an offset cell is two pixels of a picture of 128."""
FAINT, STRONG = 0.04, 0.3
"""Of an edge: below it is none, above it counts no more."""
STRAIGHT = (0, 1, 35, 16, 17, 18)
"""Angles that are upright or level, nearly."""


def votes(first: AnyFirst) -> Float[Tensor, "angles offsets"]:
    """By edges of a picture for lines, as shares of all."""
    grey = F.pad(first[:, :3].mean(1, keepdim=True), (3, 3, 3, 3), mode="replicate")
    smooth = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    grey = F.conv2d(F.conv2d(grey, smooth.view(1, 1, 5, 1)), smooth.view(1, 1, 1, 5))
    sobel = torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]]) / 8
    down, across = (F.conv2d(grey, k[None, None])[0, 0] for k in (sobel, sobel.T))
    strength = (down.square() + across.square()).sqrt()
    rows, columns = (strength > FAINT).nonzero().T.float() + 0.5
    edge = strength[strength > FAINT].clamp(max=STRONG)
    turn = torch.atan2(down, across)[strength > FAINT] % math.pi
    middle = first.shape[2] / 2
    found = torch.zeros(ANGLES * OFFSETS)
    for beside in (-1, 0, 1):  # a direction is known to a cell, about
        cell = (turn / math.pi * ANGLES).floor().long() + beside
        angle = (cell + 0.5) * math.pi / ANGLES
        offset = (columns - middle) * angle.cos() + (rows - middle) * angle.sin()
        at = ((offset * 64 / middle + OFFSETS) / 2).long().clamp(0, OFFSETS - 1)
        over = (cell < 0) | (cell >= ANGLES)  # half a turn on, the other way round
        found.index_add_(0, cell % ANGLES * OFFSETS + torch.where(over, OFFSETS - 1 - at, at), edge)
    return found.view(ANGLES, OFFSETS) / edge.sum().clamp(min=1e-3)


def lines(first: AnyFirst) -> Float[Tensor, " seven"]:
    """How much the strongest 1, 3 and 12 lines hold, how uneven votes are, the strongest direction's share, that of
    upright and level ones, and how many directions there are."""
    share = votes(first)
    top = share.flatten().topk(12).values
    directions = share.square().sum(1).sqrt()
    directions = directions / directions.sum().clamp(min=1e-6)
    several = -(directions.clamp(min=1e-6).log() * directions).sum()
    whole = share.square().sum().sqrt()
    return torch.stack(
        [top[0], top[:3].sum(), top.sum(), whole, directions.max(), directions[[*STRAIGHT]].sum(), several]
    )


@torch.inference_mode()
def measured(model: sfv.VideoModel, some: list[Uint8Picture], what: str) -> Float[Tensor, "pictures eight"]:
    """The model's logit and the lines' numbers of each picture."""
    size = model.defaults.height, model.defaults.width
    rows = []
    for picture in tqdm(some, desc=what, unit="picture"):
        first = as_layers(fit(picture, *size, "pad"))
        rows.append(torch.cat([model.stiffness(first).flatten(), lines(first)]))  # type: ignore[misc]
    return torch.stack(rows)


def regressed(x: Float[Tensor, "n k"], stiff: Tensor) -> Float[Tensor, " k"]:
    """Weights of a logistic regression in which both kinds count alike."""
    weights = torch.zeros(x.shape[1] + 1, requires_grad=True)
    counts = torch.where(stiff == 1, 0.5 / stiff.sum(), 0.5 / (1 - stiff).sum())
    optimizer = torch.optim.LBFGS([weights], max_iter=200)

    def loss() -> Tensor:
        optimizer.zero_grad()
        each = F.binary_cross_entropy_with_logits(x @ weights[1:] + weights[0], stiff, reduction="none")
        value = (each * counts).sum() + 1e-3 * weights[1:].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)
    return weights.detach()[1:]


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
    archive = zipfile.ZipFile(asked.stills)
    names = sorted(n for n in archive.namelist() if Path(n).suffix.lower() in PICTURE_ENDINGS)[::2]
    known = [read_picture(io.BytesIO(archive.read(n))) for n in names if not called(Path(n).stem).startswith("flag")]
    families = {
        split: [f[0] for f in by_family([c for c in store.split(split) if c.group in BENDING])]
        for split in ("train", "val")
    }
    faces = {k: [torch.from_numpy(store.frames[c.start, ..., :3].copy()) for c in v] for k, v in families.items()}
    parts = {
        "stills": measured(model, known, "stills to learn from"),
        "faces": measured(model, faces["train"], "faces to learn from"),
        "unseen stills": measured(
            model, [read() for read in pictures(asked.stills, "rigid").values()], "unseen stills"
        ),
        "unseen faces": measured(model, faces["val"], "unseen faces"),
    }
    learnt = torch.cat([parts["stills"], parts["faces"]])
    middle, spread = learnt.mean(0), learnt.std(0)
    parts = {k: (v - middle) / spread for k, v in parts.items()}
    stiff = torch.cat([torch.ones(len(parts["stills"])), torch.zeros(len(parts["faces"]))])
    weights = regressed(torch.cat([parts["stills"], parts["faces"]])[:, 1:], stiff)
    ways = {
        "model": {k: v[:, 0] for k, v in parts.items()},
        "lines": {k: v[:, 1:] @ weights for k, v in parts.items()},
        "both": {k: v[:, 0] + v[:, 1:] @ weights for k, v in parts.items()},
    }
    report = {
        "command": "python runs/quality/straight_lines.py STILLS docs/results/straight-lines.json STORE",
        "model": asked.model,
        "hash": model.hash,
        "counts": {k: len(v) for k, v in parts.items()},
        "learnt from": {k: judged(v["stills"], v["faces"]) for k, v in ways.items()},
        "unseen": {k: judged(v["unseen stills"], v["unseen faces"]) for k, v in ways.items()},
    }
    with replacing(asked.out) as beside:
        Path(beside).write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
