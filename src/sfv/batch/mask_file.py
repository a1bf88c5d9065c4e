"""A mask that lies in a file: what keeps still, or what alone moves."""

from pathlib import Path
from typing import NamedTuple

from sfv.media.pictures import Uint8Picture, read_mask


class MaskFile(NamedTuple):
    """A picture of the pictures' shape."""

    path: Path
    moves: bool = False
    """White moves and all else keeps still; else white keeps still."""

    def read(self) -> Uint8Picture:
        """White where nothing may move, (h, w, 3). SfvError for a file that is no picture."""
        painted = read_mask(self.path)
        return 255 - painted if self.moves else painted

    def bytes(self) -> bytes:
        """What tells it from other masks."""
        return self.path.read_bytes() + (b"moves" if self.moves else b"")
