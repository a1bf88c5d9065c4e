"""A model of whole loops as ONNX files hold it."""

import torch
from torch import Tensor, nn

from sfv.families.base import Judge, VideoModel, softness
from sfv.families.family import Graph, Graphs
from sfv.families.motion.networks import MotionCodec, MotionConditioner
from sfv.families.svd.graphs import unet_graph


def graphs(model: VideoModel) -> Graphs:
    """tower.onnx, unet.onnx, decoder.onnx and, where a model knows stiff things, stiffness.onnx.

    Pictures are RGBA in [-1, 1], colours multiplied with alpha. The codec's encoder makes latents of clips, for
    training; a picture needs none.
    """
    defaults, codec, conditioner = model.defaults, model.codec, model.conditioner
    assert isinstance(codec, MotionCodec) and isinstance(conditioner, MotionConditioner)
    picture = torch.rand(1, codec.channels, defaults.height, defaults.width) * 2 - 1
    latents = torch.randn(1, *codec.latent_shape(defaults.frames, defaults.height, defaults.width))
    with torch.no_grad():
        cond = conditioner(picture)
    found: Graphs = {
        "tower.onnx": Graph(Look(conditioner), {"picture": picture}, ("image_latents", "image_embeds")),
        "unet.onnx": unet_graph(model, cond, latents),
        "decoder.onnx": Graph(
            Parts(codec),
            {"latents": latents, "picture": picture, "softness": torch.zeros(1)},
            ("frames", "rest", "trust", "flow"),
            "latents",
        ),
    }
    if model.stiffness is not None:
        found["stiffness.onnx"] = Graph(Judged(model.stiffness), {"picture": picture}, ("logit", "motion", "softness"))
    return found


class Look(nn.Module):
    """The picture's part of a condition."""

    def __init__(self, conditioner: MotionConditioner) -> None:
        super().__init__()
        self.tower = conditioner.tower

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 4, h, w) -> image_latents (1, c, h / 16, w / 16), image_embeds (1, 1, e)."""
        features, token = self.tower(picture)
        return features, token[:, None]


class Judged(nn.Module):
    """Whether a picture is of a stiff thing, how much it moves, and how sure it is that the thing bends."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(1, 4, h, w) -> the logit of being stiff, motion ids over the usual, and softness, (1,) each."""
        logit, motion = self.judge.judged(picture)
        return logit, motion, softness(logit)


class Parts(nn.Module):
    """The decoder with what its frames are made of: rest + trust * (the picture, moved by the flow)."""

    def __init__(self, codec: MotionCodec) -> None:
        super().__init__()
        self.networks = codec.networks

    def forward(self, latents: Tensor, picture: Tensor, softness: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(1, f, c, y, x), (1, 4, h, w), (1,) -> frames and rest (f, 4, h, w), trust (f, 1, h, w), flow in pixels
        (f, 2, h, w)."""
        drawn = self.networks.draw(latents, picture, softness)
        assert drawn.moved is not None and drawn.trust is not None and drawn.flow is not None
        rest = drawn.frames - drawn.trust * drawn.moved
        return drawn.frames[0], rest[0], drawn.trust[0], drawn.flow[0]
