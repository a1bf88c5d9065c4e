"""The sticker pipeline at toy size: every part by its command, exact resume, clear refusals."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableVideoDiffusionPipeline
from torch import nn
from toys import Toy
from trainers import train_part

import sfv
from sfv.cli.main import main
from sfv.data.shards import Shards
from sfv.data.stickers import ClipStore, by_family, draw, over_background
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.svd.folder import load
from sfv.families.svd.sizes import TINY, new_codec
from sfv.training import checkpoint
from sfv.training.config import CodecTraining, Schedule
from sfv.training.loop import rate, run, saved
from sfv.training.optimizers import SM3, Muon, orthogonalise
from sfv.training.presets import stages
from sfv.training.seeds import Seeds, generator
from sfv.training.sticker_parts import sticker_batches


def test_every_part_trains_and_the_student_opens_in_diffusers(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(SfvError, match="no trained codec"):
        train_part("picture-encoder", store, folder, "debug")
    for part in ("codec", "picture-encoder", "teacher", "student", "decoder", "matte"):
        assert part in train_part(part, store, folder, "debug")
    model = sfv.load(folder)
    assert (model.defaults.steps, model.defaults.guidance) == (1, 1.0)
    clip = sfv.generate(model, torch.zeros(20, 20, 3, dtype=torch.uint8))
    assert (clip.calls, clip.settings.decoder) == (1, "small")
    assert model.matte is not None
    pipe = StableVideoDiffusionPipeline.from_pretrained(folder)
    assert pipe.scheduler.config.sigma_max == 200.0
    shards = Shards(folder / "runs/shards")
    assert {e.version for e in shards.entries} == {0, 1}
    assert not any(e.family == "f5" for e in shards.entries), "validation clips must never be encoded for training"


def test_dry_run_prints_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--set", "lr=1e-5", "--dry-run", "--device", "cpu"]
    assert main(["train", "student", str(tmp_path), str(tmp_path / "m"), *flags]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["stages"][-1]["lr"] == 1e-5
    assert not (tmp_path / "m").exists()


def test_presets_refuse_unknown_fields() -> None:
    with pytest.raises(SfvError, match="--set steps"):
        stages("debug", "teacher", ("steps=0",))
    with pytest.raises(SfvError, match="--set speed"):
        stages("debug", "teacher", ("speed=1",))


def test_resume_after_sigterm_is_bit_exact(tmp_path: Path) -> None:
    schedule = Schedule(steps=12, warmup=2, log_every=1)
    whole, first, second = Toy(), Toy(stop_at=6), Toy()
    run(whole, schedule, tmp_path / "whole", {})
    with pytest.raises(SfvError, match="stopped at step 7"):
        run(first, schedule, tmp_path / "cut", {})
    run(second, schedule, tmp_path / "cut", {})
    assert first.losses + second.losses == whole.losses
    assert torch.equal(second.net.weight, whole.net.weight)
    averages = [t.averages["net"].state_dict() for t in (whole, second)]
    assert all(torch.equal(averages[0][k], averages[1][k]) for k in averages[0])


def test_a_run_folder_belongs_to_one_configuration(tmp_path: Path) -> None:
    run(Toy(), Schedule(steps=2), tmp_path, {"codec": "a"})
    with pytest.raises(SfvError, match='codec was "a" and is now "b"'):
        run(Toy(), Schedule(steps=2), tmp_path, {"codec": "b"})


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    net = nn.Linear(3, 3)
    checkpoint.save(tmp_path, 5, {"net": net})
    other = nn.Linear(3, 3)
    assert checkpoint.load_latest(tmp_path, {"net": other}) == 5
    assert torch.equal(net.weight, other.weight)
    with pytest.raises(SfvError, match="does not fit"):
        checkpoint.load_latest(tmp_path, {"net": nn.Linear(4, 4)})
    (tmp_path / checkpoint.STATE).write_bytes(b"\1\2\3")
    with pytest.raises(SfvError, match="damaged"):
        checkpoint.load_latest(tmp_path, {"net": other})


def test_what_was_restored_is_apart_from_its_file(tmp_path: Path) -> None:
    task = Toy()
    run(task, Schedule(steps=3), tmp_path, {})
    again, path = Toy(), tmp_path / checkpoint.STATE
    checkpoint.load_latest(tmp_path, saved(again))
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    (wanted, found) = (
        checkpoint.OptimizerState(next(iter(t.optimizers.values())), t.modules).state_dict() for t in (task, again)
    )
    assert wanted and all(torch.equal(found[n][k], v) for n, of_one in wanted.items() for k, v in of_one.items())
    assert torch.equal(again.net.weight, task.net.weight)
    averages = [t.averages["net"].slow for t in (task, again)]
    assert all(torch.equal(averages[1][k], v) for k, v in averages[0].items())


def test_a_state_is_that_of_its_moment_while_training_goes_on(tmp_path: Path) -> None:
    net, other = nn.Linear(3, 3), nn.Linear(3, 3)
    before = net.weight.detach().clone()
    with checkpoint.Writer(tmp_path) as writer:
        writer.save(5, {"net": net}, healthy=True)
        with torch.no_grad():
            net.weight += 1
    assert checkpoint.load_latest(tmp_path, {"net": other}) == 5 and torch.equal(other.weight, before)
    assert (tmp_path / checkpoint.HEALTHY).exists() and writer.seconds > 0


def test_a_state_that_could_not_be_written_is_told_at_the_end(tmp_path: Path) -> None:
    with pytest.raises(SfvError, match="cannot be written"), checkpoint.Writer(tmp_path / "gone") as writer:
        writer.save(5, {"net": nn.Linear(3, 3)})


def test_nan_stops_the_run_with_a_reason(tmp_path: Path) -> None:
    class Nan(Toy):
        def step(self, step: int, seeds: Seeds) -> dict[str, float]:
            return {"loss": float("nan")}

    with pytest.raises(SfvError, match="loss is not finite"):
        run(Nan(), Schedule(steps=2, log_every=1), tmp_path, {})


def test_rate_warms_up_and_decays() -> None:
    s = Schedule(steps=100, warmup=10, decay_from=0.5)
    assert rate(0, s) == pytest.approx(0.1)
    assert rate(40, s) == 1.0
    assert rate(100, s) == pytest.approx(0.02)


def test_generators_differ_by_every_key() -> None:
    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    draws = {float(torch.rand((), generator=generator(*k))) for k in keys}
    assert len(draws) == 4


@pytest.mark.parametrize("shape", [(8, 8), (8, 40), (40, 8)])
def test_newton_schulz_orthogonalises(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert float(values.min()) > 0.5 and float(values.max()) < 1.4


def test_muon_solves_a_matrix_problem() -> None:
    torch.manual_seed(0)
    target, weight = torch.randn(16, 16), nn.Parameter(torch.zeros(16, 16))
    muon = Muon([weight], lr=0.05)
    for _ in range(300):
        loss = (weight - target).square().mean()
        loss.backward()
        muon.step()
        muon.zero_grad()
    assert float(loss.detach()) < 0.02


@pytest.mark.parametrize(("momentum", "beta"), [(0.5, 0.999), (0.0, 0.0), (0.9, 0.5)])
@pytest.mark.parametrize("shape", [(), (5,), (4, 6), (3, 4, 2, 2)])
def test_sm3_is_its_formula(shape: tuple[int, ...], momentum: float, beta: float) -> None:
    """PyTorch-SM3's update, weight by weight in float64: accumulators of each axis, which never fall."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=shape)
    weight = nn.Parameter(torch.tensor(start))
    optimizer = SM3([weight], 0.1, momentum, beta)
    sums = [np.zeros(n) for n in shape] or [np.zeros(())]
    want, moving = start.copy(), np.zeros(shape)
    for step in range(12):
        g = rng.normal(size=shape) * (1.0 if step < 6 else 0.1)
        weight.grad = torch.tensor(g)
        optimizer.step()
        after = [s.copy() for s in sums]
        for place in np.ndindex(*shape):
            mine = [(sums[0], ())] if not shape else [(s, (i,)) for s, i in zip(sums, place, strict=True)]
            low = min(float(s[i]) for s, i in mine)
            v = beta * low + (1 - beta) * g[place] ** 2 if beta else low + g[place] ** 2
            for k, (_, i) in enumerate(mine):
                after[k][i] = max(after[k][i], v)
            moving[place] = momentum * moving[place] + (1 - momentum) * g[place] / (v + 1e-30) ** 0.5
            want[place] -= 0.1 * moving[place]
        assert all((b >= a).all() for a, b in zip(sums, after, strict=True))
        sums = after
    np.testing.assert_allclose(weight.detach().numpy(), want, rtol=1e-9, atol=1e-12)


def test_the_papers_sm3_begins_with_a_large_step() -> None:
    """(1 - momentum) / sqrt(1 - beta) times lr, whatever the gradient: why a warm-up helps."""
    weight = nn.Parameter(torch.zeros(3, 4))
    weight.grad = 0.01 * torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).sign()
    SM3([weight], 1.0).step()
    torch.testing.assert_close(weight.detach().abs(), torch.full((3, 4), 15.811), atol=1e-3, rtol=0)


def test_normalising_latents_keeps_the_pictures(store: Path) -> None:
    """Raw latents get mean 0 and spread 1; the interior of the reconstruction does not change."""
    codec = new_codec(TINY, 0)
    with torch.no_grad():
        for p in codec.parameters():
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
        pixels = torch.rand(2, 3, 3, 32, 32) * 2 - 1
        raw = codec.posterior(pixels)[0]
        mean, std = raw.mean((0, 1, 3, 4)), raw.std((0, 1, 3, 4))
        before = codec.vae.decoder.conv_in(raw[0])
        variance = codec.posterior(pixels)[1].exp()
        codec.normalise(mean, std)
        after = codec.posterior(pixels)[0]
        torch.testing.assert_close(after.mean((0, 1, 3, 4)), torch.zeros(4), atol=1e-4, rtol=0)
        torch.testing.assert_close(after.std((0, 1, 3, 4)), torch.ones(4), atol=1e-4, rtol=0)
        inside = (..., slice(1, -1), slice(1, -1))
        torch.testing.assert_close(codec.vae.decoder.conv_in(after[0])[inside], before[inside], atol=1e-4, rtol=1e-4)
        want = variance / std[:, None, None] ** 2
        torch.testing.assert_close(codec.posterior(pixels)[1].exp(), want, atol=1e-5, rtol=1e-3)


def test_lively_clips_can_be_left_out(store: Path, tiny: VideoModel, tmp_path: Path) -> None:
    batches = sticker_batches(tiny, ClipStore(store), tmp_path)

    def ranks() -> list[float]:
        return [r for i in range(8) for r in batches.pick(Seeds(0, i).clips(4)).motion.tolist()]

    assert max(ranks()) > 150
    batches.motion_most = 120
    assert 0 < max(ranks()) <= 120


def test_families_are_drawn_evenly(store: Path) -> None:
    clips = ClipStore(store).split("train")
    crowd = clips + [clips[0]] * 50
    rng = torch.Generator().manual_seed(0)
    share = sum(draw(by_family(crowd), rng).id == "c0" for _ in range(1000)) / 1000
    assert share == pytest.approx(0.2, abs=0.05)


def test_compositing_changes_only_what_is_transparent(store: Path) -> None:
    s = ClipStore(store)
    rgba = s.rgba(s.clips[1], 0, 2, 1)
    white, green = (
        over_background(rgba, b)
        for b in (torch.ones(3, 32, 32), torch.tensor([0.0, 1, 0])[:, None, None].expand(3, 32, 32))
    )
    inside = (rgba[:, 3:] == 1).expand(-1, 3, -1, -1)
    torch.testing.assert_close(white[inside], green[inside])
    assert float(green[:, 0][rgba[:, 3] == 0].max()) == -1


def test_codec_config_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        CodecTraining(steps=1, clips=1).lr = 3  # type: ignore[misc]


def test_a_part_can_start_from_another_model(begun_svd: Path, store: Path, tmp_path: Path) -> None:
    first, second = begun_svd, tmp_path / "second"
    train_part("teacher", store, second, "debug", ("0.lr=0", "lr=0"), init=first)
    before, after = (load(f, "teacher", torch.float32, "x").denoiser.state_dict() for f in (first, second))
    assert all(torch.equal(before[k], after[k]) for k in before)
    train_part("student", store, second, "debug")
    assert (second / "unet" / "sfv.json").exists()


def test_training_starts_from_the_embedded_model_by_its_name(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Path] = []
    monkeypatch.setattr("sfv.training.train.train_loops", lambda *a: begun.append(a[4]))
    train_part("student", store, tmp_path / "m", "sfv-cpu", init=Path("sticker"))
    assert (begun[0] / "teacher").is_dir()
    with pytest.raises(SfvError, match="nothing is not a model folder .*; name one, or sticker"):
        train_part("student", store, tmp_path / "m", "sfv-cpu", init=Path("nothing"))


def test_a_finished_student_can_be_blended_with_its_teacher(begun_svd: Path, store: Path, tmp_path: Path) -> None:
    shutil.copytree(begun_svd, tmp_path, dirs_exist_ok=True)
    train_part("student", store, tmp_path, "debug", ("lr=0.01",))

    def weight(unet: str) -> torch.Tensor:
        return load(tmp_path, unet, torch.float32, "x").denoiser.state_dict()["unet.conv_in.weight"]

    whole, teacher = weight("unet"), weight("teacher")
    assert not torch.equal(whole, teacher)
    train_part("student", store, tmp_path, "debug", ("lr=0.01", "blend=0.25"))
    torch.testing.assert_close(weight("unet"), teacher + 0.25 * (whole - teacher))


def test_noise_of_an_accelerator_is_one_generators_and_repeats() -> None:
    """On a CPU, as a stand-in for one: a batch at once, the same again from a copy; single numbers stay the clips'."""
    rngs = replace(Seeds(3, 5).clips(4), noise=torch.Generator().manual_seed(1))
    copied, plain = rngs.copy(), Seeds(3, 5).clips(4)
    first = rngs.normal(2, 3)
    assert first.shape == (4, 2, 3) and torch.equal(first, copied.normal(2, 3))
    assert not torch.equal(first, rngs.normal(2, 3))
    assert torch.equal(rngs.normal(), plain.normal())
