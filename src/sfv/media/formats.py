"""What the names of files and colours show by themselves. Imports no torch, so that errors come at once."""

from pathlib import Path

from PIL import ImageColor

from sfv.errors import SfvError
from sfv.settings import SEE_THROUGH

PICTURE_ENDINGS = frozenset(
    ".png .apng .jpg .jpeg .jpe .webp .gif .bmp .tif .tiff .avif .heic .heif .ico .ppm .pgm .tga .jp2".split()
    + [".svg", ".svgz"]
)


def colour(text: str) -> tuple[int, ...]:
    """A CSS colour as opaque RGBA; SfvError for a text that is none."""
    try:
        return (*ImageColor.getrgb(text)[:3], 255)
    except ValueError as error:
        raise SfvError(f"background {text!r} is not a colour; use a name or #rrggbb") from error


VIDEO_ENDINGS = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"}
)


def check_see_through(path: Path) -> None:
    """SfvError for an ending whose format is always opaque."""
    format = path.suffix.lower().lstrip(".")
    if format not in SEE_THROUGH:
        raise SfvError(f"{path}: {format} holds no transparency; use one of {', '.join(SEE_THROUGH)}")
