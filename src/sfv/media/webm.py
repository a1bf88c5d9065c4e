"""WebM with VP9, transparent where frames are: what Telegram's stickers and browsers take."""

from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np

from sfv.errors import SfvError
from sfv.types import Frames, Stickers

USUAL = 24
"""crf, if none is given."""
ENCODER = "libvpx-vp9"


def write_webm(frames: Frames | Stickers, path: Path, fps: float, note: str, level: int | None) -> None:
    """VP9 at a constant quality, two threads at most. SfvError without the encoder."""
    if ENCODER not in av.codecs_available:
        raise SfvError(f"this FFmpeg has no {ENCODER} to write webm with; use webp or mp4")
    clear = frames.shape[-1] == 4
    even = _even(frames.numpy())
    with av.open(str(path), "w", format="webm") as container:
        container.metadata["comment"] = note
        stream = cast(av.VideoStream, container.add_stream(ENCODER, rate=Fraction(fps).limit_denominator(1000)))
        stream.height, stream.width = even.shape[1:3]
        stream.pix_fmt = "yuva420p" if clear else "yuv420p"
        stream.bit_rate = 0
        stream.options = {
            "crf": str(USUAL if level is None else level),
            "auto-alt-ref": "0",  # alternate frames cannot be transparent
            "deadline": "good",
            "cpu-used": "4",
            "row-mt": "1",
        }
        stream.thread_count = 2
        for frame in even:
            shown = av.VideoFrame.from_ndarray(frame, format="rgba" if clear else "rgb24")
            container.mux(stream.encode(shown.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())


def read_clear(path: Path) -> np.ndarray:
    """Every frame of a transparent WebM as (f, h, w, 4) uint8: FFmpeg's own decoder passes alpha over, this one not."""
    decoder = av.CodecContext.create(ENCODER, "r")
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.video[0])
        return np.stack([f.to_ndarray(format="rgba") for p in packets for f in decoder.decode(p)])  # type: ignore[attr-defined]


def _even(frames: np.ndarray) -> np.ndarray:
    """4:2:0 needs even sides: the last row or column again."""
    odd = frames.shape[1] % 2, frames.shape[2] % 2
    return np.pad(frames, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)), mode="edge") if any(odd) else frames
