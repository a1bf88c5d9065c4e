"""Adapters, recomputation, SM3 and accounts: exactness by hand, full-size presets by counting."""

import copy
import json
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import pytest
import torch
from conftest import wiggle
from ranks import Noise
from safetensors.torch import load_file, save_file
from torch import nn
from trainers import dry_run

from sfv.adversary.discriminator import Discriminator
from sfv.costs import outlook
from sfv.costs.account import RANKS, counted_stages
from sfv.costs.training import GB, Account, account, accounts
from sfv.edm.noise import NoiseRange
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import load
from sfv.families.svd.checkpointing import units
from sfv.families.svd.folder import export_lora, trained_adapters
from sfv.families.svd.lora import AdaptedConv, adapted, adapter_state, add_adapters
from sfv.families.svd.networks import SVDDenoiser
from sfv.families.svd.single_file import lora_for_comfyui, lora_for_peft, unet_to_single
from sfv.families.svd.sizes import TINY, Shapes, new_model
from sfv.families.svd.stock_networks import stock_twin
from sfv.families.svd.unet import UNet
from sfv.training.config import StudentTraining
from sfv.training.objectives.adversarial import train_student
from sfv.training.objectives.adversarial_losses import NoiseDraw, generator_losses, judge
from sfv.training.objectives.distil import train_chain
from sfv.training.optimizers import SM3
from sfv.training.presets import PRESETS
from sfv.training.seeds import Seeds

SIGMA = torch.tensor([3.0])


@pytest.fixture
def started(tiny: VideoModel) -> tuple[SVDDenoiser, torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    cond = tiny.conditioner(torch.rand(1, 3, 32, 32) * 2 - 1, fps=7)
    D = copy.deepcopy(tiny.denoiser)
    assert isinstance(D, SVDDenoiser)
    return D, torch.randn(1, 4, 4, 16, 16), cond


def shake(params: list[nn.Parameter]) -> None:
    with torch.no_grad():
        for p in params:
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))


@pytest.mark.parametrize("over_time", [False, True])
def test_adapters_start_at_nothing_switch_off_and_merge(
    started: tuple[SVDDenoiser, torch.Tensor, dict[str, torch.Tensor]], over_time: bool
) -> None:
    D, x, cond = started
    before, names = D(x, SIGMA, cond).detach(), list(D.state_dict())
    params = D.adapt(4, over_time)
    assert any(isinstance(m, AdaptedConv) for m in adapted(D)) is over_time
    assert torch.equal(D(x, SIGMA, cond), before)
    assert {id(p) for p in D.parameters() if p.requires_grad} == {id(p) for p in params}
    shake(params)
    changed = D(x, SIGMA, cond).detach()
    assert float((changed - before).norm() / before.norm()) > 1e-3
    with D.plain():
        assert torch.equal(D(x, SIGMA, cond), before)
    assert torch.equal(D(x, SIGMA, cond), changed)
    keys = D.adapter_state()
    assert len(keys) == len(params) and all(k.startswith("unet.") and k.endswith(".weight") for k in keys)
    D.merge()
    assert list(D.state_dict()) == names and not adapted(D)
    torch.testing.assert_close(D(x, SIGMA, cond).detach(), changed, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("lora", [0, 4])
def test_recomputing_changes_no_gradient(
    started: tuple[SVDDenoiser, torch.Tensor, dict[str, torch.Tensor]], lora: int
) -> None:
    """Of the generator's loss, through the generator and through the backbone with its adapters off."""
    plain, x0, cond = started
    other = copy.deepcopy(plain)
    other.recompute()
    assert len(units(other)) > 5
    n, n_d = torch.randn(2, *x0.shape, generator=torch.Generator().manual_seed(2))
    draw = NoiseDraw(torch.tensor([200.0]), n, torch.tensor([0.4]), n_d, n)
    how = StudentTraining(steps=1, clips=1)
    grads = []
    for teacher in (plain, other):
        torch.manual_seed(0)
        D = Discriminator(teacher)
        G = teacher if lora else copy.deepcopy(teacher).requires_grad_(True)
        params = G.adapt(lora) if lora else G.learnable()
        shake(params)
        seen = judge(G, D, x0, cond, draw)
        judged, near, _ = generator_losses(D, seen, x0, cond, draw, how)
        grads.append(torch.autograd.grad(judged + near, params, allow_unused=True))
    assert any(g is not None and float(g.abs().sum()) > 0 for g in grads[0])
    for a, b in zip(*grads, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-4)


def test_sm3_by_hand() -> None:
    """Two steps on a 2 x 2 matrix, no momentum, no average (beta = 0): the paper's Algorithm SM3-II."""
    w = nn.Parameter(torch.zeros(2, 2))
    opt = SM3([w], lr=1.0, momentum=0.0, beta=0.0)
    g1, g2 = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[2.0, 1.0], [1.0, 1.0]])
    w.grad = g1.clone()
    opt.step()
    first = -torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    torch.testing.assert_close(w.detach(), first)
    rows, columns = torch.tensor([4.0, 9.0]), torch.tensor([9.0, 4.0])
    w.grad = g2.clone()
    opt.step()
    v = torch.minimum(rows[:, None], columns[None]) + g2**2
    torch.testing.assert_close(w.detach(), first - g2 / v.sqrt())
    assert sum(t.numel() for t in opt.state[w].values()) == 4 + 2 + 2


def test_a_student_by_adapters_trains_saves_and_merges(tiny: VideoModel, tmp_path: Path) -> None:
    teacher = copy.deepcopy(tiny.denoiser)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    how = StudentTraining(
        steps=3,
        clips=1,
        head_start=1,
        head_width=32,
        lora=2,
        recompute=True,
        precision="fp32",
        lr=1e-2,
        warmup=0,
        log_every=1,
    )
    G = train_student(teacher, Noise(tiny), how, NoiseRange(0.002, 200.0), tmp_path)
    after = G.state_dict()
    assert after.keys() == before.keys()
    moved = [k for k in before if not torch.equal(before[k], after[k])]
    assert moved and all("transformer_blocks" in k for k in moved)
    assert all(k.endswith((".lora_A.weight", ".lora_B.weight")) for k in load_file(tmp_path / "lora.safetensors"))
    kept = load_file(tmp_path / "state.safetensors")
    assert not any(k.startswith("generator") and "lora" not in k for k in kept), "frozen weights are not saved"


def chain(folder: Path, *ranks: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights of a teacher and of the student that stages with adapters of these ranks make of it, in `folder`; the
    last stage has adapters on the convolutions over time too."""
    model = wiggle(new_model(TINY, 0))
    before = {k: v.clone() for k, v in model.denoiser.state_dict().items()}
    shared = {"steps": 1, "clips": 1, "head_start": 0, "head_width": 32, "precision": "fp32", "lr": 1e-2, "warmup": 0}
    stages = tuple(StudentTraining(**shared, lora=r, lora_convs=r == ranks[-1]) for r in ranks)  # type: ignore[arg-type]
    student = train_chain(model.denoiser, Noise(model), stages, NoiseRange(0.002, 200.0), folder / "runs" / "student")
    return before, student.state_dict()


def test_adapters_of_several_stages_are_exported_as_one(tmp_path: Path) -> None:
    """Added to the teacher's weights they give the student: ranks add up, and every layer has the same."""
    before, after = chain(tmp_path, 2, 3)
    kept = trained_adapters(tmp_path)
    layers = {k.rsplit(".lora_", 1)[0] for k in kept}
    assert {v.shape[0] for k, v in kept.items() if ".lora_A." in k} == {5}
    assert any(kept[f"{layer}.lora_A.weight"].dim() == 5 for layer in layers)
    for layer in layers:
        a, b = (kept[f"{layer}.lora_{half}.weight"].double().flatten(1) for half in "AB")
        was, now = before[f"{layer}.weight"], after[f"{layer}.weight"]
        torch.testing.assert_close(was + (b @ a).view_as(was).float(), now, atol=1e-6, rtol=1e-5)
    assert all(torch.equal(v, after[k]) for k, v in before.items() if k.removesuffix(".weight") not in layers)
    out = tmp_path / "lora.safetensors"
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text('{"layers_per_block": 1}')
    export_lora(tmp_path, out, "peft")
    assert len(load_file(out)) == len(kept)


def test_adapters_that_do_not_hold_a_whole_student_are_refused(tmp_path: Path) -> None:
    """A stage in full, or one that is not done; a run of one stage beside one of several."""
    run = tmp_path / "runs" / "student"
    for stage in ("0", "1"):
        (run / stage).mkdir(parents=True)
    save_file(
        {"a.lora_A.weight": torch.ones(2, 3), "a.lora_B.weight": torch.ones(3, 2)}, run / "1" / "lora.safetensors"
    )
    with pytest.raises(SfvError, match="student/0/lora.safetensors does not exist; .* each stage had lora > 0"):
        trained_adapters(tmp_path)
    (run / "config.json").write_text("{}")
    with pytest.raises(SfvError, match="a run of one stage and one of several"):
        trained_adapters(tmp_path)


def test_adapters_of_a_run_that_began_as_a_student_are_refused(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "student"
    run.mkdir(parents=True)
    save_file({"a.lora_A.weight": torch.ones(2, 3), "a.lora_B.weight": torch.ones(3, 2)}, run / "lora.safetensors")
    for start, refused in ((None, False), ("before", True)):
        (run / "config.json").write_text(json.dumps({"start": start}))
        with pytest.raises(SfvError, match="began as before") if refused else nullcontext():
            trained_adapters(tmp_path)


@cache
def full_size(preset: str) -> Account:
    """A preset on SVD's own UNet and its own number of cards: the stage that needs most."""
    counted = accounts(Shapes(), counted_stages(preset), RANKS.get(preset, 1))
    return max(counted, key=lambda one: one.peak)


@pytest.mark.long
def test_svd_24gb_learns_by_adapters_on_one_network() -> None:
    got = full_size("svd-24gb")
    assert 1.5e9 < got.parameters < 1.75e9, "one network of 1.52 billion, heads and adapters"
    (stage,) = counted_stages("svd-24gb")
    without = account(Shapes(), stage.model_copy(update={"recompute": False}))
    assert without.step > 2 * got.step


@pytest.mark.long
@pytest.mark.parametrize(
    ("preset", "most"),
    [
        ("svd-24gb", 22),
        ("svd-24gb-warm", 22),
        ("svd-48gb", 48),
        ("svd-80gb", 48),
        ("svd-8x24gb", 24),
        ("svd-paper", 80),
    ],
)
def test_full_presets_fit_their_cards_by_counting(preset: str, most: float) -> None:
    got = full_size(preset)
    print(got)
    assert got.peak <= most * GB
    if "24gb" not in preset or "8x" in preset:
        assert 3.0e9 < got.parameters < 3.3e9 and 1.45e9 < got.trained < 1.65e9
        assert got.state == pytest.approx(18.15 * GB, rel=0.005), "whole, on however many cards"


def test_a_dry_run_says_what_a_run_needs(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters are those of the networks that a run would build; more clips need more, and adapters train less."""
    monkeypatch.setattr(outlook, "matmul_rate", lambda device: 1e12)  # measuring it takes a while
    plan = dry_run("student", "debug", init=tiny_folder)
    (needs,) = plan["needs"]
    unet = sum(p.numel() for p in load(tiny_folder).denoiser.parameters())
    heads = sum(p.numel() for p in Discriminator(load(tiny_folder).denoiser, 96).heads.parameters())
    assert needs["parameters_million"] == pytest.approx((2 * unet + heads) / 1e6, abs=0.05)
    assert needs["trained_million"] == pytest.approx((unet + heads) / 1e6, abs=0.05)
    assert all(v > 0 for k, v in needs.items() if k != "hours")
    more = dry_run("student", "debug", ("clips=4",), init=tiny_folder)
    assert all(more["needs"][0][figure] >= needs[figure] for figure in ("tflop_per_update", "peak_gb"))
    less = dry_run("student", "debug", ("lora=2",), init=tiny_folder)
    assert less["needs"][0]["trained_million"] < needs["trained_million"]
    teacher = dry_run("teacher", "debug", init=tiny_folder)
    assert teacher["needs"][-1]["trained_million"] == pytest.approx(unet / 1e6, abs=0.05)


def test_every_clip_can_be_told_one_motion(tiny: VideoModel) -> None:
    batches = Noise(tiny)
    told = []
    for motion_id in (None, 127.0):
        batches.motion_id = motion_id
        told.append(batches.draw(Seeds(0, 0).clips(2))[1]["added_time_ids"][:, 1].tolist())
    assert told == [[9.0, 9.0], [127.0, 127.0]]
    paper = PRESETS["svd-paper"]["student"][-1]
    assert isinstance(paper, StudentTraining) and paper.motion_id == 127


def test_comfyui_finds_every_adapter_of_svds_unet() -> None:
    """Its rule (comfy/lora.py): LAYER of a model's key LAYER.weight, then .lora_A.weight, .lora_B.weight, .alpha."""
    unet = UNet.on_meta()
    keys = unet_to_single(unet.state_dict(), 2)
    layers = {k.removeprefix("model.").removesuffix(".weight") for k in keys if k.endswith(".weight")}
    add_adapters(unet, 2, over_time=True)
    everything = lora_for_comfyui(adapter_state(unet), 2)
    over_time = {k: v for k, v in everything.items() if v.dim() == 5}
    made = {
        k: v
        for k, v in everything.items()
        if f"{k.rsplit('.lora', 1)[0].removesuffix('.alpha')}.lora_A.weight" not in over_time
    }
    convs = {k.removesuffix(".lora_A.weight") for k in over_time if k.endswith(".lora_A.weight")}
    assert len(convs) > 40 and convs < layers, "the convolutions over time are found too"
    found = {layer for layer in layers if f"{layer}.lora_A.weight" in made and f"{layer}.lora_B.weight" in made}
    assert len(found) == 352 and len(made) == 3 * 352
    assert all(float(made[f"{layer}.alpha"]) == 2 for layer in found)
    shapes = {k.removeprefix("model."): v.shape for k, v in keys.items()}
    for layer in found:
        out, into = shapes[f"{layer}.weight"]
        assert made[f"{layer}.lora_A.weight"].shape == (2, into) and made[f"{layer}.lora_B.weight"].shape == (out, 2)


def test_peft_puts_every_adapter_into_diffusers_unet(tiny: VideoModel) -> None:
    """What docs/training.md says: no unexpected key, alpha = r, and the student's own answers."""
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    D = copy.deepcopy(tiny.denoiser)
    assert isinstance(D, SVDDenoiser)
    theirs = stock_twin(D.unet)
    shake(D.adapt(2, over_time=True))
    state = lora_for_peft(D.adapter_state())
    rank = next(len(v) for k, v in state.items() if ".lora_A." in k)
    layers = sorted({k.rsplit(".lora_", 1)[0] for k in state})
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=layers), theirs)
    assert not set_peft_model_state_dict(theirs, state).unexpected_keys
    x, t = torch.randn(1, 4, 8, 16, 16), torch.tensor([1.0])
    cond = torch.randn(1, 1, D.unet.config.context), torch.tensor([[6.0, 127.0, 0.02]])
    with torch.inference_mode():
        want, got = D.unet(x, t, *cond), theirs(x, t, *cond).sample
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
