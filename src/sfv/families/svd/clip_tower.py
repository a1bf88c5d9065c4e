"""CLIP's vision tower with its projection (2103.00020): the picture's one token.

Numbers, names of weights and fields of config.json are transformers' CLIPVisionModelWithProjection's.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sfv.families.svd.network import TRANSFORMERS, Network, NetworkConfig


class TowerConfig(NetworkConfig):
    """config.json; the defaults are transformers'."""

    attention_dropout: float = 0.0
    hidden_act: Literal["quick_gelu", "gelu"] = "quick_gelu"
    hidden_size: int = Field(default=768, gt=0)
    image_size: int = Field(default=224, gt=0)
    initializer_factor: float = 1.0
    initializer_range: float = 0.02
    intermediate_size: int = Field(default=3072, gt=0)
    layer_norm_eps: float = 1e-5
    num_attention_heads: int = Field(default=12, gt=0)
    num_channels: int = Field(default=3, gt=0)
    num_hidden_layers: int = Field(default=12, gt=0)
    patch_size: int = Field(default=32, gt=0)
    projection_dim: int = Field(default=512, gt=0)


class Patches(nn.Module):
    """A class token and the picture's patches, with their places."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(config.num_channels, width, patch, stride=patch, bias=False)
        places = (config.image_size // patch) ** 2 + 1
        self.position_embedding = nn.Embedding(places, width, _weight=torch.empty(places, width))

    def forward(self, pictures: Tensor) -> Tensor:
        """(b, 3, h, w) -> (b, 1 + patches, c)."""
        patches = self.patch_embedding(pictures).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(pictures), 1, -1)
        return torch.cat([first, patches], 1) + self.position_embedding.weight[None]


class SelfAttention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, s, c) -> (b, s, c)."""
        parts = (layer(tokens) for layer in (self.q_proj, self.k_proj, self.v_proj))
        mixed = F.scaled_dot_product_attention(*(p.unflatten(2, (self.heads, -1)).transpose(1, 2) for p in parts))
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """Two linear layers with GELU, or its quick form x * sigmoid(1.702 x), between."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.quick = config.hidden_act == "quick_gelu"
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, s, c) -> (b, s, c)."""
        h = self.fc1(tokens)
        out: Tensor = self.fc2(h * torch.sigmoid(1.702 * h) if self.quick else F.gelu(h))
        return out


class EncoderLayer(nn.Module):
    """Attention and feed-forward, each after a norm and around a skip."""

    regions = ("forward",)
    """Methods that torch.compile takes on a GPU."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.self_attn = SelfAttention(width, config.num_attention_heads)
        self.layer_norm1 = nn.LayerNorm(width, eps)
        self.mlp = FeedForward(config)
        self.layer_norm2 = nn.LayerNorm(width, eps)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, s, c) -> (b, s, c)."""
        tokens = tokens + self.self_attn(self.layer_norm1(tokens))
        out: Tensor = tokens + self.mlp(self.layer_norm2(tokens))
        return out


class Encoder(nn.Module):
    """Layers one after the other."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([EncoderLayer(config) for _ in range(config.num_hidden_layers)])


class VisionModel(nn.Module):
    """Patches, layers, and a norm of the class token."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.embeddings = Patches(config)
        self.pre_layrnorm = nn.LayerNorm(width, eps)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(width, eps)

    def forward(self, pictures: Tensor) -> Tensor:
        """(b, 3, h, w) -> (b, c)."""
        h = self.pre_layrnorm(self.embeddings(pictures))
        for layer in self.encoder.layers:
            h = layer(h)
        out: Tensor = self.post_layernorm(h[:, 0])
        return out


class ClipTower(Network):
    """Pictures to the embedding that CLIP shares with text."""

    Config = TowerConfig
    config: TowerConfig
    stem = "model"

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_model = VisionModel(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)
        if self.device.type != "meta":  # where torch imports its compiler for a random number
            self._begin()

    def theirs(self) -> str:
        """In transformers."""
        return "CLIPVisionModelWithProjection"

    def described(self, dtype: torch.dtype) -> dict[str, Any]:
        """As transformers writes it, but for dtype: transformers opens it as that, diffusers the other parts as float32
        unless it is asked otherwise, and the stock pipeline needs them alike."""
        return {
            "architectures": [self.theirs()],
            **self.config.model_dump(mode="json"),
            "dtype": "float32",
            "model_type": "clip_vision_model",
            "transformers_version": TRANSFORMERS,
        }

    def forward(self, pictures: Tensor) -> Tensor:
        """(b, 3, h, w), normalised by CLIP's mean and spread, -> (b, e)."""
        out: Tensor = self.visual_projection(self.vision_model(pictures))
        return out

    @torch.no_grad()
    def _begin(self) -> None:
        """CLIP's spreads of fresh weights; biases zero."""
        c, width = self.config, self.config.hidden_size
        inward = width**-0.5 * (2 * c.num_hidden_layers) ** -0.5
        spreads = {"class_embedding": width**-0.5, "patch_embedding.weight": c.initializer_range}
        spreads |= {"position_embedding.weight": c.initializer_range, "out_proj.weight": width**-0.5}
        spreads |= dict.fromkeys(("q_proj.weight", "k_proj.weight", "v_proj.weight", "fc2.weight"), inward)
        spreads |= {"fc1.weight": (2 * width) ** -0.5, "visual_projection.weight": width**-0.5}
        for name, p in self.named_parameters():
            if name.endswith(".bias"):
                p.zero_()
            for end, spread in spreads.items():
                if name.endswith(end):
                    p.normal_(std=spread * c.initializer_factor)
