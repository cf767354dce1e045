"""Distances in tiles against one pair at a time, and against the published code."""

import numpy as np
import pytest
import torch

from reid import distances
from reid.distances import DistanceSettings
from reid.errors import InputError
from reid.features import Features
from reid.neighbours import RANKED
from tests.test_alignment import slow_costs, slow_path
from tests.test_neighbours import assert_equal, slow_neighbours

CPU = torch.device("cpu")


def random_features(images, seed, stripes=8):
    rng = np.random.default_rng(seed)
    labels = np.zeros(images, np.int64)
    arrays = rng.standard_normal((images, 6)), rng.standard_normal((images, stripes, 5))
    return Features(*(array.astype(np.float32) for array in arrays), labels, labels)


def golden_features(side):
    arrays = np.load("tests/data/distances.npz")
    return Features(*(arrays[f"{side}_{name}"] for name in ("global", "local", "pids", "camids")))


def compute(queries, gallery, settings):
    """Everything that the stage computes: the matrices, the neighbours, and the pairs reported to the bar."""
    done = []
    queries, gallery = distances.unit_images(queries, CPU), distances.unit_images(gallery, CPU)
    within = distances.gallery_lists(gallery, settings, done.append)
    out = {name: np.full((len(queries), len(gallery)), np.nan, np.float32) for name in distances.NAMES}
    found = distances.query_distances(queries, gallery, within, settings, out, done.append)
    return out, found, sum(done)


def slow_distances(a, b):
    """Features of N and M images -> {global, local, dmli}, [N, M], pair by pair in float64."""
    found = {name: np.empty((len(a), len(b))) for name in distances.NAMES}
    for i in range(len(a)):
        for j in range(len(b)):
            f, g = (x.global_features[k].astype(np.float64) for x, k in ((a, i), (b, j)))
            s, t = (x.stripes[k].astype(np.float64) for x, k in ((a, i), (b, j)))
            s, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (s, t))
            costs = slow_costs(s, t)
            found["global"][i, j] = ((f / np.linalg.norm(f) - g / np.linalg.norm(g)) ** 2).sum()
            found["local"][i, j], found["dmli"][i, j] = np.trace(costs), slow_path(costs)
    return found


@pytest.mark.parametrize(("queries", "gallery", "rows", "columns"), [(5, 11, 3, 4), (1, 1, 128, 256), (7, 2, 2, 1)])
def test_tiles_give_what_pairs_give(queries, gallery, rows, columns):
    a, b = random_features(queries, 1), random_features(gallery, 2)
    settings = DistanceSettings(neighbours=4, tile_rows=rows, tile_columns=columns, device="cpu")
    out, found, done = compute(a, b, settings)
    for name, expected in slow_distances(a, b).items():
        np.testing.assert_allclose(out[name], expected, rtol=1e-5, atol=1e-6)
    assert done == distances.pairs_to_compute(gallery, [queries], settings)
    both = Features(*(np.concatenate(pair) for pair in zip(vars(a).values(), vars(b).values(), strict=True)))
    square = slow_distances(both, both)
    square["global_dmli"] = square["global"] + square["dmli"]
    for name in RANKED:
        expected = slow_neighbours(square[name], min(4, queries + gallery))
        np.testing.assert_array_equal(found[name].indices, expected.indices)
        # an image's distance to itself is rounding noise under a square root
        np.testing.assert_allclose(found[name].distances, expected.distances, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(found[name].largest, expected.largest, rtol=1e-5)


def test_the_size_of_tiles_changes_nothing_but_rounding():
    a, b = random_features(9, 1), random_features(21, 2)
    one, _, _ = compute(a, b, DistanceSettings(5, 128, 256, "cpu"))
    other, _, _ = compute(a, b, DistanceSettings(5, 2, 3, "cpu"))
    for name in distances.NAMES:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-6)


def test_distances_agree_with_the_published_code():
    golden = np.load("tests/data/distances.npz")
    out, _, _ = compute(golden_features("query"), golden_features("gallery"), DistanceSettings(50, 16, 64, "cpu"))
    for name in distances.NAMES:
        np.testing.assert_allclose(out[name], golden[f"dist_{name}"], rtol=1e-5)
    np.testing.assert_allclose(out["global"] + out["dmli"], golden["dist_global_dmli"], rtol=1e-5)


def test_the_global_distance_is_squared_and_at_most_four():
    one = random_features(1, 0)
    opposite = Features(-one.global_features, one.stripes, one.pids, one.camids)
    out, _, _ = compute(one, opposite, DistanceSettings(5, 8, 8, "cpu"))
    assert out["global"].item() == pytest.approx(4, rel=1e-6)


@pytest.mark.parametrize("name", RANKED)
def test_single_pairs_are_those_of_the_tiles(name):
    queries, gallery = random_features(4, 1), random_features(6, 2)
    _, found, _ = compute(queries, gallery, DistanceSettings(10, 8, 8, "cpu"))
    full = np.empty((10, 10), np.float32)
    np.put_along_axis(full, found[name].indices, found[name].distances, 1)
    rows, columns = np.nonzero(~np.eye(10, dtype=bool))
    pairs = distances.pair_distances(name, queries, gallery)(rows, columns)
    np.testing.assert_allclose(pairs, full[rows, columns], rtol=1e-5, atol=1e-6)


def test_duplicates_are_each_others_nearest():
    one = random_features(3, 0)
    _, found, _ = compute(one, one, DistanceSettings(2, 8, 8, "cpu"))
    assert {frozenset(row) for row in found["global"].indices.tolist()} == {frozenset((i, i + 3)) for i in range(3)}


@pytest.mark.parametrize("field", ["neighbours", "tile_rows", "tile_columns"])
def test_numbers_below_one_are_refused(field):
    with pytest.raises(InputError, match="at least 1"):
        DistanceSettings(**{"neighbours": 1, "tile_rows": 1, "tile_columns": 1, "device": "cpu", field: 0})


def test_neighbours_are_alike_in_two_runs():
    a, b = random_features(5, 1), random_features(8, 2)
    settings = DistanceSettings(4, 3, 4, "cpu")
    for name, one in compute(a, b, settings)[1].items():
        assert_equal(one, compute(a, b, settings)[1][name])
