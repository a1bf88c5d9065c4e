"""Files <-> uint8 frames. Floor 1; the only importer of PyAV and Pillow."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import torch

from sfv.errors import SfvError
from sfv.types import Frames


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` when the block ends well.

    A kill or an error leaves the old file whole.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_video_bytes(data: bytes) -> Frames:
    """Decode every frame of a video held in memory to RGB."""
    try:
        with av.open(io.BytesIO(data)) as container:
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    except (av.error.FFmpegError, IndexError) as error:
        raise SfvError(f"not a readable video ({error})") from error
    if not frames:
        raise SfvError("the video holds no frames")
    return torch.from_numpy(np.stack(frames))
