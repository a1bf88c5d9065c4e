"""What a picture claims to be, read from its header before any pixel is decoded."""

import io
import warnings

from PIL import Image

from sfv.errors import SfvError


def picture_size(data: io.BytesIO, kinds: tuple[str, ...]) -> tuple[int, int]:
    """(height, width) by the header alone; `kinds` are the only decoders that may look (Pillow's names).

    SfvError for what none of them opens. `data` is rewound.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(data, formats=kinds) as picture:
                width, height = picture.size
    except Image.DecompressionBombError as error:
        raise SfvError(f"the picture claims an impossible size ({error}); scale it down first") from error
    except Exception as error:  # a hostile header raises whatever its decoder happens to trip over
        raise SfvError(f"the picture's header cannot be read ({type(error).__name__}); save it again") from error
    finally:
        data.seek(0)
    return height, width
