"""Two models' clips of the same unseen pictures in shuffled order, for somebody who does not know which is which.

    python runs/quality/blind_sheet.py STORE OUT.webp KEY.json [--models ONE OTHER] [--count 40] [--seed 0]
    python runs/quality/blind_sheet.py --tally KEY.json

Pictures are the first frames of one clip of each of COUNT validation families, drawn by chance. A pair is two rows, A
and B: the picture and seven frames of a clip. OUT-1.webp, OUT-2.webp ... hold ten pairs each. KEY says which is which;
who judges adds "answers" to it, a letter or "=" for every pair (which looks better). --tally counts them, with the
chance of as uneven a result if there were no difference (sign test).
"""

import argparse
import json
import math
import random
from pathlib import Path

import torch
from stills_sheet import row
from tqdm import tqdm

import sfv
from sfv.data.stickers import ClipStore, by_family
from sfv.media import contact_sheet, replacing, write_picture

PAGE = 10
"""Pairs on a sheet."""


def tally(key: Path) -> dict[str, float]:
    """How often each model was the better one, how often neither, and the sign test's p."""
    facts = json.loads(key.read_text())
    chosen = [pair.get(answer) for pair, answer in zip(facts["pairs"], facts["answers"], strict=True)]
    counts = {name: chosen.count(name) for name in facts["models"]}
    n, least = sum(counts.values()), min(counts.values())
    tail = sum(math.comb(n, k) for k in range(least + 1)) / 2**n
    return counts | {"neither": chosen.count(None), "p": round(min(1.0, 2 * tail), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("key", type=Path, nargs="?")
    parser.add_argument("--models", nargs=2, default=["sticker", "sticker-teacher"])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tally", type=Path, metavar="KEY.json")
    asked = parser.parse_args()
    if asked.tally:
        print(json.dumps(tally(asked.tally)))
        return
    if asked.key is None:
        parser.error("STORE, OUT and KEY are needed, or --tally")
    chance = random.Random(asked.seed)
    store, models = ClipStore(asked.store), {name: sfv.load(name) for name in asked.models}
    families = [family[0] for family in by_family(list(store.split("val")))]
    chosen = chance.sample(families, min(asked.count, len(families)))
    rows, pairs = [], []
    for number, clip in enumerate(tqdm(chosen, unit="pair"), 1):
        picture = torch.from_numpy(store.frames[clip.start, ..., :3].copy())
        names = chance.sample(asked.models, 2)
        pairs.append({"clip": clip.id, "A": names[0], "B": names[1]})
        rows += [(f"{number} {letter}", row(models[pairs[-1][letter]], picture, None)) for letter in "AB"]
    for page in range(0, len(rows), 2 * PAGE):
        name = f"{asked.out.stem}-{page // (2 * PAGE) + 1}{asked.out.suffix}"
        write_picture(contact_sheet(rows[page : page + 2 * PAGE]), asked.out.with_name(name))
    facts = {"models": asked.models, "hashes": [m.hash for m in models.values()], "seed": asked.seed, "pairs": pairs}
    with replacing(asked.key) as beside:
        Path(beside).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
