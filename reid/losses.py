"""The losses of AlignedReID++ (Luo et al., 2019, section 3.3) and which row of the tables uses which.

TriHard: Hermans et al., arXiv 1703.07737. Label smoothing: Szegedy et al., CVPR 2016. Agrees with the authors'
published code in values and gradients (tests/test_losses.py).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from reid.alignment import euclidean, pair_costs, pairwise_squares, shortest_path
from reid.errors import InputError


@dataclass(frozen=True)
class LossSettings:
    """One entry of `losses` in params.yaml: cross entropy with label smoothing, plus the chosen hinges."""

    label_smoothing: float
    trihard_global: bool
    trihard_local: bool

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing in params.yaml: got {self.label_smoothing}, wanted a number in [0, 1).")


def hardest_pairs(distances: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Distances [N, N] and labels [N] -> indices of each anchor's farthest positive [N] and nearest negative [N].

    The anchor itself counts as a positive. Raises InputError when the batch holds a single person.
    """
    same = labels[:, None] == labels[None, :]
    if bool(same.all()):
        raise InputError("a batch for TriHard holds one person only: got no negative, wanted train.people >= 2.")
    positives = distances.masked_fill(~same, -torch.inf).argmax(1)
    negatives = distances.masked_fill(same, torch.inf).argmin(1)
    return positives, negatives


def hinge(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Distances to positives [N] and negatives [N] -> `mean(max(0, margin + d_ap - d_an))`, a scalar."""
    return functional.relu(margin + positive - negative).mean()


def dmli(a: Tensor, b: Tensor) -> Tensor:
    """DMLI distances of N pairs of images: stripes [N, S, C] and [N, S, C] -> [N]."""
    return shortest_path(pair_costs(a, b))


def parts(
    logits: Tensor,
    global_features: Tensor,
    stripes: Tensor | None,
    labels: Tensor,
    settings: LossSettings,
    margin: float,
) -> dict[str, Tensor]:
    """The terms of one row's loss on a batch: [N, K], [N, D], [N, S, C] or None, [N] -> named scalars; add them up.

    Hardest pairs are mined on plain Euclidean distances of the unnormalised global features; the local hinge uses the
    same pairs.
    """
    terms = {"classification": functional.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)}
    if settings.trihard_global or settings.trihard_local:
        distances = euclidean(pairwise_squares(global_features, global_features))
        positives, negatives = hardest_pairs(distances.detach(), labels)
    if settings.trihard_global:
        anchors = torch.arange(len(labels), device=labels.device)
        terms["trihard_global"] = hinge(distances[anchors, positives], distances[anchors, negatives], margin)
    if settings.trihard_local:
        to_positives, to_negatives = dmli(stripes, stripes[positives]), dmli(stripes, stripes[negatives])
        terms["trihard_local"] = hinge(to_positives, to_negatives, margin)
    return terms
