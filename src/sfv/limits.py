"""What a model can make, and a request filled from it: one answer for Python, flags, page and service."""

from dataclasses import dataclass

from sfv.errors import SfvError
from sfv.settings import LONGEST, Decoder, Defaults, Settings

SIDE = 2048
"""Pixels that `size` may ask for."""
FAR = 1.5
"""Times the network's own height or width from which motion is much weaker."""
MAX_WORK = 200 * 1024 * 2048
"""Frames x height x width that one clip may have, as `work` counts them."""
MAX_FRAMES = 1000
"""Frames that one clip may be played in."""


@dataclass(frozen=True)
class ModelLimits:
    """What must be known of a model to check a request without it."""

    name: str
    defaults: Defaults
    stride: int
    """Height and width are multiples of it."""
    decoders: tuple[Decoder, ...] = ("full",)
    """The first is taken when none is asked for."""
    enlarging: tuple[Decoder, ...] = ()
    """Decoders that move the picture, so that a larger one may be moved likewise."""
    clear: bool = False
    """Makes transparent clips."""
    loops: bool = False
    """Makes whole rounds, which may be played at any rate."""
    noised: bool = True
    """Takes noise_aug."""
    lively: bool = True
    """Takes motion."""
    prompted: bool = False
    """Takes a prompt."""
    frame_stride: int = 1
    """Frames are one more than a multiple of it."""

    def decoder(self, want: str | None) -> Decoder:
        """The decoder that is meant; SfvError if the model has no such one."""
        found = next((d for d in self.decoders if want in (None, d)), None)
        if found is None:
            raise SfvError(f"decoder {want}: {self.name} has only {' and '.join(self.decoders)}; leave it out")
        return found


def resolve(settings: Settings, model: ModelLimits) -> Settings:
    """Every open field filled; SfvError for what the model cannot make."""
    decoder = model.decoder(settings.decoder)
    full = _lasting(settings, model).over(model.defaults).model_copy(update={"decoder": decoder})
    frames, height, width = (int(v or 0) for v in (full.frames, full.height, full.width))
    if height % model.stride or width % model.stride:
        raise SfvError(f"height and width must be multiples of {model.stride}, not {height}x{width}")
    if full.transparent and not model.clear:
        raise SfvError(f"transparent: {model.name} has no matte, so its clips are opaque; leave it out, or train one")
    if full.enlarge > 1 and decoder not in model.enlarging:
        raise SfvError(f"enlarge {full.enlarge}: only a decoder that moves the picture can do that; leave it out")
    own = model.defaults.height, model.defaults.width
    if full.size is not None and (height, width) != own:  # what is filled already has the network's own beside it
        raise SfvError(f"size {full.size} goes without height and width; give one of them")
    moves = decoder in model.enlarging
    if (full.fit == "own" or full.size is not None) and not moves:
        raise SfvError("size and fit own: only a decoder that moves the picture can do that; leave them out")
    if full.fit is None:
        given = settings.height is not None or settings.width is not None or full.enlarge > 1
        whole = full.size is not None and "x" in full.size
        full = full.model_copy(update={"fit": "pad" if given or whole or not moves else "own"})
    if full.play_fps is not None and not model.loops:
        raise SfvError(f"play_fps {full.play_fps:g}: {model.name} makes no whole loops to play so; leave it out")
    if full.move == "auto" and not model.loops:
        full = full.model_copy(update={"move": "free"})
    if full.move != "free" and not model.loops:
        raise SfvError(f"move {full.move}: {model.name} knows no words for motion; leave it out")
    if full.drag is not None and not model.loops:
        raise SfvError(
            f"drag {full.drag}: only a model of whole loops can do that, which {model.name} is not; leave it out"
        )
    if full.stiff == "on" and not moves:
        raise SfvError("stiff on: only a decoder that moves the picture can do that; leave it out")
    _check_condition(full, model)
    _check_work(full)
    return full


def _check_work(full: Settings) -> None:
    """SfvError for a clip of more frames or pixels than one may have."""
    count, (height, width) = shown(full), largest(full)
    if full.size is not None and max(height, width) > SIDE:
        raise SfvError(f"size {full.size}: at most {SIDE} pixels a side; ask for less")
    if count > MAX_FRAMES:
        raise SfvError(
            f"{count} frames played are too many for one clip, which has {MAX_FRAMES} at most; ask for fewer frames, "
            "for less play_fps or seconds, or for no boomerang"
        )
    if work(full, (height, width)) > MAX_WORK:
        raise SfvError(f"{frames_of(full, (height, width))} are too much for one clip; ask for less")


def _check_condition(full: Settings, model: ModelLimits) -> None:
    """SfvError for what the model does not take, and for a number of frames that its latents do not hold."""
    if full.noise_aug and not model.noised:
        raise SfvError(f"noise_aug {full.noise_aug:g}: {model.name}'s picture is never noised; leave it out")
    if full.motion != model.defaults.motion and not model.lively:
        raise SfvError(f"motion {full.motion:g}: {model.name} is not told how much moves; leave it out")
    if full.prompt and not model.prompted:
        raise SfvError(f"prompt: {model.name} moves the picture and reads no words; leave it out")
    after_first, every = int(full.frames or 0) - 1, model.frame_stride
    if after_first % every:
        below = max(every, after_first - after_first % every)
        raise SfvError(
            f"frames {full.frames}: {model.name} makes one frame and {every} for each of its latents after that; "
            f"try {1 + below} or {1 + below + every}"
        )


def caution(full: Settings, model: ModelLimits) -> str:
    """One sentence where filled settings are far from what the network was made for, and what to ask for; else ""."""
    own, asked = (model.defaults.height, model.defaults.width), (int(full.height or 0), int(full.width or 0))
    if all(1 / FAR < a / b < FAR for a, b in zip(asked, own, strict=True)):
        return ""
    cure = "--size, which keeps the network's own" if model.enlarging else "the model's own"
    return (
        f"{asked[0]}x{asked[1]} (height x width) is far from the {own[0]}x{own[1]} that {model.name} is made for, and "
        f"its motion may be weak or wrong there; use {cure}"
    )


def _lasting(settings: Settings, model: ModelLimits) -> Settings:
    """With the rate that makes a round as long as is asked for."""
    if settings.seconds is None:
        return settings
    if not model.loops:
        raise SfvError(f"seconds {settings.seconds:g}: {model.name} makes no whole loops; give frames and fps")
    frames = settings.frames or model.defaults.frames
    fps = frames / settings.seconds
    if not 2 <= fps <= 60:
        raise SfvError(
            f"seconds {settings.seconds:g}: a round of {frames} frames lasts {frames / 60:.3g} to {frames / 2:g}; "
            "give so many seconds, or other frames"
        )
    return settings.model_copy(update={"fps": fps, "seconds": None})


def largest(full: Settings) -> tuple[int, int]:
    """Height and width that a clip has at most: of the picture's own shape they are known with the picture alone."""
    if full.size is not None:
        height, _, width = full.size.partition("x")
        return int(height), int(width or height)
    if full.fit == "own":
        side = max(LONGEST, int(full.height or 0), int(full.width or 0))
        return side, side
    return int(full.height or 0) * full.enlarge, int(full.width or 0) * full.enlarge


def whole_frame(size: tuple[int, int], network: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the frames that a clip of this size is cut from: they have the network's shape."""
    scale = max(side / own for side, own in zip(size, network, strict=True))
    return max(size[0], round(network[0] * scale)), max(size[1], round(network[1] * scale))


def work(full: Settings, size: tuple[int, int]) -> int:
    """Frames x height x width of a clip of filled settings and of this size. One that is cut from much larger frames
    counts as half of these: as before for clips of half the shape or more, such as 16:9 of a square."""
    height, width = whole_frame(size, (int(full.height or 0), int(full.width or 0)))
    return shown(full) * max(size[0] * size[1], height * width // 2)


def frames_of(full: Settings, size: tuple[int, int]) -> str:
    """The work in words, such as: 72 frames of 2x2048, cut from 2048x2048,."""
    made = whole_frame(size, (int(full.height or 0), int(full.width or 0)))
    cut = "" if made == size else f", cut from {made[0]}x{made[1]},"
    return f"{shown(full)} frames of {size[0]}x{size[1]}{cut}"


def shown(full: Settings) -> int:
    """Frames that a clip of filled settings is played in; there and back count both."""
    count = int(full.frames or 0)
    if full.play_fps is not None:
        count = played(count, float(full.fps or 1), full.play_fps)
    return 2 * count - 2 if full.boomerang else count


def played(frames: int, fps: float, play_fps: float) -> int:
    """Frames of one round of a loop that are played, so that the round takes as long as it is meant to."""
    return max(2, round(frames * play_fps / fps))
