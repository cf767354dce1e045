"""Validation: which people are held out, and the same scores as the evaluation stage's."""

import math

import numpy as np
import pytest
import torch

from reid.arrays.features import Identities
from reid.results import metrics
from reid.results.metrics import EvaluateSettings
from reid.runtime.errors import InputError
from reid.training import validation


def test_the_same_people_are_held_out_for_the_same_seed():
    labels = np.repeat(np.arange(10), 3)
    is_held_out = validation.split(labels, 4, seed=0)
    assert len(set(labels[is_held_out])) == 4
    assert is_held_out.sum() == 12  # all their images
    assert np.array_equal(is_held_out, validation.split(labels, 4, seed=0))
    assert not np.array_equal(is_held_out, validation.split(labels, 4, seed=1))
    assert not validation.split(labels, 0, seed=0).any()


def test_holding_everybody_out_is_refused():
    with pytest.raises(InputError, match="got 3 of 3 people, wanted fewer"):
        validation.split(np.array([0, 1, 2, 2]), 3, seed=0)


def test_two_people_solved_by_eye():
    """Person 0 at 0 and 10 degrees, person 1 at 30 and 80: each image is a query, of one camera
    each.
    """
    angles = torch.deg2rad(torch.tensor([0.0, 10.0, 30.0, 80.0]))
    features = torch.stack([angles.cos(), angles.sin()], 1)
    labels, camids = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 2, 1, 2])
    # 0 finds 10 first; 10 finds 0 first; 30 finds 10, 0, then 80; 80 finds 30 first
    assert validation.scores(features, labels, camids) == pytest.approx(
        (75.0, 100 * (1 + 1 + 1 / 3 + 1) / 4)
    )


def test_ties_never_count_in_favour_of_a_match():
    labels, camids = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 3])
    rank1, mean_ap = validation.scores(torch.ones(3, 4), labels, camids)
    assert (rank1, mean_ap) == (0.0, 50.0)


@pytest.mark.parametrize("seed", range(3))
def test_the_scores_are_those_of_the_evaluation(seed):
    rng = np.random.default_rng(seed)
    labels, camids = rng.integers(6, size=40), rng.integers(3, size=40)
    features = np.stack([rng.permutation([1, 1, 1, 1, 0, 0]) for _ in range(40)]).astype(
        np.float32
    )  # many are equal
    queries = validation.first_of_each_camera(torch.tensor(labels), torch.tensor(camids))
    unit = torch.nn.functional.normalize(torch.tensor(features), dim=-1)
    distances = (2 - 2 * unit[queries] @ unit.T).numpy()
    settings = EvaluateSettings(metric="market1501", draws=1, seed=0)
    score = metrics.score(
        distances,
        Identities(labels[queries], camids[queries]),
        Identities(labels, camids),
        settings,
    )
    expected = metrics.percentages(score)
    scores = validation.scores(*(torch.tensor(array) for array in (features, labels, camids)))
    assert scores == pytest.approx((expected["rank1"], expected["mAP"]), abs=1e-4)


def test_nobody_has_a_match():
    rank1, mean_ap = validation.scores(torch.eye(3), torch.arange(3), torch.zeros(3))
    assert math.isnan(rank1)
    assert math.isnan(mean_ap)
