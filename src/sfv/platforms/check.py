"""Whether any file is one that a platform takes, rule by rule."""

from pathlib import Path

from sfv.media import FileFacts, file_facts
from sfv.platforms.table import KB, Platform, Rule, platform

SLACK = 0.005
"""Seconds by which clocks that count in milliseconds may be out."""


def check_sticker(path: Path | str, name: str) -> list[Rule]:
    """Every rule of a platform with what the file has; SfvError for a file that cannot be read, or no such platform."""
    return rules(file_facts(Path(path)), platform(name))


def rules(file: FileFacts, wanted: Platform) -> list[Rule]:
    """The same of known facts."""
    codec = " with VP9" if wanted.format == "webm" else ""
    fewest, most = wanted.frames
    found = [
        Rule(
            rule=f"{_called(wanted.format)}{codec}",
            found=_called(file.format) + (f" with {file.codec}" if codec else ""),
            ok=file.format == wanted.format and (not codec or file.codec in ("vp9", "libvpx-vp9")),
        ),
        Rule(rule=_shape(wanted), found=f"{file.width}x{file.height}", ok=_fits(file, wanted)),
        Rule(
            rule=f"at most {wanted.most_bytes / KB:g} KB",
            found=f"{file.bytes / KB:.1f} KB",
            ok=file.bytes <= wanted.most_bytes,
        ),
        Rule(
            rule=f"at most {wanted.most_seconds:g} s",
            found=f"{file.seconds:.3f} s",
            ok=0 < file.seconds <= wanted.most_seconds + SLACK,
        ),
        Rule(rule=f"{fewest} to {most} frames", found=str(file.frames), ok=fewest <= file.frames <= most),
        Rule(
            rule=f"at most {wanted.most_fps:g} frames a second",
            found=f"{file.fps:.1f}",
            ok=file.fps <= wanted.most_fps + 0.1,
        ),
        Rule(rule="no sound", found="sound" if file.sound else "none", ok=not file.sound),
    ]
    if wanted.most_plays:
        found.append(_plays(file, wanted))
    if wanted.shortest_ms:
        shown = Rule(
            rule=f"every frame at least {wanted.shortest_ms} ms",
            found=f"{file.shortest_ms:g} ms",
            ok=file.shortest_ms >= wanted.shortest_ms,
        )
        found.append(shown)
    return found


def _plays(file: FileFacts, wanted: Platform) -> Rule:
    lasts = file.plays * file.seconds
    return Rule(
        rule=f"shown 1 to {wanted.most_plays} times, {wanted.most_seconds:g} s in all",
        found=f"{file.plays} times, {lasts:.3f} s" if file.plays else "for ever",
        ok=1 <= file.plays <= wanted.most_plays and lasts <= wanted.most_seconds + SLACK,
    )


def _called(format: str) -> str:
    return {"png": "animated PNG", "webp": "animated WebP", "gif": "GIF", "webm": "WebM", "mp4": "MP4"}.get(
        format, format
    )


def _shape(wanted: Platform) -> str:
    if wanted.longest is not None:
        return f"at most {wanted.longest} pixels a side"
    if wanted.sides:
        return " or ".join(f"{s}x{s}" for s in wanted.sides)
    return f"one side {wanted.size}, the other at most {wanted.size}"


def _fits(file: FileFacts, wanted: Platform) -> bool:
    longer = max(file.height, file.width)
    if wanted.longest is not None:
        return longer <= wanted.longest
    if wanted.sides:
        return file.height == file.width and file.height in wanted.sides
    return longer == int(wanted.size)
