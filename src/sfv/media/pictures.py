"""Any common picture file -> uint8 RGB, upright, over a background; explicit crop or pad."""

import base64
import binascii
import io
import os
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from sfv.errors import SfvError
from sfv.media import drawings
from sfv.media.formats import colour
from sfv.settings import FITS

Uint8Picture = UInt8[Tensor, "h w 3"]
Uint8Sticker = UInt8[Tensor, "h w 4"]
AnyPicture = UInt8[Tensor, "_ _ _"]
"""RGB or RGBA, each of a size of its own: what lists of them hold."""
Fitted = UInt8[Tensor, "height width 3"]
FittedSticker = UInt8[Tensor, "height width 4"]
ICON = 64
MAX_PIXELS = 100_000_000
MIN_SIDE = 8
GLARE = 16.0
"""Times white that the highlights of a float picture are at most; one of 0-255 that is no brighter would be black."""

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
ORIENTATION = 0x112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what makes a picture upright."""
DAMAGED = (SyntaxError, ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, struct.error)
"""What Pillow raises for headers that contradict themselves."""


def read_picture(source: Path | str | io.BytesIO, background: str = "white") -> Uint8Picture:
    """Decode the first frame, turn it upright by EXIF, and lay transparency over `background` (a CSS colour).

    (h, w, 3) uint8 RGB. SfvError for what cannot be read, is too small or too large, or is transparent everywhere.
    """

    def take(picture: Image.Image) -> Tensor:
        picture = _eight_bit(picture)
        if _has_alpha(picture):
            picture = picture.convert("RGBA")
            if picture.getchannel("A").getextrema()[1] == 0:
                raise SfvError(_nothing(source))
        return _rgb(picture, background)

    return _read(source, take)


def read_mask(source: Path | str | io.BytesIO) -> Uint8Picture:
    """As `read_picture` over black; nothing need be painted."""
    return _read(source, lambda picture: _rgb(picture, "black"))


def read_sticker(source: Path | str | io.BytesIO, opaque: bool = False) -> Uint8Sticker:
    """Decode the first frame upright, with its transparency; SfvError if it has none, unless `opaque` ones will do, or
    nothing else."""
    sticker = _read(source, _rgba)
    if int(sticker[..., 3].max()) == 0:
        raise SfvError(_nothing(source))
    if not opaque and int(sticker[..., 3].min()) == 255:
        raise SfvError(f"{_name(source)} is not transparent anywhere; leave --transparent out, or cut it out first")
    return sticker


def laid_on(sticker: Uint8Sticker, background: str = "white") -> Uint8Picture:
    """The same on a colour, opaque."""
    return _rgb(Image.fromarray(sticker.numpy()), background)


def _nothing(source: Path | str | io.BytesIO) -> str:
    return f"{_name(source)} is transparent everywhere: there is nothing to move; save it with its picture"


def _name(source: Path | str | io.BytesIO) -> str:
    return str(source) if isinstance(source, Path | str) else "the picture"


def _check_source(source: object) -> None:
    """SfvError for what is neither a file's path nor something to read its bytes from."""
    if isinstance(source, Path | str) or hasattr(source, "read"):
        return
    given = type(source).__name__
    if isinstance(source, bytes | bytearray | memoryview):
        raise SfvError(f"the picture is given as {given}; give a path, or io.BytesIO of these bytes")
    raise SfvError(
        f"the picture is a {given}; give a file's path, or hand its pixels to generate as a uint8 torch tensor of "
        "(height, width, 3 or 4)"
    )


def _read(source: Path | str | io.BytesIO, take: Callable[[Image.Image], Tensor], least: int = MIN_SIDE) -> Tensor:
    _check_source(source)
    name, heif = _name(source), admit_heif()
    if isinstance(source, Path | str) and os.path.exists(source) and not os.path.isfile(source):
        kind = "a folder" if os.path.isdir(source) else "a device or a pipe"
        raise SfvError(f"{name} is {kind}, not a picture; name a picture's file")
    if isinstance(source, Path | str) and Path(source).suffix.lower() in drawings.ENDINGS:
        source = drawings.drawn_svg(Path(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, and of what is odd in their headers
            with Image.open(source) as picture:
                _check_size(picture, name, least)
                return take(_in_srgb(_upright(picture)))
    except FileNotFoundError as error:
        raise SfvError(f"{name} does not exist; check the path") from error
    except PermissionError as error:
        raise SfvError(f"{name} may not be read; ask for the right to read it") from error
    except UnidentifiedImageError as error:
        if not heif and is_heif(source):
            cure = f"install it with: {drawings.NEEDED}, or convert it to JPEG"
            raise SfvError(f"{name} is a HEIC picture, which needs pillow-heif; {cure}") from error
        raise SfvError(f"{name} is not a picture that Pillow reads; convert it to PNG or JPEG") from error
    except Image.DecompressionBombError as error:
        raise SfvError(f"{name} is larger than {MAX_PIXELS:,} pixels; scale it down first") from error
    except (OSError, EOFError, RuntimeError, *DAMAGED) as error:
        reason = str(error) or type(error).__name__
        raise SfvError(f"{name} cannot be decoded ({reason}); it may be cut short, save it again") from error


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF says; damaged EXIF says nothing, and what can be read of it counts."""
    try:
        turn = TURNS.get(picture.getexif().get(ORIENTATION, 1))
    except DAMAGED:
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _in_srgb(picture: Image.Image) -> Image.Image:
    """From its own profile (such as Display P3) to sRGB; a profile that cannot be read is passed over."""
    profile = picture.info.get("icc_profile")
    if profile and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # the clear colour is one of the profile's, too
    if not profile or picture.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return picture
    try:
        own = ImageCms.getOpenProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(own):
            return picture
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        turned = ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return turned or picture


def _check_size(picture: Image.Image, name: str, least: int) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise SfvError(f"{name} has {width}x{height} pixels, more than {MAX_PIXELS:,}; scale it down first")
    if min(width, height) < least:
        raise SfvError(f"{name} is {width}x{height}; a picture needs at least {least} pixels a side")


def _rgb(picture: Image.Image, background: str) -> Uint8Picture:
    picture = _eight_bit(picture)
    if _has_alpha(picture):
        top = picture.convert("RGBA")
        base = Image.new("RGBA", top.size, colour(background))
        picture = Image.alpha_composite(base, top)
    return torch.from_numpy(np.array(picture.convert("RGB")))


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info


def _rgba(picture: Image.Image) -> Uint8Sticker:
    return torch.from_numpy(np.array(_eight_bit(picture).convert("RGBA")))


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Deep grey in 8 bits, its one transparent level as alpha; anything else as it is."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    grey, level = _sixteen_bit(picture), picture.info.get("transparency")
    if not isinstance(level, int):
        return grey
    clear = Image.fromarray(np.uint8(255) * (np.asarray(picture) != level))
    return Image.merge("LA", (grey, clear))


def _sixteen_bit(picture: Image.Image) -> Image.Image:
    """16-bit (0-65535) or float grey -> 8-bit grey, where Pillow's own conversion would clip."""
    given = np.asarray(picture).astype(np.float64)
    top = _white(given) if picture.mode == "F" else 65535.0
    values = np.nan_to_num(given, nan=0, posinf=top, neginf=0)
    return Image.fromarray((values / top * 255).round().clip(0, 255).astype(np.uint8))


def _white(values: np.ndarray) -> float:
    """On which of the usual scales a float picture is: 0-1, of which highlights may be brighter, 0-255, 0-65535, or its
    own. One hot pixel in a hundred decides nothing."""
    bright = values[np.isfinite(values) & (values > 0)]
    most = float(np.percentile(bright, 99)) if bright.size else 0.0
    if most > 65535:
        return float(bright.max())
    return 1.0 if most <= GLARE else 255.0 if most <= 255 else 65535.0


def fit(picture: Uint8Picture, height: int, width: int, mode: str = "pad", background: str = "white") -> Fitted:
    """Scale to height x width without stretching: "pad" keeps all of the picture, "crop" fills the frame."""
    return _fit(picture, height, width, mode, lambda: colour(background)[:3])


def fit_sticker(sticker: Uint8Sticker, height: int, width: int, mode: str = "pad") -> FittedSticker:
    """As `fit`, for a picture with transparency: padding is transparent, edges do not take on hidden colours."""
    return _fit(sticker, height, width, mode, lambda: (255, 255, 255, 0))


def _fit(picture: Tensor, height: int, width: int, mode: str, padding: Callable[[], tuple[int, ...]]) -> Tensor:
    if mode not in FITS:
        raise SfvError(f"fit must be one of {', '.join(FITS)}, not {mode!r}")
    image, size = Image.fromarray(picture.numpy()), (width, height)
    if mode == "pad" and min(round(v * min(width / image.width, height / image.height)) for v in image.size) < 1:
        raise SfvError(
            f"a picture of {image.width}x{image.height} is too thin for {width}x{height}; use fit own or crop"
        )
    if mode == "crop":
        out = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    else:
        out = ImageOps.pad(image, size, Image.Resampling.LANCZOS, color=padding())
    return torch.from_numpy(np.array(out))


def scaled(picture: AnyPicture, size: tuple[int, int]) -> AnyPicture:
    """To (height, width), whose aspect is the picture's but for rounding; Lanczos. Icons of up to 64 pixels that become
    at least twice as large keep their hard pixels."""
    longer = max(picture.shape[:2])
    hard = longer <= ICON and max(size) >= 2 * longer
    how = Image.Resampling.NEAREST if hard else Image.Resampling.LANCZOS
    if tuple(picture.shape[:2]) == size:
        return picture
    return torch.from_numpy(np.array(Image.fromarray(picture.numpy()).resize(size[::-1], how)))


def over_white(sticker: FittedSticker) -> Fitted:
    """The sticker on white."""
    alpha = sticker[..., 3:].float() / 255
    return (alpha * sticker[..., :3] + 255 * (1 - alpha)).round().to(torch.uint8)


def stretch(picture: Uint8Picture, height: int, width: int) -> Fitted:
    """Scale to height x width, whatever becomes of the aspect; Lanczos, antialiased."""
    image = Image.fromarray(picture.numpy())
    return torch.from_numpy(np.array(image.resize((width, height), Image.Resampling.LANCZOS)))


def to_note(picture: Uint8Picture | Uint8Sticker) -> str:
    """A picture as text, lossless, to be carried inside an output's parameters."""
    buffer = io.BytesIO()
    Image.fromarray(picture.numpy()).save(buffer, "WEBP", lossless=True, exact=True, method=0)
    return base64.b64encode(buffer.getvalue()).decode()


def from_note(text: str, transparent: bool = False) -> Uint8Picture | Uint8Sticker:
    """Inverse of `to_note`; `transparent` for a picture with alpha. Of any size: fitted pictures may be very narrow."""
    try:
        data = io.BytesIO(base64.b64decode(text, validate=True))
        return _read(data, _rgba if transparent else lambda picture: _rgb(picture, "white"), least=1)
    except binascii.Error as error:
        raise SfvError(f"the picture inside the file's parameters is damaged ({error})") from error


def is_heif(source: Path | str | io.BytesIO) -> bool:
    """Whether the first bytes are those of HEIC or HEIF."""
    try:
        if isinstance(source, io.BytesIO):
            head = source.getvalue()[:12]
        else:
            with Path(source).open("rb") as file:
                head = file.read(12)
    except OSError:
        return False
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS


def admit_heif() -> bool:
    """HEIC, where the optional pillow-heif is installed; whether it is."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True
