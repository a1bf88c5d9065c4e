"""Fields of a request's form: ours, or those that OpenAI's clients send to a video service.

Theirs (platform.openai.com/docs/api-reference/videos): `input_reference` is the picture, `size` is WIDTHxHEIGHT,
`seconds` the length, `prompt` what happens in words: it is left out, and said to be, for models that read none.
"""

import re
from collections import Counter
from typing import Any

from starlette.datastructures import FormData, UploadFile

from sfv.errors import UploadError

PICTURE, REFERENCE = "picture", "input_reference"
LONGEST = 32_768
"""Bytes of one field: prompts are long."""
FIELDS, FILES = 32, 2
"""As many of each may a form have."""
CURL = "curl does with -F picture=@cat.png"
MALFORMED = {
    "Invalid multipart": f"the body is no multipart form, or ends before its last boundary; send it as {CURL}",
    "Missing boundary": f"the header content-type names no boundary; leave that header to the client, as {CURL}",
    "Too many fields": f"the form has more than {FIELDS} fields; give each setting once, and nothing else",
    "Too many files": f"the form has more than {FILES} files; send one, in the field {PICTURE}",
    "Field exceeded": f"a field has more than {LONGEST:,} bytes; shorten it, or send a picture as a file, as {CURL}",
    "Part exceeded": f"a field has more than {LONGEST:,} bytes; shorten it, or send a picture as a file, as {CURL}",
    "The Content-Disposition": f"a part of the form has no name; name each, as {CURL}",
}
"""What Starlette says of a form, by its first words, and what a client gets to read."""


def malformed(said: str) -> UploadError:
    """What a client gets for a form that cannot be read, of which Starlette says so."""
    known = (sentence for start, sentence in MALFORMED.items() if said.startswith(start))
    return UploadError(400, next(known, f"the form cannot be read ({said.rstrip('.')}); send it as {CURL}"))


def understood(form: FormData, prompted: bool) -> tuple[UploadFile, dict[str, Any], str | None]:
    """The picture's file, the settings, and what the client should know; UploadError for a form without a picture.

    `prompted`: whether the model reads words.
    """
    counts = Counter(name for name, _ in form.multi_items())
    if twice := [name[:60] for name, count in counts.items() if count > 1]:
        raise UploadError(400, f"{' and '.join(twice)}: given more than once; give each field once")
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
