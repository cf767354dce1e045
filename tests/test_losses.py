"""Losses: hand-solved, a slow twin, and values and gradients of the published code."""

import math

import numpy as np
import pytest
import torch

from reid.losses import (
    LossSettings,
    References,
    centre_loss,
    hardest_pairs,
    hinge,
    loss_terms,
    move_centres,
    mutual_classification,
    mutual_distances,
)
from reid.model import Outputs
from reid.runtime.errors import InputError
from tests.conftest import make_settings
from tests.twins import slow_dmli

ALL = LossSettings(
    label_smoothing=0.1, trihard_global=True, trihard_local=True, centre=0.0, mutual=False
)


@pytest.fixture
def golden():
    arrays = np.load("tests/data/losses.npz")
    tensors = {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}
    for name in ("logits", "global_features", "local_features"):
        tensors[name].requires_grad_()
    return tensors


def terms_of(golden, settings):
    stripes = golden["local_features"].transpose(1, 2)  # the file holds [N, C, S]
    return loss_terms(
        Outputs(golden["logits"], golden["global_features"], stripes),
        golden["labels"],
        settings,
        0.3,
    )


def test_hinges_and_their_gradients_agree_with_the_published_code(golden):
    terms = terms_of(golden, ALL)
    for name in ("trihard_global", "trihard_local"):
        assert terms[name].item() == pytest.approx(golden[name].item(), rel=1e-5)
    (terms["trihard_global"] + terms["trihard_local"]).backward()
    for name in ("global_features", "local_features"):
        expected = golden[f"grad_{name}"]
        np.testing.assert_allclose(
            golden[name].grad, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item()
        )


@pytest.mark.parametrize(("smoothing", "name"), [(0.0, "softmax"), (0.1, "label_smooth")])
def test_classification_and_its_gradient_agree_with_the_published_code(golden, smoothing, name):
    terms = terms_of(golden, LossSettings(smoothing, False, False, 0.0, False))
    assert list(terms) == ["classification"]
    assert terms["classification"].item() == pytest.approx(golden[name].item(), rel=1e-5)
    terms["classification"].backward()
    np.testing.assert_allclose(golden["logits"].grad, golden[f"{name}_grad"], rtol=1e-5, atol=1e-8)


def test_each_row_of_the_tables_has_its_terms(golden):
    assert set(terms_of(golden, LossSettings(0.0, True, False, 0.0, False))) == {
        "classification",
        "trihard_global",
    }
    assert set(terms_of(golden, ALL)) == {"classification", "trihard_global", "trihard_local"}


def test_label_smoothing_solved_by_hand():
    logits, labels = torch.tensor([[math.log(2.0), 0.0]]), torch.tensor([0])
    terms = loss_terms(
        Outputs(logits, torch.zeros(1, 1), None),
        labels,
        LossSettings(0.1, False, False, 0.0, False),
        0.3,
    )
    expected = -(0.95 * math.log(2 / 3) + 0.05 * math.log(1 / 3))  # (1 - e) one-hot + e / K
    assert terms["classification"].item() == pytest.approx(expected, rel=1e-6)


def test_hardest_pairs_by_eye():
    distances = torch.tensor(
        [[0.0, 1.0, 5.0, 3.0], [1.0, 0.0, 2.0, 4.0], [5.0, 2.0, 0.0, 6.0], [3.0, 4.0, 6.0, 0.0]]
    )
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
    features, stripes = (
        torch.from_numpy(rng.random((12, 5))),
        torch.from_numpy(rng.random((12, 8, 4))),
    )
    terms = loss_terms(Outputs(torch.zeros(12, 4).double(), features, stripes), labels, ALL, 0.3)
    total = 0.0
    for a in range(12):
        distance = [(features[a] - features[b]).norm().item() for b in range(12)]
        positive = max((b for b in range(12) if labels[b] == labels[a]), key=lambda b: distance[b])
        negative = min((b for b in range(12) if labels[b] != labels[a]), key=lambda b: distance[b])
        total += max(
            0,
            0.3
            + slow_dmli(stripes[a], stripes[positive])
            - slow_dmli(stripes[a], stripes[negative]),
        )
    assert terms["trihard_local"].item() == pytest.approx(total / 12, rel=1e-9)


def test_one_person_in_the_batch_is_an_error():
    with pytest.raises(InputError, match="one person only"):
        hardest_pairs(torch.zeros(3, 3), torch.zeros(3))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 2.0])
def test_label_smoothing_outside_its_range_is_an_error(smoothing):
    with pytest.raises(InputError, match=r"losses\.ls\.label_smoothing"):
        make_settings(LossSettings, "losses.ls", smoothing, False, False, 0.0, False)


@pytest.mark.parametrize("centre", [-0.1, math.inf, math.nan])
def test_a_weight_out_of_range_is_an_error(centre):
    with pytest.raises(InputError, match=r"losses\.strong\.centre"):
        make_settings(LossSettings, "losses.strong", 0.0, False, False, centre, False)


def test_centre_loss_and_its_gradient_by_hand():
    features = torch.tensor([[1.0, 2.0], [4.0, 0.0]], requires_grad=True)
    centres = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    loss = centre_loss(features, centres, torch.tensor([1, 2]))
    assert loss.item() == pytest.approx(((0 + 4) + (16 + 0)) / 2)
    loss.backward()
    assert features.grad.tolist() == [[0, 2], [4, 0]]  # 2 (x - c) / N
    assert centres.grad is None


def test_centres_move_by_hand():
    centres = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 0.0]])
    features = torch.tensor([[1.0, 2.0], [4.0, 0.0], [2.0, 0.0]], requires_grad=True)
    moved = move_centres(centres, features, torch.tensor([1, 2, 2]), 0.5)
    assert not moved.requires_grad
    assert moved[:2].tolist() == [[9, 9], [1.0, 0.5 * 2 / 2]]
    assert moved[2].tolist() == pytest.approx([0.5 * (4 + 2) / 3, 0])
    assert centres[1].tolist() == [1, 0]  # the old ones are as they were
    assert torch.equal(
        move_centres(centres, features[:0], torch.tensor([], dtype=torch.int64), 0.5), centres
    )


def test_moving_centres_is_its_slow_twin_and_comes_to_the_means():
    rng = np.random.default_rng(0)
    features, labels = (
        torch.from_numpy(rng.random((20, 3))),
        torch.from_numpy(rng.integers(6, size=20)),
    )
    centres = torch.from_numpy(rng.random((6, 3)))
    slow = centres.clone()
    for person in range(6):
        own = [feature for feature, label in zip(features, labels, strict=True) if label == person]
        slow[person] -= 0.5 * sum(centres[person] - feature for feature in own) / (1 + len(own))
    torch.testing.assert_close(move_centres(centres, features, labels), slow)
    for _ in range(100):
        centres = move_centres(centres, features, labels)
    for person in set(labels.tolist()):
        torch.testing.assert_close(centres[person], features[labels == person].mean(0))


def test_mutual_classification_by_hand():
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]], requires_grad=True)
    other = torch.tensor([[math.log(3.0), 0.0], [5.0, 5.0]], requires_grad=True)
    loss = mutual_classification(logits, other)
    # KL(other || own) = sum p_other log(p_other / p_own), of 3/4, 1/4 and of equal ones
    assert loss.item() == pytest.approx(
        (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5) + 0) / 2, rel=1e-6
    )
    loss.backward()
    assert logits.grad.flatten().tolist() == pytest.approx(
        [(0.5 - 0.75) / 2, (0.5 - 0.25) / 2, 0, 0]
    )
    assert other.grad is None


def test_mutual_distances_by_hand():
    distances = torch.tensor([[0.0, 3.0], [3.0, 0.0]], requires_grad=True)
    other = torch.tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True)
    loss = mutual_distances(distances, other)
    assert loss.item() == pytest.approx((0 + 4 + 4 + 0) / 4)
    loss.backward()
    assert distances.grad.tolist() == [[0, 1], [1, 0]]  # 2 (own - other) / N^2
    assert other.grad is None


def random_outputs(seed, images=6, people=3):
    generator = torch.Generator().manual_seed(seed)
    stripes = torch.nn.functional.normalize(torch.randn(images, 8, 4, generator=generator), dim=-1)
    sizes = (images, people), (images, 5)
    logits, features = (
        torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes
    )
    return Outputs(
        logits.requires_grad_(), features.requires_grad_(), stripes.double().requires_grad_()
    )


def slow_kl(logits, other):
    total = 0.0
    for own_row, other_row in zip(logits.tolist(), other.tolist(), strict=True):
        p, q = (
            [math.exp(z) / sum(map(math.exp, row)) for z in row] for row in (other_row, own_row)
        )
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(logits)


def test_mutual_terms_are_their_slow_twins_and_leave_the_other_network_alone():
    own, other, labels = random_outputs(0), random_outputs(1), torch.tensor([0, 0, 1, 1, 2, 2])
    terms = loss_terms(
        own, labels, LossSettings(0.0, True, True, 0.0, True), 0.3, References(outputs=other)
    )
    assert set(terms) == {
        *(
            "classification",
            "trihard_global",
            "trihard_local",
            "mutual_classification",
            "mutual_distances",
        )
    }
    assert terms["mutual_classification"].item() == pytest.approx(
        slow_kl(own.logits, other.logits), rel=1e-9
    )
    gaps = [
        (own.global_features[i] - own.global_features[j]).norm()
        - (other.global_features[i] - other.global_features[j]).norm()
        for i in range(6)
        for j in range(6)
    ]
    assert terms["mutual_distances"].item() == pytest.approx(
        sum(gap.item() ** 2 for gap in gaps) / 36, rel=1e-6
    )
    sum(terms.values()).backward()
    assert all(tensor.grad is None for tensor in other)
    assert all(tensor.grad.abs().sum() > 0 for tensor in own)


def test_two_equal_networks_have_nothing_to_learn_from_each_other():
    outputs, labels = random_outputs(0), torch.tensor([0, 0, 1, 1, 2, 2])
    terms = loss_terms(
        outputs,
        labels,
        LossSettings(0.0, False, False, 0.0, True),
        0.3,
        References(outputs=outputs),
    )
    assert terms["mutual_classification"].item() == pytest.approx(0, abs=1e-12)
    assert terms["mutual_distances"].item() == 0


def test_the_centre_term_is_weighted_and_the_others_stay_as_they_were():
    outputs, labels = random_outputs(0), torch.tensor([0, 0, 1, 1, 2, 2])
    centres = torch.ones(3, 5, dtype=torch.float64)
    terms = loss_terms(
        outputs,
        labels,
        LossSettings(0.1, True, True, 0.25, False),
        0.3,
        References(centres=centres),
    )
    without = loss_terms(outputs, labels, ALL, 0.3)
    assert {name: terms[name].item() for name in without} == {
        name: term.item() for name, term in without.items()
    }
    assert set(terms) - set(without) == {"centre"}
    squares = [(feature - 1).square().sum().item() for feature in outputs.global_features]
    assert terms["centre"].item() == pytest.approx(0.25 * sum(squares) / 6)


@pytest.mark.parametrize(("centre", "mutual"), [(0.1, False), (0.0, True)])
def test_terms_without_what_they_need_are_refused(centre, mutual):
    with pytest.raises(ValueError, match="which are missing"):
        loss_terms(
            random_outputs(0),
            torch.arange(6) % 3,
            LossSettings(0.0, False, False, centre, mutual),
            0.3,
        )


@pytest.mark.parametrize(
    "settings",
    [LossSettings(0.1, True, True, 0.0005, False), LossSettings(0.1, True, True, 0.1, True)],
)
def test_gradients_are_those_of_finite_differences(settings):
    own, other, labels = random_outputs(2), random_outputs(3), torch.tensor([0, 0, 1, 1, 2, 2])
    others = References(torch.randn(3, 5, dtype=torch.float64), other)

    def loss(*tensors):
        return sum(loss_terms(Outputs(*tensors), labels, settings, 0.3, others).values())

    # the anchor itself never is the hardest positive here, so the clamped diagonal has no say
    assert torch.autograd.gradcheck(loss, tuple(own), eps=1e-7, atol=1e-5)
