"""Files <-> uint8 tensors: pictures, clips, sheets. The only importer of PyAV, Pillow and OpenCV; knows no model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfv.errors import DamagedVideo
    from sfv.media.clips import has_encoder, read_clip, read_video_bytes, webp_bytes, write_clip
    from sfv.media.edits import fit_mask, keep_still, soft_edge, there_and_back
    from sfv.media.facts import FileFacts, file_facts
    from sfv.media.formats import PICTURE_ENDINGS, VIDEO_ENDINGS, check_see_through
    from sfv.media.motion import flow, flow_fields, flow_to
    from sfv.media.notes import is_ours, is_whole, own_note, read_note
    from sfv.media.pictures import fit, fit_sticker, from_note, over_white, read_picture, read_sticker, scaled, to_note
    from sfv.media.sheets import contact_sheet, in_step, lettering, side_by_side, write_picture
    from sfv.media.videos import Jump, at_rate, stream_video
    from sfv.system.files import cache_folder, replacing

_HOMES = {
    "DamagedVideo": "sfv.media.videos",
    "FileFacts": "sfv.media.facts",
    "Jump": "sfv.media.videos",
    "PICTURE_ENDINGS": "sfv.media.formats",
    "VIDEO_ENDINGS": "sfv.media.formats",
    "at_rate": "sfv.media.videos",
    "cache_folder": "sfv.system.files",
    "check_see_through": "sfv.media.formats",
    "contact_sheet": "sfv.media.sheets",
    "in_step": "sfv.media.sheets",
    "lettering": "sfv.media.sheets",
    "file_facts": "sfv.media.facts",
    "fit": "sfv.media.pictures",
    "fit_mask": "sfv.media.edits",
    "fit_sticker": "sfv.media.pictures",
    "flow": "sfv.media.motion",
    "flow_fields": "sfv.media.motion",
    "flow_to": "sfv.media.motion",
    "from_note": "sfv.media.pictures",
    "has_encoder": "sfv.media.clips",
    "is_ours": "sfv.media.notes",
    "own_note": "sfv.media.notes",
    "is_whole": "sfv.media.notes",
    "keep_still": "sfv.media.edits",
    "over_white": "sfv.media.pictures",
    "read_clip": "sfv.media.clips",
    "read_note": "sfv.media.notes",
    "read_picture": "sfv.media.pictures",
    "read_sticker": "sfv.media.pictures",
    "scaled": "sfv.media.pictures",
    "read_video_bytes": "sfv.media.clips",
    "replacing": "sfv.system.files",
    "side_by_side": "sfv.media.sheets",
    "soft_edge": "sfv.media.edits",
    "stream_video": "sfv.media.videos",
    "there_and_back": "sfv.media.edits",
    "to_note": "sfv.media.pictures",
    "webp_bytes": "sfv.media.clips",
    "write_clip": "sfv.media.clips",
    "write_picture": "sfv.media.sheets",
}

__all__ = [
    "DamagedVideo",
    "FileFacts",
    "Jump",
    "PICTURE_ENDINGS",
    "VIDEO_ENDINGS",
    "at_rate",
    "cache_folder",
    "check_see_through",
    "contact_sheet",
    "in_step",
    "lettering",
    "file_facts",
    "fit",
    "fit_mask",
    "fit_sticker",
    "flow",
    "flow_fields",
    "flow_to",
    "from_note",
    "has_encoder",
    "is_ours",
    "own_note",
    "is_whole",
    "keep_still",
    "over_white",
    "read_clip",
    "read_note",
    "read_picture",
    "read_sticker",
    "scaled",
    "read_video_bytes",
    "replacing",
    "side_by_side",
    "soft_edge",
    "stream_video",
    "there_and_back",
    "to_note",
    "webp_bytes",
    "write_clip",
    "write_picture",
]


def __getattr__(name: str) -> Any:
    """Names are imported when first used: what only looks at file names must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sfv.media' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
