"""Many pictures on a local Ray: the same bytes as without, resumed after a kill, bad files reported."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from mortal import Mortal
from PIL import Image

pytest.importorskip("ray")
os.environ["RAY_worker_niceness"] = "0"  # Ray's own 15 would starve on a machine that tests something else meanwhile

from sfv.batch.compare import example
from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.media import read_clip
from sfv.ray.cluster import cluster, quiet_ray
from sfv.ray.folder import Animator, Watch, animate_folder
from sfv.ray.serving import Running, deployed
from sfv.ray.settings import Spread
from sfv.serve import ServeSettings
from sfv.settings import Settings, Speed

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[Any]:
    """A Ray of two CPUs that the tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent.parent), prepend=os.pathsep)  # for workers: mortal.py
        yield from _started()


def _started() -> Iterator[Any]:
    ray = quiet_ray()
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads as a worker has: another number may round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (24, 40, 3), np.uint8)).save(folder / f"{i:03}.png")
    return folder


def run(*args: object) -> int:
    return main([str(a) for a in args])


def clips(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("[!.]*.mp4")}


def test_the_same_bytes_as_on_one_machine(
    local_ray: Any, one_thread: None, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a bad picture among them, which is told, and exit code 1; then again, when nothing is left but that one."""
    folder = pictures(tmp_path / "in", 9)
    (folder / "004.png").write_bytes(b"not a picture")
    same = ("generate", folder, "--model", tiny_folder, "--steps", 1, "--seed", 5)
    assert run(*same, "-o", tmp_path / "alone") == 1
    capsys.readouterr()
    assert run(*same, "-o", tmp_path / "ray", "--ray") == 1
    said = capsys.readouterr()
    assert "8 made, 1 failed" in said.out and "004.png" in said.err and "Traceback" not in said.err
    assert clips(tmp_path / "ray") == clips(tmp_path / "alone") and len(clips(tmp_path / "ray")) == 8
    lines = [json.loads(line) for line in (tmp_path / "ray" / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == 9 and sum("error" in line for line in lines) == 1
    assert all(line["seconds"] > 0 for line in lines if "error" not in line)
    assert run(*same, "-o", tmp_path / "ray", "--ray", "--json") == 1
    (told,) = capsys.readouterr().out.splitlines()
    assert "error" in json.loads(told)
    assert run(*same, "-o", tmp_path / "ray", "--resume") == 1, "both paths read one manifest"
    assert "0 made, 1 failed" in capsys.readouterr().out


@pytest.mark.long
def test_a_kill_loses_nothing_that_was_made(
    local_ray: Any, one_thread: None, tiny_folder: Path, tmp_path: Path
) -> None:
    """kill -9 of the whole of it in mid-work; the same command goes on, and ends with the bytes of an unbroken run."""
    folder, out = pictures(tmp_path / "in", 24), tmp_path / "out"
    same = ["generate", str(folder), "--model", str(tiny_folder), "--steps", "3", "-o", str(out), "--ray"]
    command = [sys.executable, "-m", "sfv", *same, "--ray-workers", "1"]
    book = out / "manifest.jsonl"
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not (book.exists() and len(book.read_text().splitlines()) >= 3):
            assert time.monotonic() < deadline and started.poll() is None, "nothing was made"
            time.sleep(0.02)
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    kept = [json.loads(line)["out"] for line in book.read_text().splitlines() if line.endswith("}")]
    before = {name: (out / name).stat().st_mtime_ns for name in kept}
    assert 3 <= len(kept) < 24, "the kill came too late to show anything"
    assert run(*same) == 0
    after = {name: (out / name).stat().st_mtime_ns for name in kept}
    assert len(clips(out)) == 24 and after == before
    assert run("generate", folder, "--model", tiny_folder, "--steps", 3, "-o", tmp_path / "alone") == 0
    assert clips(out) == clips(tmp_path / "alone")


@pytest.mark.long
def test_a_picture_that_kills_its_worker_is_left_out(
    local_ray: Any, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends its process every time: it alone is an error, the others are made."""
    folder = pictures(tmp_path / "in", 12)
    monkeypatch.setattr("sfv.ray.folder.Animator", Mortal)
    given = ([folder], str(tiny_folder), Settings(steps=1), tmp_path / "out")
    reports = list(animate_folder(*given, spread=Spread(ray_workers=1)))
    assert len(reports) == 12
    assert [Path(r["image"]).name for r in reports if "error" in r] == ["007.png"]
    assert "worker process died of it twice" in next(r["error"] for r in reports if "error" in r)
    assert len(clips(tmp_path / "out")) == 11


def test_a_model_that_cannot_be_opened_is_one_sentence(
    local_ray: Any, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    unet = model / "unet" / "diffusion_pytorch_model.safetensors"
    unet.write_bytes(unet.read_bytes()[:1000])
    folder = pictures(tmp_path / "in", 3)
    assert run("generate", folder, "--model", model, "-o", tmp_path / "out", "--ray", "--ray-workers", 1) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("sfv: ") and "safetensors" in said[-1] and not any("Traceback" in s for s in said)


def test_what_is_unexpected_is_a_report(
    local_ray: Any, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture whose file vanished, and an error that nobody foresaw."""
    watch = local_ray.remote(num_cpus=0)(Watch).remote()
    names = local_ray.put([("missing.png", "x.mp4"), ("b.png", "y.mp4")])
    animator = Animator([names], [watch], 1, "tiny", str(tiny_folder), Settings(steps=1), Speed(), "cpu")
    (first,) = animator({"item": np.arange(1)})
    assert "does not exist" in json.loads(first["report"][0])["error"]

    def fails(*_: Any, **__: Any) -> Iterator[Any]:
        raise RuntimeError("odd")

    monkeypatch.setattr("sfv.ray.folder.animate_pairs", fails)
    (second,) = animator({"item": np.arange(1, 2)})
    assert second["id"] == [1] and "b.png: unexpected RuntimeError: odd" in json.loads(second["report"][0])["error"]


@pytest.mark.long
@pytest.mark.weights
def test_the_service_runs_on_ray_serve(local_ray: Any, tmp_path: Path) -> None:
    """The same application: a real clip by /v1/animate, and the same by /v1/videos, beside somebody else's."""
    from ray import serve

    from sfv.serve import Client

    class Other:
        """Somebody else's application: inside a function, so that Ray carries its code."""

        def __call__(self, _: Any) -> str:
            return "other"

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = ServeSettings(data=tmp_path / "data")
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(serve.deployment(Other).bind(), name="other", route_prefix="/other")
    with pytest.raises(SfvError, match=f"listens on 127.0.0.1:{port}"):
        with deployed(local_ray, settings, "127.0.0.1", port + 1, Spread(ray_workers=1)):
            raise AssertionError
    with deployed(local_ray, settings, "127.0.0.1", port, Spread(ray_workers=1)):
        with Client(f"http://127.0.0.1:{port}", timeout=300) as client:
            (tmp_path / "a.webp").write_bytes(client.animate(example(), seed=3, format="webp"))
            job = client.wait(client.create(example(), seed=3, format="webp")["id"], 300)
            (tmp_path / "b.webp").write_bytes(client.content(job["id"]))
    assert httpx.get(f"http://127.0.0.1:{port}/other").text == "other"
    assert set(serve.status().applications) == {"other"}
    serve.shutdown()
    assert (tmp_path / "data" / "replica-0").is_dir()
    frames = read_clip(tmp_path / "a.webp")
    assert frames.shape == (72, 128, 128, 3) and (frames[0] != frames[-1]).any()
    assert torch.equal(frames, read_clip(tmp_path / "b.webp"))


def test_a_cluster_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nmore")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(
        SfvError, match=r"^--ray-address 10.0.0.1:6379: no Ray cluster answers \(Could not .*\); `ray start"
    ):
        with cluster(Spread(ray_address="10.0.0.1:6379")):
            raise AssertionError


@pytest.mark.parametrize("deep", [False, True])
def test_a_cluster_that_wants_its_token_says_so(monkeypatch: pytest.MonkeyPatch, deep: bool) -> None:
    """Ray raises its own error where this machine has no token, a ConnectionError from it where it has a wrong one."""
    import ray

    own = type("AuthenticationError", (ray.exceptions.RayError,), {})("InvalidAuthToken")

    def refuse(*_: Any, **__: Any) -> None:
        if deep:
            raise ConnectionError("Failed to connect") from own
        raise own

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(
        SfvError, match=r"^--ray-address 10.0.0.1:6379: the Ray cluster wants its token .*RAY_AUTH_MODE"
    ):
        with cluster(Spread(ray_address="10.0.0.1:6379")):
            raise AssertionError


class FakeServe:
    """Ray Serve's calls, noted; what the cluster has beside is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, already: Running | None, others: Sequence[str] = ()) -> None:
        from ray import serve

        self.calls: list[str] = []
        applications = dict.fromkeys(("sfv", *others))
        monkeypatch.setattr("sfv.ray.serving.running", lambda: already)
        monkeypatch.setattr(serve, "status", lambda: SimpleNamespace(applications=applications))
        for name in ("start", "run", "shutdown"):
            monkeypatch.setattr(serve, name, partial(self.note, name))
        monkeypatch.setattr(serve, "delete", lambda name: self.calls.append(f"delete {name}"))

    def note(self, name: str, /, *_: Any, **__: Any) -> None:
        self.calls.append(name)


CLUSTER = SimpleNamespace(cluster_resources=lambda: {"CPU": 2})
HERE = ("127.0.0.1", 8000)


@pytest.mark.parametrize(
    ("already", "others", "end"),
    [
        (None, (), ["delete sfv", "shutdown"]),
        (None, ("came-later",), ["delete sfv"]),
        (Running(*HERE, {"other": "/other"}), ("other",), ["delete sfv"]),
        (Running(*HERE, {}), (), ["delete sfv"]),
    ],
    ids=["its own", "its own, used by others", "shared", "shared, empty"],
)
def test_what_others_run_on_a_cluster_stays_when_the_service_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, already: Running | None, others: Sequence[str], end: list[str]
) -> None:
    fake = FakeServe(monkeypatch, already, others)
    with deployed(CLUSTER, ServeSettings(data=tmp_path / "data"), *HERE, Spread()):
        assert fake.calls == ["start", "run"]
    assert fake.calls[2:] == end


@pytest.mark.parametrize(
    ("already", "says"),
    [
        (
            Running("0.0.0.0", 8000, {}),
            r"^127.0.0.1:8000: .* listens on 0.0.0.0:8000 .*; give --host 0.0.0.0 --port 8000",
        ),
        (Running("127.0.0.1", 9000, {}), r"give --host 127.0.0.1 --port 9000$"),
        (Running(*HERE, {"mine": "/mine", "default": "/"}), r"belongs to the application default,"),
        (Running(*HERE, {"sfv": "/"}), r"has an application sfv already, of another `sfv serve --ray`; stop that one"),
    ],
    ids=["host", "port", "route", "twice"],
)
def test_a_cluster_where_the_service_would_be_in_the_way_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, already: Running, says: str
) -> None:
    fake = FakeServe(monkeypatch, already)
    with pytest.raises(SfvError, match=says), deployed(CLUSTER, ServeSettings(data=tmp_path), *HERE, Spread()):
        raise AssertionError
    assert fake.calls == []


def test_flags_of_ray_need_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate", pictures(tmp_path / "in", 1), "--ray-workers", 3) == 2
    assert "need --ray" in capsys.readouterr().err
    assert run("generate", tmp_path / "in", "--ray", "--device", "cuda:1") == 1
    assert "use --device cuda" in capsys.readouterr().err


def test_without_the_extra_one_sentence_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run("generate", pictures(tmp_path / "in", 1), "--ray") == 1
    assert 'pip install "sfv[ray]"' in capsys.readouterr().err
