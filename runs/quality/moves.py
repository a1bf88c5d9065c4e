"""Does a word for motion give that motion? Clips of unseen stills by each word, judged by what moves between frames.

    python runs/quality/moves.py STILLS OUT.json [--model MODEL] [--count 50] [--seed 0] [--sheet OUT.png]
        [--words WORD ...]

STILLS as in runs/quality/stills_sheet.py; flags, which are cloth, are left out. Dense flow between neighbouring
frames at the network's own size, where the picture is, is compared with what each word means: turning about the foot
(sway) or the middle (nod, spin), a shift up and down (bounce, float) or aside (shake), growing about the middle
(pulse), stretching about the foot (squash), a bend that runs through (wave, two fields: sine and cosine over the
height). The main motion is the one that explains most of the flow; none where the flow is under 0.1 pixels. No model
takes part in it. Flow alone does not tell a nod from a spin, nor a hop from a drift; the sheet does. Pictures that a
word does not take are counted as refused, and stand in no share. With --words, what OUT holds of other words of the
same model and stills stays.
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
from sfv.media.pictures import Uint8Picture
from sfv.types import Frames

INK = 12
"""Levels from white above which a pixel is of the body."""
EVERY = 5
"""Of so many of its pixels one is looked at."""
STILL = 0.1
"""Pixels of mean flow below which nothing moves."""


def main_motion(frames: Frames) -> str:
    """The word that a clip's motion would be given; "none" where hardly anything moves."""
    loop = torch.cat([frames, frames[:1]])
    explained: dict[str, float] = {}
    size = []
    for frame, moves in zip(loop[:-1], flow_fields(loop), strict=True):
        body = ((255 - frame.float()).amax(-1) > INK).nonzero()
        if len(body) < 20:
            continue
        body = body[::EVERY]
        there, known = moves[body[:, 0], body[:, 1]], fields(body.float())
        size.append(float(there.norm(dim=1).mean()))
        for motion, basis in known.items():
            explained[motion] = explained.get(motion, 0.0) + energy(there, basis)
    if not size or max(size) < STILL:
        return "none"
    return max(explained, key=lambda motion: explained[motion])


def energy(there: Tensor, basis: list[Tensor]) -> float:
    """Of a flow (n, 2), what lies in the span of fields (n, 2)."""
    span = torch.linalg.qr(torch.stack([field.flatten() for field in basis], 1).double()).Q
    return float((span.T @ there.flatten().double()).square().sum())


def fields(body: Tensor) -> dict[str, list[Tensor]]:
    """What each motion moves a body's pixels (n, 2: y, x) by, in (x, y), for one unit of it."""
    y, x = body.T
    top, foot, left, right = y.min(), y.max(), x.min(), x.max()
    dx, dy, up = x - (left + right) / 2, y - (top + foot) / 2, y - foot
    zero = torch.zeros_like(x)
    phase = 2 * torch.pi * up / (foot - top).clamp(min=1)
    return {
        "turn about the foot": [torch.stack([-up, dx], 1)],
        "turn about the middle": [torch.stack([-dy, dx], 1)],
        "up and down": [torch.stack([zero, zero + 1], 1)],
        "aside": [torch.stack([zero + 1, zero], 1)],
        "growth": [torch.stack([dx, dy], 1)],
        "stretch": [torch.stack([dx, -up], 1)],
        "bend": [torch.stack([phase.sin(), zero], 1), torch.stack([phase.cos(), zero], 1)],
    }


MEANING = {
    "sway": "turn about the foot",
    "nod": "turn about the middle",
    "bounce": "up and down",
    "pulse": "growth",
    "squash": "stretch",
    "shake": "aside",
    "spin": "turn about the middle",
    "float": "up and down",
    "wave": "bend",
}


def moved_by(model: sfv.VideoModel, picture: Uint8Picture, word: str) -> tuple[str, Frames | None]:
    """What the clip's main motion is, and what of it is shown; "refused" and None for a picture not taken."""
    try:
        side = str(max(model.defaults.height, model.defaults.width))
        clip = sfv.generate(model, picture, move=word, play_fps=model.defaults.fps, size=side)
    except sfv.SfvError:
        return "refused", None
    at = torch.linspace(0, len(clip.frames) - 1, SHOWN + 1)[1:].round().long()
    return main_motion(clip.frames), torch.cat([clip.picture[None], clip.frames[at]])


def report(about: dict[str, object], counts: dict[str, dict[str, int]], out: Path) -> dict[str, object]:
    """Shares by word, beside those of other words that the same pictures gave before."""
    before = json.loads(out.read_text()) if out.exists() else {}
    seen = before.get("seen", {}) | counts if before.items() >= about.items() else counts
    seen = {w: seen[w] for w in MEANING if w in seen}
    taken = {w: sum(of.values()) - of.get("refused", 0) for w, of in seen.items()}
    right = {w: of.get(MEANING[w], 0) / max(1, taken[w]) for w, of in seen.items()}
    return about | {"right": right, "all": sum(right.values()) / len(right), "seen": seen}


def main() -> None:
    parser = arguments(__doc__, 50)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--words", nargs="+", choices=list(MEANING), default=list(MEANING))
    asked = parser.parse_args()
    found, model = pictures(asked.stills, "rigid"), sfv.optimize(sfv.load(asked.model), "fast", "eager")
    names, words = drawn(found, asked.count, asked.seed), asked.words
    counts: dict[str, dict[str, int]] = {w: {} for w in words}
    rows = []
    for name in tqdm(names, unit="still"):
        for word in words:
            seen, shown = moved_by(model, found[name](), word)
            counts[word][seen] = counts[word].get(seen, 0) + 1
            if shown is not None:
                rows.append((f"{name}: {word} ({seen})", shown))
    result = report(
        {"model": asked.model, "hash": model.hash, "stills": len(names), "seed": asked.seed}, counts, asked.out
    )
    with replacing(asked.out) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    if asked.sheet:
        write_picture(contact_sheet(rows[: 10 * len(words)]), asked.sheet)


if __name__ == "__main__":
    main()
