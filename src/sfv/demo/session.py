"""What a page's visitors share: pictures, models, and the one thread that computes; newest requests win."""

import asyncio
import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sfv.demo.cache import LruCache, T
from sfv.errors import RequestError, SfvError
from sfv.families.base import VideoModel
from sfv.generation.clip import Clip, Start
from sfv.generation.generate import begin, encoded, finish, generate
from sfv.limits import resolve
from sfv.media.formats import colour
from sfv.media.pictures import Uint8Picture, Uint8Sticker
from sfv.settings import Settings, Speed, split_row, split_speed
from sfv.speed.optimize import open_model
from sfv.system.memory import give_back_memory
from sfv.types import Cond
from sfv.web.uploads import checked_layers

PICTURE_ROOM, CLIP_ROOM, COND_ROOM = 256 << 20, 256 << 20, 32 << 20
"""Bytes of pictures, of finished clips and of encoded pictures that are remembered; the least used go first."""
MAX_STEPS = 50
"""Network calls that one clip of the page may ask for, unless its server allows others."""
LOG = logging.getLogger(__name__)
LARGE = 16 << 20
"""Bytes of a picture's pixels above which the memory that its decoding took is given back to the system."""
STOPPING = "the page's server is being stopped; start it again, then ask again"
VISITS = 1000
"""Visits whose newest turn is remembered."""


class Ask(BaseModel):
    """A request for one clip: a picture and a mask that were sent before, and settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    picture: str = Field(max_length=64)
    mask: str | None = Field(default=None, max_length=64)
    settings: Settings = Settings()
    visit: str = Field(default="", max_length=64)
    """Whose request; with `turn`, a newer request of the same visit drops those that wait."""
    clear: bool = False
    """An opaque picture counts as one with transparency, for files that are transparent around it."""
    turn: int = Field(default=0, ge=0)

    def key(self) -> str:
        """The same for requests for the same clip."""
        parts = f"{self.picture} {self.mask} {self.clear} {self.settings.model_dump_json()}"
        return hashlib.sha256(parts.encode()).hexdigest()


@dataclass(frozen=True)
class Sent:
    """A checked picture: over white, and with its transparency if it has any."""

    rgb: Uint8Picture
    rgba: Uint8Sticker | None


@dataclass(frozen=True)
class Row:
    """A model of the page: as it was named, chosen it is run, and its steps (None: its own)."""

    name: str
    model: str
    speed: Speed
    steps: int | None


def row_of(text: str, speed: Speed) -> Row:
    """MODEL[@PROFILE[/BACKEND]][:STEPS], as `sfv bench` names models."""
    named, steps = split_row(text)
    model, chosen = split_speed(named, speed)
    return Row(text, model, chosen, steps)


class Studio:
    """Opens models, keeps pictures and clips, and makes one clip at a time."""

    def __init__(self, models: tuple[str, ...], device: str, speed: Speed, max_steps: int = MAX_STEPS) -> None:
        if not models:
            raise SfvError("--models names no model; name at least one, such as sticker")
        self.rows, self.device, self.max_steps = [row_of(m, speed) for m in models], device, max_steps
        self.pictures: LruCache[Sent] = LruCache(PICTURE_ROOM, _picture_bytes)
        self.clips: LruCache[Clip] = LruCache(CLIP_ROOM, _clip_bytes)
        self.conds: LruCache[Cond] = LruCache(COND_ROOM, lambda cond: sum(v.nbytes for v in cond.values()))
        self.models: dict[str, VideoModel] = {}
        self.newest: OrderedDict[str, int] = OrderedDict()
        self.thread = ThreadPoolExecutor(1, "sfv-compute")
        self.decoding = ThreadPoolExecutor(2, "sfv-decode")  # bounds the memory that pictures take
        self.ready, self.trouble, self.took = threading.Event(), "", 0.0
        self.ending = threading.Event()
        """Set when the server is to stop: what waits or runs is dropped, at the latest after a network call."""

    def open(self) -> None:
        """Load and warm the first model, on the computing thread; what goes wrong is kept as one sentence."""
        start = time.perf_counter()
        try:
            self.warm(self.rows[0])
        except SfvError as error:
            self.trouble = str(error)
        except Exception as error:  # else the page would wait for ever
            LOG.exception("the model cannot be opened")
            self.trouble = f"the model cannot be opened ({type(error).__name__}: {error}); the server's log has more"
        self.took = time.perf_counter() - start
        self.ready.set()

    def warm(self, row: Row) -> VideoModel:
        """A row's model, loaded and run once if it has not been; only for the computing thread."""
        if row.name not in self.models:
            model = open_model(row.model, self.device, row.speed)
            for clear in (False, True)[: 1 + model.limits.clear]:
                blank = _blank(model, clear)
                generate(model, blank, steps=1, transparent=clear)
            self.models[row.name] = model
        return self.models[row.name]

    async def model(self) -> VideoModel:
        """The first model, once it is loaded."""
        known = self.models.get(self.rows[0].name)
        return known if known is not None else await self.compute(lambda: self.warm(self.rows[0]))

    def take(self, data: bytes) -> tuple[str, Sent]:
        """Check and keep an upload; its id is a hash of its bytes."""
        key, sent = hashlib.sha256(data).hexdigest()[:32], Sent(*checked_layers(data))
        self.pictures.put(key, sent)
        if _picture_bytes(sent) > LARGE:
            give_back_memory()
        return key, sent

    def picture(self, key: str) -> Sent:
        """A picture that was sent; SfvError if it is not kept any more."""
        if (sent := self.pictures.get(key)) is None:
            raise SfvError("the picture is not kept any more; choose it again")
        return sent

    def check(self, ask: Ask) -> None:
        """SfvError for what cannot be made, as far as that shows before its turn: pictures, steps, settings."""
        sent, settings = self.picture(ask.picture), ask.settings
        if ask.mask is not None:
            self.picture(ask.mask)
        _check_clear(ask, sent)
        if (settings.steps or 0) > self.max_steps:
            raise SfvError(f"steps: {settings.steps} are more than the {self.max_steps} allowed here; ask for fewer")
        colour(settings.background)
        if (model := self.models.get(self.rows[0].name)) is not None:
            resolve(settings.model_copy(update={"steps": self.rows[0].steps or settings.steps}), model.limits)

    async def clip(self, ask: Ask, left: threading.Event | None = None) -> Clip | None:
        """The clip of a request; None if a newer request of the same visit came while this one waited.

        What cannot be made is refused before it waits. `left` is set when the client has left: then the request is
        dropped at its turn, or after the network call under way (RequestError, which nobody reads).
        """
        self.check(ask)
        self._note_turn(ask)
        return await self.compute(lambda: self._make(ask, left))

    async def compute(self, work: Callable[[], T]) -> T:
        """What the work gives, on the computing thread, after what came before."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, work)

    def _note_turn(self, ask: Ask) -> None:
        self.newest[ask.visit] = max(ask.turn, self.newest.pop(ask.visit, 0))
        while len(self.newest) > VISITS:
            self.newest.popitem(last=False)

    def _stale(self, ask: Ask) -> bool:
        return ask.turn > 0 and ask.turn < self.newest.get(ask.visit, 0)

    def _make(self, ask: Ask, left: threading.Event | None = None) -> Clip | None:
        def watch(*_: int) -> None:
            if self.ending.is_set():
                raise RequestError(503, STOPPING)
            if left is not None and left.is_set():
                raise RequestError(409, "the client left before its clip was made; ask again")

        if self._stale(ask):
            return None
        watch()
        if (known := self.clips.get(ask.key())) is not None:
            return known
        model, start = self.begin(self.rows[0], ask)
        seconds: dict[str, float] = {}
        clip = finish(model, start, self._cond(model, start, seconds), seconds, watch)
        self.clips.put(ask.key(), clip)
        return clip

    def begin(self, row: Row, ask: Ask) -> tuple[VideoModel, Start]:
        """A row's model and the fitted picture; only for the computing thread."""
        model, sent = self.warm(row), self.picture(ask.picture)
        mask = None if ask.mask is None else self.picture(ask.mask).rgb
        clear = ask.settings.transparent
        rgba = sent.rgba
        _check_clear(ask, sent)
        if clear and rgba is None:
            rgba = _opaque(sent.rgb)
        steps = {"steps": row.steps or ask.settings.steps}
        picture = rgba if clear and rgba is not None else sent.rgb
        return model, begin(model, picture, ask.settings.model_dump() | steps, mask)

    def _cond(self, model: VideoModel, start: Start, seconds: dict[str, float]) -> Cond:
        """Encoded once for each picture as the network sees it, and seed; only motion and fps are set again."""
        w, still = start.want, start.still
        seen = still.small if still.sticker is None else still.sticker
        key = f"{hashlib.sha256(seen.numpy().tobytes()).hexdigest()} {tuple(seen.shape)} {w.seed} {w.noise_aug}"
        cond = encoded(model, start, seconds, self.conds.get(key))
        self.conds.put(key, cond)
        return cond


def _check_clear(ask: Ask, sent: Sent) -> None:
    if ask.settings.transparent and sent.rgba is None and not ask.clear:
        raise SfvError("the picture is nowhere transparent; choose an opaque format")


def _blank(model: VideoModel, clear: bool) -> Any:
    """A grey picture of the model's size, to warm up with."""
    import torch

    defaults = model.defaults
    return torch.full((defaults.height, defaults.width, 4 if clear else 3), 128, dtype=torch.uint8)


def _opaque(rgb: Uint8Picture) -> Uint8Sticker:
    """With an alpha channel that is full everywhere."""
    import torch

    return torch.cat([rgb, torch.full_like(rgb[..., :1], 255)], -1)


def _picture_bytes(sent: Sent) -> int:
    return sent.rgb.nbytes + (0 if sent.rgba is None else sent.rgba.nbytes)


def _clip_bytes(clip: Clip) -> int:
    return (
        clip.frames.nbytes
        + clip.latents.nbytes
        + clip.picture.nbytes
        + (clip.alpha.nbytes if clip.alpha is not None else 0)
    )
