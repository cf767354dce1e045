"""Stripe costs and paths: by eye, against loops from the definition, and against the published
code.
"""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from reid.alignment import pair_costs, shortest_path, straight
from tests.twins import slow_costs, slow_path


def random_stripes(images, stripes=8, channels=16, seed=0):
    return normalize(
        torch.from_numpy(np.random.default_rng(seed).standard_normal((images, stripes, channels))),
        dim=-1,
    )


def test_a_path_solved_by_eye():
    costs = torch.tensor(
        [[1.0, 9.0, 9.0], [1.0, 9.0, 9.0], [1.0, 1.0, 1.0]]
    )  # down, down, right, right
    assert shortest_path(costs) == 5
    assert straight(costs) == 1 + 9 + 1


@pytest.mark.parametrize("stripes", [1, 2, 3, 8])
def test_path_is_the_slow_twins(stripes):
    costs = torch.from_numpy(np.random.default_rng(stripes).random((stripes, stripes, 3, 4)))
    expected = [[slow_path(costs[:, :, n, m].numpy()) for m in range(4)] for n in range(3)]
    np.testing.assert_allclose(shortest_path(costs), expected, rtol=1e-12)


def test_costs_are_the_slow_twins():
    a, b = random_stripes(5, seed=1), random_stripes(5, seed=2)
    costs = pair_costs(a, b)
    assert costs.shape == (8, 8, 5)
    for n in range(5):
        np.testing.assert_allclose(
            costs[:, :, n], slow_costs(a[n].numpy(), b[n].numpy()), rtol=1e-9
        )


def test_dmli_of_an_image_with_itself_is_not_zero_and_local_is():
    stripes = random_stripes(1)
    costs = pair_costs(stripes, stripes)
    assert shortest_path(costs).item() > 1
    assert straight(costs).item() == pytest.approx(0, abs=1e-5)


def test_a_shifted_person_is_nearer_by_dmli_than_stripe_by_stripe():
    stripes = random_stripes(1)
    shifted = torch.roll(stripes, 1, dims=1)
    costs = pair_costs(stripes, shifted)
    assert shortest_path(costs) - shortest_path(pair_costs(stripes, stripes)) < straight(costs)


def test_gradient_at_equal_stripes_is_finite():
    stripes = random_stripes(2).requires_grad_()
    shortest_path(pair_costs(stripes, stripes.detach())).sum().backward()
    assert torch.isfinite(stripes.grad).all()


def costs_to_each(a, b):
    """`pair_costs` of all pairs: stripes [N, S, C] and [M, S, C] -> [S, S, N, M]."""
    return torch.stack([pair_costs(image.expand(len(b), -1, -1), b) for image in a], dim=2)


def test_distances_agree_with_the_published_code():
    golden = np.load("tests/data/distances.npz")
    queries, gallery = (torch.from_numpy(golden[f"{side}_local"]) for side in ("query", "gallery"))
    costs = costs_to_each(queries, gallery)
    np.testing.assert_allclose(straight(costs), golden["dist_local"], rtol=1e-5)
    np.testing.assert_allclose(shortest_path(costs), golden["dist_dmli"], rtol=1e-5)
    within = shortest_path(costs_to_each(gallery, gallery)).numpy()
    others = ~np.eye(len(gallery), dtype=bool)
    np.testing.assert_allclose(
        within[others], golden["dist_dmli_gallery_gallery"][others], rtol=1e-5
    )
    # an image with itself: d = 0 is rounding noise before the square root, in both codes
    np.testing.assert_allclose(
        within[~others], golden["dist_dmli_gallery_gallery"][~others], rtol=1e-3
    )
