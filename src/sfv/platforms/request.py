"""What a clip is asked for so that its file can be a platform's. Imports no torch."""

from sfv.errors import SfvError
from sfv.platforms.table import platform
from sfv.settings import Settings

SOURCE_FPS = 24.0
"""Frames a second of which a file's are taken, for models of whole loops."""


def without_size(settings: Settings) -> Settings:
    """Settings of a clip for something else, without what a platform chooses itself."""
    chosen = {"size": None, "fit": None, "height": None, "width": None, "enlarge": 1}
    return settings.model_copy(update=chosen | {"transparent": False, "background": "white", "play_fps": None})


def settings_for(settings: Settings, name: str, loops: bool = True) -> Settings:
    """What the clip of a platform's file is asked for; SfvError for settings that contradict it."""
    wanted = platform(name)
    if settings.size is not None and settings.size != wanted.size:
        raise SfvError(f"--for {name} and --size {settings.size} contradict each other: {name} takes {wanted.size}")
    if settings.height or settings.width or settings.enlarge > 1:
        raise SfvError(f"--for {name} chooses the size itself: leave height, width and enlarge out")
    if settings.fit == "own" and wanted.exact is not None:
        raise SfvError(
            f"--for {name} and --fit own contradict each other: {name} takes {wanted.size}; leave fit out, or give pad "
            "or crop"
        )
    if settings.seconds is not None and settings.seconds > wanted.most_seconds:
        raise SfvError(f"--for {name} and --seconds {settings.seconds:g}: it takes {wanted.most_seconds:g} s at most")
    changes: dict[str, object] = {"size": wanted.size, "transparent": wanted.clear or settings.transparent}
    if wanted.clear and settings.background != "white":
        raise SfvError(f"--for {name} keeps what is clear: leave --background out")
    if loops and settings.play_fps is None:
        changes["play_fps"] = SOURCE_FPS
    return settings.model_copy(update=changes)
