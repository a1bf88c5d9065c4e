"""Videos -> shards: what comes out, what is refused, who did it and when must not matter."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from toys import SETTINGS, video

from sfv.cli.main import main
from sfv.data import encode_videos as prepare
from sfv.data.encode_videos import encode_videos
from sfv.data.shards import ClipShards
from sfv.errors import SfvError
from sfv.families.base import fingerprint
from sfv.families.load import load


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    video(folder / "a.mp4", 1, 9)
    video(folder / "b.mp4", 2, 8, (32, 48))
    shutil.copy(folder / "a.mp4", folder / "copy.mp4")
    video(folder / "short.mp4", 3, 1)
    (folder / "zero.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("no video here")
    return folder


def shards(folder: Path) -> dict[str, torch.Tensor]:
    index = json.loads((folder / "index.json").read_text())
    files = sorted({c["shard"] for c in index["clips"]})
    return {f"{f}/{k}": v for f in files for k, v in load_file(folder / f"{f}.safetensors").items()}


def test_shards_hold_what_the_model_makes_of_the_frames(videos: Path, tiny_folder: Path, tmp_path: Path) -> None:
    text = encode_videos([str(videos)], str(tiny_folder), tmp_path, SETTINGS)
    assert "4 clips of 4 frames" in text
    model = load(tiny_folder)
    made = ClipShards(tmp_path, fingerprint(model.codec))
    assert [e.id.rpartition("/")[2] for e in made.entries] == ["a.mp4@0", "a.mp4@4", "b.mp4@0", "b.mp4@4"]
    assert all(e.motion > 0.5 for e in made.entries)
    latents, embed, picture = made.clip(0)
    assert latents.shape == (4, 4, 16, 16) and picture.shape == (3, 32, 32)
    assert made.clip(2)[0].shape == (4, 4, 16, 24)
    with torch.inference_mode():
        want = model.codec.encode(picture[None, None])[0, 0]
        told = model.conditioner.embed(picture[None])[0]
    torch.testing.assert_close(latents[0], want, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(embed, told, atol=2e-3, rtol=2e-3)
    assert sorted(map(len, made.sizes.values())) == [2, 2]


def test_every_rejected_file_is_listed_with_its_reason(videos: Path, tiny_folder: Path, tmp_path: Path) -> None:
    encode_videos([str(videos)], str(tiny_folder), tmp_path, SETTINGS)
    rows = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    why = {(r["source"].rpartition("/")[2], r["why"]) for r in rows}
    for name, reason in [
        ("zero.mp4", "empty"),
        ("text.mp4", "not a readable video"),
        ("short.mp4", "fewer than 4"),
        ("copy.mp4@0", "looks like"),
        ("copy.mp4@4", "looks like"),
        ("a.mp4", "1 frames before a cut or the end"),
    ]:
        assert any(n == name and reason in w for n, w in why), (name, reason, why)


def test_a_joined_video_is_cut_where_its_clock_starts_again(tiny_folder: Path, tmp_path: Path) -> None:
    """Every frame is used, no clip spans the seam, and the report names it."""
    folder = tmp_path / "videos"
    folder.mkdir()
    parts = [video(folder / "part.ts", seed, 8).read_bytes() for seed in (1, 2)]
    (folder / "part.ts").write_bytes(b"".join(parts))
    encode_videos([str(folder)], str(tiny_folder), tmp_path / "out", SETTINGS)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [c["id"].rpartition("@")[2] for c in index["clips"]] == ["0", "4", "8", "12"]
    (row,) = (json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines())
    assert row["first"] == 8 and "clock jumps" in row["why"]


def test_a_killed_run_goes_on_and_ends_the_same(
    videos: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "PER_JOB", 1)
    encode_videos([str(videos)], str(tiny_folder), tmp_path / "whole", SETTINGS)
    done = prepare.do_job

    def dies(job: prepare.Job, *rest: object) -> int:
        if job.number == 2:
            raise KeyboardInterrupt
        return done(job, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(prepare, "do_job", dies)
    with pytest.raises(KeyboardInterrupt):
        encode_videos([str(videos)], str(tiny_folder), tmp_path / "cut", SETTINGS)
    seen: list[int] = []
    monkeypatch.setattr(prepare, "do_job", lambda job, *rest: (seen.append(job.number), done(job, *rest))[1])
    encode_videos([str(videos)], str(tiny_folder), tmp_path / "cut", SETTINGS)
    assert seen == [2, 3, 4, 5], "finished jobs are not done again"
    assert (tmp_path / "cut" / "index.json").read_text() == (tmp_path / "whole" / "index.json").read_text()
    a, b = shards(tmp_path / "whole"), shards(tmp_path / "cut")
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_workers_do_not_change_the_result(
    videos: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "PER_JOB", 2)
    encode_videos([str(videos)], str(tiny_folder), tmp_path / "one", SETTINGS)
    two = SETTINGS.model_copy(update={"workers": 2})
    encode_videos([str(videos)], str(tiny_folder), tmp_path / "two", two)
    assert (tmp_path / "one" / "index.json").read_text() == (tmp_path / "two" / "index.json").read_text()
    a, b = shards(tmp_path / "one"), shards(tmp_path / "two")
    assert all(torch.allclose(a[k].float(), b[k].float(), atol=1e-2) for k in a)


def mortal(job: prepare.Job) -> int:
    """A worker's job; a file with "poison" in its name kills the process that reads it."""
    read = prepare._read

    def deadly(source: prepare.Source, plan: prepare.ClipPlan) -> Iterator[object]:
        if "poison" in source.id:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(source, plan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "_read", deadly)
        return prepare.do_job(job, prepare._worker["model"], prepare._worker["plan"])


@pytest.mark.long
def test_files_that_kill_their_workers_are_reported_and_the_others_made(
    videos: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sfv encode --workers 2` goes on and reports them, and the same command once more has nothing left to do."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name, source in (("a", "a"), ("b-poison", "a"), ("c", "b"), ("d-poison", "a")):
        shutil.copy(videos / f"{source}.mp4", folder / f"{name}.mp4")
    monkeypatch.setattr(prepare, "PER_JOB", 2)
    monkeypatch.setattr(prepare, "_do_in_worker", mortal)
    flags = ["--fps", SETTINGS.fps, "--frames", SETTINGS.frames, "--sizes", *SETTINGS.sizes, "--workers", 2]
    command = [str(word) for word in ("encode", folder, "-o", out, "--model", tiny_folder, *flags)]
    for _ in range(2):
        assert main(command) == 0
        assert capsys.readouterr().out.startswith(f"{out}: 4 clips of 4 frames; 3 left out")
        rows = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
        dead = [Path(row["source"]).name for row in rows if "died twice" in row["why"]]
        assert dead == ["b-poison.mp4", "d-poison.mp4"]
        assert [Path(e.family).name for e in ClipShards(out).entries] == ["a.mp4", "a.mp4", "c.mp4", "c.mp4"]


def test_a_folder_belongs_to_one_plan(videos: Path, tiny_folder: Path, tmp_path: Path) -> None:
    encode_videos([str(videos)], str(tiny_folder), tmp_path, SETTINGS)
    with pytest.raises(SfvError, match="plan.json describes other"):
        encode_videos([str(videos)], str(tiny_folder), tmp_path, SETTINGS.model_copy(update={"fps": 5.0}))
    with pytest.raises(SfvError, match="multiples of 2"):
        odd = SETTINGS.model_copy(update={"sizes": ("33x32",)})
        encode_videos([str(videos)], str(tiny_folder), tmp_path / "odd", odd)


@pytest.mark.parametrize(
    "name", ["index.json", "rejected.jsonl", "shard-00000-00000.safetensors", "job-00000.json", "plan.json"]
)
def test_nobodys_files_are_replaced(
    videos: Path, tiny_folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is anything written beside them; the videos' own folder takes no shards, and a file is no folder."""
    out = tmp_path / "theirs"
    out.mkdir()
    (out / name).write_text('{"a": 1}')
    assert main(["encode", str(videos), "-o", str(out), "--model", str(tiny_folder)]) == 1
    assert f"{out / name} is there and was not written by sfv" in capsys.readouterr().err
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [(name, '{"a": 1}')]


def test_shards_need_a_folder_of_their_own(videos: Path, tiny_folder: Path, tmp_path: Path) -> None:
    before = sorted(videos.iterdir())
    with pytest.raises(SfvError, match="holds the videos themselves; name a new folder"):
        encode_videos([str(videos)], str(tiny_folder), videos, SETTINGS)
    assert sorted(videos.iterdir()) == before
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "shards"):
        with pytest.raises(SfvError, match="notes.txt.* cannot be made a folder"):
            encode_videos([str(videos)], str(tiny_folder), out, SETTINGS)
    encode_videos([str(videos)], str(tiny_folder), tmp_path, SETTINGS)
    assert (tmp_path / "notes.txt").read_text() == "mine", "what has other names may stay"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"clips": [{"shard": "x"}], "rejected": []}'])
def test_a_damaged_note_is_named(videos: Path, tiny_folder: Path, tmp_path: Path, text: str) -> None:
    encode_videos([str(videos)], str(tiny_folder), tmp_path, SETTINGS)
    index, note = (tmp_path / "index.json").read_text(), tmp_path / "job-00000.json"
    note.write_text(text)
    with pytest.raises(SfvError, match=r"job-00000\.json is damaged .* move it away, and the same command"):
        encode_videos([str(videos)], str(tiny_folder), tmp_path, SETTINGS)
    note.unlink()
    encode_videos([str(videos)], str(tiny_folder), tmp_path, SETTINGS)
    assert (tmp_path / "index.json").read_text() == index


def test_a_shard_that_is_gone_is_made_again(videos: Path, tiny_folder: Path, tmp_path: Path) -> None:
    encode_videos([str(videos)], str(tiny_folder), tmp_path, SETTINGS)
    whole = shards(tmp_path)
    next(tmp_path.glob("shard-*.safetensors")).unlink()
    encode_videos([str(videos)], str(tiny_folder), tmp_path, SETTINGS)
    assert shards(tmp_path).keys() == whole.keys()


def test_nothing_usable_is_an_error(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "zero.mp4").write_bytes(b"")
    with pytest.raises(SfvError, match="no clip could be made"):
        encode_videos([str(tmp_path / "in")], str(tiny_folder), tmp_path / "out", SETTINGS)


def test_an_index_that_lies_is_named(videos: Path, tiny_folder: Path, tmp_path: Path) -> None:
    """A clip without its family, of no frames, or past the end of its shard; a shard without embeddings."""
    encode_videos([str(videos)], str(tiny_folder), tmp_path, SETTINGS)
    index = json.loads((tmp_path / "index.json").read_text())

    def lie(**changes: object) -> ClipShards:
        first = {k: v for k, v in (index["clips"][0] | changes).items() if v is not None}
        (tmp_path / "index.json").write_text(json.dumps(index | {"clips": [first, *index["clips"][1:]]}))
        return ClipShards(tmp_path)

    with pytest.raises(SfvError, match=r"clips\.0\.family: Field required"):
        lie(family=None)
    with pytest.raises(SfvError, match=r"clips\.0\.count: Input should be a valid integer"):
        lie(count="four")
    for changes in ({"count": 0}, {"count": 3}, {"count": 8}, {"start": 4000}, {"start": 2}, {"start": -4}):
        with pytest.raises(SfvError, match=r"index\.json is damaged .* holds 4 clips of 4 frames\); delete it"):
            lie(**changes)
    for shard in (f"../{tmp_path.name}/{index['clips'][0]['shard']}", str(tmp_path / "x"), ".."):
        with pytest.raises(SfvError, match="is not the name of a file in this folder"):
            lie(shard=shard)
    shard = tmp_path / f"{index['clips'][0]['shard']}.safetensors"
    save_file({k: v for k, v in load_file(shard).items() if k != "embeds"}, shard)
    with pytest.raises(SfvError, match="is damaged"):
        lie().clip(0)


def test_damaged_and_foreign_shards_are_named(videos: Path, tiny_folder: Path, tmp_path: Path) -> None:
    encode_videos([str(videos)], str(tiny_folder), tmp_path, SETTINGS)
    with pytest.raises(SfvError, match="another codec"):
        ClipShards(tmp_path, "0" * 16)
    shard = next(tmp_path.glob("shard-*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(SfvError, match="damaged"):
        ClipShards(tmp_path)
    shard.unlink()
    with pytest.raises(SfvError, match="encode again"):
        ClipShards(tmp_path)
    with pytest.raises(SfvError, match="no finished shards"):
        ClipShards(tmp_path / "none")
