"""The losses of AlignedReID++ (Luo et al., 2019, section 3.3) and which row of the tables uses
which.

TriHard: Hermans et al., arXiv 1703.07737. Label smoothing: Szegedy et al., CVPR 2016. These agree
with the authors' published code in values and gradients (tests/test_losses.py). Beyond that paper:
the centre loss, and mutual learning.
"""

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from reid.alignment import euclidean, pair_costs, pairwise_squares, shortest_path
from reid.model import Outputs
from reid.runtime.errors import InputError
from reid.runtime.settings import NonNegative, settings_class

CENTRE_RATE = 0.5  # alpha of Wen et al., and of Luo et al., CVPRW 2019


@settings_class
class LossSettings:
    """One entry of `losses` in params.yaml: cross entropy, label smoothing and the chosen terms.

    `centre` is the weight of the centre loss, 0 for none; `mutual` trains two networks that learn
    from each other.
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    trihard_global: bool
    trihard_local: bool
    centre: NonNegative
    mutual: bool


class References(NamedTuple):
    """What a batch is compared with besides itself: centres [people, D], and the other network's
    outputs for it.
    """

    centres: Tensor | None = None
    outputs: Outputs | None = None


NO_REFERENCES = References()


def global_distances(global_features: Tensor) -> Tensor:
    """Global features [N, D], unnormalised -> plain Euclidean distances [N, N], at least 1e-6."""
    return euclidean(pairwise_squares(global_features, global_features))


def hardest_pairs(distances: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Distances [N, N] and labels [N] -> indices of each anchor's farthest positive [N] and
    nearest negative [N].

    The anchor itself counts as a positive. Raises InputError when the batch holds a single person.
    """
    same = labels[:, None] == labels[None, :]
    if bool(same.all()):
        raise InputError(
            "a batch for TriHard holds one person only: got no negative, wanted train.people >= 2."
        )
    positives = distances.masked_fill(~same, -torch.inf).argmax(1)
    negatives = distances.masked_fill(same, torch.inf).argmin(1)
    return positives, negatives


def hinge(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Distances to positives [N] and negatives [N] -> `mean(max(0, margin + d_ap - d_an))`, a
    scalar.
    """
    return functional.relu(margin + positive - negative).mean()


def dmli(a: Tensor, b: Tensor) -> Tensor:
    """DMLI distances of N pairs of images: stripes [N, S, C] and [N, S, C] -> [N]."""
    return shortest_path(pair_costs(a, b))


def centre_loss(features: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    """Features [N, D], centres [people, D], labels [N] -> mean squared distance of a feature to
    its person's centre.

    The mean, not halved, is what Luo et al. (CVPRW 2019) trained with at weight 0.0005; their
    equation, after Wen et al. (ECCV 2016), has half the sum, N/2 times as much. Centres are
    constants here: `move_centres` moves them.
    """
    return (features - centres[labels].detach()).square().sum(1).mean()


@torch.no_grad()
def move_centres(
    centres: Tensor, features: Tensor, labels: Tensor, rate: float = CENTRE_RATE
) -> Tensor:
    """Centres [people, D] after a batch of features [N, D] with labels [N]; those of absent
    persons stay.

    Wen et al., ECCV 2016, equation 4: a centre goes by `rate * sum(x - c) / (1 + n)`, over its n
    features x.
    """
    sums = torch.zeros_like(centres).index_add(
        0, labels, features.to(centres.dtype) - centres[labels]
    )
    counts = centres.new_zeros(len(centres)).index_add(0, labels, centres.new_ones(len(labels)))
    return centres + rate * sums / (1 + counts)[:, None]


def mutual_classification(logits: Tensor, other_logits: Tensor) -> Tensor:
    """Logits [N, K] of both networks -> mean over images of KL(other || own); the other's are
    constants.

    Deep Mutual Learning (Zhang et al., arXiv 1706.00384, section 2.2), at temperature 1. A mean
    and not its sum, as the cross entropy beside it is.
    """
    log_probabilities = logits.log_softmax(1)
    other = other_logits.detach().log_softmax(1)
    return functional.kl_div(log_probabilities, other, reduction="batchmean", log_target=True)


def mutual_distances(distances: Tensor, other_distances: Tensor) -> Tensor:
    """Global distances [N, N] of both networks -> mean over all pairs of the squared difference.

    The metric mutual loss of AlignedReID (Zhang et al., arXiv 1711.08184, section 3.3), as one
    network sees it: the other's distances are constants (the paper's ZG), and its own half of the
    sum is the other network's loss.
    """
    return (distances - other_distances.detach()).square().mean()


def loss_terms(
    outputs: Outputs,
    labels: Tensor,
    settings: LossSettings,
    margin: float,
    references: References = NO_REFERENCES,
) -> dict[str, Tensor]:
    """The terms of one row's loss on a whole batch: outputs of N images, labels [N] -> named
    scalars; add them up.

    `references` holds centres where the row has a centre loss, and the other network's outputs
    where it is mutual. Raises ValueError when they are missing.
    """
    if (settings.centre and references.centres is None) or (
        settings.mutual and references.outputs is None
    ):
        raise ValueError(
            f"{settings} needs centres, or the other network's outputs, which are missing"
        )
    smoothing = settings.label_smoothing
    terms = {
        "classification": functional.cross_entropy(
            outputs.logits, labels, label_smoothing=smoothing
        )
    }
    if settings.trihard_global or settings.trihard_local or settings.mutual:
        distances = global_distances(outputs.global_features)
    if settings.trihard_global or settings.trihard_local:
        terms |= _hinges(outputs.stripes, distances, labels, settings, margin)
    if settings.centre:
        terms["centre"] = settings.centre * centre_loss(
            outputs.global_features, references.centres, labels
        )
    if settings.mutual:
        terms |= _mutual_terms(outputs, references.outputs, distances)
    return terms


def _mutual_terms(outputs: Outputs, others: Outputs, distances: Tensor) -> dict[str, Tensor]:
    """The terms by which a network learns from another's outputs of the same images."""
    other_distances = global_distances(others.global_features.detach())
    return {
        "mutual_classification": mutual_classification(outputs.logits, others.logits),
        "mutual_distances": mutual_distances(distances, other_distances),
    }


def _hinges(
    stripes: Tensor | None, distances: Tensor, labels: Tensor, settings: LossSettings, margin: float
) -> dict[str, Tensor]:
    """The TriHard terms: hardest pairs are mined on the global distances, and the local hinge uses
    the same pairs.
    """
    terms = {}
    positives, negatives = hardest_pairs(distances.detach(), labels)
    if settings.trihard_global:
        anchors = torch.arange(len(labels), device=labels.device)
        terms["trihard_global"] = hinge(
            distances[anchors, positives], distances[anchors, negatives], margin
        )
    if settings.trihard_local:
        to_positives = dmli(stripes, stripes[positives])
        to_negatives = dmli(stripes, stripes[negatives])
        terms["trihard_local"] = hinge(to_positives, to_negatives, margin)
    return terms
