"""Pictures of things that bend and of things that do not, for the network that tells them apart.

Bending: frames of animated faces, people and animals. Stiff: frames of other animations, stills that nobody animated
(without flags, which are cloth), and letters.
"""

import re
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sfv.data.loops import Layers, open_stills, premultiplied, random_look, still_names
from sfv.data.stickers import Clip, ClipStore, by_family, draw
from sfv.errors import SfvError
from sfv.media import lettering
from sfv.types import RgbaPicture

BENDING = ("Smileys & Emotion", "People & Body", "Animals & Nature")
"""Groups of a sticker set whose things bend, by Unicode's names of groups."""
STILLS, ANIMATED = 0.5, 0.75
"""Of stiff pictures: the share that are stills, and that are stills or animated; the rest are letters."""
GLYPHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&?!"


class StiffPictures:
    """Labelled pictures of one split of a store."""

    def __init__(self, store: ClipStore, bending: Sequence[str] = BENDING, split: str = "train") -> None:
        """`bending` names groups; in a store without any of them every animation bends. SfvError without stills."""
        clips = store.split(split)
        bends = [c for c in clips if c.group in bending]
        known = {c.id for c in bends}
        self.store, self.bending = store, by_family(bends or clips)
        self.stiff = by_family([c for c in clips if c.group and c.id not in known]) if bends else []
        if not self.bending:
            raise SfvError(f"{store.folder} has no clips of its {split} split; pack a larger set")
        self.stills = open_stills(store.folder)
        flags = {i for i, name in enumerate(still_names(store.folder)) if is_flag(name)}
        self.stiff_stills = [i for i in range(len(self.stills)) if i not in flags]

    def draw(self, rng: torch.Generator) -> tuple[Float[Tensor, "4 size size"], float]:
        """A picture in [-1, 1], shown anyhow, and 1 for stiff or 0 for bending; both as often."""
        stiff, kind = torch.rand(2, generator=rng).tolist()
        layers = self._stiff(kind, rng) if stiff < 0.5 else self._frame(draw(self.bending, rng), rng)
        look = random_look(self.store.size, rng)
        return look(layers)[0] * 2 - 1, float(stiff < 0.5)

    def plain(self) -> tuple[Iterator[RgbaPicture], Iterator[RgbaPicture]]:
        """Each thing once as it is, (1, 4, size, size) in [-1, 1]: a first frame of every bending family, all stills
        but flags."""
        frames = (premultiplied(self.store.rgba(family[0], 0, 1, 1)) for family in self.bending)
        stills = (self._resized(torch.from_numpy(self.stills[i].copy())) for i in self.stiff_stills)
        return (v * 2 - 1 for v in frames), (v * 2 - 1 for v in stills)

    def _stiff(self, kind: float, rng: torch.Generator) -> Layers:
        if kind < STILLS or (kind < ANIMATED and not self.stiff):
            which = int(torch.randint(len(self.stiff_stills), (), generator=rng))
            return self._resized(torch.from_numpy(self.stills[self.stiff_stills[which]].copy()))
        if kind < ANIMATED:
            return self._frame(draw(self.stiff, rng), rng)
        return letters(self.store.size, rng)

    def _frame(self, clip: Clip, rng: torch.Generator) -> Layers:
        at = int(torch.randint(clip.count, (), generator=rng))
        return premultiplied(self.store.rgba(clip, at, 1, 1))

    def _resized(self, still: Tensor) -> Layers:
        layers = premultiplied(still.permute(2, 0, 1)[None].float() / 255)
        return torch.nn.functional.interpolate(layers, (self.store.size, self.store.size), mode="area")


def is_flag(name: str) -> bool:
    """Whether an emoji's code points in hex begin with a regional letter, as countries' flags do."""
    return bool(re.match("1f1(e[6-9a-f]|f[0-9a-f])(-|$)", name.lower()))


def letters(size: int, rng: torch.Generator) -> Layers:
    """One to six letters of one colour, half of them on a card of another."""
    u = torch.rand(8, generator=rng).tolist()
    count = 1 + int(6 * u[0])
    text = "".join(GLYPHS[int(i)] for i in torch.randint(len(GLYPHS), (count,), generator=rng))
    ink, card = ([round(255 * v) for v in c] for c in torch.rand(2, 3, generator=rng).tolist())
    sticker = lettering(text, size, (ink[0], ink[1], ink[2]), (card[0], card[1], card[2]) if u[1] < 0.5 else None)
    rgba = sticker.permute(2, 0, 1)[None].float() / 255
    return torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)
