"""uint8 clips <-> mp4, gif, webp and animated png, with a note of parameters inside every file."""

import io
import json
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, PngImagePlugin

import sfv
from sfv.errors import SfvError, reason
from sfv.media.formats import check_see_through
from sfv.media.notes import BROKEN, LENIENT, is_ours, read_note
from sfv.media.palettes import with_palette
from sfv.media.video_colours import as_bt709, levels, tag_bt709
from sfv.media.webm import even, write_webm
from sfv.settings import FORMATS
from sfv.system.files import replacing
from sfv.types import Frames, Stickers

HOLE = 255
"""The index in a gif's palette that is transparent."""


FASTEST = {"gif": 50, "webp": 90, "png": 90}
"""Frames a second at most: browsers show a picture of 10 ms or less for 100 ms, and gifs count in steps of 10."""
LEAST_FPS, MOST_FPS, MOST_LEVEL, MOST_PLAYS = 0.01, 1000, 256, 65535
"""What can be asked of any format."""
SMALL = 256 * 256
"""Pixels of a frame up to which one thread encodes sooner than several (14 frames of 128 x 128: 3.4 against 6.3 ms)."""
TINY = 128 * 128
"""Pixels of a frame below which x264 goes without its macroblock tree: for few blocks it reads memory that nobody
wrote, so that the same frames give other bytes now and then (noise of 32 x 32: 1 in 5). Above, it saves a fifth."""


def write_clip(
    frames: Frames | Stickers,
    path: Path | str,
    fps: float,
    note: str = "",
    level: int | None = None,
    plays: int = 0,
) -> None:
    """Write by the path's ending. mp4: H.264, yuv420p, faststart. webm: VP9. gif, webp, png: animated, shown `plays`
    times, or for ever.

    All but mp4 take RGB or RGBA.

    `note` is kept inside the file (mp4, webm and gif comment, webp XMP, png text); without one a mark that sfv wrote
    it, so that a later clip may take its place. `level` is how well: crf of mp4 and webm (0 to 63, less is better),
    quality of webp (0 to 100), colours of gif and png (2 to 256; png: all if None).
    """
    path = Path(path)
    format = path.suffix.lower().lstrip(".")
    if format not in FORMATS:
        raise SfvError(f"{path} has no ending that can be written; use one of {', '.join(FORMATS)}")
    _check(frames, fps, level, plays)
    if frames.shape[-1] == 4:
        check_see_through(path)
    note = note or json.dumps({"sfv": sfv.__version__})
    try:
        with replacing(path) as beside:
            if format == "mp4":
                _write_mp4(frames, beside, fps, note, level)
            elif format == "webm":
                write_webm(frames, beside, fps, note, level)
            else:
                _write_pillow(frames, beside, fps, note, format, level, plays)
    except (OSError, av.error.FFmpegError) as error:
        raise SfvError(f"{path} cannot be written ({reason(error)}); choose another folder with -o") from error


def _check(frames: Frames | Stickers, fps: float, level: int | None, plays: int) -> None:
    """SfvError for what is no clip."""
    if not isinstance(frames, torch.Tensor):
        raise SfvError(f"frames is a {type(frames).__name__}; give a torch tensor, as a clip's frames are")
    if frames.ndim != 4 or frames.shape[-1] not in (3, 4) or frames.dtype != torch.uint8 or not frames.numel():
        found = f"{str(frames.dtype).removeprefix('torch.')} of shape {tuple(frames.shape)}"
        raise SfvError(f"frames is {found}; give uint8 of (frames, height, width, 3 or 4), one frame at least")
    for called, number in (("fps", fps), ("level", 0 if level is None else level), ("plays", plays)):
        if not isinstance(number, Real):
            raise SfvError(f"{called} is a {type(number).__name__}; give a number")
    if not LEAST_FPS <= fps <= MOST_FPS:
        raise SfvError(f"fps {fps:g}: must be {LEAST_FPS:g} to {MOST_FPS:g} frames a second")
    if level is not None and not 0 <= level <= MOST_LEVEL:
        raise SfvError(f"level {level}: must be 0 to {MOST_LEVEL}, and within what the format knows")
    if not 0 <= plays <= MOST_PLAYS:
        raise SfvError(f"plays {plays}: must be 0 (for ever) to {MOST_PLAYS}")


def _write_mp4(frames: Frames, path: Path, fps: float, note: str, level: int | None) -> None:
    _, height, width, _ = frames.shape
    with av.open(str(path), "w", options={"movflags": "faststart+use_metadata_tags"}) as container:
        container.metadata["comment"] = note
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width, stream.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
        crf, tree = 16 if level is None else level, height * width >= TINY
        stream.options = {"crf": str(crf), "preset": "veryfast", "mbtree": str(int(tree))}
        stream.thread_count = 1 if height * width <= SMALL else 0
        tag_bt709(stream.codec_context)
        for frame in as_bt709(even(frames).numpy()):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _write_pillow(
    frames: Frames | Stickers, path: Path, fps: float, note: str, format: str, level: int | None, plays: int
) -> None:
    kept, times = frame_times(len(frames), fps, format)
    frames = frames[kept]
    options: dict[str, Any] = {"save_all": True, "duration": times} | _loop(format, plays)
    pictures = [Image.fromarray(f) for f in frames.numpy()]
    if format == "gif":
        clear = frames.shape[-1] == 4
        options |= {"comment": note.encode(), "disposal": 2 if clear else 1}
        pictures = _shared_palette(pictures, (level or 256) - clear)
        if clear:
            options |= {"transparency": HOLE}
            for picture, frame in zip(pictures, frames.numpy(), strict=True):
                picture.paste(HOLE, mask=Image.fromarray(np.uint8(255) * (frame[..., 3] < 128)))
    elif format == "webp":
        options |= {"xmp": note.encode(), "quality": 92 if level is None else level, "method": 4}
        if level is not None:
            options |= {"alpha_quality": level}
    else:
        text = PngImagePlugin.PngInfo()
        text.add_itxt("sfv", note)
        options |= {"pnginfo": text}
        if level is not None:
            pictures = _shared_clear_palette(pictures, level)
    pictures[0].save(path, append_images=pictures[1:], **options)


def _loop(format: str, plays: int) -> dict[str, int]:
    """What Pillow calls how often an animation is shown; GIFs count how often again."""
    if format != "gif" or not plays:
        return {"loop": plays}
    return {} if plays == 1 else {"loop": plays - 1}


def frame_times(count: int, fps: float, format: str) -> tuple[list[int], list[int]]:
    """Which frames an animation holds, and for how many milliseconds each: they add up to the clip's length.

    Above the format's FASTEST some frames are left out.
    """
    rate, unit = min(fps, FASTEST[format]), 10 if format == "gif" else 1
    step = fps / rate
    kept = [min(count - 1, int(i * step + 1e-9)) for i in range(max(1, round(count / step)))]
    edges = [unit * round(1000 / unit * i / rate) for i in range(len(kept) + 1)]
    return kept, [b - a for a, b in zip(edges, edges[1:], strict=False)]


def has_encoder(name: str) -> bool:
    """Whether PyAV's FFmpeg can encode with it, such as libx264."""
    try:
        av.codec.Codec(name, "w")
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def webp_bytes(frames: Frames, fps: float) -> bytes:
    """A looping animated webp in memory, for pages."""
    kept, times = frame_times(len(frames), fps, "webp")
    pictures = [Image.fromarray(f) for f in frames[kept].numpy()]
    out = io.BytesIO()
    pictures[0].save(out, "WEBP", save_all=True, append_images=pictures[1:], loop=0, duration=times)
    return out.getvalue()


def _shared_palette(pictures: list[Image.Image], colours: int) -> list[Image.Image]:
    """One palette for the whole clip, so that still areas do not flicker between frames."""
    opaque = [p.convert("RGB") for p in pictures]
    strip = Image.fromarray(np.concatenate([np.asarray(p) for p in opaque]))
    palette = strip.quantize(colours, Image.Quantize.MEDIANCUT)
    return [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in opaque]


def _shared_clear_palette(pictures: list[Image.Image], colours: int) -> list[Image.Image]:
    """The same with alpha in the palette."""
    indices, palette = with_palette(np.stack([np.asarray(p.convert("RGBA")) for p in pictures]), colours)
    made = [Image.fromarray(frame) for frame in indices]
    for picture in made:
        picture.putpalette(palette.tobytes(), "RGBA")
    return made


def read_video_bytes(data: bytes) -> Frames:
    """Decode every frame of a video held in memory to RGB."""
    return _decode(io.BytesIO(data), "the video")


def read_clip(path: Path | str) -> Frames:
    """Decode every frame of a clip file (mp4, gif, webp, animated png) to RGB.

    Pictures that are equal and follow each other are stored as one that is shown for longer; it is given as often as it
    fills the file's rate: what its note says, or that of the shortest picture.
    """
    path = Path(path)
    if path.suffix.lower() in (".webp", ".png", ".gif"):
        try:
            frames, times = _pictures(path)
        except (OSError, ValueError, *BROKEN) as error:
            raise SfvError(f"{path} is not a readable clip ({reason(error)}); make it again") from error
        return torch.from_numpy(np.stack(frames)).repeat_interleave(torch.tensor(_shares(times, _rate(path))), 0)
    return _decode(str(path), str(path))


def _pictures(path: Path) -> tuple[list[UInt8[np.ndarray, "h w 3"]], list[float]]:
    """The pictures of an animation, and the seconds at which they change, its end included."""
    with Image.open(path) as picture:
        frames, times = [], [0.0]
        for i in range(getattr(picture, "n_frames", 1)):
            picture.seek(i)
            frames.append(np.array(picture.convert("RGB")))
            times.append(times[-1] + picture.info.get("duration", 0) / 1000)
    return frames, times


def _rate(path: Path) -> float | None:
    """Frames per second by the note of one of our clips; None without."""
    if not is_ours(path):
        return None
    settings = json.loads(read_note(path)).get("settings", {})
    rate = settings.get("play_fps") or settings.get("fps")
    return min(rate, FASTEST[path.suffix.lower().lstrip(".")]) if rate else None


def _shares(times: list[float], rate: float | None) -> list[int]:
    """How many frames each picture is, by the seconds at which pictures change; one each where no time is given."""
    lengths = [b - a for a, b in zip(times, times[1:], strict=False)]
    if min(lengths) <= 0:
        return [1] * len(lengths)
    if rate is None:
        return [round(length / min(lengths)) for length in lengths]
    ends = [round(t * rate) for t in times]
    return [max(1, b - a) for a, b in zip(ends, ends[1:], strict=False)]


def _decode(source: Any, name: str) -> Frames:
    try:
        with av.open(source, **LENIENT) as container:
            frames = [levels(f, name) for f in container.decode(video=0)]
    except (OSError, av.error.FFmpegError, IndexError) as error:
        raise SfvError(f"{name} is not a readable video ({reason(error)})") from error
    if not frames:
        raise SfvError(f"{name} holds no frames")
    return torch.from_numpy(np.stack(frames))
