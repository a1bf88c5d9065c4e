"""Errors that a user is meant to read; each is one sentence. Imports nothing of the package.

SfvError
+-- FlagError        a flag of the command line (exit code 2; all others 1)
+-- DiskError        a file that the disk does not take
+-- DamagedVideo     a video that ends in the middle
+-- UploadError      bytes sent to a server that are no picture it takes
+-- RequestError     a request of the page
+-- Refusal          a request of the service that is not taken on
+-- QueueFull        the service's queue
+-- StoreError       where the service keeps files
+-- DatabaseError    where the service keeps jobs
+-- ServiceError     what sfv.serve.Client was answered
"""


class SfvError(Exception):
    """Bad input: one sentence naming the file or field, the cause and the cure."""


class FlagError(SfvError):
    """A flag's value is impossible."""


class DiskError(SfvError, OSError):
    """A file could not be written, for want of room or of leave: an OSError too, for who catches those."""

    def __init__(self, sentence: str, number: int = 0, why: str = "") -> None:
        super().__init__(sentence)
        self.errno, self.strerror = number, why

    def __str__(self) -> str:
        return str(self.args[0])


class DamagedVideo(SfvError):
    """The video ended in the middle; the frames before are good."""


class UploadError(SfvError):
    """An upload that is refused, with the HTTP status that says why: 400, 413, 415 or 422."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class RequestError(SfvError):
    """A request that gets one sentence and a status."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class ServiceError(SfvError):
    """The service refused. `status`: HTTP status, 0 if it could not be reached; `code`: its word for programs."""

    def __init__(self, sentence: str, status: int = 0, code: str = "unreachable", again: float = 0) -> None:
        super().__init__(sentence)
        self.status, self.code, self.again = status, code, again


class Refusal(SfvError):
    """A request that is not taken on: HTTP status, a word for programs, and seconds after which to try again."""

    def __init__(self, status: int, code: str, sentence: str, again: int = 0) -> None:
        super().__init__(sentence)
        self.status, self.code, self.again = status, code, again


class QueueFull(SfvError):
    """As many jobs wait as may."""


class DatabaseError(SfvError):
    """The database does not do what it was asked. `full`: for want of room; `detail` is for the server's log alone."""

    def __init__(self, detail: str) -> None:
        super().__init__("the jobs' database does not answer as it should; try again later")
        self.detail = detail
        self.full = "is full" in detail or "No space" in detail


class StoreError(SfvError):
    """Something could not be kept or read. `full`: for want of room."""

    def __init__(self, sentence: str, full: bool = False) -> None:
        super().__init__(sentence)
        self.full = full


def reason(error: Exception) -> str:
    """What an error says, without its number and the name of the file, which our sentence gives."""
    return getattr(error, "strerror", None) or str(error)


def failure(error: SfvError | OSError, file: object) -> str:
    """The sentence of an error that ends the work on one file alone: ours, or one for the system's."""
    if isinstance(error, SfvError):
        return str(error)
    return f"{error.filename or file}: {reason(error)}; see whether there is room, and the right to read and write"


UNGUARDED = (
    "worker processes ended before they began; a script that uses workers must be a file and start its work under "
    'if __name__ == "__main__":'
)
