"""What an animation's file is: container, size, frames and times; read from the file, whoever wrote it."""

import os
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image, UnidentifiedImageError

from sfv.errors import SfvError, reason
from sfv.media.notes import BROKEN, LENIENT


@dataclass(frozen=True)
class FileFacts:
    """As a player sees it."""

    format: str
    """webm, webp, png, gif, mp4, or what the container calls itself."""
    codec: str
    height: int
    width: int
    frames: int
    seconds: float
    shortest_ms: float
    bytes: int
    clear: bool
    """Whether it can be transparent."""
    sound: bool
    plays: int
    """How often it says that it is shown; 0: for ever."""

    @property
    def fps(self) -> float:
        """Frames a second, on average; 0 for a file without times."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


def file_facts(path: Path) -> FileFacts:
    """SfvError for a file that is no animation, or cannot be decoded to its end."""
    if not os.path.isfile(path):
        folder = os.path.isdir(path)
        raise SfvError(f"{path} is a folder; name a file" if folder else f"{path} does not exist; check the path")
    try:
        return _picture(path)
    except UnidentifiedImageError:
        pass
    except (OSError, ValueError, *BROKEN) as error:
        raise SfvError(f"{path} cannot be decoded ({reason(error)}); make it again") from error
    try:
        return _video(path)
    except (OSError, IndexError, av.error.FFmpegError) as error:
        raise SfvError(f"{path} is no animation that can be read ({reason(error)})") from error


def _picture(path: Path) -> FileFacts:
    with Image.open(path) as picture:
        times, clear = [], False
        for i in range(getattr(picture, "n_frames", 1)):
            picture.seek(i)
            picture.load()
            times.append(float(picture.info.get("duration") or 0))
            clear = clear or picture.has_transparency_data
        format = str(picture.format).lower().replace("apng", "png")
        return FileFacts(
            format,
            format,
            picture.height,
            picture.width,
            len(times),
            sum(times) / 1000,
            min(times),
            path.stat().st_size,
            clear,
            False,
            _plays(picture),
        )


def _plays(picture: Image.Image) -> int:
    """GIFs count how often they are shown again."""
    said = picture.info.get("loop")
    if picture.format != "GIF":
        return int(said or 0)
    return 1 if said is None else int(said) + bool(said)


def _video(path: Path) -> FileFacts:
    with av.open(str(path), **LENIENT) as container:
        stream = container.streams.video[0]
        at = [float(f.time or 0) for f in container.decode(stream)]
        rate = float(stream.average_rate or 25)
        steps = [b - a for a, b in zip(at, at[1:], strict=False)] or [1 / rate]
        name = container.format.name
        format = "webm" if "webm" in name and path.suffix.lower() != ".mkv" else "mp4" if "mp4" in name else name
        return FileFacts(
            format,
            stream.codec_context.name,
            stream.height,
            stream.width,
            len(at),
            at[-1] - at[0] + steps[-1],
            1000 * min(steps),
            path.stat().st_size,
            stream.metadata.get("alpha_mode") == "1" or "a" in stream.codec_context.format.name.removeprefix("yuv"),
            bool(container.streams.audio),
            1,
        )
