"""TransNetV2 (2008.04838; shot boundaries, MIT) sees time: statistics of its dilated trunk."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sfv.evaluation.features.weights import Row, Weights, batch_norm
from sfv.types import Frames


@torch.inference_mode()
def temporal(frames: Frames, w: Weights) -> Row:
    """TransNetV2's trunk at 27x48: of each block's spatial mean m(t) its mean, spread, total spread and mean
    change, and the mean change of the maps themselves; 5 x 448 = 2240 numbers."""
    x = frames.permute(0, 3, 1, 2).float()
    x = F.interpolate(x, size=(27, 48), mode="bilinear", antialias=True, align_corners=False) / 255
    h = x.permute(1, 0, 2, 3)[None]
    rows = []
    for block in range(3):
        h = _transnet_block(h, w, f"SDDCNN.{block}.DDCNN.")
        rows += _statistics(h[0])
    return torch.cat(rows)


def _transnet_block(x: Tensor, w: Weights, at: str) -> Tensor:
    """Two layers of four dilated branches, a shortcut around the second, halved in space."""
    first = F.relu(_dilated(x, w, f"{at}0."))
    second = F.relu(_dilated(first, w, f"{at}1."))
    return F.avg_pool3d(first + second, (1, 2, 2))


def _dilated(x: Tensor, w: Weights, at: str) -> Tensor:
    branches = []
    for d in (1, 2, 4, 8):
        spatial = F.conv3d(x, w[f"{at}Conv3D_{d}.layers.0.weight"], padding=(0, 1, 1))
        branches.append(F.conv3d(spatial, w[f"{at}Conv3D_{d}.layers.1.weight"], padding=(d, 0, 0), dilation=(d, 1, 1)))
    return batch_norm(torch.cat(branches, 1), w, f"{at}bn")


def _statistics(maps: Tensor) -> list[Tensor]:
    """(c, f, h, w) -> five rows of c."""
    m = maps.mean((2, 3))
    change = (m[:, 1:] - m[:, :-1]).abs().mean(1)
    return [
        m.mean(1),
        m.std(1),
        maps.std((1, 2, 3)),
        change,
        (maps[:, 1:] - maps[:, :-1]).abs().mean((1, 2, 3)),
    ]
