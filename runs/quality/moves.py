"""Does a word for motion give that motion? Clips of unseen stills by each word, judged by what moves between frames.

    python runs/quality/moves.py STILLS OUT.json [--model MODEL] [--count 50] [--seed 0] [--sheet OUT.webp]

STILLS as in runs/quality/stills_sheet.py; flags, which are cloth, are left out. Dense flow between neighbouring
frames, where the picture is, is compared with what each word means: turning about the foot (sway) or the middle
(nod), a shift up and down (bounce), growing about the middle (pulse), stretching about the foot (squash). The main
motion is the one that explains most of the flow; none where the flow is under 0.1 pixels. No model takes part in it.
"""

import json
from pathlib import Path

import torch
from stills_sheet import SHOWN, arguments, drawn, pictures
from torch import Tensor
from tqdm import tqdm

import sfv
from sfv.media import contact_sheet, replacing, write_picture
from sfv.media.motion import flow_fields
from sfv.settings import MOVES
from sfv.types import Frames

INK = 12
"""Levels from white above which a pixel is of the body."""
STILL = 0.1
"""Pixels of mean flow below which nothing moves."""


def main_motion(frames: Frames) -> str:
    """The word that a clip's motion would be given; "none" where hardly anything moves."""
    loop = torch.cat([frames, frames[:1]])
    explained = dict.fromkeys(("sway", "nod", "bounce", "pulse", "squash"), 0.0)
    size = []
    for frame, moves in zip(loop[:-1], flow_fields(loop), strict=True):
        body = ((255 - frame.float()).amax(-1) > INK).nonzero()
        if len(body) < 20:
            continue
        there, known = moves[body[:, 0], body[:, 1]], fields(body.float())
        size.append(float(there.norm(dim=1).mean()))
        for word, field in known.items():
            share = float((field * there).sum() / field.square().sum())
            explained[word] += share**2 * float(field.square().sum())
    if not size or max(size) < STILL:
        return "none"
    return max(explained, key=lambda word: explained[word])


def fields(body: Tensor) -> dict[str, Tensor]:
    """What each word moves a body's pixels (n, 2: y, x) by, in (x, y), for one unit of it."""
    y, x = body.T
    top, foot, left, right = y.min(), y.max(), x.min(), x.max()
    dx, dy, up = x - (left + right) / 2, y - (top + foot) / 2, y - foot
    zero = torch.zeros_like(x)
    return {
        "sway": torch.stack([-up, dx], 1),
        "nod": torch.stack([-dy, dx], 1),
        "bounce": torch.stack([zero, zero + 1], 1),
        "pulse": torch.stack([dx, dy], 1),
        "squash": torch.stack([dx, -up], 1),
    }


def main() -> None:
    parser = arguments(__doc__, 50)
    parser.add_argument("--sheet", type=Path)
    asked = parser.parse_args()
    found, model = pictures(asked.stills, "rigid"), sfv.optimize(sfv.load(asked.model), "fast", "eager")
    names, words = drawn(found, asked.count, asked.seed), [w for w in MOVES if w != "free"]
    counts: dict[str, dict[str, int]] = {w: {} for w in words}
    rows = []
    for name in tqdm(names, unit="still"):
        for word in words:
            clip = sfv.generate(model, found[name](), move=word, play_fps=model.defaults.fps)
            seen = main_motion(clip.frames)
            counts[word][seen] = counts[word].get(seen, 0) + 1
            at = torch.linspace(0, len(clip.frames) - 1, SHOWN + 1)[1:].round().long()
            rows.append((f"{name}: {word} ({seen})", torch.cat([clip.picture[None], clip.frames[at]])))
    if asked.sheet:
        write_picture(contact_sheet(rows[: 12 * len(words)]), asked.sheet)
    right = {w: counts[w].get(w, 0) / len(names) for w in words}
    result = {"model": asked.model, "hash": model.hash, "stills": len(names), "right": right, "seen": counts}
    result["all"] = sum(right.values()) / len(words)
    with replacing(asked.out) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
