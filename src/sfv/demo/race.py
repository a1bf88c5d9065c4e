"""One picture through several models, one after the other, with a message for every step.

Each clock counts its model's own encoding, network calls and decoding; warming up and previews are not counted.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from sfv.demo.session import Ask, Row, Studio
from sfv.demo.wire import clip_message, frames_message, packed
from sfv.families.base import VideoModel
from sfv.generation.clip import Clip, Start, Still
from sfv.generation.directing import frame_of
from sfv.generation.finishing import made_of
from sfv.generation.framing import Box, cut
from sfv.generation.generate import encoded, finish
from sfv.generation.stiff import liveliness
from sfv.types import Latents

Send = Callable[[bytes], None]
PREVIEWS = 0.25
"""Previews may take up to this part of the time that the network has taken."""


class Stopped(Exception):
    """Nobody watches any more."""


@dataclass
class Lane:
    """One model on its way: when its network began, how long previews took, what it has made."""

    number: int
    send: Send
    model: VideoModel
    start: Start
    began: float = 0.0
    encode: float = 0.0
    previews: float = 0.0
    steps: list[float] = field(default_factory=list)

    def seconds(self) -> float:
        """Its own compute so far."""
        return self.encode + time.perf_counter() - self.began - self.previews

    def peek(self, i: int, x0_hat: Latents) -> None:
        """Send a step, with frames where that is cheap enough."""
        spent, of = self.seconds(), int(self.start.want.steps or 1)
        message = {"event": "step", "lane": self.number, "step": i + 1, "of": of, "clock": round(spent, 4)}
        last = i + 1 == of
        if last or self.previews > PREVIEWS * spent:
            self.send(packed(message))
            return
        begun = time.perf_counter()
        self.send(frames_message(preview(self.model, self.start, x0_hat), **message))
        self.previews += time.perf_counter() - begun


def preview(model: VideoModel, start: Start, x0_hat: Latents) -> torch.Tensor:
    """What the network takes for the finished clip, decoded at the network's size and rate."""
    return made_of(model, x0_hat, _small(start), 0, {}).frames


def _small(start: Start) -> Start:
    """The same clip at the network's size, with no frames between those made."""
    still, box = start.still, _small_box(start.still)
    small = Still(still.small, still.sticker, still.small, still.sticker, box)
    mask = None if start.mask is None else cut(frame_of(start.mask, still)[..., None], box)[..., 0]
    want = start.want.model_copy(update={"size": None, "enlarge": 1, "play_fps": None})
    return replace(start, want=want, still=small, mask=mask)


def _small_box(still: Still) -> Box | None:
    """Where in the network's frame the clip is."""
    if still.box is None:
        return None
    scale = still.small.shape[0] / still.large.shape[0]
    top, left, height, width = (round(v * scale) for v in still.box)
    return top, left, height, width


def _fair(ask: Ask) -> Ask:
    """What every model is asked for: opaque, there alone, in its own number of steps."""
    opaque = ask.settings.model_copy(update={"transparent": False, "steps": None, "boomerang": False})
    return ask.model_copy(update={"settings": opaque})


def check(studio: Studio, ask: Ask) -> None:
    """SfvError for a race that cannot be run, as far as that shows before its turn."""
    ask, model = _fair(ask), studio.models.get(studio.rows[0].name)
    studio.check(ask if model is None else suited(model, ask, model.defaults.motion))


def race(studio: Studio, ask: Ask, send: Send) -> None:
    """Run every model of the page; only for the computing thread. `send` may raise Stopped."""
    ask = _fair(ask)
    totals: list[float] = []
    send(packed({"event": "lanes", "lanes": [row.name for row in studio.rows]}))
    for number, row in enumerate(studio.rows):
        send(packed({"event": "open", "lane": number}))
        clip = _run(studio, row, ask, number, send)
        totals.append(sum(clip.seconds.values()))
        send(b"".join(clip_message(clip, event="done", lane=number, clock=round(totals[-1], 4))))
    send(packed({"event": "end", "ratios": [round(t / totals[0], 2) for t in totals]}))


def suited(model: VideoModel, ask: Ask, usual: float) -> Ask:
    """Without what this model cannot do: the page's settings are those of its first model, whose motion is `usual`;
    what is asked for is as much more or less than this model's own."""
    changes: dict[str, Any] = {}
    if ask.settings.motion is not None and model.defaults.motion != usual:
        changes["motion"] = liveliness(ask.settings.motion, usual, model.defaults.motion - usual)
    if not model.enlarges():
        changes |= {"fit": ask.settings.fit or "pad", "size": None, "enlarge": 1, "stiff": "auto"}
    if not model.loops:
        changes |= {"move": "free", "drag": None, "play_fps": None, "seconds": None}
    return ask.model_copy(update={"settings": ask.settings.model_copy(update=changes)})


@torch.inference_mode()
def _run(studio: Studio, row: Row, ask: Ask, number: int, send: Send) -> Clip:
    usual = studio.warm(studio.rows[0]).defaults.motion
    model, start = studio.begin(row, suited(studio.warm(row), ask, usual))
    lane, seconds = Lane(number, send, model, start), dict[str, float]()
    message: dict[str, Any] = {"event": "start", "lane": number, "of": int(start.want.steps or 1)}
    send(packed(message))
    cond = encoded(model, start, seconds)
    lane.encode, lane.began = seconds["encode"], time.perf_counter()
    clip = finish(model, start, cond, seconds, peek=lane.peek)
    clip.seconds["unet"] -= lane.previews
    return clip
