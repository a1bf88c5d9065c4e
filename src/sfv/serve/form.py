"""Fields of a request's form: ours, or those that OpenAI's clients send to a video service.

Theirs (platform.openai.com/docs/api-reference/videos): `input_reference` is the picture, `size` is WIDTHxHEIGHT,
`seconds` the length, `prompt` what happens in words: it is left out, and said to be, for models that read none.
"""

import re
from typing import Any

from starlette.datastructures import FormData, UploadFile

from sfv.errors import UploadError

PICTURE, REFERENCE = "picture", "input_reference"
LONGEST = 32_768
"""Bytes of one field: prompts are long."""


def understood(form: FormData, prompted: bool) -> tuple[UploadFile, dict[str, Any], str | None]:
    """The picture's file, the settings, and what the client should know; UploadError for a form without a picture.

    `prompted`: whether the model reads words.
    """
    if len({name for name, _ in form.multi_items()}) < len(form.multi_items()):
        raise UploadError(400, "a field is given twice; give each once")
    files = {name: value for name in (PICTURE, REFERENCE) if isinstance(value := form.get(name), UploadFile)}
    if len(files) > 1:
        raise UploadError(400, f"{PICTURE} and {REFERENCE} are one and the same; give one of them")
    if not files:
        raise UploadError(400, f"the field {PICTURE} is missing; send a picture's file in it (or in {REFERENCE})")
    dropped = bool(form.get("prompt")) and not prompted
    rest = {k: v for k, v in form.items() if k not in (PICTURE, REFERENCE) and (prompted or k != "prompt")}
    note = "prompt was left out: the model moves the picture and reads no words" if dropped else None
    if REFERENCE in files and isinstance(size := rest.get("size"), str) and re.fullmatch(r"\d+x\d+", size):
        rest["size"] = "x".join(reversed(size.split("x")))
    return next(iter(files.values())), rest, note
