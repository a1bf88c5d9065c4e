"""Videos of any make as timed RGB frames, one at a time, and at the rate that is wanted."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import torch

from sfv.errors import DamagedVideo, SfvError
from sfv.media.pictures import Uint8Picture

MAX_PIXELS = 8192 * 4320
EARLY = 1e-6  # seconds by which a frame may come late and still count as on time

Timed = tuple[float, Uint8Picture]


def stream_video(source: Path | bytes, name: str | None = None) -> Iterator[Timed]:
    """Yield (seconds, RGB) of every frame in display order, upright, decoding as it goes.

    Seconds are the file's own, from 0. Raises SfvError at once for what is no video, DamagedVideo where decoding
    stops early.
    """
    called = name or (str(source) if isinstance(source, Path) else "the video")
    if isinstance(source, Path) and not source.exists():
        raise SfvError(f"{called} does not exist; check the path")
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise SfvError(f"{called} is empty (0 bytes)")
    try:
        container = av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "r")
    except (OSError, av.error.FFmpegError) as error:
        raise SfvError(f"{called} is not a readable video ({error})") from error
    with container:
        yield from _frames(container, called)


def _frames(container: av.container.InputContainer, called: str) -> Iterator[Timed]:
    """Frames of an opened file; one that is out of order in time is left out."""
    if not container.streams.video:
        raise SfvError(f"{called} holds no video (only sound?)")
    stream = container.streams.video[0]
    stream.thread_type = "SLICE"
    if stream.width * stream.height > MAX_PIXELS:
        raise SfvError(f"{called} is {stream.width}x{stream.height}; at most {MAX_PIXELS} pixels are taken")
    count, start, last = 0, 0.0, -1.0
    try:
        for frame in container.decode(stream):
            seconds = frame.time if frame.time is not None else count / float(stream.average_rate or 25)
            start = seconds if count == 0 else start
            count += 1
            if seconds - start > last:
                last = seconds - start
                yield last, _upright(frame)
    except (OSError, av.error.FFmpegError) as error:
        if count == 0:
            raise SfvError(f"{called} is damaged: no frame can be decoded ({error})") from error
        raise DamagedVideo(f"{called} is damaged or cut off after {count} frames ({error})") from error
    if count == 0:
        raise SfvError(f"{called} holds no frames")


def _upright(frame: av.VideoFrame) -> Uint8Picture:
    """RGB, turned as the file says a player must."""
    rgb = frame.to_ndarray(format="rgb24")
    return torch.from_numpy(np.ascontiguousarray(np.rot90(rgb, k=round(frame.rotation / 90) % 4)))


def at_rate(frames: Iterable[Timed], fps: float) -> Iterator[Uint8Picture]:
    """What a player shows at 0, 1/fps, 2/fps, ... seconds, whether the source's rate is steady or not.

    Never blends; the last frame is shown for as long as the one before it.
    """
    held: Uint8Picture | None = None
    shown, last, gap = 0, 0.0, 0.0
    for seconds, picture in frames:
        while held is not None and shown / fps < seconds - EARLY:
            yield held
            shown += 1
        gap = seconds - last if held is not None else 0.0
        held, last = picture, seconds
    while held is not None and (shown == 0 or shown / fps < last + gap - EARLY):
        yield held
        shown += 1
