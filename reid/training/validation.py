"""Held-out people: some training people are left out, and rank-1 and mAP are measured on them
while training.

The scores are those of `reid.results.metrics` by the global distance (tests/test_holdout.py),
written again in a few lines so that a change there does not train every cell anew.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from reid.runtime.errors import InputError


def split(labels: np.ndarray, people: int, seed: int) -> np.ndarray:
    """Labels [N] -> whether each image is of one of `people` people drawn to be held out [N] bool.

    Raises InputError when nobody would be left to train with.
    """
    everybody = np.unique(labels)
    if people >= len(everybody):
        raise InputError(
            f"train.held_out in params.yaml: got {people} of {len(everybody)} people, wanted fewer."
        )
    drawn = np.random.default_rng([seed, 0]).permutation(everybody)[:people]
    return np.isin(labels, drawn)


def scores(features: Tensor, labels: Tensor, camids: Tensor) -> tuple[float, float]:
    """Global features [N, D], labels [N], camids [N] -> rank-1 and mAP in percent; NaN where no
    query has a match.

    Queries are every person's first image of each camera, the gallery is all N; an image of the
    same person and camera is left out, and ties never count in favour of a match.
    """
    unit = normalize(features, dim=-1)
    ranks_1, precisions = [], []
    for query in first_of_each_camera(labels, camids):
        same_person = labels == labels[query]
        rest = torch.nonzero(~(same_person & (camids == camids[query]))).squeeze(1)
        rest = rest[
            torch.argsort(same_person[rest].int(), stable=True)
        ]  # others first, where distances are equal
        order = torch.argsort(2 - 2 * unit[rest] @ unit[query], stable=True)
        ranks = torch.nonzero(same_person[rest[order]]).squeeze(1) + 1
        if len(ranks):
            ranks_1.append(float(ranks[0] == 1))
            precisions.append(
                float((torch.arange(1, len(ranks) + 1, device=ranks.device) / ranks).mean())
            )
    if not precisions:
        return float("nan"), float("nan")
    return 100 * float(np.mean(ranks_1)), 100 * float(np.mean(precisions))


def first_of_each_camera(labels: Tensor, camids: Tensor) -> list[int]:
    """Labels [N] and camids [N] -> the first image's index of each person and camera, ascending."""
    seen = {}
    for index, key in enumerate(zip(labels.tolist(), camids.tolist(), strict=True)):
        seen.setdefault(key, index)
    return list(seen.values())
