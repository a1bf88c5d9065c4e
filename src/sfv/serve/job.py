"""One request for a clip and what became of it."""

import re
from dataclasses import dataclass

from sfv.settings import Settings
from sfv.system.files import BESIDE

OPEN = ("queued", "in_progress")
PASSING = "passing_"
"""First letters of the ids of jobs whose sender waits for the clip, before the machine's; no client gets them."""
OWN_KEY = re.compile(
    rf"(video_[0-9a-f]{{32}}|{PASSING}[0-9a-f]{{1,32}})/(picture|clip\.[a-z0-9]+|{re.escape(BESIDE)}[^/]+)"
)
"""Keys of the files of jobs, those that were being written included; in a store, all else is somebody else's."""


@dataclass(frozen=True)
class Job:
    """One row: a request for a clip and what became of it."""

    id: str
    owner: str
    model: str
    batch_key: str
    settings: str
    format: str
    created: float
    ready: float
    deadline: float
    status: str = "queued"
    progress: int = 0
    started: float | None = None
    finished: float | None = None
    expires: float | None = None
    worker: str = ""
    lease: float = 0.0
    crashes: int = 0
    size: int = 0
    code: str = ""
    error: str = ""
    shape: str | None = None
    """WIDTHxHEIGHT of the clip; None in rows of earlier versions."""

    @property
    def open(self) -> bool:
        """Whether something will still happen to it."""
        return self.status in OPEN

    @property
    def passing(self) -> bool:
        """Whether its sender waits for the clip: then neither need outlive a power cut."""
        return self.id.startswith(PASSING)

    @property
    def wanted(self) -> Settings:
        """Its settings, every field filled."""
        return Settings.model_validate_json(self.settings)

    @property
    def picture_key(self) -> str:
        """Where its picture is kept."""
        return f"{self.id}/picture"

    @property
    def clip_key(self) -> str:
        """Where its clip is kept."""
        return f"{self.id}/clip.{self.format}"
