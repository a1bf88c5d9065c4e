"""The command and the Python lines that make a clip of the page again."""

import json
import shlex
import unicodedata
from pathlib import PurePath
from typing import Any

from sfv.demo.session import Ask, Row
from sfv.families.base import VideoModel
from sfv.platforms.request import without_size
from sfv.platforms.table import PLATFORMS
from sfv.settings import Settings, Speed

MASK = "mask.png"
JOINERS = "\u200c\u200d"


def choices(ask: Ask, model: VideoModel) -> dict[str, Any]:
    """Settings that are neither the schema's defaults nor the model's own."""
    defaults, given = model.defaults.model_dump(), ask.settings.model_dump()
    usual = Settings().model_dump()
    return {k: v for k, v in given.items() if v != usual[k] and v != defaults.get(k)}


def command_line(ask: Ask, row: Row, model: VideoModel, picture: str, ending: str, platform: str | None = None) -> str:
    """`sfv generate` for a POSIX shell; the picture (and the mask, as mask.png) must lie in the current folder."""
    words = ["sfv", "generate", _file(picture)]
    if platform is None:
        words += ["-o", f"{_stem(picture)}.{ending}"]
    else:
        words, ask = [*words, "--for", platform], ask.model_copy(update={"settings": without_size(ask.settings)})
    words += [] if row.model == "sticker" else ["--model", row.model]
    for name, value in choices(ask, model).items():
        flag = f"--{name.replace('_', '-')}"
        words += [flag] if value is True else [flag, _plain(value)]
    words += [] if row.steps is None else ["--steps", str(row.steps)]
    words += ["--keep-still", MASK] if ask.mask else []
    for flag, (value, usual) in _speed(row, model).items():
        words += [] if value == usual else [f"--{flag}", value]
    return shlex.join(words)


def python_lines(ask: Ask, row: Row, model: VideoModel, picture: str, ending: str, platform: str | None = None) -> str:
    """The same clip through the library."""
    if platform is not None:
        ask = ask.model_copy(update={"settings": without_size(ask.settings)})
    speed = _speed(row, model)
    profile = _literal(speed["profile"][0]) + ("" if speed["backend"][0] == "auto" else f', "{speed["backend"][0]}"')
    given = choices(ask, model) | ({} if row.steps is None else {"steps": row.steps})
    words = [f"{k}={_plain(v) if isinstance(v, float) else repr(v)}" for k, v in given.items()]
    words += [f'keep_still=sfv.read_picture(Path("{MASK}"), "black")'] if ask.mask else []
    if platform is not None:
        return _platform_lines(row, profile, _file(picture), words, platform)
    clear = ask.settings.transparent
    read, frames = ("read_sticker", "clip.stickers()") if clear else ("read_picture", "clip.frames")
    return "\n".join(
        [
            "from pathlib import Path",
            "import sfv",
            "",
            f"model = sfv.optimize(sfv.load({_literal(row.model)}), {profile})",
            f"picture = sfv.{read}(Path({_literal(_file(picture))}))",
            f"clip = sfv.generate({', '.join(['model', 'picture', *words])})",
            f"sfv.write_clip({frames}, Path({_literal(f'{_stem(picture)}.{ending}')}), clip.fps)",
        ]
    )


def _platform_lines(row: Row, profile: str, picture: str, words: list[str], name: str) -> str:
    """A messenger's file through the library; `words` are what is asked for beside its own choices."""
    settings = ", ".join(w for w in words if not w.startswith("keep_still"))
    mask = "".join(f", {w}" for w in words if w.startswith("keep_still"))
    file = f"{_stem(picture)}-{name}.{PLATFORMS[name].format}"
    return "\n".join(
        [
            "from pathlib import Path",
            "import sfv",
            "",
            f"model = sfv.optimize(sfv.load({_literal(row.model)}), {profile})",
            f'want = sfv.settings_for(sfv.Settings({settings}), "{name}", model.loops)',
            f"path = Path({_literal(picture)})",
            "picture = sfv.read_sticker(path, opaque=True) if want.transparent else sfv.read_picture(path)",
            f'sfv.write_for(sfv.generate(model, picture, want{mask}), "{name}", Path({_literal(file)}))',
        ]
    )


def _speed(row: Row, model: VideoModel) -> dict[str, tuple[str, str]]:
    """profile and backend as they were taken, each beside what a command takes for itself."""
    usual = Speed()
    quick = {v for k, v in model.speed.items() if k not in ("profile", "precision", "reason")} - {"eager"}
    backend = row.speed.backend if row.speed.backend != "auto" or not quick else model.speed["unet"]
    return {"profile": (row.speed.profile, usual.profile), "backend": (backend, usual.backend)}


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _literal(text: str) -> str:
    """A string as Python reads it: JSON's escapes of emoji, two for each, are no emoji there."""
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else repr(text)


def _file(name: str) -> str:
    """A file name without folders or control characters, that no shell or parser takes for a flag."""
    kept = "".join(c for c in PurePath(name.replace("\\", "/")).name if _stays(c))[-80:].lstrip("-. ")
    return kept or "picture.png"


def _stays(c: str) -> bool:
    """What can be read, spaces of all widths (macOS's screenshots have some), and what joins emoji and letters."""
    return c.isprintable() or unicodedata.category(c) == "Zs" or c in JOINERS


def _stem(name: str) -> str:
    """Of the clip: the picture's, but never the picture's own name."""
    return f"{PurePath(_file(name)).stem}-clip"
