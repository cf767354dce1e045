"""Distances in tiles against one pair at a time, and against the published code."""

import numpy as np
import pytest
import torch

from reid.arrays.features import Features, Identities
from reid.arrays.names import DISTANCES, RERANKED
from reid.distances import all_pairs, partition
from reid.distances.compare import Comparison, compare_across, compare_within, row_panel
from reid.distances.settings import DistanceSettings
from reid.reranking.pair_distances import pair_distances
from reid.results.metrics import evaluate
from reid.runtime import settings
from reid.runtime.errors import InputError
from tests.conftest import make_settings
from tests.test_neighbours import assert_equal, slow_neighbours
from tests.twins import slow_costs, slow_path

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
    """Everything that the stage computes: the matrices, the neighbours, and the pairs reported to
    the bar.
    """
    done = []
    comparison = Comparison(settings, CPU)
    within = all_pairs.gallery_lists(gallery, comparison, done.append)
    out = {name: np.full((len(queries), len(gallery)), np.nan, np.float32) for name in DISTANCES}
    nearest = all_pairs.query_distances(queries, gallery, within, comparison, out, done.append)
    return out, nearest, sum(done)


def slow_distances(a, b):
    """Features of N and M images -> {global, local, dmli}, [N, M], pair by pair in float64."""
    distances = {name: np.empty((len(a), len(b))) for name in DISTANCES}
    for i in range(len(a)):
        for j in range(len(b)):
            f, g = (x.global_features[k].astype(np.float64) for x, k in ((a, i), (b, j)))
            s, t = (x.stripes[k].astype(np.float64) for x, k in ((a, i), (b, j)))
            s, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (s, t))
            costs = slow_costs(s, t)
            distances["global"][i, j] = ((f / np.linalg.norm(f) - g / np.linalg.norm(g)) ** 2).sum()
            distances["local"][i, j], distances["dmli"][i, j] = np.trace(costs), slow_path(costs)
    return distances


@pytest.mark.parametrize("panel", [4096, 4])
@pytest.mark.parametrize(
    ("queries", "gallery", "rows", "columns"), [(5, 11, 3, 4), (1, 1, 128, 256), (7, 2, 2, 1)]
)
def test_tiles_give_what_pairs_give(queries, gallery, rows, columns, panel, monkeypatch):
    monkeypatch.setattr(partition, "PANEL", panel)
    a, b = random_features(queries, 1), random_features(gallery, 2)
    settings = DistanceSettings(
        neighbours=4, tile_rows=rows, tile_columns=columns, precision="fp32", device="cpu"
    )
    out, nearest, done = compute(a, b, settings)
    for name, expected in slow_distances(a, b).items():
        np.testing.assert_allclose(out[name], expected, rtol=1e-5, atol=1e-6)
    assert done == all_pairs.pairs_to_compute(gallery, [queries], settings)
    both = Features(
        *(np.concatenate(pair) for pair in zip(vars(a).values(), vars(b).values(), strict=True))
    )
    square = slow_distances(both, both)
    square["global_dmli"] = square["global"] + square["dmli"]
    for name in RERANKED:
        expected = slow_neighbours(square[name], min(4, queries + gallery))
        np.testing.assert_array_equal(nearest[name].indices, expected.indices)
        # an image's distance to itself is rounding noise under a square root
        np.testing.assert_allclose(
            nearest[name].distances, expected.distances, rtol=1e-3, atol=1e-6
        )
        np.testing.assert_allclose(nearest[name].largest, expected.largest, rtol=1e-5)


def test_the_size_of_tiles_changes_nothing_but_rounding():
    a, b = random_features(9, 1), random_features(21, 2)
    large, _, _ = compute(a, b, DistanceSettings(5, 128, 256, "fp32", "cpu"))
    small, _, _ = compute(a, b, DistanceSettings(5, 2, 3, "fp32", "cpu"))
    for name in DISTANCES:
        np.testing.assert_allclose(large[name], small[name], rtol=1e-5, atol=1e-6)


def test_all_lengths_that_features_may_have_give_the_same_distances():
    queries, gallery = random_features(5, 1), random_features(11, 2)
    settings = DistanceSettings(5, 4, 4, "fp32", "cpu")
    wanted, nearest, _ = compute(queries, gallery, settings)
    rows, columns = np.nonzero(~np.eye(16, dtype=bool))
    for power in (-48, -45, -30, 20, 47):
        scaled = [
            Features(
                *(array * np.float32(2.0) ** power for array in (a.global_features, a.stripes)),
                a.pids,
                a.camids,
            )
            for a in (queries, gallery)
        ]
        out, scaled_nearest, _ = compute(*scaled, settings)
        for name in DISTANCES:
            np.testing.assert_allclose(out[name], wanted[name], rtol=0, atol=1e-6)
        for name in RERANKED:
            np.testing.assert_array_equal(scaled_nearest[name].indices, nearest[name].indices)
            pairs = pair_distances(name, *scaled)(rows, columns)
            unscaled = pair_distances(name, queries, gallery)(rows, columns)
            np.testing.assert_allclose(pairs, unscaled, rtol=0, atol=1e-6)


def test_distances_agree_with_the_published_code():
    golden = np.load("tests/data/distances.npz")
    out, _, _ = compute(
        golden_features("query"),
        golden_features("gallery"),
        DistanceSettings(50, 16, 64, "fp32", "cpu"),
    )
    for name in DISTANCES:
        np.testing.assert_allclose(out[name], golden[f"dist_{name}"], rtol=1e-5)
    np.testing.assert_allclose(out["global"] + out["dmli"], golden["dist_global_dmli"], rtol=1e-5)


def test_the_global_distance_is_squared_and_at_most_four():
    image = random_features(1, 0)
    opposite = Features(-image.global_features, image.stripes, image.pids, image.camids)
    out, _, _ = compute(image, opposite, DistanceSettings(5, 8, 8, "fp32", "cpu"))
    assert out["global"].item() == pytest.approx(4, rel=1e-6)


@pytest.mark.parametrize("name", RERANKED)
def test_single_pairs_are_those_of_the_tiles(name):
    queries, gallery = random_features(4, 1), random_features(6, 2)
    _, nearest, _ = compute(queries, gallery, DistanceSettings(10, 8, 8, "fp32", "cpu"))
    full = np.empty((10, 10), np.float32)
    np.put_along_axis(full, nearest[name].indices, nearest[name].distances, 1)
    rows, columns = np.nonzero(~np.eye(10, dtype=bool))
    pairs = pair_distances(name, queries, gallery)(rows, columns)
    np.testing.assert_allclose(pairs, full[rows, columns], rtol=1e-5, atol=1e-6)


def test_duplicates_are_each_others_nearest():
    images = random_features(3, 0)
    _, nearest, _ = compute(images, images, DistanceSettings(2, 8, 8, "fp32", "cpu"))
    assert {frozenset(row) for row in nearest["global"].indices.tolist()} == {
        frozenset((i, i + 3)) for i in range(3)
    }


@pytest.mark.parametrize("panel", [4096, 4])
def test_equal_distances_are_in_the_order_of_the_images(panel, monkeypatch):
    monkeypatch.setattr(partition, "PANEL", panel)
    stripes = np.zeros((1, 8, 4), np.float32)
    stripes[..., 0] = 1  # products of these are exact, so that all distances are equal
    labels = np.zeros(7, np.int64)
    same = Features(np.repeat(stripes[:, 0], 7, 0), np.repeat(stripes, 7, 0), labels, labels)
    _, nearest, _ = compute(same, same, DistanceSettings(5, 3, 2, "fp32", "cpu"))
    for name in RERANKED:
        assert (nearest[name].indices == np.arange(5)).all()
        assert (nearest[name].distances == nearest[name].largest[:, None]).all()


def clustered_features(images, people, seed):
    """Non-negative features of few directions, as a network's are, around the people's own."""
    rng, directions = (
        np.random.default_rng(seed),
        np.random.default_rng(99).standard_normal((12, 9 * 64)),
    )
    pids = np.arange(images) % people
    centres = np.random.default_rng(5).standard_normal((people, 12))
    arrays = np.maximum((centres[pids] + 0.9 * rng.standard_normal((images, 12))) @ directions, 0)
    arrays = arrays.reshape(images, 9, 64).astype(np.float32)
    return Features(arrays[:, 0], arrays[:, 1:], pids, np.full(images, seed))


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_lower_precision_hardly_moves_ranks(precision):
    queries, gallery = clustered_features(60, 20, 1), clustered_features(300, 30, 2)
    sides = [Identities(side.pids, side.camids) for side in (queries, gallery)]
    exact, _, _ = compute(queries, gallery, DistanceSettings(30, 64, 64, "fp32", "cpu"))
    close, _, _ = compute(queries, gallery, DistanceSettings(30, 64, 64, precision, "cpu"))
    np.testing.assert_array_equal(close["global"], exact["global"])
    for name in ("local", "dmli"):
        np.testing.assert_allclose(close[name], exact[name], rtol=0, atol=0.03)
        wanted, scores = evaluate(exact[name], *sides), evaluate(close[name], *sides)
        assert 0.3 < wanted.cmc[0] < 1
        assert abs(wanted.cmc[0] - scores.cmc[0]) <= 1 / 60
        assert abs(wanted.mAP - scores.mAP) < 0.005


def test_an_unknown_precision_and_int8_on_a_gpu_are_refused():
    with pytest.raises(
        InputError, match=r"`distances\.precision`: got 'fp16', wanted one of 'fp32'"
    ):
        make_settings(DistanceSettings, "distances", 1, 1, 1, "fp16", "cpu")
    with pytest.raises(InputError, match="int8 is for the CPU"):
        Comparison(DistanceSettings(1, 1, 1, "int8", "cuda"), torch.device("cuda"))


@pytest.mark.parametrize("field", ["neighbours", "tile_rows", "tile_columns"])
def test_numbers_below_one_are_refused(field):
    values = {"neighbours": 1, "tile_rows": 1, "tile_columns": 1, "precision": "fp32"}
    values |= {"device": "cpu", field: 0}
    with pytest.raises(InputError, match=rf"`distances\.{field}`: got 0, wanted at least 1"):
        settings.make(DistanceSettings, values, "distances")


def test_neighbours_are_alike_in_two_runs():
    a, b = random_features(5, 1), random_features(8, 2)
    settings = DistanceSettings(4, 3, 4, "fp32", "cpu")
    first, second = compute(a, b, settings)[1], compute(a, b, settings)[1]
    for name in RERANKED:
        assert_equal(first[name], second[name])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_any_number_of_threads_gives_the_same_bytes(precision, monkeypatch):
    monkeypatch.setattr(partition, "PANEL", 100)
    queries, gallery = clustered_features(70, 20, 1), clustered_features(190, 30, 2)
    settings, before = DistanceSettings(30, 32, 48, precision, "cpu"), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(compute(queries, gallery, settings))
    finally:
        torch.set_num_threads(before)
    for matrices, neighbours, _ in results[1:]:
        for name in DISTANCES:
            np.testing.assert_array_equal(matrices[name], results[0][0][name])
        for name in RERANKED:
            assert_equal(neighbours[name], results[0][1][name])


def test_distances_within_a_set_are_alike_both_ways():
    images = clustered_features(150, 20, 1)
    comparison = Comparison(DistanceSettings(30, 32, 48, "fp32", "cpu"), CPU)
    panel = row_panel(images, slice(0, len(images)), comparison)
    tiles = torch.arange(len(images)) // 32
    is_mirrored = tiles[:, None] != tiles  # within a tile of rows, both ways are computed
    for matrix in compare_within(panel, images, comparison, lambda pairs: None).values():
        assert torch.equal(matrix[is_mirrored], matrix.T[is_mirrored])
        torch.testing.assert_close(matrix, matrix.T, rtol=1e-3, atol=2e-3)


def test_a_panel_within_itself_is_what_it_is_across():
    images = clustered_features(150, 20, 1)
    comparison = Comparison(DistanceSettings(30, 32, 48, "fp32", "cpu"), CPU)
    panel, all_done, half_done = row_panel(images, slice(40, 150), comparison), [], []
    across = compare_across(panel, images, slice(40, 150), comparison, all_done.append)
    within = compare_within(panel, images, comparison, half_done.append)
    assert sum(all_done) == 110 * 110
    assert 110 * 110 / 2 < sum(half_done) < 0.7 * 110 * 110
    is_other = ~torch.eye(110, dtype=bool)  # an image's distance to itself is rounding noise
    for name in DISTANCES:
        torch.testing.assert_close(
            within[name][is_other], across[name][is_other], rtol=1e-4, atol=1e-5
        )


def test_processes_count_their_pairs_as_all_of_them_do(monkeypatch):
    settings = DistanceSettings(5, 8, 8, "fp32", "cpu")
    monkeypatch.setattr(all_pairs.distributed, "world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(all_pairs.distributed, "rank", lambda rank=rank: rank)
        shares.append(all_pairs.pairs_of_this_process(90, [20, 7], settings))
    assert sum(shares) == all_pairs.pairs_to_compute(90, [20, 7], settings)
    assert min(shares) > 0
