"""Videos -> latent shards: decode, cut, fit, encode; by several processes, in bounded memory, resumable.

Sources are dealt into jobs; a job writes its shards and then its note, so a job with a note is finished and is
never done again. The index is made from the notes alone, so it does not depend on who did what when.
"""

import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from sfv.data.processes import DIED, done_by_processes
from sfv.data.scenes import Left, Look, Window, duplicates, windows
from sfv.data.settings import ClipPlan, EncodeSettings
from sfv.data.shards import Entry, checked_entries, close_index, write_clips
from sfv.data.sources import Source, find
from sfv.errors import SfvError
from sfv.families.base import VideoModel, fingerprint
from sfv.families.load import load
from sfv.media import at_rate, replacing, stream_video
from sfv.media.pictures import Uint8Picture
from sfv.system.device import pick_device
from sfv.system.files import make_folder, not_in_the_way

PER_JOB, PER_SHARD = 16, 32
Note = dict[str, Any]
PLAN, PLANNED = "plan.json", {"kind", "codec", "plan", "sources"}
"""What is written first, by which a folder of shards is known, and fields that it has had from the first version on."""
MADE = re.compile(r"index\.json|rejected\.jsonl|job-\d+\.json|\.job-\d+\.reading|shard-\d+-\d+\.safetensors")
"""Names of everything else that is written."""


@dataclass(frozen=True)
class Job:
    """A few sources, and where their note goes."""

    number: int
    sources: tuple[Source, ...]
    out: Path
    left_out: tuple[str, ...] = ()
    """Sources that killed the process that read them."""

    @property
    def mark(self) -> Path:
        """Holds the source that is being read."""
        return self.out / f".job-{self.number:05d}.reading"

    def without(self, part: str) -> "Job":
        """The same with a source left out."""
        return replace(self, left_out=(*self.left_out, part))

    @property
    def note(self) -> Path:
        """Written when the job is finished."""
        return self.out / f"job-{self.number:05d}.json"


@dataclass(frozen=True)
class Encoded:
    """A clip that waits to be written: latents (f, c, y, x), embedding (1, e), first frame (h, w, 3)."""

    source: Source
    first: int
    motion: float
    look: Look
    latents: Tensor
    embed: Tensor
    picture: Uint8Picture


def encode_videos(
    places: Sequence[str], model: str, out: Path, settings: EncodeSettings | None = None, device: str = "auto"
) -> str:
    """Encode every video of `places` with a model's codec and picture encoder; returns the lines to print.

    Raises SfvError if nothing is found, a size does not suit the codec, or `out` was made with another plan, holds
    files of such names that sfv did not write, or the videos themselves.
    """
    sources = find(places)
    _check_place(out, sources)
    loaded = load(model, pick_device(device))
    if loaded.codec.conditioned:
        raise SfvError(f"{loaded.name} learns whole loops from clip stores; shards are for SVD-architecture models")
    settings = settings or EncodeSettings()
    plan = settings.over(loaded.defaults)
    for height, width in plan.buckets():
        loaded.codec.latent_shape(plan.frames, height, width)
    meta = {"kind": "videos", "codec": fingerprint(loaded.codec), "model": loaded.name, "fps": plan.fps}
    meta |= {"frames": plan.frames, "plan": plan.model_dump()}
    make_folder(out)
    _remember(out / PLAN, meta | {"sources": [s.id for s in sources]})
    jobs = [Job(i // PER_JOB, tuple(sources[i : i + PER_JOB]), out) for i in range(0, len(sources), PER_JOB)]
    left = [job for job in jobs if not _finished(job)]
    with tqdm(total=len(sources), initial=len(sources) - sum(len(j.sources) for j in left), unit="video") as bar:
        clips = 0
        for job, count in _work(left, loaded, model, plan, device, settings.workers):
            clips += count
            bar.update(len(job.sources))
            bar.set_postfix(clips=clips)
    return _index(jobs, out, meta, plan)


def _check_place(out: Path, sources: Sequence[Source]) -> None:
    """SfvError if shards would replace what others wrote, or lie among the videos; folders of shards go on."""
    if out.exists():
        make_folder(out)  # or it is a file, which is said here
        not_in_the_way(out / PLAN, PLANNED, [p for p in sorted(out.iterdir()) if MADE.fullmatch(p.name)])
    among = any(Path(s.path).resolve().parent == out.resolve() for s in sources if not s.member)
    if among and not (out / PLAN).exists():
        raise SfvError(f"{out} holds the videos themselves; name a new folder for the shards")


def _finished(job: Job) -> bool:
    """Whether a job has its note, and the shards that the note names; SfvError for a note that cannot be read."""
    return job.note.exists() and all((job.out / f"{c['shard']}.safetensors").exists() for c in _noted(job)["clips"])


def _noted(job: Job) -> Note:
    """A finished job's note."""
    try:
        note: Note = json.loads(job.note.read_text())
        checked_entries(note["clips"])
        for clip in note["clips"]:
            _noted_look(clip)
        if not all(isinstance(r["source"], str) and isinstance(r["why"], str) for r in note["rejected"]):
            raise ValueError("a reason is missing")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SfvError(
            f"{job.note} is damaged or was not written by sfv ({error}); move it away, and the same command does its "
            "videos again"
        ) from error
    return note


def _remember(path: Path, encoding: dict[str, Any]) -> None:
    """Store what the shards are made of; refuse to go on with something else."""
    text = json.dumps(encoding, indent=1)
    if path.exists() and path.read_text() != text:
        raise SfvError(
            f"{path} describes other videos, settings or another codec; use another folder or delete this one"
        )
    with replacing(path) as beside:
        beside.write_text(text)


def _work(
    jobs: list[Job], loaded: VideoModel, model: str, plan: ClipPlan, device: str, workers: int
) -> Iterator[tuple[Job, int]]:
    """Do every job here, or in processes of their own; (job, clips) as each is finished."""
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, do_job(job, loaded, plan)
        return
    share = max(1, (os.cpu_count() or 1) // workers)
    yield from done_by_processes(_do_in_worker, jobs, workers, _start_worker, (model, plan, device, share))


_worker: dict[str, Any] = {}


def _start_worker(model: str, plan: ClipPlan, device: str, threads: int) -> None:
    torch.set_num_threads(threads)
    _worker.update(model=load(model, pick_device(device)), plan=plan)


def _do_in_worker(job: Job) -> int:
    return do_job(job, _worker["model"], _worker["plan"])


def do_job(job: Job, model: VideoModel, plan: ClipPlan) -> int:
    """Encode a job's sources, write shards and then the note; returns the number of clips."""
    clips: list[Note] = []
    rejected: list[Note] = []
    waiting: dict[torch.Size, list[Encoded]] = {}
    for source in job.sources:
        if source.id in job.left_out:
            rejected.append({"source": source.id, "first": -1, "why": DIED})
            continue
        with replacing(job.mark) as path:
            path.write_text(source.id)
        for found in _read(source, plan):
            if isinstance(found, Left):
                rejected.append({"source": source.id, "first": found.first, "why": found.why})
                continue
            some = waiting.setdefault(found.frames.shape, [])
            some.append(_encode(model, source, found))
            if len(some) == PER_SHARD:
                clips += _write(job, waiting.pop(found.frames.shape), len(clips))
    for some in waiting.values():
        clips += _write(job, some, len(clips))
    with replacing(job.note) as path:
        path.write_text(json.dumps({"clips": clips, "rejected": rejected}))
    job.mark.unlink(missing_ok=True)
    return len(clips)


def _read(source: Source, plan: ClipPlan) -> Iterator[Window | Left]:
    """A source's clips; whatever is wrong with the file comes out as Left."""
    try:
        yield from windows(at_rate(stream_video(source.open(), source.id), plan.fps), plan)
    except (SfvError, OSError) as error:
        yield Left(-1, str(error))


@torch.no_grad()
def _encode(model: VideoModel, source: Source, window: Window) -> Encoded:
    pixels = window.frames.permute(0, 3, 1, 2).to(model.device).float() / 127.5 - 1
    latents = model.codec.encode(pixels[None])[0].half().cpu()
    embed = model.conditioner.embed(pixels[:1])[0].half().cpu()
    return Encoded(source, window.first, window.motion, window.look, latents, embed, window.frames[0].clone())


def _write(job: Job, some: list[Encoded], before: int) -> list[Note]:
    """Store encoded clips as one shard; `before` clips of this job lie in others."""
    shard = f"shard-{job.number:05d}-{before:05d}"
    pictures = torch.stack([c.picture for c in some]).permute(0, 3, 1, 2)
    write_clips(job.out, shard, torch.stack([c.latents for c in some]), torch.stack([c.embed for c in some]), pictures)
    count = len(some[0].latents)
    entries = [
        Entry(shard, i * count, count, f"{c.source.id}@{c.first}", c.source.id, 0, c.motion) for i, c in enumerate(some)
    ]
    return [asdict(e) | _look_note(c.look) for e, c in zip(entries, some, strict=True)]


def _look_note(look: Look) -> Note:
    return {"mark": f"{look.bits:048x}", "grid": b64encode(look.grid).decode()}


def _noted_look(note: Note) -> Look:
    """The look in a clip's note; notes of sfv 0.1 without a grid are compared with none."""
    return Look(int(note["mark"], 16), b64decode(note.get("grid", "")))


def _index(jobs: list[Job], out: Path, meta: dict[str, Any], plan: ClipPlan) -> str:
    """Merge the notes: copies out, motion ranked, the rejected listed."""
    notes = [_noted(job) for job in jobs]
    clips = [c for note in notes for c in note["clips"]]
    rejected = [r for note in notes for r in note["rejected"]]
    twins = {} if plan.keep_copies else duplicates([_noted_look(c) for c in clips])
    rejected += [
        {"source": clips[i]["id"], "first": -1, "why": f"looks like {clips[j]['id']}"} for i, j in twins.items()
    ]
    kept = [{k: v for k, v in c.items() if k not in ("mark", "grid")} for i, c in enumerate(clips) if i not in twins]
    with replacing(out / "rejected.jsonl") as path:
        path.write_text("".join(json.dumps(r) + "\n" for r in rejected))
    if not kept:
        raise SfvError(f"no clip could be made of these videos; {out / 'rejected.jsonl'} has the reason for each")
    close_index(out, meta, kept)
    return f"{out}: {len(kept)} clips of {plan.frames} frames; {len(rejected)} left out, see {out / 'rejected.jsonl'}"
