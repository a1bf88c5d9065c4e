"""A network that says the same of every picture: whether it is stiff, and how much it moves."""

import torch

from sfv.families.motion.stiffness import Stiffness, StiffnessConfig


def tiny_stiffness(logit: float, more: float = 0.0) -> Stiffness:
    """`logit` of being stiff; `more` motion ids than the usual picture."""
    made = Stiffness(StiffnessConfig(widths=(16, 16, 8), hidden=8, motion=True))
    with torch.no_grad():
        made.motion[-1].weight.zero_()  # type: ignore[index, union-attr, operator]
        made.motion[-1].bias.fill_(more)  # type: ignore[index, union-attr, operator]
        made.answer[-1].weight.zero_()  # type: ignore[operator]
        made.answer[-1].bias.fill_(logit)  # type: ignore[operator]
    return made.eval()
