"""How clips travel to the page: a length, a JSON head, and raw RGBA frames; nothing is encoded or decoded."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from sfv.generation.clip import Clip
from sfv.types import Frames


def packed(head: dict[str, Any], body: bytes = b"") -> bytes:
    """Two little-endian uint32 (bytes of head, bytes of body), the head as JSON, the body; may follow one another."""
    return _head(head, len(body)) + body


def clip_message(clip: Clip, **more: Any) -> Iterator[bytes]:
    """A clip's size, rate, times and other fields of the head, and its frames, one by one: a large clip is 75 MB."""
    head = _shape(clip.frames) | {"fps": clip.fps, "calls": clip.calls, "seconds": _rounded(clip)} | more
    frames = clip.frames if clip.alpha is None else clip.stickers()
    yield _head(head, clip.frames[..., 0].numel() * 4)
    yield from map(_rgba, frames.numpy())


def frames_message(frames: Frames, **more: Any) -> bytes:
    """Frames on their way, with other fields of the head."""
    return packed(_shape(frames) | more, b"".join(map(_rgba, frames.numpy())))


def _head(head: dict[str, Any], size: int) -> bytes:
    """The lengths of head and body, and the head."""
    encoded = json.dumps(head).encode()
    return len(encoded).to_bytes(4, "little") + size.to_bytes(4, "little") + encoded


def _rgba(frame: "np.ndarray[Any, np.dtype[np.uint8]]") -> bytes:
    """A frame's pixels, (h, w, 3 or 4), four bytes each, row by row."""
    if frame.shape[-1] == 4:
        return frame.tobytes()
    full = np.full((*frame.shape[:2], 4), 255, np.uint8)
    full[..., :3] = frame
    return full.tobytes()


def _shape(frames: Frames) -> dict[str, Any]:
    return dict(zip(("frames", "height", "width"), frames.shape[:3], strict=True))


def _rounded(clip: Clip) -> dict[str, float]:
    return {k: round(v, 4) for k, v in clip.seconds.items()}
