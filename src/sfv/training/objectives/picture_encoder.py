"""The picture encoder: CLIP's contrastive objective (2103.00020) between pictures and bags of name words."""

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from sfv.data.stickers import Clip, ClipStore, by_family, draw, over_background, random_background, random_placement
from sfv.families.base import Conditioner
from sfv.training.config import PictureEncoderTraining
from sfv.training.ema import EMA
from sfv.training.health import Rule
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.seeds import Seeds


def words(clip: Clip) -> list[str]:
    """What a clip is called, as lower-case words, its group included."""
    return re.findall(r"[a-z]+", f"{clip.name} {clip.group}".lower()) or ["unnamed"]


class NameEncoder(nn.Module):
    """The text tower: the mean of learned word vectors, projected."""

    def __init__(self, vocabulary: list[str], width: int) -> None:
        super().__init__()
        self.index = {w: i for i, w in enumerate(sorted(set(vocabulary)))}
        self.vectors = nn.EmbeddingBag(len(self.index), 128)
        self.project = nn.Sequential(nn.GELU(), nn.Linear(128, width))

    def forward(self, names: list[list[str]]) -> Tensor:
        """(b, width)."""
        ids = [[self.index[w] for w in name] for name in names]
        offsets = torch.tensor([0] + [len(i) for i in ids][:-1]).cumsum(0)
        on = self.vectors.weight.device
        out: Tensor = self.project(self.vectors(torch.tensor(sum(ids, []), device=on), offsets.to(on)))
        return out


def contrastive_loss(a: Tensor, b: Tensor, same: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE; `same` (n, n) marks pairs of one name, which share the target evenly."""
    logits = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / temperature
    target = same.float() / same.float().sum(1, keepdim=True)
    rows = -(target * logits.log_softmax(1)).sum(1).mean()
    columns = -(target.T * logits.log_softmax(0)).sum(0).mean()
    return (rows + columns) / 2


class PictureEncoderTask:
    """Both towers under one optimiser; only the picture tower is kept."""

    rules: tuple[Rule, ...] = ()
    quiet_until = 0

    def __init__(self, conditioner: Conditioner, store: ClipStore, config: PictureEncoderTraining) -> None:
        self.conditioner, self.store, self.config = conditioner, store, config
        self.families = by_family(store.split("train"))
        tower = conditioner.picture_tower()
        self.device = next(tower.parameters()).device
        width = conditioner.embed(torch.zeros(1, 3, 64, 64, device=self.device)).shape[-1]
        self.names = NameEncoder([w for c in store.split("train") for w in words(c)], width).to(self.device)
        both = [*tower.parameters(), *self.names.parameters()]
        adam = AdamW(both, lr=config.lr, betas=(0.9, 0.98), weight_decay=0.05)
        self.modules: dict[str, nn.Module] = {"pictures": tower, "names": self.names}
        self.optimizers: dict[str, Optimizer] = {"both": adam}
        self.averages = {"pictures": EMA(tower, config.ema)}

    def step(self, step: int, seeds: Seeds) -> Logs:
        """One update on fresh pictures: any frame of a clip, over any background."""
        rng = seeds.one()
        drawn = [draw(self.families, rng) for _ in range(self.config.pictures)]
        names = [words(c) for c in drawn]
        pictures = torch.cat([self._picture(c, rng) for c in drawn]).to(self.device)
        same = torch.tensor([[a == b for b in names] for a in names], device=self.device)
        a, b = self.conditioner.embed(pictures)[:, 0], self.names(names)
        loss = contrastive_loss(a, b, same, self.config.temperature)
        loss.backward()
        self.optimizers["both"].step()
        self.optimizers["both"].zero_grad(set_to_none=True)
        hit = same[torch.arange(len(a), device=a.device), (F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T).argmax(1)]
        return {"loss": float(loss.detach()), "accuracy": float(hit.float().mean())}

    def _picture(self, clip: Clip, rng: torch.Generator) -> Tensor:
        first = int(torch.randint(clip.count, (), generator=rng))
        rgba = random_placement(self.store.rgba(clip, first, 1, 1), rng)
        return over_background(rgba, random_background(self.store.size, rng, self.config.plain))


def train_picture_encoder(
    conditioner: Conditioner, store: ClipStore, config: PictureEncoderTraining, run_dir: Path
) -> None:
    """Train (or resume); the conditioner ends with the averaged picture tower."""
    task = PictureEncoderTask(conditioner, store, config)
    run(task, config, run_dir, {"task": "picture-encoder", **config.model_dump()})
    task.averages["pictures"].into(task.conditioner.picture_tower())
