"""The networks of one SVD clip, each with a call to be counted: as diffusers computes it, and rewritten."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from sfv.families.counted import Call, half, halved
from sfv.families.svd.sizes import Shapes


def calls(shapes: Shapes) -> list[Call]:
    """Every network's call for one clip without guidance, and the UNet's with it."""
    y, x = shapes.height // shapes.stride, shapes.width // shapes.stride
    tower = halved(shapes.picture_tower())
    vae, quick_vae = halved(shapes.stock_vae()), halved(shapes.rewritten_vae())
    unets = [halved(u) for u in (shapes.stock_unet(), shapes.rewritten_unet())]
    latents, picture = (
        half(shapes.frames, int(vae.config.latent_channels), y, x),
        half(1, 3, shapes.height, shapes.width),
    )
    seen = half(1, 3, tower.config.image_size, tower.config.image_size)
    once, guided = ([_unet(u, shapes, y, x, batch) for u in unets] for batch in (1, 2))
    encoder = nn.ModuleList([vae.encoder, vae.quant_conv])
    return [
        Call("picture encoder", "enter", tower, _of(tower, seen), _of(tower, seen)),
        Call("encode", "enter", encoder, _of(vae.encode, picture), _of(quick_vae.moments, picture)),
        Call("unet", "step", unets[0], *once),
        Call("unet, guided", "guided", unets[0], *guided),
        Call(
            "decode",
            "leave",
            vae.decoder,
            lambda: vae.decode(latents, shapes.frames),
            lambda: quick_vae.decode(latents, shapes.frames),
        ),
    ]


def _of(network: Callable[[Tensor], object], given: Tensor) -> Callable[[], object]:
    return lambda: network(given)


def _unet(unet: Any, shapes: Shapes, y: int, x: int, batch: int) -> Callable[[], object]:
    channels, embed = unet.config.in_channels, unet.config.cross_attention_dim
    given = half(batch, shapes.frames, channels, y, x), half(batch), half(batch, 1, embed), half(batch, 3)
    return lambda: unet(*given)
