"""Commands that prepare data."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from tyro.conf import Positional, arg

from sfv.cli.flags import Flags
from sfv.data.settings import EncodeSettings


class Pack(Flags):
    """Decode a sticker set (clips.zip, index.json) into a clip store for training and evaluation."""

    source: Annotated[Positional[Path], arg(metavar="SOURCE")]
    """Folder with clips.zip and index.json, and perhaps stills.zip, pictures that programs will move."""
    store: Annotated[Positional[Path], arg(metavar="STORE")]
    """Folder to make."""
    per_family: int = Field(default=4, gt=0)
    """Training clips kept of one family; validation keeps all."""

    def run(self) -> int:
        """Exit code."""
        from sfv.data.loops import pack_set

        store, stills = pack_set(self.source, self.store, self.per_family)
        print(f"{self.store}: {len(store.clips)} clips, {sum(c.count for c in store.clips)} frames, {stills} stills")
        return 0


class Encode(Flags, EncodeSettings):
    """Turn videos into latent shards for training: cut into scenes, fitted, scored; the same command resumes."""

    videos: Annotated[Positional[tuple[str, ...]], arg(metavar="VIDEOS...")]
    """Folders, files, globs, CSV or JSONL manifests (column "path"), or tars."""
    out: Annotated[Path, arg(aliases=["-o"], metavar="SHARDS")]
    """Folder for the shards."""
    model: str = "sticker"
    """Whose codec and picture encoder: an embedded model, a diffusers folder, or a hub id."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Exit code."""
        from sfv.data.encode_videos import encode_videos

        settings = self.fill(EncodeSettings)
        print(encode_videos(self.videos, self.model, self.out, settings, self.device))
        return 0
