"""How clips travel to the page: a length, a JSON head, and raw RGBA frames; nothing is encoded or decoded."""

import json
from typing import Any

import torch

from sfv.generation.clip import Clip
from sfv.types import Frames


def packed(head: dict[str, Any], body: bytes = b"") -> bytes:
    """Two little-endian uint32 (bytes of head, bytes of body), the head as JSON, the body; may follow one another."""
    encoded = json.dumps(head).encode()
    return len(encoded).to_bytes(4, "little") + len(body).to_bytes(4, "little") + encoded + body


def clip_message(clip: Clip, **more: Any) -> bytes:
    """A clip's size, rate, times and frames, and other fields of the head."""
    return packed(
        _shape(clip.frames) | {"fps": clip.fps, "calls": clip.calls, "seconds": _rounded(clip)} | more, rgba(clip)
    )


def frames_message(frames: Frames, **more: Any) -> bytes:
    """Frames on their way, with other fields of the head."""
    return packed(_shape(frames) | more, _opaque(frames))


def rgba(clip: Clip) -> bytes:
    """Every frame's pixels, four bytes each, row by row."""
    return _opaque(clip.frames) if clip.alpha is None else clip.stickers().numpy().tobytes()


def _opaque(frames: Frames) -> bytes:
    full = torch.full((*frames.shape[:3], 1), 255, dtype=torch.uint8)
    return torch.cat([frames, full], 3).numpy().tobytes()


def _shape(frames: Frames) -> dict[str, Any]:
    return dict(zip(("frames", "height", "width"), frames.shape[:3], strict=True))


def _rounded(clip: Clip) -> dict[str, float]:
    return {k: round(v, 4) for k, v in clip.seconds.items()}
