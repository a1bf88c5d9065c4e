"""SVD's networks as ONNX files hold them."""

import torch
from torch import Tensor, nn

from sfv.families.base import VideoModel
from sfv.families.family import Graph, Graphs
from sfv.families.svd.networks import SVDCodec, SVDConditioner, SVDDenoiser
from sfv.types import Cond


def graphs(model: VideoModel) -> Graphs:
    """encoder.onnx and tower.onnx (the picture's latents and token), unet.onnx, decoder.onnx and, where there is one,
    small-decoder.onnx."""
    defaults, codec = model.defaults, model.codec
    assert isinstance(codec, SVDCodec) and isinstance(model.conditioner, SVDConditioner)
    picture = torch.rand(1, 3, defaults.height, defaults.width) * 2 - 1
    latents = torch.randn(1, *codec.latent_shape(defaults.frames, defaults.height, defaults.width))
    with torch.no_grad():
        cond = model.conditioner(picture)
    found: Graphs = {
        "encoder.onnx": Graph(Encode(codec), {"picture": picture}, ("image_latents",)),
        "tower.onnx": Graph(Embed(model.conditioner), {"picture": picture}, ("image_embeds",)),
        "unet.onnx": unet_graph(model, cond, latents),
        "decoder.onnx": Graph(Decode(model), {"latents": latents}),
    }
    if model.small is not None:
        found["small-decoder.onnx"] = Graph(model.small, {"latents": latents, "picture": picture})
    return found


def unet_graph(model: VideoModel, cond: Cond, latents: Tensor) -> Graph:
    """The UNet and its inputs: c_in * x with the picture's latents on channels, c_noise, embedding, ids."""
    assert isinstance(model.denoiser, SVDDenoiser)
    beside = cond["image_latents"][:, None].expand(-1, latents.shape[1], -1, -1, -1)
    inputs = {"sample": torch.cat([latents, beside.to(latents)], 2), "timestep": torch.tensor([1.0])}
    inputs |= {"encoder_hidden_states": cond["image_embeds"], "added_time_ids": cond["added_time_ids"]}
    return Graph(model.denoiser.unet, inputs, frames="sample")


class Encode(nn.Module):
    """The codec's encoder for the condition: a picture (1, 3, h, w) in [-1, 1], noised if that is wanted, -> raw
    latents (1, c, h / 8, w / 8)."""

    def __init__(self, codec: SVDCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, picture: Tensor) -> Tensor:
        """As the first of `SVDConditioner.forward`."""
        return self.codec.encode_raw(picture[:, None])[:, 0]


class Embed(nn.Module):
    """The picture tower with its resizing: the clean picture (1, 3, h, w) in [-1, 1] -> its token (1, 1, e)."""

    def __init__(self, conditioner: SVDConditioner) -> None:
        super().__init__()
        self.conditioner = conditioner

    def forward(self, picture: Tensor) -> Tensor:
        """As `SVDConditioner.embed`."""
        return self.conditioner.embed(picture)


class Decode(nn.Module):
    """The codec's own decoder: scaled latents (1, f, c, h, w), and the picture if it needs one -> pixels in [-1, 1]."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.codec = model.codec

    def forward(self, latents: Tensor, picture: Tensor | None = None) -> Tensor:
        """As Codec.decode."""
        return self.codec.decode(latents, picture=picture)
