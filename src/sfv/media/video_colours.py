"""Colours of video frames: what their tags say -> sRGB levels, wide and HDR ones too; BT.709 for our own."""

from collections.abc import Iterable, Iterator
from functools import cache

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from jaxtyping import Float32, UInt8, UInt16

from sfv.errors import SfvError

Levels = UInt8[np.ndarray, "h w 3"]
Clear = UInt8[np.ndarray, "h w 4"]
Light = Float32[np.ndarray, "h w 3"]

PAPER = 203.0
"""Candela per square metre of white paper in HDR (ITU-R BT.2408); white in sRGB."""
HLG_PEAK = 1000.0
KNEE = 0.8
"""Share of paper white up to which tone mapping changes nothing."""
KNOWN_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})
"""Values of matrix_coefficients (ITU-T H.273) that swscale turns into RGB as they mean."""
UNKNOWN = 2
TO_BT709 = {
    ColorPrimaries.BT2020: np.array(
        [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
    ),
    ColorPrimaries.SMPTE432: np.array(
        [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]], np.float32
    ),
}
"""Linear RGB of wide primaries (BT.2020, Display P3) -> BT.709's."""


def levels(frame: av.VideoFrame, called: str, width: int | None = None, height: int | None = None) -> Levels:
    """A decoded frame as sRGB, (height, width, 3): matrix, range, primaries and transfer as its tags say.

    HDR (PQ or HLG) is tone-mapped: paper white stays white. Without a tag, the matrix is taken as players take it:
    BT.709 above standard definition, else BT.601. Raises SfvError, which names the video as `called`, for colours that
    are none of these.
    """
    if frame.colorspace not in KNOWN_MATRICES:
        raise SfvError(
            f"{called} has colours of a kind that is not read (matrix {int(frame.colorspace)} of ITU-T H.273: Dolby "
            "Vision's own, say); convert it first: ffmpeg -i IN -vf format=yuv420p -colorspace bt709 OUT"
        )
    matrix = None
    if frame.colorspace == UNKNOWN:
        matrix = Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601
    hdr = frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
    deep = hdr or frame.color_primaries in TO_BT709
    kind = "rgb48le" if deep else "rgb24"
    # one thread: several would be started anew for each frame, which takes longer than a small frame
    rgb = frame.reformat(width, height, kind, src_colorspace=matrix, threads=1).to_ndarray()
    return _narrowed(rgb, ColorTrc(frame.color_trc), frame.color_primaries) if deep else rgb


def as_bt709(frames: Iterable[Levels | Clear]) -> Iterator[av.VideoFrame]:
    """Frames to encode: yuv420p by BT.709's matrix, which is what their tags must say (`tag_bt709`); yuva420p of RGBA.

    One converter on one thread for all: a frame's own is set up again for each, with its threads, which takes longer
    than a small frame.
    """
    converter = VideoReformatter()
    for pixels in frames:
        given, made = ("rgba", "yuva420p") if pixels.shape[-1] == 4 else ("rgb24", "yuv420p")
        frame = av.VideoFrame.from_ndarray(pixels, format=given)
        yield converter.reformat(
            frame, format=made, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
        )


def tag_bt709(context: av.VideoCodecContext) -> None:
    """Write into a stream what its numbers mean; without it, players take small videos for BT.601 or for BT.709."""
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709


def _narrowed(rgb: UInt16[np.ndarray, "h w 3"], transfer: ColorTrc, primaries: int) -> Levels:
    """16-bit RGB -> sRGB levels."""
    light = _curve(transfer)[rgb]
    if transfer == ColorTrc.ARIB_STD_B67:  # HLG's numbers are of the scene; a display of this peak shows (BT.2100)
        luma = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light = light * (HLG_PEAK / PAPER * luma**0.2)[..., None]
    if primaries in TO_BT709:
        light = light @ TO_BT709[ColorPrimaries(primaries)].T
    light = np.maximum(light, 0)
    if transfer in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67):
        light = _tone_mapped(light)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    return np.clip(np.rint(255 * shown), 0, 255).astype(np.uint8)


@cache
def _curve(transfer: ColorTrc) -> Float32[np.ndarray, "65536"]:
    """16-bit code -> linear light. PQ and SDR: 1 is paper white; HLG: light of the scene, 1 at its peak."""
    code = np.linspace(0, 1, 65536)
    if transfer == ColorTrc.SMPTE2084:  # SMPTE ST 2084, equation 5.1
        power = code ** (1 / 78.84375)
        linear = (
            10000 / PAPER * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
        )
    elif transfer == ColorTrc.ARIB_STD_B67:  # ITU-R BT.2100, table 5
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        linear = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    else:
        linear = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


def _tone_mapped(light: Light) -> Light:
    """Rolls off what is brighter than KNEE towards 1; the largest channel decides, so hues stay."""
    most = light.max(-1, keepdims=True)
    rolled = 1 - (1 - KNEE) * np.exp(-np.maximum(most - KNEE, 0) / (1 - KNEE))
    return light * np.where(most > KNEE, rolled / np.maximum(most, KNEE), 1).astype(np.float32)
