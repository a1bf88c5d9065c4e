"""Axis letters and unit-named tensors, stated once. Imports torch and jaxtyping alone.

Letters: b batch, f frames, h w rows and columns of pixels; z frames, c channels, y x rows and columns of latents (z is
f for a codec that keeps every frame, less for one that joins some); n feature rows.
"""

from jaxtyping import Float, UInt8
from torch import Tensor

Frames = UInt8[Tensor, "f h w 3"]
"""One clip for people: uint8 RGB."""

Stickers = UInt8[Tensor, "f h w 4"]
"""One clip with transparency: uint8 RGBA, colours not multiplied with alpha."""

Pixels = Float[Tensor, "b f 3 h w"]
"""Clips for codecs: RGB in [-1, 1]."""

Alpha = Float[Tensor, "b f 1 h w"]
"""How opaque every pixel of a clip is, in [0, 1]."""

Picture = Float[Tensor, "b 3 h w"]
"""Condition pictures: RGB in [-1, 1]."""

RgbaPixels = Float[Tensor, "b f 4 h w"]
"""Clips with transparency for codecs: RGBA in [-1, 1], colours multiplied with alpha."""

RgbaPicture = Float[Tensor, "b 4 h w"]
"""Condition pictures with transparency, likewise."""

AnyPixels = Float[Tensor, "b f _ h w"]
"""RGB or RGBA, whichever a model's codec works on."""

AnyFirst = Float[Tensor, "b _ h w"]
"""Condition pictures likewise."""

Latents = Float[Tensor, "b z c y x"]
"""Codec latents times the codec's scaling factor; near unit variance. x0 and x live here."""

RawLatents = Float[Tensor, "b z c y x"]
"""Codec latents as the encoder gives them, not scaled (SVD's condition latent is in these units)."""

Sigma = Float[Tensor, " b"]
"""Noise level, one per clip, EDM convention x = x0 + sigma * n."""

Softness = Float[Tensor, " b"]
"""How sure it is that a picture is of a thing that bends, 0 to 1."""

Features = Float[Tensor, "b _ _ _ _"]
"""What one tap shows a discriminator, b f c h w: frames, channels, rows, columns differ from tap to tap."""

Logits = Float[Tensor, "b _"]
"""Discriminator output: one number per position, high = real."""

Cond = dict[str, Tensor]
"""The condition: what a denoiser gets beside x and sigma; batch first, opened by its family only."""
