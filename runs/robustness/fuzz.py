"""Mutations of good files into every reader: an answer or one sentence each, no traceback, no hang, little memory.

    python runs/robustness/fuzz.py --mutations 20000 --out docs/results/fuzz.json

Each kind of file is read in a process of its own, which is killed after --seconds without an answer and goes on after
what stopped it. A mutation is known by its kind and number: `--only png --first 17 --mutations 1` makes it again, and
`--keep FOLDER` keeps the files that failed. Exit code 1 if anything failed.
"""

import argparse
import contextlib
import io
import json
import logging
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sfv.errors import SfvError

MEGABYTES = 2048
KINDS = ["png", "jpg", "gif", "webp", "avif", "tiff", "bmp", "mp4", "mkv", "ts", "clip.mp4", "clip.gif", "clip.webp"]
KINDS += ["clip.png", "manifest.jsonl", "list.csv", "list.jsonl", "tar", "shards", "model", "body"]
Reader = Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """Where mutations are put, of which good bytes, and what reads them there: mutation i goes to the i-th place."""

    places: dict[Path, list[bytes]]
    read: Reader


def mutated(seeds: list[bytes], random_: random.Random) -> bytes:
    """One to six changes: bits, bytes, numbers, and pieces left out, doubled, moved, filled or cut off."""
    data = bytearray(random_.choice(seeds))
    head = random_.random() < 0.5  # half of them where headers are
    for _ in range(random_.choice([1, 1, 1, 2, 3, 6])):
        if not data:
            break
        at = random_.randrange(min(len(data), 400) if head else len(data))
        length = random_.randint(1, max(1, min(len(data) - at, 64)))
        way = random_.randrange(9)
        if way == 0:
            data[at] ^= 1 << random_.randrange(8)
        elif way == 1:
            data[at] = random_.choice([0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)])
        elif way == 2:
            data[at : at + 4] = random_.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0"])
        elif way == 3:
            del data[at : at + length]
        elif way == 4:
            data[at:at] = data[at : at + length]
        elif way == 5:
            data[at : at + length] = random_.randbytes(length)
        elif way == 6:
            data[at:at] = random_.randbytes(length)
        elif way == 7:
            other = random_.choice(seeds)
            start = random_.randrange(len(other))
            data[at : at + length] = other[start : start + length]
        else:
            del data[random_.randrange(len(data)) :]
    return bytes(data)


def moving(count: int = 6, side: int = 48, channels: int = 3) -> np.ndarray:
    """A disc that travels over a gradient."""
    y, x = np.mgrid[0:side, 0:side]
    frames = np.zeros((count, side, side, channels), np.uint8)
    for i in range(count):
        disc = (x - 8 - 5 * i) ** 2 + (y - side // 2) ** 2 < 80
        frames[i, ..., 0], frames[i, ..., 1] = np.where(disc, 250, 4 * x), 3 * y
        frames[i, ..., -1] = np.where(disc, 255, 0 if channels == 4 else 90)
    return frames


def picture(kind: str, folder: Path) -> Target:
    from sfv.media import read_picture, read_sticker

    formats = {"jpg": "JPEG"}
    seeds = []
    for mode in ("RGB",) if kind in ("jpg", "bmp") else ("RGB", "RGBA", "P"):
        frames = [Image.fromarray(f) for f in moving(2, channels=4 if mode == "RGBA" else 3)]
        frames = [f.convert("P") for f in frames] if mode == "P" and kind not in ("webp", "avif") else frames
        exif = Image.Exif()
        exif[0x112] = 6
        out = io.BytesIO()
        extra: dict[str, Any] = {} if kind in ("gif", "bmp") else {"exif": exif}
        if kind in ("gif", "webp", "png"):
            extra |= {"save_all": True, "append_images": frames[1:]}
        frames[0].save(out, formats.get(kind, kind.upper()), **extra)
        seeds.append(out.getvalue())

    def read(path: Path) -> None:
        read_picture(path)
        with contextlib.suppress(SfvError):  # opaque
            read_sticker(path)

    return Target({folder / f"a.{kind}": seeds}, read)


def video(kind: str, folder: Path) -> Target:
    import av

    from sfv.data.scenes import windows
    from sfv.data.settings import ClipPlan
    from sfv.media import at_rate, stream_video

    seeds = []
    for codec in ("libx264", "mpeg4"):
        with av.open(str(folder / f"seed.{kind}"), "w") as container:
            stream = container.add_stream(codec, rate=10)
            stream.height, stream.width, stream.pix_fmt = 48, 48, "yuv420p"
            for frame in moving(12):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        seeds.append((folder / f"seed.{kind}").read_bytes())
    plan = ClipPlan(fps=7, frames=4, sizes=("32x32",))
    return Target({folder / f"a.{kind}": seeds}, lambda p: list(windows(at_rate(stream_video(p), 7), plan)))


def clip(kind: str, folder: Path) -> Target:
    from sfv.media import is_ours, is_whole, read_clip, read_note, write_clip

    ending = kind.removeprefix("clip.")
    path = folder / f"seed.{ending}"
    write_clip(
        torch.from_numpy(moving()), path, 12, '{"sfv": "0", "settings": {"fps": 12.0, "steps": 1}, "model": "x"}'
    )

    def read(path: Path) -> None:
        if is_ours(path):
            read_note(path)
            if is_whole(path):
                read_clip(path)

    return Target({folder / f"a.{ending}": [path.read_bytes()]}, read)


def manifest(kind: str, folder: Path) -> Target:
    from sfv.batch.manifest import Manifest

    line = {"image": "a.png", "digest": "d", "out": "a.mp4", "seconds": 0.2, "bytes": 9, "image_bytes": 7}
    text = "".join(json.dumps(line | {"image_time": i, "out": f"{i}.mp4"}) + "\n" for i in range(5)).encode()
    for name in ("a.png", "0.mp4"):
        (folder / name).write_bytes(b"1234567")
    pairs = [(folder / "a.png", folder / "0.mp4")]
    return Target({folder / kind: [text]}, lambda p: Manifest(p.parent, "d").left(pairs))


def sources(kind: str, folder: Path) -> Target:
    import tarfile

    from sfv.data.sources import find

    (folder / "v.mp4").write_bytes(b"x" * 2000)
    if kind == "tar":
        with tarfile.open(folder / "seed.tar", "w") as tar:
            tar.add(folder / "v.mp4", "one/v.mp4")
            tar.add(folder / "v.mp4", "two/v.mp4")
        seeds = [(folder / "seed.tar").read_bytes()]
    elif kind == "list.csv":
        seeds = [b'path,caption\nv.mp4,a\n"v.mp4","b, c"\n', b"\xef\xbb\xbfPath;x\nv.mp4;1\n"]
    else:
        seeds = [b'{"path": "v.mp4", "x": [1, 2]}\n{"path": "v.mp4"}\n']
    return Target({folder / f"a.{kind}": seeds}, lambda p: [s.open() for s in find([str(p)]) if s.member])


def shards(kind: str, folder: Path) -> Target:
    """The index and a shard in turn."""
    from sfv.data.shards import ClipShards, Entry, close_index, write_clips

    write_clips(
        folder, "s", torch.zeros(2, 4, 4, 8, 8).half(), torch.zeros(2, 1, 8).half(), torch.zeros(2, 3, 8, 8).byte()
    )
    entries = [Entry("s", i * 4, 4, f"c{i}", "f", 0, 1.0).__dict__ for i in range(2)]
    close_index(folder, {"kind": "videos", "codec": "c", "fps": 7, "frames": 4, "model": "m"}, entries)

    def read(path: Path) -> None:
        some = ClipShards(folder, "c")
        for i in range(len(some.entries)):
            some.clip(i)

    return Target({folder / n: [(folder / n).read_bytes()] for n in ("index.json", "s.safetensors")}, read)


def model(kind: str, folder: Path) -> Target:
    """Every JSON of a model's folder, and its weights."""
    from sfv.families.load import load, save
    from sfv.families.svd.sizes import TINY, new_model

    save(new_model(TINY, 0), folder / "m")
    files = [p for p in sorted((folder / "m").rglob("*")) if p.suffix in (".json", ".safetensors")]
    return Target({p: [p.read_bytes()] for p in files}, lambda p: load(str(folder / "m")))


def body(kind: str, folder: Path) -> Target:
    """Multipart and form bodies of POST /v1/videos; nothing makes the jobs."""
    from starlette.testclient import TestClient

    from sfv.limits import ModelLimits
    from sfv.serve.animator import ModelInfo
    from sfv.serve.routes import create_app
    from sfv.serve.settings import ServeSettings
    from sfv.settings import Defaults

    app = create_app(ServeSettings(data=folder / "data", queue=100_000))
    own = Defaults(frames=4, height=32, width=32, steps=1, guidance=1)
    limits = ModelLimits("quick", own, 8, decoders=("small",), enlarging=("small",), clear=True)
    app.service.supervisor.model_info = ModelInfo("0" * 16, limits, 2)
    client = TestClient(app)
    out = io.BytesIO()
    Image.fromarray(moving(1)[0]).save(out, "PNG")
    part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    form = part % (b"seed", b"", b"7") + part % (b"motion", b"", b"60") + part % (b"format", b"", b"gif")
    form += part % (b"picture", b'; filename="a.png"\r\nContent-Type: image/png', out.getvalue()) + b"--b--\r\n"

    def read(path: Path) -> None:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        answer = client.post("/v1/videos", content=path.read_bytes(), headers=headers)
        if answer.status_code >= 500:
            raise RuntimeError(f"HTTP {answer.status_code}: {answer.text[:200]}")
        if answer.status_code >= 400:
            raise SfvError(answer.text)

    return Target({folder / "body": [form]}, read)


MAKERS = {
    "clip": clip,
    "manifest": manifest,
    "list": sources,
    "tar": sources,
    "shards": shards,
    "model": model,
    "body": body,
}


def target(kind: str, folder: Path) -> Target:
    """What is tried of one kind."""
    if kind in ("mp4", "mkv", "ts"):
        return video(kind, folder)
    return MAKERS.get(kind.split(".")[0], picture)(kind, folder)


def tried(good: Target, kind: str, number: int) -> tuple[str, str]:
    """("taken" or "refused" or "traceback" or "changed", what was said) of one mutation."""
    path = list(good.places)[number % len(good.places)]
    data = mutated(good.places[path], random.Random(f"{kind} {number}"))
    path.write_bytes(data)
    said = "taken", ""
    try:
        good.read(path)
    except SfvError as error:
        said = (
            ("refused", str(error)) if str(error) and "\n" not in str(error) else ("traceback", f"sentence {error!r}")
        )
    except Exception as error:  # what this script looks for
        said = "traceback", f"{type(error).__name__}: {error}"
    if path.read_bytes() != data:
        said = "changed", "the file was changed by reading it"
    if len(good.places) > 1:
        path.write_bytes(good.places[path][0])
    return said


def work(kind: str, first: int, end: int, pipe: Connection) -> None:
    """In a process of its own: say the number before each, and what came of it after."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        good = target(kind, Path(folder))
        for number in range(first, end):
            pipe.send((number, "", "", 0))
            said, why = tried(good, kind, number)
            pipe.send((number, said, why, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))


def fuzz(kind: str, first: int, count: int, seconds: float) -> dict[str, Any]:
    """All mutations of one kind; what hangs or dies is noted and passed over."""
    result: dict[str, Any] = {"tried": 0, "taken": 0, "refused": 0, "traceback": 0, "changed": 0, "hang": 0, "died": 0}
    result |= {"slowest_s": 0.0, "most_mb": 0, "failed": []}
    number, end = first, first + count
    while number < end:
        here, there = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=work, args=(kind, number, end, there))
        process.start()
        there.close()
        number = _watch(here, process, number, end, result, seconds)
        process.join()
    return result


def _watch(here: Connection, process: Any, number: int, end: int, result: dict[str, Any], seconds: float) -> int:
    """Count what a worker says until it ends or hangs; the number after the last."""
    began, started, wait = time.perf_counter(), False, 120.0  # it imports and makes good files first
    while number < end:
        said, why = "", ""
        if not here.poll(wait):
            process.kill()
            said, why = "hang", f"no answer in {wait:.0f} s"
        else:
            try:
                _, said, why, megabytes = here.recv()
                result["most_mb"] = max(result["most_mb"], megabytes)
            except EOFError:
                process.join()
                said, why = "died", f"exit code {process.exitcode}"
        if not said:
            began, started, wait = time.perf_counter(), True, seconds
            continue
        if said in ("hang", "died") and not started:
            raise SystemExit(f"the worker never began: {why}")
        result["tried"] += 1
        result[said] += 1
        result["slowest_s"] = round(max(result["slowest_s"], time.perf_counter() - began), 2)
        if said not in ("taken", "refused"):
            result["failed"].append({"number": number, "how": said, "why": why[:300]})
        number += 1
        if said in ("hang", "died"):
            break
    return number


def keep(kind: str, failed: list[dict[str, Any]], folder: Path) -> None:
    """Write the mutations that failed."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        good = target(kind, Path(scratch))
        for one in failed:
            path = list(good.places)[one["number"] % len(good.places)]
            data = mutated(good.places[path], random.Random(f"{kind} {one['number']}"))
            (folder / f"{kind}-{one['number']}{path.suffix}").write_bytes(data)


def main() -> int:
    """Fuzz every kind; a line each, a JSON for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=20_000, help="in all")
    parser.add_argument("--only", choices=KINDS, nargs="+", default=KINDS)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation of each kind")
    parser.add_argument("--seconds", type=float, default=10.0, help="without an answer: a hang")
    parser.add_argument("--out", type=Path, help="JSON of the counts")
    parser.add_argument("--keep", type=Path, help="folder for the files that failed")
    args = parser.parse_args()
    table = {}
    for place, kind in enumerate(args.only):
        share = args.mutations // len(args.only) + (place < args.mutations % len(args.only))
        table[kind] = fuzz(kind, args.first, share, args.seconds)
        print(kind, {k: v for k, v in table[kind].items() if k != "failed"}, *table[kind]["failed"][:5], flush=True)
        if args.keep and table[kind]["failed"]:
            keep(kind, table[kind]["failed"], args.keep)
    counts = ("tried", "taken", "refused", "traceback", "changed", "hang", "died")
    total = {k: sum(t[k] for t in table.values()) for k in counts}
    total |= {k: max(t[k] for t in table.values()) for k in ("slowest_s", "most_mb")}
    print("all", total)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"command": sys.argv, "total": total, "kinds": table}, indent=1) + "\n")
    bad = sum(total[k] for k in ("traceback", "changed", "hang", "died"))
    return int(bad > 0 or total["most_mb"] > MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
