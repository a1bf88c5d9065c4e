"""A small client of the service.

with Client("http://127.0.0.1:8000") as client:
    Path("cat.mp4").write_bytes(client.animate("cat.png", seed=3))
"""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from sfv.errors import ServiceError, SfvError

Video = dict[str, Any]
"""A video as the service describes it: id, status, progress, error, ... (docs/serve.md)."""
ENDED = ("completed", "failed", "cancelled")


class Client:
    """Talks to one service. Every method raises ServiceError for a refusal, with the service's own sentence.

    `patience`: seconds that a full or starting service (429, 503) is asked again, as its Retry-After says.
    """

    def __init__(self, url: str, key: str | None = None, patience: float = 60, timeout: float = 180) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self.patience = patience
        self.http = httpx.Client(base_url=url, headers=headers, timeout=timeout)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self.http.close()

    def animate(self, picture: Path | str | bytes, **settings: Any) -> bytes:
        """The clip's file of a picture's file; `settings` are those of `sfv generate`, and `format`."""
        return self._send("/v1/animate", picture, settings).content

    def create(self, picture: Path | str | bytes, **settings: Any) -> Video:
        """Ask for a clip; the video that will hold it."""
        return dict(self._send("/v1/videos", picture, settings).json())

    def get(self, name: str) -> Video:
        """What has become of a video."""
        return dict(self._ask("GET", f"/v1/videos/{name}").json())

    def list(self, limit: int = 20, after: str = "", order: str = "desc") -> Sequence[Video]:
        """One page of videos by age."""
        query: dict[str, str | int] = {"limit": limit, "after": after, "order": order}
        found: Sequence[Video] = self._ask("GET", "/v1/videos", params=query).json()["data"]
        return found

    def events(self, name: str) -> Iterator[Video]:
        """The video at every change until it has ended."""
        with self.http.stream("GET", f"/v1/videos/{name}/events") as answer:
            if answer.is_error:
                answer.read()
                raise _error(answer)
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def wait(self, name: str, timeout: float = 3600) -> Video:
        """The video once it is completed; ServiceError if it fails or is cancelled, or `timeout` seconds pass."""
        end = time.monotonic() + timeout
        pause = 0.05
        while (video := self.get(name))["status"] not in ENDED:
            if time.monotonic() > end:
                raise ServiceError(f"{name} is still {video['status']} after {timeout:g} s; wait longer")
            time.sleep(pause)
            pause = min(1.0, 1.5 * pause)
        if video["status"] != "completed":
            why = video["error"] or {"code": video["status"], "message": f"{name} was {video['status']}"}
            raise ServiceError(why["message"], code=why["code"])
        return video

    def content(self, name: str) -> bytes:
        """The clip's file of a completed video."""
        return self._ask("GET", f"/v1/videos/{name}/content").content

    def delete(self, name: str) -> Video:
        """Cancel a video that is queued or in progress; remove one that has ended."""
        return dict(self._ask("DELETE", f"/v1/videos/{name}").json())

    def _send(self, path: str, picture: Path | str | bytes, settings: dict[str, Any]) -> httpx.Response:
        data = picture if isinstance(picture, bytes) else _bytes(Path(picture))
        fields = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in settings.items() if v is not None}
        return self._ask("POST", path, files={"picture": ("picture", data)}, data=fields)

    def _ask(self, method: str, path: str, **what: Any) -> httpx.Response:
        end = time.monotonic() + self.patience
        while True:
            try:
                answer = self.http.request(method, path, **what)
            except httpx.HTTPError as error:
                raise ServiceError(f"{self.http.base_url} cannot be reached ({error}); is it running?") from error
            if not answer.is_error:
                return answer
            refused = _error(answer)
            if refused.status not in (429, 503) or time.monotonic() + refused.again > end:
                raise refused
            time.sleep(refused.again)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SfvError(f"{path} cannot be read ({error.strerror}); check the path") from error


def _error(answer: httpx.Response) -> ServiceError:
    try:
        why = answer.json()["error"]
        code, sentence = str(why["code"]), str(why["message"])
    except (ValueError, KeyError, TypeError):  # not our service, or a proxy's own answer
        code, sentence = "http", f"the service answered {answer.status_code}"
    again = answer.headers.get("retry-after", "")
    return ServiceError(sentence, answer.status_code, code, float(again) if again.isdigit() else 1.0)
