"""bfloat16 only where it is quicker."""

import pytest
import torch

from sfv.system import device


@pytest.mark.parametrize("has", [True, False])
def test_a_cpu_without_bfloat16_computes_in_float32(has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imitated bfloat16 made training seventeen times slower on such a CPU."""
    monkeypatch.setattr(device, "has_bf16", lambda: has)
    a = torch.ones(4, 4)
    with device.bf16_autocast(torch.device("cpu")):
        assert (a @ a).dtype == (torch.bfloat16 if has else torch.float32)
    with device.bf16_autocast(torch.device("cpu"), wanted=False):
        assert (a @ a).dtype == torch.float32
    assert device.computes_bf16(torch.device("cuda"))
