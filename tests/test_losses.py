"""Losses: hand-solved, a slow twin, and values and gradients of the published code."""

import math

import numpy as np
import pytest
import torch

from reid.errors import InputError
from reid.losses import LossSettings, hardest_pairs, hinge, parts
from reid.model import Outputs
from tests.twins import slow_dmli

ALL = LossSettings(label_smoothing=0.1, trihard_global=True, trihard_local=True, centre=0.0, mutual=False)


@pytest.fixture
def golden():
    arrays = np.load("tests/data/losses.npz")
    tensors = {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}
    for name in ("logits", "global_features", "local_features"):
        tensors[name].requires_grad_()
    return tensors


def terms_of(golden, settings):
    stripes = golden["local_features"].transpose(1, 2)  # the file holds [N, C, S]
    return parts(Outputs(golden["logits"], golden["global_features"], stripes), golden["labels"], settings, 0.3)


def test_hinges_and_their_gradients_agree_with_the_published_code(golden):
    terms = terms_of(golden, ALL)
    for name in ("trihard_global", "trihard_local"):
        assert terms[name].item() == pytest.approx(golden[name].item(), rel=1e-5)
    (terms["trihard_global"] + terms["trihard_local"]).backward()
    for name in ("global_features", "local_features"):
        expected = golden[f"grad_{name}"]
        np.testing.assert_allclose(golden[name].grad, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize(("smoothing", "name"), [(0.0, "softmax"), (0.1, "label_smooth")])
def test_classification_and_its_gradient_agree_with_the_published_code(golden, smoothing, name):
    terms = terms_of(golden, LossSettings(smoothing, False, False, 0.0, False))
    assert list(terms) == ["classification"]
    assert terms["classification"].item() == pytest.approx(golden[name].item(), rel=1e-5)
    terms["classification"].backward()
    np.testing.assert_allclose(golden["logits"].grad, golden[f"{name}_grad"], rtol=1e-5, atol=1e-8)


def test_each_row_of_the_tables_has_its_terms(golden):
    assert set(terms_of(golden, LossSettings(0.0, True, False, 0.0, False))) == {"classification", "trihard_global"}
    assert set(terms_of(golden, ALL)) == {"classification", "trihard_global", "trihard_local"}


def test_label_smoothing_solved_by_hand():
    logits, labels = torch.tensor([[math.log(2.0), 0.0]]), torch.tensor([0])
    terms = parts(Outputs(logits, torch.zeros(1, 1), None), labels, LossSettings(0.1, False, False, 0.0, False), 0.3)
    expected = -(0.95 * math.log(2 / 3) + 0.05 * math.log(1 / 3))  # (1 - e) one-hot + e / K
    assert terms["classification"].item() == pytest.approx(expected, rel=1e-6)


def test_hardest_pairs_by_eye():
    distances = torch.tensor([[0.0, 1.0, 5.0, 3.0], [1.0, 0.0, 2.0, 4.0], [5.0, 2.0, 0.0, 6.0], [3.0, 4.0, 6.0, 0.0]])
    positives, negatives = hardest_pairs(distances, torch.tensor([0, 0, 1, 1]))
    assert positives.tolist() == [1, 0, 3, 2]
    assert negatives.tolist() == [3, 2, 1, 0]


def test_a_person_with_one_image_is_its_own_positive():
    positives, _ = hardest_pairs(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    assert positives.tolist() == [0, 1]


def test_hinge_by_hand():
    value = hinge(torch.tensor([1.0, 2.0]), torch.tensor([1.1, 5.0]), 0.3)
    assert value.item() == pytest.approx((0.3 + 1.0 - 1.1 + 0) / 2)


def test_local_hinge_uses_the_globally_hardest_pairs():
    rng = np.random.default_rng(0)
    labels = torch.arange(4).repeat_interleave(3)
    features, stripes = torch.from_numpy(rng.random((12, 5))), torch.from_numpy(rng.random((12, 8, 4)))
    terms = parts(Outputs(torch.zeros(12, 4).double(), features, stripes), labels, ALL, 0.3)
    total = 0.0
    for a in range(12):
        distance = [(features[a] - features[b]).norm().item() for b in range(12)]
        positive = max((b for b in range(12) if labels[b] == labels[a]), key=lambda b: distance[b])
        negative = min((b for b in range(12) if labels[b] != labels[a]), key=lambda b: distance[b])
        total += max(0, 0.3 + slow_dmli(stripes[a], stripes[positive]) - slow_dmli(stripes[a], stripes[negative]))
    assert terms["trihard_local"].item() == pytest.approx(total / 12, rel=1e-9)


def test_one_person_in_the_batch_is_an_error():
    with pytest.raises(InputError, match="one person only"):
        hardest_pairs(torch.zeros(3, 3), torch.zeros(3))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 2.0])
def test_label_smoothing_outside_its_range_is_an_error(smoothing):
    with pytest.raises(InputError, match="label_smoothing"):
        LossSettings(smoothing, False, False, 0.0, False)
