"""The package that OpenAI publishes, against `sfv serve`: a picture becomes a video, refusals are its own errors."""

import io
from typing import Any

import httpx
import openai
import pytest
from PIL import Image
from serving import live, png
from starlette.datastructures import FormData, UploadFile

from sfv.serve.form import CURL, malformed, understood

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
"""OpenAI's own video service has ended; its clients and their form are in use elsewhere."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with live(tmp_path_factory.mktemp("openai") / "data") as server:
        yield openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_a_picture_and_a_prompt_become_a_video(client: Any) -> None:
    made = client.videos.create_and_poll(
        prompt="the cat nods " * 200,
        input_reference=("cat.png", png(), "image/png"),
        size="64x32",
        model="quick",
        poll_interval_ms=50,
        extra_body={"format": "webp"},
    )
    assert (made.status, made.progress, made.model, made.size) == ("completed", 100, "quick", "64x32")
    with Image.open(io.BytesIO(client.videos.download_content(made.id).read())) as clip:
        assert clip.format == "WEBP"
    assert made.settings["size"] == "32x64", "theirs is WIDTHxHEIGHT, ours HEIGHTxWIDTH"
    assert made.id in [v.id for v in client.videos.list(limit=5).data]
    assert client.videos.retrieve(made.id).error is None
    assert client.videos.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError) as gone:
        client.videos.retrieve(made.id)
    assert gone.value.type == "not_found_error"


def test_the_head_of_a_clip_may_be_asked_for(client: Any) -> None:
    """Over a real connection, which is then used for the clip itself."""
    made = client.videos.create_and_poll(
        prompt="", input_reference=("cat.png", png(), "image/png"), poll_interval_ms=50
    )
    with httpx.Client(base_url=str(client.base_url)) as plain:
        head, whole = (plain.request(method, f"videos/{made.id}/content") for method in ("HEAD", "GET"))
    assert head.status_code == 200 and head.content == b"" and head.headers["content-type"] == "video/mp4"
    assert int(head.headers["content-length"]) == len(whole.content) > 0


def test_what_is_left_out_is_said(client: Any) -> None:
    video = client.videos.create(prompt="a dance", input_reference=("cat.png", png(), "image/png"))
    assert "reads no words" in video.note
    assert client.videos.create(prompt="", input_reference=("cat.png", png(), "image/png")).note is None


def test_models_that_read_words_get_them() -> None:
    form = FormData({"picture": UploadFile(io.BytesIO(png()), filename="cat.png"), "prompt": "a dance"})
    assert understood(form, prompted=True)[1:] == ({"prompt": "a dance"}, None)
    _, rest, note = understood(form, prompted=False)
    assert rest == {} and note is not None and "reads no words" in note


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "the field picture is missing"),
        ({"input_reference": ("cat.txt", b"no picture", "text/plain")}, "picture"),
        ({"input_reference": ("cat.png", png(), "image/png"), "model": "sora-2"}, "model"),
        ({"input_reference": ("cat.png", png(), "image/png"), "seconds": "soon"}, "seconds"),
    ],
)
def test_refusals_have_a_type_and_a_sentence(client: Any, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(openai.APIStatusError, match=says) as refused:
        client.videos.create(prompt="x", **asked)
    assert refused.value.type == "invalid_request_error" and refused.value.status_code in (400, 415, 422)


PART = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n1\r\n'
MALFORMED = {
    "twice": (PART.format("seed") * 2 + PART.format("steps") + "--b--", "b", "seed: given more than once; give each"),
    "no form": ("what", "b", "no multipart form, or ends before its last boundary; send it as curl"),
    "no boundary": (PART.format("seed") + "--b--", "", "names no boundary; leave that header to the client"),
    "many fields": ("".join(PART.format(f"f{i}") for i in range(33)) + "--b--", "b", "more than 32 fields; give each"),
    "many files": (
        PART.format('f"; filename="a') * 3 + "--b--",
        "b",
        "more than 2 files; send one, in the field picture",
    ),
    "long": (PART.format("seed").replace("1", "1" * 40_000) + "--b--", "b", "more than 32,768 bytes; shorten it"),
    "no name": (PART.format("").replace('; name=""', "") + "--b--", "b", "a part of the form has no name; name each"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_form_that_cannot_be_read_says_what_to_send(client: Any, name: str) -> None:
    sent, boundary, says = MALFORMED[name]
    kind = f"multipart/form-data; boundary={boundary}" if boundary else "multipart/form-data"
    answer = httpx.post(f"{client.base_url}videos", content=sent, headers={"content-type": kind})
    assert answer.status_code == 400 and says in answer.json()["error"]["message"]


def test_what_starlette_may_say_one_day_is_a_sentence_with_a_cure() -> None:
    assert str(malformed("Odd data.")) == f"the form cannot be read (Odd data); send it as {CURL}"


def test_an_address_or_method_that_there_is_not_says_where_to_look(client: Any) -> None:
    server = str(client.base_url).removesuffix("/v1/")
    for method, path, status, says in (
        ("GET", "/v2/videos", 404, "/v2/videos is no address of this service; /docs lists all of them"),
        ("PUT", "/v1/videos", 405, "/v1/videos does not take PUT; /docs says what it takes"),
    ):
        answer = httpx.request(method, server + path)
        assert answer.status_code == status and says in answer.json()["error"]["message"]


def test_only_the_clip_is_kept(client: Any) -> None:
    video = client.videos.create(prompt="x", input_reference=("cat.png", png(), "image/png"))
    for variant in ("thumbnail", "spritesheet"):
        with pytest.raises(openai.UnprocessableEntityError, match="variant: input should be 'video'"):
            client.videos.download_content(video.id, variant=variant)  # type: ignore[arg-type]


def test_one_picture_is_enough(client: Any) -> None:
    """A form of both fields is refused."""
    with pytest.raises(openai.BadRequestError, match="one and the same"):
        client.post(
            "/videos",
            cast_to=object,
            body={"prompt": "x"},
            files={"picture": ("a.png", png()), "input_reference": ("b.png", png())},
            options={"headers": {"Content-Type": "multipart/form-data"}},
        )
