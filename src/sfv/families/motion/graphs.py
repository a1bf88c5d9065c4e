"""A model of whole loops as ONNX files hold it."""

import torch

from sfv.families.base import VideoModel
from sfv.families.family import Graphs
from sfv.families.svd.graphs import Decode, unet_graph


def graphs(model: VideoModel) -> Graphs:
    """unet.onnx, picture.onnx, decoder.onnx; pictures are RGBA, colours multiplied with alpha."""
    defaults, codec = model.defaults, model.codec
    picture = torch.rand(1, codec.channels, defaults.height, defaults.width) * 2 - 1
    latents = torch.randn(1, *codec.latent_shape(defaults.frames, defaults.height, defaults.width))
    with torch.no_grad():
        cond = model.conditioner(picture)
    return {
        "unet.onnx": unet_graph(model, cond, latents),
        "picture.onnx": (model.conditioner.picture_tower(), {"picture": picture}),
        "decoder.onnx": (Decode(model), {"latents": latents, "picture": picture}),
    }
