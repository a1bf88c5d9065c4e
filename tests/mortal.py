"""A worker for tests/ray/test_ray.py that dies of its work; in a file of its own, which the workers import."""

import os
from pathlib import Path
from typing import Any

from sfv.ray.folder import Animator


class Mortal(Animator):
    """Dies of picture 7; opens no model, since it is begun three times."""

    def __init__(self, names: list[Any], watch: list[Any], **_: Any) -> None:
        import ray

        self.get, self.names, self.watch = ray.get, ray.get(names[0]), watch[0]

    def animate(self, picture: Path, target: Path) -> dict[str, Any]:
        """A file that is no clip, for all other pictures."""
        if picture.name == "007.png":
            os._exit(1)
        target.write_bytes(b"clip")
        return {"image": str(picture), "out": str(target), "seconds": {}}
