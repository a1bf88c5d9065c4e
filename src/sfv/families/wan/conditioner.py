"""A picture and words -> the condition of Wan's transformer: the first latent frame, and the text."""

from typing import Any

import torch
from torch import Tensor, nn

from sfv.errors import SfvError
from sfv.families.base import Codec, Conditioner
from sfv.families.wan.codec import WanCodec
from sfv.families.wan.prompts import Prompts, padded
from sfv.types import Cond, Latents, Picture, Pixels


class WanConditioner(Conditioner):
    """The picture by the codec, the prompt by UMT5. Frames a second and motion are no part of the condition."""

    noised = lively = False
    prompted = True

    def __init__(self, codec: WanCodec, prompts: Prompts) -> None:
        super().__init__()
        self.codec, self.prompts = codec, prompts
        self.tower = nn.Identity()

    def embed(self, picture: Picture) -> Tensor:
        """The empty prompt, (b, tokens, e): Wan sees the picture by its codec alone, and the words beside it."""
        words: Tensor = self.prompts("").to(picture.device)
        return words.expand(len(picture), -1, -1)

    def picture_tower(self) -> nn.Module:
        """Nothing that could be trained: there is no picture encoder beside the codec."""
        return self.tower

    def forward(self, picture: Picture, **knobs: Any) -> Cond:
        """Knobs: prompt (empty); fps, motion and noise_aug, which every model is given, say nothing here."""
        known = {"fps", "motion", "noise_aug", "noise", "prompt"}
        if unknown := sorted(set(knobs) - known):
            raise SfvError(f"unknown knob {unknown[0]!r} for a Wan model; it knows {sorted(known)}")
        return {"first": self.codec.encode(picture[:, None]), "text": self._text(len(picture), picture, knobs)}

    def from_encoded(
        self,
        pictures: Picture,
        embeds: Tensor,
        fps: Tensor,
        motion: Tensor,
        z: Tensor,
        n: Pixels,
        louder: Tensor,
        x0: Latents,
    ) -> Cond:
        """The clip's own first latent frame, which the codec makes of the first picture alone; it is not noised."""
        return {"first": x0[:, :1], "text": padded(embeds)}

    def with_knobs(self, cond: Cond, **knobs: Any) -> Cond:
        """Another prompt."""
        return cond | {"text": self._text(len(cond["first"]), cond["first"], knobs)}

    def _text(self, clips: int, beside: Tensor, knobs: dict[str, Any]) -> Tensor:
        words = self.prompts(knobs.get("prompt") or "").to(beside.device)
        return padded(words[None].float()).expand(clips, -1, -1)

    def around(self, codec: Codec) -> "WanConditioner":
        """The same words around another codec."""
        assert isinstance(codec, WanCodec)
        return WanConditioner(codec, self.prompts)

    def guidance_over_frames(self, guidance: float, frames: int) -> Tensor:
        """The same at every frame, as the pipeline's."""
        return torch.full((frames,), guidance)

    def unconditional(self, cond: Cond) -> Cond:
        """The pipeline's negative branch: the same picture, the empty prompt."""
        return cond | {"text": self._text(len(cond["first"]), cond["first"], {})}
