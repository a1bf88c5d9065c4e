"""SVG drawings -> PNG, by resvg, an optional library. Nothing that a drawing refers to is fetched or opened.

resvg draws in a process of its own: a drawing that is nested a thousand deep ends the process that draws it.
"""

import gzip
import io
import re
import subprocess
import sys
import zlib
from pathlib import Path

from sfv.errors import SfvError

ENDINGS = (".svg", ".svgz")
NEEDED = 'pip install "sfv[pictures]"'
"""What installs the libraries for drawings and for HEIC."""
MOST_BYTES = 2 * 2**20
"""Of a drawing's text."""
SIDE = 1024
"""Pixels of the longer side that is drawn."""
LONGEST = 64
"""How many times as long as wide a drawing may be."""
PATIENCE = 30
"""Seconds that drawing may take."""
DRAW = """
import sys, resvg_py
size, text = [int(v) for v in sys.argv[1:]], sys.stdin.buffer.read().decode()
try:
    sys.stdout.buffer.write(bytes(resvg_py.svg_to_bytes(svg_string=text, width=size[0], height=size[1])))
except ValueError as error:
    sys.exit(str(error))
"""
LENGTH = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)", re.I)


def can_draw() -> bool:
    """Whether resvg is installed."""
    try:
        import resvg_py  # noqa: F401
    except ImportError:
        return False
    return True


def needs_resvg(name: str) -> SfvError:
    """The sentence where it is not."""
    return SfvError(
        f"{name} is an SVG drawing, which needs resvg; install it with: {NEEDED}, or export the drawing as PNG"
    )


def drawn_svg(path: Path) -> io.BytesIO:
    """A drawing's file as that of a PNG, whose longer side is SIDE pixels.

    SfvError without resvg, for a drawing that is too large, refers to other files, or is damaged.
    """
    text = _text(path)
    _check_own(text, str(path))
    if not can_draw():
        raise needs_resvg(str(path))
    width, height = _shape(text, str(path))
    scale = SIDE / max(width, height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    command = [sys.executable, "-P", "-c", DRAW, str(wide), str(high)]
    try:
        drawn = subprocess.run(command, input=text.encode(), capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise SfvError(f"{path} cannot be drawn within {PATIENCE} seconds; export it as PNG") from error
    if drawn.returncode:
        said = drawn.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if said and drawn.returncode > 0 else "it is nested too deeply, or too large"
        raise SfvError(f"{path} cannot be drawn ({why}); export it as PNG")
    return io.BytesIO(drawn.stdout)


def _text(path: Path) -> str:
    """At most MOST_BYTES, unpacked."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
            if data[:2] == b"\x1f\x8b":
                file.seek(0)
                with gzip.GzipFile(fileobj=file) as packed:
                    data = packed.read(MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise SfvError(f"{path} does not exist; check the path") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SfvError(f"{path} is not a readable SVG drawing ({type(error).__name__}); export it as PNG") from error
    if len(data) > MOST_BYTES:
        raise SfvError(f"{path} is larger than {MOST_BYTES >> 20} MB of SVG; export it as PNG")
    return text


def _check_own(text: str, name: str) -> None:
    """SfvError for a drawing that needs anything but itself."""
    if re.search(r"<!ENTITY", text, re.I):
        raise SfvError(f"{name} defines entities of its own, which are not read; export it as PNG")
    for tag in re.findall(r"<(?:[\w-]+:)?(?:image|feImage|use)\b[^>]*>", text, re.I):
        for found in re.findall(r"""href\s*=\s*(?:"([^"]*)"|'([^']*)')""", tag, re.I):
            target = "".join(found).strip()
            if not target.startswith("#") and not re.match(r"data:image/(png|jpe?g|gif|webp)[;,]", target, re.I):
                raise SfvError(f"{name} refers to {target[:60]!r}, which is not fetched; embed it, or export it as PNG")


def _shape(text: str, name: str) -> tuple[float, float]:
    """Width over height in any unit: of the root's viewBox, else of its width and height."""
    root = re.search(r"<(?:[\w-]+:)?svg\b[^>]*>", text, re.I)
    if root is None:
        raise SfvError(f"{name} is not an SVG drawing; export it as PNG")
    given = {
        k.lower(): a or b
        for k, a, b in re.findall(r"""\s(viewBox|width|height)\s*=\s*(?:"([^"]*)"|'([^']*)')""", root[0], re.I)
    }
    box = [float(v) for v in re.findall(r"-?[0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?", given.get("viewbox", ""), re.I)]
    sides = [float(m[1]) for k in ("width", "height") if (m := LENGTH.match(given.get(k, ""))) and "%" not in given[k]]
    width, height = sides if len(sides) == 2 else box[2:4] if len(box) == 4 else (1.0, 1.0)
    if not (0 < width < 1e9 and 0 < height < 1e9 and 1 / LONGEST <= width / height <= LONGEST):
        raise SfvError(f"{name} is a drawing of {width:g}x{height:g}, which is no shape for a clip; export it as PNG")
    return width, height
