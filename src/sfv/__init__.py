"""sfv: one forward pass from a still to a moving picture.

import sfv
model = sfv.load()                                  # the embedded sticker model
clip = sfv.generate(model, sfv.read_picture("cat.png"))
sfv.write_clip(clip.frames, "cat.mp4", clip.fps)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfv.costs.account import account
    from sfv.errors import SfvError
    from sfv.families.averaging import average
    from sfv.families.base import VideoModel
    from sfv.families.load import load
    from sfv.generation.clip import Clip
    from sfv.generation.generate import generate
    from sfv.media import read_picture, read_sticker, write_clip
    from sfv.platforms.check import check_sticker
    from sfv.platforms.request import settings_for
    from sfv.platforms.write import write_for
    from sfv.settings import Settings
    from sfv.speed.optimize import optimize
    from sfv.system.memory import keep_memory
    from sfv.types import Frames

__version__ = "0.1.0"
_HOMES = {
    "Clip": "sfv.generation.clip",
    "Frames": "sfv.types",
    "Settings": "sfv.settings",
    "SfvError": "sfv.errors",
    "VideoModel": "sfv.families.base",
    "account": "sfv.costs.account",
    "average": "sfv.families.averaging",
    "check_sticker": "sfv.platforms.check",
    "generate": "sfv.generation.generate",
    "keep_memory": "sfv.system.memory",
    "load": "sfv.families.load",
    "optimize": "sfv.speed.optimize",
    "read_picture": "sfv.media",
    "read_sticker": "sfv.media",
    "settings_for": "sfv.platforms.request",
    "write_clip": "sfv.media",
    "write_for": "sfv.platforms.write",
}
__all__ = [
    "Clip",
    "Frames",
    "Settings",
    "SfvError",
    "VideoModel",
    "__version__",
    "account",
    "average",
    "check_sticker",
    "generate",
    "keep_memory",
    "load",
    "optimize",
    "read_picture",
    "read_sticker",
    "settings_for",
    "write_clip",
    "write_for",
]


def __dir__() -> list[str]:
    """The public names too, though they are not imported yet: what a prompt offers."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that `import sfv` and `sfv --help` stay instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sfv' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
