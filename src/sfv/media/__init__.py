"""Files <-> uint8 tensors: pictures, clips, sheets. The only importer of PyAV, Pillow and OpenCV; knows no model."""

from sfv.media.clips import (
    check_see_through,
    has_encoder,
    read_clip,
    read_note,
    read_video_bytes,
    webp_bytes,
    write_clip,
)
from sfv.media.edits import fit_mask, keep_still, soft_edge, there_and_back
from sfv.media.motion import flow, flow_fields, flow_to
from sfv.media.pictures import (
    PICTURE_ENDINGS,
    fit,
    fit_sticker,
    from_note,
    over_white,
    read_picture,
    read_sticker,
    to_note,
)
from sfv.media.sheets import contact_sheet, side_by_side, write_picture
from sfv.media.videos import VIDEO_ENDINGS, DamagedVideo, at_rate, stream_video
from sfv.system.files import cache_folder, replacing

__all__ = [
    "VIDEO_ENDINGS",
    "DamagedVideo",
    "at_rate",
    "stream_video",
    "PICTURE_ENDINGS",
    "cache_folder",
    "check_see_through",
    "contact_sheet",
    "fit",
    "fit_mask",
    "fit_sticker",
    "flow",
    "flow_fields",
    "flow_to",
    "from_note",
    "has_encoder",
    "keep_still",
    "over_white",
    "read_clip",
    "read_note",
    "read_picture",
    "read_sticker",
    "read_video_bytes",
    "replacing",
    "side_by_side",
    "soft_edge",
    "there_and_back",
    "to_note",
    "webp_bytes",
    "write_clip",
    "write_picture",
]
