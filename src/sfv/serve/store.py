"""Where pictures and clips are kept: a folder, or an S3-type store. Keys are made here, never taken from a client."""

import errno
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from sfv.errors import SfvError, StoreError
from sfv.media import replacing

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@runtime_checkable
class Store(Protocol):
    """Whole files by key; what `put` has returned from is durable, if it is to last."""

    def put(self, key: str, source: bytes | Path, lasting: bool = True) -> int:
        """Keep bytes, or a file's; how many. StoreError, and then nothing is there."""
        ...

    def read(self, key: str, start: int = 0, count: int | None = None) -> bytes:
        """Bytes from `start`; StoreError if the key is not there."""
        ...

    def delete(self, key: str) -> None:
        """Forget a key, whether it is there or not."""
        ...

    def keys(self, before: float) -> Iterator[str]:
        """Keys that were last written before that time (seconds since 1970)."""
        ...


class Folder:
    """Files under one folder: written beside, flushed to the disk, renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{root} cannot be made ({error.strerror}); choose another folder") from error

    def _path(self, key: str) -> Path:
        path = (self.root / key).resolve()
        if not path.is_relative_to(self.root) or path == self.root:
            raise StoreError(f"key {key!r} leaves the store")
        return path

    def put(self, key: str, source: bytes | Path, lasting: bool = True) -> int:
        """Keep bytes, or a file's; how many. StoreError, and then nothing is there. What need not outlive a power cut
        (not `lasting`) is not flushed."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as beside, beside.open("wb") as out, _opened(source) as whence:
                shutil.copyfileobj(whence, out, 1 << 20)
                out.flush()
                if lasting:
                    os.fsync(out.fileno())
            for folder in (path.parent, self.root) if lasting else ():
                _flush(folder)
            return path.stat().st_size
        except OSError as error:
            with suppress(OSError):  # another file of the job may be there
                path.parent.rmdir()
            full = error.errno in FULL
            cure = "free space there" if full else "check the folder"
            raise StoreError(f"the store cannot be written ({error.strerror}); {cure} and try again", full) from error

    def read(self, key: str, start: int = 0, count: int | None = None) -> bytes:
        """Bytes from `start`; StoreError if the key is not there."""
        try:
            with self._path(key).open("rb") as file:
                file.seek(start)
                return file.read(-1 if count is None else count)
        except OSError as error:
            raise StoreError(f"{key} cannot be read ({error.strerror})") from error

    def delete(self, key: str) -> None:
        """Forget a key, and its folder if that is empty; StoreError if it stays."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{key} cannot be deleted ({error.strerror}); check the rights of its folder") from error
        try:
            path.parent.rmdir()
        except OSError:  # not empty, or gone already
            return

    def keys(self, before: float) -> Iterator[str]:
        """Keys that were last written before that time (seconds since 1970), unfinished ones included; what cannot be
        looked at is passed over. StoreError if the folder cannot be listed."""
        try:
            for path in self.root.glob("*/*"):
                with suppress(OSError):
                    if path.is_file() and path.stat().st_mtime < before:
                        yield str(path.relative_to(self.root))
        except OSError as error:
            raise StoreError(f"the store cannot be listed ({error.strerror}); check the folder") from error


class Bucket:
    """Objects under a prefix of an S3-type store; credentials and endpoint come from the environment, as boto3 does."""

    def __init__(self, bucket: str, prefix: str) -> None:
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise SfvError('an S3 store needs boto3; pip install "sfv[s3]"') from error
        self.bucket, self.prefix = bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.client: Any = boto3.client("s3")
        self.errors = (BotoCoreError, ClientError)

    def put(self, key: str, source: bytes | Path, lasting: bool = True) -> int:
        """Keep bytes, or a file's; how many. An object is there whole or not at all."""
        try:
            with _opened(source) as whence:
                self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=whence)
                return whence.tell()
        except self.errors as error:
            raise StoreError(f"s3://{self.bucket} cannot be written ({type(error).__name__})") from error

    def read(self, key: str, start: int = 0, count: int | None = None) -> bytes:
        """Bytes from `start`; StoreError if the key is not there."""
        end = "" if count is None else str(start + count - 1)
        try:
            found = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key, Range=f"bytes={start}-{end}")
            return bytes(found["Body"].read())
        except self.errors as error:
            raise StoreError(f"{key} cannot be read from s3://{self.bucket} ({type(error).__name__})") from error

    def delete(self, key: str) -> None:
        """Forget a key, whether it is there or not."""
        try:
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)
        except self.errors as error:
            raise StoreError(f"{key} cannot be deleted from s3://{self.bucket} ({type(error).__name__})") from error

    def keys(self, before: float) -> Iterator[str]:
        """Keys that were last written before that time (seconds since 1970)."""
        try:
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix):
                for entry in page.get("Contents", ()):
                    if entry["LastModified"].timestamp() < before:
                        yield str(entry["Key"]).removeprefix(self.prefix)
        except self.errors as error:
            raise StoreError(f"s3://{self.bucket} cannot be listed ({type(error).__name__})") from error


def open_store(where: str | None, data: Path) -> Store:
    """s3://BUCKET/PREFIX, a folder, or `data`/files."""
    if where and where.startswith("s3://"):
        parts = urlsplit(where)
        if not parts.netloc:
            raise SfvError(f"store {where} names no bucket; write s3://BUCKET/PREFIX")
        return Bucket(parts.netloc, parts.path)
    if where and "://" in where:
        raise SfvError(f"store {where} must be a folder or s3://BUCKET/PREFIX")
    return Folder(Path(where) if where else data / "files")


def _opened(source: bytes | Path) -> Any:
    return source.open("rb") if isinstance(source, Path) else io.BytesIO(source)


def _flush(folder: Path) -> None:
    """A rename is durable only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
