"""WebM with VP9, transparent where frames are: what Telegram's stickers and browsers take."""

from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from sfv.errors import SfvError
from sfv.media.video_colours import as_bt709, tag_bt709
from sfv.types import Frames, Stickers

USUAL = 24
"""crf, if none is given."""
ENCODER = "libvpx-vp9"


def write_webm(frames: Frames | Stickers, path: Path, fps: float, note: str, level: int | None) -> None:
    """VP9 at a constant quality, two threads at most. SfvError without the encoder."""
    if ENCODER not in av.codecs_available:
        raise SfvError(f"this FFmpeg has no {ENCODER} to write webm with; use webp or mp4")
    clear = frames.shape[-1] == 4
    shown = even(frames).numpy()
    with av.open(str(path), "w", format="webm") as container:
        container.metadata["comment"] = note
        stream = cast(av.VideoStream, container.add_stream(ENCODER, rate=Fraction(fps).limit_denominator(1000)))
        stream.height, stream.width = shown.shape[1:3]
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
        tag_bt709(stream.codec_context)
        for frame in as_bt709(shown):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def read_clear(path: Path) -> np.ndarray:
    """Every frame of a transparent WebM as (f, h, w, 4) uint8: FFmpeg's own decoder passes alpha over, this one not."""
    decoder = av.CodecContext.create(ENCODER, "r")
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.video[0])
        return np.stack([f.to_ndarray(format="rgba") for p in packets for f in decoder.decode(p)])  # type: ignore[attr-defined]


def even(frames: Frames | Stickers) -> UInt8[Tensor, "f _ _ c"]:
    """4:2:0 needs even sides: the last row or column of an odd one again."""
    frames = torch.cat([frames, frames[:, -1:]], 1) if frames.shape[1] % 2 else frames
    return torch.cat([frames, frames[:, :, -1:]], 2) if frames.shape[2] % 2 else frames
