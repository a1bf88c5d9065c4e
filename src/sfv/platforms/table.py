"""What each platform takes: facts, each with where it is said. Imports no torch: wrong words are reported at once."""

from pydantic import BaseModel, ConfigDict, Field

from sfv.errors import SfvError
from sfv.settings import Format

KB = 1024
Attempts = tuple[tuple[float, int | None], ...]


class Platform(BaseModel):
    """Limits of one kind of file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format
    size: str
    """What is made: HEIGHTxWIDTH, or the longer side."""
    sides: tuple[int, ...] = ()
    """Squares that are taken; none: the longer side is `size`, exactly."""
    longest: int | None = None
    """The longer side is at most so long, and anything below is taken too."""
    most_bytes: int
    most_seconds: float
    most_fps: float = 60
    frames: tuple[int, int] = (2, 1000)
    """Fewest and most."""
    most_plays: int = 0
    """How often a file says that it is shown: once to so many times, together no longer than `most_seconds`; 0: for
    ever."""
    shortest_ms: int = 0
    """How long a frame must be shown at least."""
    clear: bool = True
    """Whether files should be transparent where nothing is."""
    source: str

    @property
    def exact(self) -> tuple[int, int] | None:
        """(height, width) of what is made; None where the picture decides."""
        height, _, width = self.size.partition("x")
        return (int(height), int(width)) if width else None


PLATFORMS: dict[str, Platform] = {
    "telegram": Platform(
        format="webm",
        size="512",
        most_bytes=256 * KB,
        most_seconds=3,
        most_fps=30,
        source="https://core.telegram.org/stickers",
    ),
    "telegram-emoji": Platform(
        format="webm",
        size="100x100",
        sides=(100,),
        most_bytes=256 * KB,
        most_seconds=3,
        most_fps=30,
        source="https://core.telegram.org/stickers",
    ),
    "whatsapp": Platform(
        format="webp",
        size="512x512",
        sides=(512,),
        most_bytes=500 * KB,
        most_seconds=10,
        shortest_ms=8,
        source="https://github.com/WhatsApp/stickers/tree/main/Android",
    ),
    "discord": Platform(
        format="png",
        size="320x320",
        sides=(320,),
        most_bytes=512 * KB,
        most_seconds=5,
        source="https://github.com/discordjs/discord-api-types",
    ),
    "discord-emoji": Platform(
        format="gif",
        size="128x128",
        longest=128,
        most_bytes=256 * KB,
        most_seconds=60,
        most_fps=50,
        source="https://github.com/laggykiller/sticker-convert",
    ),
    "slack": Platform(
        format="gif",
        size="128x128",
        sides=(128,),
        most_bytes=128 * KB,
        most_seconds=60,
        most_fps=50,
        frames=(2, 50),
        source="https://api.slack.com/methods/admin.emoji.add; frames: https://gifcap.io/for/slack-emoji",
    ),
    "signal": Platform(
        format="png",
        size="512x512",
        longest=512,
        most_bytes=300 * KB,
        most_seconds=3,
        source="https://github.com/laggykiller/sticker-convert",
    ),
    "imessage": Platform(
        format="png",
        size="408x408",
        sides=(300, 408, 618),
        most_bytes=500 * KB,
        most_seconds=60,
        source="https://developer.apple.com/documentation/messages/msstickersize",
    ),
    "line": Platform(
        format="png",
        size="270x270",
        sides=(270,),
        most_bytes=300 * KB,
        most_seconds=4,
        frames=(5, 20),
        most_plays=4,
        source="https://creator.line.me/en/guideline/animationsticker/",
    ),
    "gif": Platform(
        format="gif",
        size="480",
        longest=480,
        most_bytes=8 * KB * KB,
        most_seconds=60,
        most_fps=50,
        clear=False,
        source="a choice of ours: what chats and mail show without asking",
    ),
}
"""Word after `--for` -> limits. Line's frame is 320 x 270 at most; a square of 270 fits it."""

ATTEMPTS: dict[str, Attempts] = {
    "webm": tuple((fps, crf) for fps in (30, 24) for crf in (18, 24, 30, 36, 42, 48, 54)) + ((15, 54), (12, 58)),
    "webp": (
        *((24, q) for q in (90, 80, 70, 60)),
        *((12, q) for q in (75, 60, 45)),
        *((8, q) for q in (60, 45, 30, 15)),
        *((5, q) for q in (30, 10)),
    ),
    "png": (
        (24, None),
        *((24, c) for c in (256, 128)),
        *((12, c) for c in (256, 128, 64)),
        *((8, c) for c in (256, 128, 64, 32)),
        *((5, c) for c in (128, 64, 32, 16)),
        (3, 16),
    ),
    "gif": (
        *((25, c) for c in (256, 128)),
        *((12.5, c) for c in (256, 128, 64)),
        *((8, c) for c in (128, 64, 32)),
        *((5, c) for c in (64, 32, 16)),
        (3, 16),
    ),
}
"""Format -> frames a second and level (media's write_clip) to try, the best first, each smaller than the one before."""


def platform(name: str) -> Platform:
    """SfvError for a word that is none."""
    if name not in PLATFORMS:
        raise SfvError(f"--for {name}: no such platform; choose from {', '.join(PLATFORMS)}")
    return PLATFORMS[name]


class Rule(BaseModel):
    """One rule of a platform, and what a file has."""

    rule: str = Field(description="what is asked for")
    found: str
    ok: bool
