"""Do pictures blink that are asked to? Unseen faces, people and creatures, and unseen stills, nearly all of things.

    python runs/quality/blinks.py STILLS OUT.json STORE [--model MODEL] [--sheet OUT.png]

STORE is a clip store (`sfv pack`), of whose validation split the first frame of one clip of every family counts; STILLS
as in runs/quality/stills_sheet.py, without flags. All are opaque, over white. The sheet shows every picture that blinks
at four moments, then those in which no eyes were found: whether that is right is for people to say, who add to each
picture in OUT "right" (true where its eyes close, both and nothing else, or where none are open) and "why_not". OUT
also says which pictures blink by themselves, without being asked to.
"""

import json
from pathlib import Path
from typing import Any

import torch
from stills_sheet import arguments, called, pictures
from tqdm import tqdm

import sfv
from sfv.data.stickers import ClipStore, by_family
from sfv.data.stiff_pictures import BENDING
from sfv.decoding.blinking import shares
from sfv.errors import SfvError
from sfv.generation.generate import begin
from sfv.media import contact_sheet, replacing, write_picture
from sfv.media.pictures import Uint8Picture, fit
from sfv.types import Frames

SIDE = 192
"""Pixels of a clip on the sheet."""


def blink(model: sfv.VideoModel, picture: Uint8Picture) -> Frames | None:
    """The picture, lids on their way, down, and up again; None where no eyes were found."""
    try:
        clip = sfv.generate(model, picture, move="blink", size=str(SIDE))
    except SfvError as error:
        if "no pair of open eyes" not in str(error):
            raise
        return None
    count = len(clip.frames)
    closed = shares(count, count / clip.fps)
    under = [i for i, share in enumerate(closed) if share > 0]
    at = [under[1], closed.index(1.0), min(count - 1, under[-1] + 1)]
    return torch.cat([clip.picture[None], clip.frames[at]])


def by_itself(model: sfv.VideoModel, picture: Uint8Picture) -> bool:
    """Whether it blinks without being asked to."""
    return begin(model, picture, {"size": str(SIDE)}).want.move == "blink"


def main() -> None:
    parser = arguments(__doc__, 0)
    parser.add_argument("store", type=Path)
    parser.add_argument("--sheet", type=Path)
    asked = parser.parse_args()
    model, store = sfv.load(asked.model), ClipStore(asked.store)
    families = [family[0] for family in by_family([c for c in store.split("val") if c.group in BENDING])]
    faces = {called(c.id): torch.from_numpy(store.frames[c.start, ..., :3].copy()) for c in families}
    found: dict[str, Any] = {}
    rows: list[tuple[str, Frames]] = []
    without: list[Uint8Picture] = []
    for name, picture in tqdm(faces.items(), desc="faces", unit="picture"):
        frames = blink(model, picture)
        found[name] = {"eyes": frames is not None, "by itself": by_itself(model, picture)}
        if frames is None:
            without.append(fit(picture, SIDE, SIDE))
        else:
            rows.append((name, torch.stack([fit(f, SIDE, SIDE) for f in frames])))
    stills = pictures(asked.stills, "rigid")
    eyed, alone = [], []
    for name, read in tqdm(stills.items(), desc="stills", unit="picture"):
        picture = read()
        frames = blink(model, picture)
        if by_itself(model, picture):
            alone.append(name)
        if frames is not None:
            eyed.append(name)
            rows.append((name, torch.stack([fit(f, SIDE, SIDE) for f in frames])))
    without += [torch.full((SIDE, SIDE, 3), 255, dtype=torch.uint8)] * (-len(without) % 4)
    rows += [("no eyes found", torch.stack(without[i : i + 4])) for i in range(0, len(without), 4)]
    blinking = sum(f["eyes"] for f in found.values())
    report = {
        "model": asked.model,
        "hash": model.hash,
        "faces, people, creatures": {
            "count": len(faces),
            "eyes": blinking,
            "by themselves": sum(f["by itself"] for f in found.values()),
            "each": found,
        },
        "stills": {"count": len(stills), "eyes": eyed, "by themselves": alone},
    }
    with replacing(asked.out) as beside:
        Path(beside).write_text(json.dumps(report, indent=1) + "\n")
    if asked.sheet is not None:
        write_picture(contact_sheet(rows), asked.sheet)
    print(f"{asked.out}: {blinking} of {len(faces)} faces, {len(eyed)} of {len(stills)} stills")


if __name__ == "__main__":
    main()
