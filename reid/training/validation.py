"""Validation: some training people are held out, and rank-1 and mAP are measured on them while
training.

The scores are those of `reid.results.metrics` by the global distance (tests/test_validation.py),
written again in a few lines so that a change there does not train every cell anew.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from reid import images
from reid.model import Network
from reid.runtime.errors import InputError
from reid.training.batches import TrainingSet


def split(labels: np.ndarray, people: int, seed: int) -> np.ndarray:
    """Labels [N] -> whether each image is of one of `people` people drawn to be held out [N] bool.

    Raises InputError when nobody would be left to train with.
    """
    all_people = np.unique(labels)
    if people >= len(all_people):
        raise InputError(
            f"train.held_out in params.yaml: got {people} of {len(all_people)} people, wanted "
            "fewer."
        )
    drawn = np.random.default_rng([seed, 0]).permutation(all_people)[:people]
    return np.isin(labels, drawn)


def measure(
    network: Network, held_out: TrainingSet, batch: int, device: torch.device
) -> dict[str, float]:
    """Score a network in training on the held-out images, in batches of `batch` images.

    Raises InputError when no held-out person has images of two cameras.
    """
    network.eval()
    batches = torch.from_numpy(held_out.plain).split(batch)
    features = torch.cat(
        [network.describe(images.normalise(pixels.to(device)))[0] for pixels in batches]
    )
    network.train()
    labels = torch.from_numpy(held_out.labels).to(device)
    camids = torch.from_numpy(held_out.camids).to(device)
    rank1, mean_ap = scores(features, labels, camids)
    if math.isnan(mean_ap):
        raise InputError(
            "train.held_out in params.yaml: no held-out person has images of two cameras: hold "
            "out more."
        )
    return {"held_out_rank1": rank1, "held_out_mAP": mean_ap}


def scores(features: Tensor, labels: Tensor, camids: Tensor) -> tuple[float, float]:
    """Global features [N, D], labels [N], camids [N] -> rank-1 and mAP in percent; NaN where no
    query has a match.

    Queries are every person's first image of each camera, the gallery is all N; an image of the
    same person and camera is left out, and ties never count in favour of a match.
    """
    unit = normalize(features, dim=-1)
    first_ranks, precisions = [], []
    for query in first_of_each_camera(labels, camids):
        is_same = labels == labels[query]
        gallery = torch.nonzero(~(is_same & (camids == camids[query]))).squeeze(1)
        # other people first, where distances are equal
        gallery = gallery[torch.argsort(is_same[gallery].int(), stable=True)]
        order = torch.argsort(2 - 2 * unit[gallery] @ unit[query], stable=True)
        ranks = torch.nonzero(is_same[gallery[order]]).squeeze(1) + 1
        if len(ranks):
            first_ranks.append(float(ranks[0] == 1))
            matches = torch.arange(1, len(ranks) + 1, device=ranks.device)
            precisions.append(float((matches / ranks).mean()))
    if not precisions:
        return float("nan"), float("nan")
    return 100 * float(np.mean(first_ranks)), 100 * float(np.mean(precisions))


def first_of_each_camera(labels: Tensor, camids: Tensor) -> list[int]:
    """Labels [N] and camids [N] -> the first image's index of each person and camera, ascending."""
    firsts = {}
    for index, key in enumerate(zip(labels.tolist(), camids.tolist(), strict=True)):
        firsts.setdefault(key, index)
    return list(firsts.values())
