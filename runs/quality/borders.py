"""Does the ground at the border of opaque pictures stay? Share of border pixels that change, in clips of unseen stills.

    python runs/quality/borders.py STILLS OUT.json [--model MODEL] [--count 40] [--seed 0]

STILLS as in runs/quality/stills_sheet.py, each scaled to three quarters of its frame and laid on white, on black, on a
colour, and on a gradient. The outer two pixels of each side count; one changes if it is more than 8 levels from the
picture.
"""

import json

import torch
from stills_sheet import arguments, drawn, pictures
from tqdm import tqdm

import sfv
from sfv.media.pictures import Uint8Picture, scaled

SIDE, RIM, LEVELS = 128, 2, 8


def grounds() -> dict[str, Uint8Picture]:
    """What stills are laid on."""
    line = torch.linspace(0, 1, SIDE)
    ends = torch.tensor([[250.0, 190, 60], [60.0, 90, 220]])
    ramp = line[:, None, None] * ends[0] + (1 - line)[:, None, None] * ends[1]
    plain = {"white": (255, 255, 255), "black": (0, 0, 0), "colour": (40, 120, 160)}
    made = {k: torch.tensor(v, dtype=torch.uint8).expand(SIDE, SIDE, 3).clone() for k, v in plain.items()}
    return made | {"gradient": ramp.round().byte().expand(SIDE, SIDE, 3).clone()}


def laid(still: Uint8Picture, ground: Uint8Picture) -> Uint8Picture:
    """The still, whose own ground is white, darkening the middle of another."""
    inner = 3 * SIDE // 4
    small, at = scaled(still, (inner, inner)).float() / 255, (SIDE - inner) // 2
    made = ground.clone().float()
    share = (small.amin(2, keepdim=True) < 0.97).float()
    middle = made[at : at + inner, at : at + inner]
    made[at : at + inner, at : at + inner] = share * small * 255 + (1 - share) * middle
    return made.round().byte()


def changed(clip: sfv.Clip) -> float:
    """Share of border pixels, over all frames."""
    rim = torch.ones(clip.picture.shape[:2], dtype=torch.bool)
    rim[RIM:-RIM, RIM:-RIM] = False
    away = (clip.frames.int() - clip.picture.int()).abs().amax(-1)[:, rim]
    return float((away > LEVELS).float().mean())


def main() -> None:
    parser = arguments(__doc__, 40)
    asked = parser.parse_args()
    found, model = pictures(asked.stills), sfv.optimize(sfv.load(asked.model), "fast", "eager")
    shares: dict[str, list[float]] = {name: [] for name in grounds()}
    for n in tqdm(drawn(found, asked.count, asked.seed)):
        for name, ground in grounds().items():
            clip = sfv.generate(model, laid(found[n](), ground), fit="pad", play_fps=model.defaults.fps)
            shares[name].append(changed(clip))
    means = {name: round(sum(s) / len(s), 5) for name, s in shares.items()}
    report = {"model": asked.model, "hash": model.hash, "stills": asked.count, "changed": means}
    asked.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
