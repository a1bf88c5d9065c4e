"""Bytes of an upload -> a checked picture. Name and type given by the client are never looked at.

Order: count the bytes, recognise the format by its magic number, check the header's size, then decode the pixels.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sfv.errors import SfvError, UploadError
from sfv.media import read_picture, read_sticker
from sfv.media.headers import picture_size
from sfv.media.pictures import HEIF_BRANDS, MIN_SIDE, Uint8Picture, Uint8Sticker, admit_heif, laid_on

T = TypeVar("T")
BODY = 20 * 2**20
PIXELS = 25_000_000
MAGIC: tuple[tuple[str, int, bytes], ...] = (
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("GIF", 0, b"GIF87a"),
    ("GIF", 0, b"GIF89a"),
    ("BMP", 0, b"BM"),
    ("TIFF", 0, b"II*\x00"),
    ("TIFF", 0, b"MM\x00*"),
    ("AVIF", 4, b"ftypavif"),
    ("AVIF", 4, b"ftypavis"),
    *(("HEIF", 4, b"ftyp" + brand) for brand in HEIF_BRANDS),
)
"""(Pillow's name, offset, bytes); WebP has two parts and is recognised in `sniff`."""
READ = "PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF or (where pillow-heif is installed) HEIC"


@dataclass(frozen=True)
class Limits:
    """What an upload may hold: bytes of the picture's file, and pixels by its header."""

    body: int = BODY
    pixels: int = PIXELS


def sniff(data: bytes) -> str:
    """Pillow's name of the format by the first bytes; UploadError 415 for any other."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for kind, offset, magic in MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return kind
    raise UploadError(415, f"the picture is none of {READ}; convert it to PNG or JPEG")


def checked_picture(
    data: bytes, limits: Limits | None = None, transparent: bool = False, background: str = "white"
) -> Uint8Picture | Uint8Sticker:
    """(h, w, 3) uint8 RGB over `background`, or (h, w, 4) RGBA if `transparent`.

    UploadError: 400 nothing sent, 413 too many bytes or pixels, 415 no known picture, 422 it cannot be decoded, is too
    small, or is nowhere transparent although that is needed.
    """
    claimed_size(data, limits)
    source = io.BytesIO(data)
    return _decoded(lambda: read_sticker(source) if transparent else read_picture(source, background))


def checked_layers(data: bytes, limits: Limits | None = None) -> tuple[Uint8Picture, Uint8Sticker | None]:
    """Both of `checked_picture` by one decoding: RGB over white, and RGBA, None if it is nowhere transparent."""
    claimed_size(data, limits)
    try:
        sticker = _decoded(lambda: read_sticker(io.BytesIO(data), opaque=True))
    except UploadError:  # transparent everywhere, or broken, which is said in the same words
        return checked_picture(data, limits), None
    if int(sticker[..., 3].min()) == 255:
        return sticker[..., :3].contiguous(), None
    return laid_on(sticker), sticker


def claimed_size(data: bytes, limits: Limits | None = None) -> tuple[int, int]:
    """(height, width) by the header, before a pixel is decoded; UploadError as `checked_picture` for what shows there.

    A picture that is to be turned has them the other way round.
    """
    limits = limits or Limits()
    if not data:
        raise UploadError(400, "the picture is empty; send the bytes of one picture file")
    if len(data) > limits.body:
        raise UploadError(413, f"the picture has {len(data):,} bytes, more than {limits.body:,}; send a smaller file")
    kind = sniff(data)
    if kind == "HEIF" and not admit_heif():
        raise UploadError(415, "the picture is HEIC, which this server does not read; convert it to JPEG")
    try:
        height, width = picture_size(io.BytesIO(data), (kind,))
    except SfvError as error:
        raise UploadError(422, str(error)) from error
    _check_size(height, width, limits)
    return height, width


def _check_size(height: int, width: int, limits: Limits) -> None:
    if height * width > limits.pixels:
        raise UploadError(413, f"the picture is {width}x{height}, more than {limits.pixels:,} pixels; scale it down")
    if min(height, width) < MIN_SIDE:
        raise UploadError(422, f"the picture is {width}x{height}; it needs at least {MIN_SIDE} pixels a side")


def _decoded(read: Callable[[], T]) -> T:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except SfvError as error:
        raise UploadError(422, str(error)) from error
    except Exception as error:  # a hostile file raises whatever its decoder happens to trip over
        raise UploadError(422, f"the picture cannot be decoded ({type(error).__name__}); save it again") from error
