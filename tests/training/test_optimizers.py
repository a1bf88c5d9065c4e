"""Adam in 8 bits: near Adam's own steps, resumed to the bit, counted, refused where it cannot be."""

import sys

import pytest
import torch
from torch import nn
from torch.optim import Adam, Optimizer

from sfv.costs.eight_bits import EightBitStates
from sfv.errors import SfvError
from sfv.training.checkpoint import OptimizerState, Snapshot
from sfv.training.config import StudentTraining
from sfv.training.objectives.adversarial import optimizer
from sfv.training.optimizers import SM3, adam8

BETAS = (0.5, 0.99)


def network() -> nn.Module:
    """A weight that is large enough for 8 bits, and a small one."""
    torch.manual_seed(0)
    return nn.Linear(96, 64)


def trained(net: nn.Module, by: Optimizer, first: int, last: int) -> torch.Tensor:
    """Toward a fixed map, from step `first` to `last`."""
    for step in range(first, last):
        rng = torch.Generator().manual_seed(step)
        x = torch.randn(32, 96, generator=rng)
        loss = (net(x) - x[:, :64].flip(1)).square().mean()
        loss.backward()
        by.step()
        by.zero_grad(set_to_none=True)
    return loss.detach()


def eight(net: nn.Module) -> Optimizer:
    return adam8([{"params": [*net.parameters()]}], 1e-2, BETAS)


def test_it_learns_as_adam_does() -> None:
    ours, theirs = network(), network()
    start = trained(network(), Adam(network().parameters()), 0, 1)
    losses = [trained(ours, eight(ours), 0, 60), trained(theirs, Adam(theirs.parameters(), 1e-2, BETAS), 0, 60)]
    assert losses[0] < 0.3 * start and losses[0] == pytest.approx(float(losses[1]), rel=0.3)


def test_its_state_goes_on_to_the_bit() -> None:
    whole, cut = network(), network()
    trained(whole, eight(whole), 0, 12)
    first = eight(cut)
    trained(cut, first, 0, 6)
    kept = Snapshot({"o": OptimizerState(first, {"net": cut})}, True, {})
    assert {v.dtype for k, v in kept.tensors.items() if "weight\tstate" in k} == {torch.uint8}
    again = eight(cut)
    OptimizerState(again, {"net": cut}).load_state_dict(OptimizerState(first, {"net": cut}).state_dict())
    trained(cut, again, 6, 12)
    assert torch.equal(whole.weight, cut.weight)


def test_what_counts_in_its_place_keeps_the_same_bytes() -> None:
    real, meta = network(), network().to("meta")
    trained(real, by := eight(real), 0, 1)
    for p in meta.parameters():
        p.grad = torch.zeros_like(p)
    (counted := EightBitStates(meta.parameters(), {"lr": 0.0})).step()

    def sizes(of: Optimizer, net: nn.Module) -> list[dict[str, tuple[torch.Size, torch.dtype]]]:
        states = [of.state[p] for p in net.parameters()]
        return [{k: (v.shape, v.dtype) for k, v in s.items() if isinstance(v, torch.Tensor)} for s in states]

    assert sizes(counted, meta) == sizes(by, real)


def test_by_name_and_refused_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    params = [*network().parameters()]
    assert StudentTraining(steps=1, clips=1, optimizer="adam8").optimizer == "adam8"
    assert type(optimizer("adam8", params, 1e-3)).__name__ == "Adam8bit"
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(SfvError, match=r"adam8 needs bitsandbytes; install it with: .*sfv\[eight-bit\]"):
        optimizer("adam8", params, 1e-3)


def test_resumed_states_lie_where_their_weights_do() -> None:
    """Of whatever shape: SM3's accumulators are smaller than their weight. Adam's counts stay on the CPU."""
    here, there = network(), network().to("meta")
    for make in (lambda ps: SM3(ps, 1e-3), lambda ps: Adam(ps, 1e-3)):
        trained(here, by := make(here.parameters()), 0, 1)
        resumed = make(there.parameters())
        OptimizerState(resumed, {"net": there}).load_state_dict(OptimizerState(by, {"net": here}).state_dict())
        found = {(v.device.type, v.dim() > 0) for s in resumed.state.values() for v in s.values()}
        assert found <= {("meta", True), ("cpu", False)} and ("meta", True) in found
