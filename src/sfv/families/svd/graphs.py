"""SVD's networks as ONNX files hold them."""

import torch
from torch import Tensor, nn

from sfv.families.base import VideoModel
from sfv.families.family import Graphs
from sfv.families.svd.networks import SVDDenoiser
from sfv.types import Cond


def graphs(model: VideoModel) -> Graphs:
    """unet.onnx, decoder.onnx and, where there is one, small-decoder.onnx."""
    defaults, codec = model.defaults, model.codec
    picture = torch.rand(1, 3, defaults.height, defaults.width) * 2 - 1
    latents = torch.randn(1, *codec.latent_shape(defaults.frames, defaults.height, defaults.width))
    with torch.no_grad():
        cond = model.conditioner(picture)
    found: Graphs = {"unet.onnx": unet_graph(model, cond, latents)}
    found["decoder.onnx"] = (Decode(model), {"latents": latents})
    if model.small is not None:
        found["small-decoder.onnx"] = (model.small, {"latents": latents, "picture": picture})
    return found


def unet_graph(model: VideoModel, cond: Cond, latents: Tensor) -> tuple[nn.Module, dict[str, Tensor]]:
    """The UNet and its inputs: c_in * x with the picture's latents on channels, c_noise, embedding, ids."""
    assert isinstance(model.denoiser, SVDDenoiser)
    beside = cond["image_latents"][:, None].expand(-1, latents.shape[1], -1, -1, -1)
    inputs = {"sample": torch.cat([latents, beside.to(latents)], 2), "timestep": torch.tensor([1.0])}
    inputs |= {"encoder_hidden_states": cond["image_embeds"], "added_time_ids": cond["added_time_ids"]}
    return model.denoiser.unet, inputs


class Decode(nn.Module):
    """The codec's own decoder: scaled latents (1, f, c, h, w), and the picture if it needs one -> pixels in [-1, 1]."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.codec = model.codec

    def forward(self, latents: Tensor, picture: Tensor | None = None) -> Tensor:
        """As Codec.decode."""
        return self.codec.decode(latents, picture=picture)
