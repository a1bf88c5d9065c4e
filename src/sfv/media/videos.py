"""Videos of any make as timed RGB frames, one at a time, and at the rate that is wanted."""

import io
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.sidedata.sidedata import Type

from sfv.errors import DamagedVideo, SfvError, reason
from sfv.media.notes import LENIENT
from sfv.media.pictures import Uint8Picture
from sfv.media.video_colours import levels

MAX_PIXELS = 8192 * 4320
EARLY = 1e-6  # seconds by which a frame may come late and still count as on time
LONGEST = 10.0
"""Seconds that a frame may be shown; a longer wait is a jump of the clock (FFmpeg's dts_delta_threshold)."""

Timed = tuple[float, Uint8Picture]


@dataclass(frozen=True)
class Jump:
    """Where a video's clock goes back, or forward by more than LONGEST: files joined end to end, a lost signal."""

    before: float
    after: float

    def __str__(self) -> str:
        return f"the clock jumps from {self.before:.2f} to {self.after:.2f} seconds: a scene ends here"


def stream_video(source: Path | bytes, name: str | None = None) -> Iterator[Timed]:
    """Yield (seconds, RGB) of every frame as it is decoded, upright.

    Seconds are the file's own, less the first frame's; in a file of joined parts they may go back. Raises SfvError at
    once for what is no video or has colours that are not read, DamagedVideo where decoding stops early.
    """
    called = name or (str(source) if isinstance(source, Path) else "the video")
    if isinstance(source, Path) and not source.exists():
        raise SfvError(f"{called} does not exist; check the path")
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise SfvError(f"{called} is empty (0 bytes)")
    try:
        container = av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "r", **LENIENT)
    except (OSError, av.error.FFmpegError) as error:
        raise SfvError(f"{called} is not a readable video ({reason(error)})") from error
    with container:
        yield from _frames(container, called)


def _frames(container: av.container.InputContainer, called: str) -> Iterator[Timed]:
    """Frames of an opened file."""
    films = [s for s in container.streams.video if av.stream.Disposition.attached_pic not in s.disposition]
    if not films:
        raise SfvError(f"{called} holds no video (only sound, or a cover?)")
    stream = films[0]
    if stream.codec_context is None:
        raise SfvError(f"{called} is of a codec that FFmpeg does not know, or its header is damaged; convert it first")
    stream.thread_type = "SLICE"
    width, height = _shown(stream.width, stream.height, stream.sample_aspect_ratio)
    if max(stream.width * stream.height, width * height) > MAX_PIXELS:
        raise SfvError(f"{called} is {width}x{height}; at most {MAX_PIXELS} pixels are taken")
    count, start = 0, 0.0
    size = stream.width, stream.height
    try:
        for frame in container.decode(stream):
            seconds = frame.time if frame.time is not None else count / float(stream.average_rate or 25)
            start = seconds if count == 0 else start
            if (frame.width, frame.height) != size and count:
                raise DamagedVideo(
                    f"{called} changes its size from {size[0]}x{size[1]} to {frame.width}x{frame.height} after {count} "
                    "frames; split it there"
                )
            size = frame.width, frame.height
            count += 1
            yield seconds - start, _upright(frame, called, stream.sample_aspect_ratio)
    except (OSError, av.error.FFmpegError) as error:
        if count == 0:
            raise SfvError(f"{called} is damaged: no frame can be decoded ({reason(error)})") from error
        raise DamagedVideo(f"{called} is damaged or cut off after {count} frames ({reason(error)})") from error
    if count == 0:
        raise SfvError(f"{called} holds no frames")


def _shown(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Sides with square pixels: `aspect` is a pixel's width over its height. The longer side is stretched.

    An aspect that no camera or disc has (beyond 8 to 1) is damage, and passed over.
    """
    ratio = float(aspect) if aspect and 1 / 8 <= aspect <= 8 else 1.0
    return (round(width * ratio), height) if ratio >= 1 else (width, round(height / ratio))


def _upright(frame: av.VideoFrame, called: str, aspect: Fraction | None) -> Uint8Picture:
    """RGB with square pixels, turned and mirrored as the file says a player must."""
    width, height = _shown(frame.width, frame.height, aspect)
    rgb = levels(frame, called, width, height)
    right, down, aside, below = _matrix(frame)
    if abs(right) + abs(below) < abs(down) + abs(aside):
        rgb, right, below = rgb.transpose(1, 0, 2), aside, down
    rgb = rgb[:, ::-1] if right < 0 else rgb
    rgb = rgb[::-1] if below < 0 else rgb
    return torch.from_numpy(np.ascontiguousarray(rgb))


def _matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """The display matrix: where a stored step to the right goes (x, y), and one down (x, y)."""
    every: Any = frame.side_data
    for data in every:
        if data.type == Type.DISPLAYMATRIX:
            m = np.frombuffer(bytes(data), np.int32)
            return int(m[0]), int(m[1]), int(m[3]), int(m[4])
    return 1, 0, 0, 1


def at_rate(frames: Iterable[Timed], fps: float) -> Iterator[Uint8Picture | Jump]:
    """What a player shows at 0, 1/fps, 2/fps, ... seconds, whether the source's rate is steady or not.

    Never blends; the last frame is shown for as long as the one before it. After a Jump the clock starts from 0 again.
    """
    held: Uint8Picture | None = None
    shown, start, last, gap = 0, 0.0, 0.0, 0.0
    for seconds, picture in frames:
        if held is not None and not last <= seconds <= last + LONGEST:
            yield from itertools.repeat(held, _due(shown, last + gap - start, fps))
            yield Jump(last, seconds)
            held = None
        if held is None:
            shown, start, gap = 0, seconds, 2 * EARLY  # a lone frame is shown once
        else:
            due = _due(shown, seconds - start, fps)
            yield from itertools.repeat(held, due)
            shown, gap = shown + due, (seconds - last) or gap
        held, last = picture, seconds
    if held is not None:
        yield from itertools.repeat(held, _due(shown, last + gap - start, fps))


def _due(shown: int, until: float, fps: float) -> int:
    """How many of the times i / fps seconds, the first `shown` of them left out, lie before `until`."""
    return max(0, math.ceil((until - EARLY) * fps) - shown)
