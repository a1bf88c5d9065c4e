"""The network that a student's training moves: a copy in whole, or low-rank adapters on the network itself."""

import copy
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sfv.edm.denoiser import Denoiser
from sfv.errors import SfvError
from sfv.media import replacing
from sfv.system.device import host_of
from sfv.training.ema import EMA
from sfv.training.parallel import World


def halves(precision: str, device: torch.device) -> bool:
    """Whether frozen networks are kept in bfloat16."""
    return precision == "bf16" and device.type in ("cuda", "meta")


class Learner:
    """What learns, begun as `start`. With `lora` it is `start` itself, which is frozen and gets adapters of that rank.

    `convs`: adapters on the convolutions over time too. `half` keeps the frozen weights in bfloat16; what learns stays
    in fp32. SfvError for adapters under fsdp.
    """

    def __init__(self, start: Denoiser, lora: int, half: bool, world: World, convs: bool = False) -> None:
        if lora and world.shards:
            raise SfvError("lora is for one card or ddp; train in full (lora=0) with fsdp")
        self.lora, self.blank = lora, start if lora else spare(start)
        self.convs, self.home = convs, next(start.parameters()).device
        self.whole = _weights(start) if lora and half else {}
        self.network = start if lora else copy.deepcopy(start).train().requires_grad_(True)
        if lora and half:
            start.to(torch.bfloat16)

    def adapt(self) -> None:
        """Add the adapters, if it learns by them; after whoever else looks through the network has frozen it."""
        if self.lora:
            self.network.adapt(self.lora, self.convs)

    @property
    def params(self) -> list[nn.Parameter]:
        """What has a gradient, as it is now: sharding puts others in their place."""
        if self.lora:
            return [p for p in self.network.parameters() if p.requires_grad]
        return self.network.learnable()

    def ended(self, average: EMA, blend: float, run_dir: Path, world: World) -> Denoiser:
        """The averaged network as one without adapters, where it began; those are kept in lora.safetensors."""
        average.into(self.blank, blend)
        if self.lora and world.main:
            with replacing(run_dir / "lora.safetensors") as path:
                save_file({k: v.contiguous() for k, v in self.blank.adapter_state().items()}, path)
        self.blank.to(self.home)
        for name, p in self.blank.named_parameters():
            if name in self.whole:  # adapters are added to weights in full precision, not to the halved ones
                p.data = self.whole[name].to(p.device)
        self.blank.merge()
        return self.blank.eval()


def spare(network: Denoiser) -> Denoiser:
    """A copy on the CPU, for the end of a run: cards have no room for what waits."""
    return copy.deepcopy(network).to(host_of(next(network.parameters()).device))


def _weights(network: Denoiser) -> dict[str, Tensor]:
    """Copies on the CPU, in the precision that they have."""
    return {n: p.detach().to(host_of(p.device), copy=True) for n, p in network.named_parameters()}
