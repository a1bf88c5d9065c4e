"""Small things that several tests are made of: a toy flow family, a toy task, pictures, videos, decoders."""

import signal
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import nn

from sfv.data.settings import EncodeSettings
from sfv.decoding.decoder import SmallDecoder, new_decoder
from sfv.edm.denoiser import Denoiser
from sfv.edm.preconditioning import Coefficients, rectified_flow
from sfv.training.ema import EMA
from sfv.training.health import Rule
from sfv.training.optimizers import Muon
from sfv.training.seeds import Seeds
from sfv.types import Cond, Features, Latents, Sigma


class PerfectFlow(Denoiser):
    """A toy flow family that knows x0: F = n - x0 at x_t = (1 - t) x0 + t n."""

    feature_channels = (4,)

    def __init__(self, x0: torch.Tensor) -> None:
        super().__init__()
        self.x0 = torch.nn.Parameter(x0)

    def coefficients(self, sigma: Sigma) -> Coefficients:
        return rectified_flow(sigma)

    def network(self, x_in: Latents, c_noise: torch.Tensor, cond: Cond) -> Latents:
        t = (c_noise / 1000)[:, None, None, None, None]
        n = (x_in - (1 - t) * self.x0) / t
        return n - self.x0

    def encode(self, x_in: Latents, c_noise: torch.Tensor, cond: Cond) -> list[Features]:
        return [x_in]


class Toy:
    """A task whose losses depend on weights, optimiser state and the step's draw."""

    rules: tuple[Rule, ...] = ()
    quiet_until = 0

    def __init__(self, stop_at: int | None = None) -> None:
        torch.manual_seed(0)
        net = nn.Linear(12, 12)
        self.net, self.stop_at, self.losses = net, stop_at, []  # type: ignore[var-annotated]
        self.modules: dict[str, nn.Module] = {"net": net}
        self.optimizers: dict[str, Any] = {
            "muon": Muon(net.parameters(), 1e-2),
            "adam": torch.optim.Adam([net.bias], 1e-3),
        }
        self.averages = {"net": EMA(net, 0.9)}

    def step(self, step: int, seeds: Seeds) -> dict[str, float]:
        if step == self.stop_at:
            signal.raise_signal(signal.SIGTERM)  # to this thread: it is taken at once
        loss = self.net(torch.randn(4, 12, generator=seeds.one())).square().mean()
        loss.backward()
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        self.losses.append(float(loss.detach()))
        return {"loss": self.losses[-1]}


def picture(height: int = 30, width: int = 50, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def shaken(channels: int = 4, stride: int = 2) -> SmallDecoder:
    """Fresh decoders start with residuals at zero, which would hide mistakes."""
    decoder, rng = new_decoder(channels, stride, 0), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in decoder.parameters():
            p += 0.05 * torch.randn(p.shape, generator=rng)
    return decoder.eval().requires_grad_(False)


SETTINGS = EncodeSettings(frames=4, fps=10, sizes=("32x32", "32x48"))


def video(path: Path, seed: int, count: int, size: tuple[int, int] = (32, 32)) -> Path:
    """A sliding texture at 10 frames per second."""
    rng = np.random.default_rng(seed)
    wide = np.kron(rng.integers(0, 255, (size[0] // 8, 60, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for i in range(count):
            picture = np.ascontiguousarray(wide[:, 2 * i : 2 * i + size[1]])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
