"""Re-ranking against a dense twin written from the paper, and against the values of the published
code.
"""

import os
from pathlib import Path

import numba
import numpy as np
import pytest
from scipy.sparse import csr_array

from reid.arrays.matrices import row_sum
from reid.arrays.neighbours import Neighbours
from reid.cpu import jit
from reid.reranking import k_reciprocal
from reid.reranking import rerank as reranking
from reid.reranking.rerank import RerankSettings, rerank
from reid.runtime import resources
from reid.runtime.errors import InputError
from tests.conftest import make_settings
from tests.twins import slow_path

PAPER = RerankSettings(k1=20, k2=6, lambda_value=0.3)


def expanded_sets(order, k1):
    """R*(i) of every image, as sets, from all images in order of distance [N, N]."""

    def reciprocal(i, k):
        return {j for j in order[i, : k + 1].tolist() if i in order[j, : k + 1]}

    expanded = []
    for i in range(len(order)):
        original = reciprocal(i, k1)
        halves = [reciprocal(candidate, int(np.round(k1 / 2))) for candidate in original]
        expanded.append(
            original.union(*[half for half in halves if len(half & original) * 3 > len(half) * 2])
        )
    return expanded


def textbook(distances, queries, settings):
    """Zhong et al., section 3, dense: distances [N, N] -> [Q, G] in float64."""
    largest = distances.max(1, keepdims=True).astype(np.float64)
    scaled = distances / np.where(largest > 0, largest, 1)
    order = np.argsort(distances, axis=1, kind="stable")
    encoding = np.zeros(distances.shape)
    for i, members in enumerate(expanded_sets(order, settings.k1)):
        for j in members:
            encoding[i, j] = np.exp(-scaled[i, j]) / sum(np.exp(-scaled[i, m]) for m in members)
    if settings.k2 > 1:  # with 1 each image keeps its row, though it need not be its nearest image
        encoding = np.stack([encoding[nearest].mean(0) for nearest in order[:, : settings.k2]])
    minima = np.stack([np.minimum(encoding[q], encoding[queries:]).sum(1) for q in range(queries)])
    jaccard = 1 - minima / (2 - minima)
    return (
        settings.lambda_value * scaled[:queries, queries:] + (1 - settings.lambda_value) * jaccard
    )


class Pairs:
    """`pair_distances` that reads a matrix and remembers what it was asked."""

    def __init__(self, distances):
        self.distances, self.calls = distances, []

    def __call__(self, rows, columns):
        self.calls.append(list(zip(rows.tolist(), columns.tolist(), strict=True)))
        return self.distances[rows, columns]


def neighbours_of(distances, listed=None):
    """Distances [N, N] -> the nearest `listed` of each image, or all."""
    indices = np.argsort(distances, axis=1, kind="stable")[:, :listed]
    return Neighbours(indices, np.take_along_axis(distances, indices, 1), distances.max(1))


def sparse(distances, queries, settings, listed=None):
    """`rerank` given distances [N, N] of which it sees the nearest `listed`; returns the result
    and the pairs asked.
    """
    pairs, nearest = Pairs(distances), neighbours_of(distances, listed)
    result = rerank(distances[:queries, queries:], nearest, pairs, settings)
    assert result.dtype == np.float32
    return result, pairs.calls


def clustered(images, people, seed, spread=0.6):
    """Squared distances [N, N] float32 of random unit vectors around `people` centres."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(people, 8))[rng.integers(people, size=images)] + spread * rng.normal(
        size=(images, 8)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.square(vectors[:, None] - vectors).sum(2).astype(np.float32)


@pytest.mark.parametrize(("images", "queries"), [(2, 1), (7, 3), (60, 1), (60, 59), (150, 20)])
@pytest.mark.parametrize(
    ("k1", "k2", "share"), [(20, 6, 0.3), (5, 1, 0.0), (1, 1, 0.5), (9, 4, 1.0), (4, 30, 0.1)]
)
def test_agrees_with_the_textbook(images, queries, k1, k2, share):
    distances = clustered(images, people=6, seed=images + k1)
    settings = RerankSettings(k1, k2, share)
    result, calls = sparse(distances, queries, settings)
    np.testing.assert_allclose(result, textbook(distances, queries, settings), rtol=0, atol=1e-6)
    assert not calls


def test_two_people_solved_by_hand():
    # images: query a, then gallery a, b, b; k1 = 1 pairs them off, each V is [w, 1 - w] on its pair
    distances = np.array([[0, 1, 4, 4], [1, 0, 4, 4], [4, 4, 0, 1], [4, 4, 1, 0]], np.float32)
    result, _ = sparse(distances, 1, RerankSettings(k1=1, k2=1, lambda_value=0.5))
    # the query's weight on the other image of its pair, and the reverse
    far = np.exp(-1 / 4) / (1 + np.exp(-1 / 4))
    same_person = 0.5 * 1 / 4 + 0.5 * (1 - 2 * far / (2 - 2 * far))
    np.testing.assert_allclose(result, [[same_person, 1, 1]], atol=1e-6)


@pytest.mark.parametrize("settings", [PAPER, RerankSettings(3, 2, 0.3)])
def test_k1_larger_than_the_set_duplicates_and_equal_distances(settings):
    duplicates = np.tile(clustered(9, people=3, seed=1), (3, 3))
    symmetric = np.random.default_rng(2).integers(0, 3, (40, 40)).astype(np.float32)
    for distances in (
        duplicates,
        np.ones((30, 30), np.float32),
        np.zeros((30, 30), np.float32),
        symmetric + symmetric.T,
    ):
        result, _ = sparse(distances, 4, settings)
        np.testing.assert_allclose(result, textbook(distances, 4, settings), rtol=0, atol=1e-6)


def test_an_image_that_is_not_its_own_neighbour_may_have_an_empty_set():
    distances = clustered(30, people=30, seed=3) + 10 * np.eye(
        30, dtype=np.float32
    )  # as DMLI(x, x) is not 0
    for k2 in 1, 3:
        settings = RerankSettings(k1=1, k2=k2, lambda_value=0.3)
        result, _ = sparse(distances, 5, settings)
        assert np.isfinite(result).all()
        np.testing.assert_allclose(result, textbook(distances, 5, settings), rtol=0, atol=1e-6)


def test_pairs_that_no_list_holds_are_asked_for_once():
    distances = clustered(200, people=8, seed=4)
    wanted, _ = sparse(distances, 15, PAPER)
    result, calls = sparse(distances, 15, PAPER, listed=21)
    np.testing.assert_array_equal(result, wanted)
    order = np.argsort(distances, axis=1, kind="stable")
    missing = [
        (i, j)
        for i, members in enumerate(expanded_sets(order, 20))
        for j in members - set(order[i, :21].tolist())
    ]
    assert len(missing) > 10
    assert [sorted(call) for call in calls] == [sorted(missing)]


def test_inverted_lists_are_the_transpose_in_the_order_of_images():
    """Three images: the first is the query, the others have the columns 2 and 0, and 2."""
    starts, columns = np.array([0, 1, 3, 4]), np.array([1, 2, 0, 2])
    values = np.array([9, 1, 2, 3], np.float32)
    encoding = csr_array((values, columns, starts), shape=(3, 3))
    holders = k_reciprocal.inverted_lists(encoding, 1)
    assert holders.indptr.tolist() == [0, 1, 1, 3]
    assert holders.indices.tolist() == [0, 0, 1]
    assert holders.data.tolist() == [2, 1, 3]
    assert holders.data.dtype == np.float32


@pytest.mark.parametrize("queries", [1, 60])
def test_one_query_and_one_gallery_image_of_many(queries):
    """Without distractors: each gallery image shows somebody who is asked for."""
    distances = clustered(61, people=1, seed=8)
    for settings in PAPER, RerankSettings(2, 2, 0.7):
        result, _ = sparse(distances, queries, settings)
        np.testing.assert_allclose(
            result, textbook(distances, queries, settings), rtol=0, atol=1e-6
        )


def test_many_images_in_several_blocks_agree_with_the_textbook():
    assert k_reciprocal.IMAGES_AT_ONCE < 700
    distances = clustered(700, people=60, seed=9)
    result, calls = sparse(distances, 30, PAPER, listed=25)
    assert calls
    np.testing.assert_allclose(result, textbook(distances, 30, PAPER), rtol=0, atol=1e-6)


def test_bytes_do_not_depend_on_threads_or_blocks(monkeypatch):
    distances = clustered(300, people=20, seed=10)
    expected, _ = sparse(distances, 40, PAPER, listed=30)
    for threads, images, queries in (("1", 300, 40), ("3", 7, 1), ("8", 64, 3)):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        monkeypatch.setattr(k_reciprocal, "IMAGES_AT_ONCE", images)
        monkeypatch.setattr(reranking, "QUERIES_AT_ONCE", queries)
        result, _ = sparse(distances, 40, PAPER, listed=30)
        np.testing.assert_array_equal(result, expected)


def test_threads_give_results_in_order_and_pass_on_errors(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    slices = list(jit.in_threads(lambda rows: (rows.start, rows.stop), 10, 4))
    assert slices == [(0, 4), (4, 8), (8, 10)]
    assert list(jit.in_threads(lambda rows: rows, 0, 4)) == []
    with pytest.raises(ZeroDivisionError):
        list(jit.in_threads(lambda rows: 1 / rows.start, 10, 4))


@pytest.mark.parametrize(
    ("setting", "wanted"), [("3", 3), ("0", 1), ("", None), ("4,2", None), ("all", None)]
)
def test_threads_are_those_of_torch_and_blas(setting, wanted, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert jit.threads() == (wanted or os.cpu_count())


def test_where_machine_code_cannot_be_kept_it_is_made_anew():
    """Numba finds no place to keep a function of no file, as it finds none where nothing can be
    written.
    """
    names = {}
    exec("def double(x):\n    return 2 * x", names)
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(names["double"])
    assert jit.compiled(names["double"])(21) == 42


def test_arguments_are_left_alone():
    distances = clustered(50, people=4, seed=5)
    nearest, square = neighbours_of(distances), distances[:5, 5:]
    for array in (square, *vars(nearest).values()):
        array.setflags(write=False)
    rerank(square, nearest, Pairs(distances), PAPER)


def test_nan_among_the_distances_is_named():
    """As in a file that was not written to its end."""
    distances = clustered(50, people=4, seed=6)
    nearest, square = neighbours_of(distances), distances[:20, 20:].copy()
    square[11, 3] = np.nan
    with pytest.raises(InputError, match="of query 11 hold NaN at gallery image 3"):
        rerank(square, nearest, Pairs(distances), PAPER)


def test_what_memory_cannot_hold_is_refused_before_the_work(monkeypatch):
    distances = clustered(50, people=4, seed=6)
    monkeypatch.setattr(resources, "available_memory", lambda: 10_000)
    with pytest.raises(
        InputError, match=r"re-ranking 50 images with k1 = 20 and k2 = 6 needs .* lower rerank\.k1"
    ):
        rerank(distances[:20, 20:], neighbours_of(distances), Pairs(distances), PAPER)


def test_the_result_goes_where_it_is_told_and_distances_are_read_by_rows(tmp_path):
    distances = clustered(50, people=4, seed=6)
    nearest, half = neighbours_of(distances), distances[:20, 20:] / 2
    expected = rerank(half + half, nearest, Pairs(distances), PAPER)
    file = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float32, (20, 30))
    assert rerank(row_sum(half, half), nearest, Pairs(distances), PAPER, file) is file
    np.testing.assert_array_equal(file, expected)


def dmli(a, b):
    """DMLI of stripes [N, S, C] and [M, S, C] -> [N, M], cell by cell."""
    squares = (
        (a**2).sum(2)[:, None, :, None]
        + (b**2).sum(2)[None, :, None, :]
        - 2 * np.einsum("nsc,mtc->nmst", a, b)
    )
    costs = np.tanh(np.sqrt(np.maximum(squares, 1e-12)) / 2)
    return slow_path(costs.transpose(2, 3, 0, 1))


@pytest.fixture(scope="module")
def golden():
    """The published code's values, and the distances [N, N] they come from."""
    values = dict(np.load(Path(__file__).parent / "data" / "distances.npz"))
    vectors = np.concatenate([values["query_global"], values["gallery_global"]]).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    stripes = np.concatenate([values["query_local"], values["gallery_local"]]).astype(np.float64)
    columns = {"global": np.maximum(2 - 2 * vectors @ vectors.T, 0), "dmli": dmli(stripes, stripes)}
    columns["global_dmli"] = columns["global"] + columns["dmli"]
    return values, {name: matrix.astype(np.float32) for name, matrix in columns.items()}


@pytest.mark.parametrize(
    ("key", "column", "settings"),
    [
        ("rerank_global", "global", PAPER),
        ("rerank_dmli", "dmli", PAPER),
        ("rerank_global_dmli", "global_dmli", PAPER),
        ("rerank_global_k1_10_k2_1_lambda_05", "global", RerankSettings(10, 1, 0.5)),
    ],
)
def test_agrees_with_the_published_code(golden, key, column, settings):
    values, columns = golden
    np.testing.assert_allclose(columns[column][:40, 40:], values[f"dist_{column}"], atol=1e-5)
    result, _ = sparse(columns[column], 40, settings, listed=50)
    np.testing.assert_allclose(result, values[key], rtol=0, atol=2e-3)
    np.testing.assert_allclose(result, textbook(columns[column], 40, settings), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("k1", "k2", "listed", "needed"),
    [(20, 6, 20, 21), (5, 30, 29, 30), (200, 6, 59, 60), (1, 200, 59, 60)],
)
def test_too_few_neighbours(k1, k2, listed, needed):
    with pytest.raises(InputError, match=f"distances.neighbours to {needed} or more"):
        sparse(clustered(60, people=5, seed=6), 10, RerankSettings(k1, k2, 0.3), listed)


def test_neighbours_of_other_features():
    distances = clustered(60, people=5, seed=7)
    nearest = neighbours_of(distances)
    with pytest.raises(
        InputError, match=r"needs neighbours of 59 images.*run the distances stage again"
    ):
        rerank(distances[:9, 10:], nearest, Pairs(distances), PAPER)


@pytest.mark.parametrize(
    ("k1", "k2", "share", "named"),
    [(0, 6, 0.3, "k1"), (20, 0, 0.3, "k2"), (20, 6, 1.1, "lambda_value")],
)
def test_settings_out_of_range(k1, k2, share, named):
    with pytest.raises(InputError, match=f"rerank.{named}"):
        make_settings(RerankSettings, "rerank", k1, k2, share)
