"""CMC and average precision: matrices solved by hand, a slow twin, and the published code's
values.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.arrays.features import Identities
from reid.results.metrics import (
    EvaluateSettings,
    Scores,
    average_precision,
    cmc,
    cuhk03_metric,
    evaluate,
    inverse_negative_penalty,
    match_ranks,
    percentages,
    score,
)
from reid.runtime import resources
from reid.runtime.errors import InputError
from tests.conftest import make_settings

DATA = Path(__file__).parent / "data"
CUHK03 = EvaluateSettings(metric="cuhk03", draws=100, seed=0)


def case(distances, query_pids, gallery_pids, query_camids, gallery_camids):
    """Lists -> distances [Q, G] and the identities of queries and gallery."""
    labels = query_pids, query_camids, gallery_pids, gallery_camids
    arrays = [np.array(label, np.int64) for label in labels]
    return np.array(distances, np.float32), Identities(*arrays[:2]), Identities(*arrays[2:])


def golden(column):
    """The published code's distances of a column, its identities, and what it scored."""
    values, expected = np.load(DATA / "distances.npz"), np.load(DATA / "evaluation.npz")
    sides = [
        Identities(values[f"{side}_pids"], values[f"{side}_camids"])
        for side in ("query", "gallery")
    ]
    return (values[f"dist_{column}"], *sides), expected


# queries 1, 2, 3 by camera 0; the first gallery image is junk for query 1, query 3 has no match
BY_HAND = case(
    [[0.1, 0.2, 0.3, 0.4, 0.5], [0.3, 0.2, 0.1, 0.5, 0.4], [0.5, 0.4, 0.3, 0.2, 0.1]],
    [1, 2, 3],
    [1, 1, 2, 1, 3],
    [0, 0, 0],
    [0, 1, 1, 1, 0],
)


def slow(distances, queries, gallery):
    """Straight from the definition: rank every image, walk down the list -> (cmc, mAP, average
    precisions, mINP).
    """
    curves, precisions, penalties = [], [], []
    for q, row in enumerate(distances):
        same_person = gallery.pids == queries.pids[q]
        is_junk = same_person & (gallery.camids == queries.camids[q])
        ranking = sorted(
            np.flatnonzero(~is_junk), key=lambda g: (row[g], same_person[g])
        )  # ties: no match first
        hits, at_hits, curve = 0, [], []
        for rank, g in enumerate(ranking, start=1):
            hits += same_person[g]
            if same_person[g]:
                at_hits.append(hits / rank)
            curve.append(hits > 0)
        if hits:
            precisions.append(sum(at_hits) / len(at_hits))
            hardest = max(rank for rank, g in enumerate(ranking, start=1) if same_person[g])
            penalties.append(1 - (hardest - hits) / hardest)  # 1 - the paper's negative penalty
            curves.append((curve + [True] * len(row))[: min(50, len(row))])
        else:
            precisions.append(np.nan)
    return np.mean(curves, axis=0), np.nanmean(precisions), precisions, np.mean(penalties)


def assert_as_slow(*arguments):
    scores = evaluate(*arguments)
    curve, mean, precisions, inverse_penalty = slow(*arguments)
    np.testing.assert_allclose(scores.cmc, curve, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores.average_precisions, precisions, rtol=0, atol=1e-12)
    assert scores.mAP == pytest.approx(mean, abs=1e-12)
    assert scores.mINP == pytest.approx(inverse_penalty, abs=1e-12)
    assert np.nanmean(scores.first_hits) == pytest.approx(curve[0], abs=1e-12)
    np.testing.assert_array_equal(np.isnan(scores.first_hits), np.isnan(precisions))


def random_case(seed, queries=30, gallery=200, people=12, cameras=3, levels=None):
    """Random distances, in `levels` steps where ties are wanted, and labels."""
    rng = np.random.default_rng(seed)
    distances = (
        rng.random((queries, gallery))
        if levels is None
        else rng.integers(levels, size=(queries, gallery))
    )
    limits = (people, people, cameras, cameras)
    sizes = (queries, gallery, queries, gallery)
    labels = [rng.integers(limit, size=size) for limit, size in zip(limits, sizes, strict=True)]
    return case(distances, *labels)


def test_three_queries_by_hand():
    scores = evaluate(*BY_HAND)
    expected = [(1 / 1 + 2 / 3) / 2, 1 / 1, np.nan]
    np.testing.assert_allclose(scores.average_precisions, expected)
    assert scores.mAP == pytest.approx(((1 / 1 + 2 / 3) / 2 + 1 / 1) / 2)
    assert scores.mINP == pytest.approx((2 / 3 + 1 / 1) / 2)
    np.testing.assert_array_equal(scores.first_hits, [1, 1, np.nan])
    np.testing.assert_allclose(scores.cmc, [1, 1, 1, 1, 1])
    assert (scores.queries, scores.queries_without_match) == (3, 1)


def test_late_match_by_hand():
    scores = evaluate(*case([[3, 1, 2, 4, 5]], [7], [7, 1, 2, 7, 3], [0], [1, 1, 1, 2, 1]))
    assert scores.mAP == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert scores.mINP == pytest.approx(2 / 4)
    np.testing.assert_allclose(scores.cmc, [0, 0, 1, 1, 1])


def test_ties_never_favour_a_match():
    scores = evaluate(*case([[1, 1, 1, 1]], [7], [7, 8, 7, 9], [0], [1, 1, 1, 1]))
    assert scores.mAP == pytest.approx((1 / 3 + 2 / 4) / 2)
    np.testing.assert_allclose(scores.cmc, [0, 0, 1, 1])
    junk_ties = evaluate(*case([[1, 1, 1, 1]], [7], [7, 7, 7, 9], [0], [1, 0, 0, 1]))
    assert junk_ties.mAP == pytest.approx(1 / 2)
    drawn = cuhk03_metric(*case([[1, 1, 1, 1]], [7], [7, 8, 8, 9], [0], [1, 1, 1, 1]), CUHK03)
    assert drawn.mAP == drawn.mINP == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "sizes", [{}, {"levels": 4}, {"gallery": 9}, {"people": 150}, {"cameras": 2, "people": 3}]
)
def test_agrees_with_the_slow_twin(seed, sizes):
    assert_as_slow(*random_case(seed, **sizes))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.integers(1, 70),
    st.integers(1, 5),
    st.integers(1, 9),
)
def test_any_small_case_agrees_with_the_slow_twin(seed, queries, gallery, people, levels):
    arguments = random_case(seed, queries, gallery, people, levels=levels)
    _, queries, gallery = arguments
    same_person = queries.pids[:, None] == gallery.pids
    if (same_person & (queries.camids[:, None] != gallery.camids)).any():
        assert_as_slow(*arguments)
    else:
        with pytest.raises(InputError, match="has a match"):
            evaluate(*arguments)


@pytest.mark.parametrize("column", ["global", "local", "dmli", "global_dmli"])
def test_agrees_with_the_published_code(column):
    arguments, expected = golden(column)
    scores = evaluate(*arguments)
    np.testing.assert_allclose(scores.cmc, expected[f"{column}_cmc"], rtol=0, atol=1e-7)
    assert scores.mAP == pytest.approx(float(expected[f"{column}_map"]), abs=1e-9)
    assert (scores.queries, scores.queries_without_match) == (40, 7)


def test_cmc_by_hand():
    np.testing.assert_array_equal(cmc(np.array([1, 3, 3, 9]), 4), [1 / 4, 1 / 4, 3 / 4, 3 / 4])
    np.testing.assert_array_equal(cmc(np.array([[1, 2], [2, 2]]), 2), [1 / 4, 1])


def test_ranks_and_average_precision_by_hand():
    """Matches 0.2 and 0.5, junk 0.1, others 0.2 (before the match beside it), 0.3 and 0.9."""
    row = np.array([0.5, 0.1, 0.2, 0.2, 0.3, 0.9], np.float32)
    ranks = match_ranks(row, np.array([0, 1, 2]), np.array([True, False, True]))
    np.testing.assert_array_equal(ranks, [2, 4])
    assert average_precision(ranks) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert inverse_negative_penalty(ranks) == pytest.approx(2 / 4)


def test_cuhk03_metric_agrees_with_the_published_code():
    arguments, expected = golden("global")
    scores = cuhk03_metric(*arguments, CUHK03)
    curve = expected["cuhk03_metric_global_cmc"]
    np.testing.assert_allclose(scores.cmc[: len(curve)], curve, rtol=0, atol=0.02)
    assert scores.mAP == pytest.approx(float(expected["cuhk03_metric_global_map"]), abs=0.02)


def slow_cuhk03(distances, queries, gallery, draws):
    """Draw a gallery anew for every query and draw -> (cmc, mAP)."""
    rng, people, ranks = np.random.default_rng(1), np.unique(gallery.pids), []
    for q, row in enumerate(distances):
        same_person = gallery.pids == queries.pids[q]
        is_junk = same_person & (gallery.camids == queries.camids[q])
        if not (same_person & ~is_junk).any():
            continue
        for _ in range(draws):
            left = [np.flatnonzero((gallery.pids == person) & ~is_junk) for person in people]
            drawn = [rng.choice(images) for images in left if len(images)]
            drawn.sort(key=lambda g: row[g])
            ranks.append(1 + [gallery.pids[g] for g in drawn].index(queries.pids[q]))
    ranks = np.array(ranks)
    curve = np.mean(ranks[:, None] <= np.arange(1, len(people) + 1), axis=0)
    return curve, np.mean(1 / ranks)


def test_cuhk03_metric_agrees_with_its_slow_twin():
    arguments = random_case(0, queries=20, gallery=60, people=10)
    scores = cuhk03_metric(*arguments, EvaluateSettings("cuhk03", draws=2000, seed=3))
    curve, mean = slow_cuhk03(*arguments, draws=200)
    np.testing.assert_allclose(scores.cmc, curve, rtol=0, atol=0.02)
    assert scores.mAP == pytest.approx(mean, abs=0.01)


def test_cuhk03_metric_without_choice_is_evaluate():
    arguments = case(np.random.default_rng(0).random((5, 8)), range(5), range(8), [0] * 5, [1] * 8)
    all_images, drawn = evaluate(*arguments), cuhk03_metric(*arguments, CUHK03)
    np.testing.assert_allclose(drawn.cmc, all_images.cmc)
    np.testing.assert_allclose(drawn.average_precisions, all_images.average_precisions)
    assert drawn.mAP == pytest.approx(all_images.mAP)
    assert drawn.mINP == pytest.approx(all_images.mINP)
    np.testing.assert_allclose(drawn.first_hits, all_images.first_hits)


def test_cuhk03_metric_repeats_from_its_seed_whatever_the_order_of_queries():
    distances, queries, gallery = random_case(5)
    scores = cuhk03_metric(distances, queries, gallery, CUHK03)
    reversed_queries = Identities(queries.pids[::-1], queries.camids[::-1])
    reversed_scores = cuhk03_metric(distances[::-1], reversed_queries, gallery, CUHK03)
    np.testing.assert_array_equal(
        scores.average_precisions, reversed_scores.average_precisions[::-1]
    )
    another_seed = EvaluateSettings("cuhk03", draws=100, seed=1)
    assert cuhk03_metric(distances, queries, gallery, another_seed).mAP != scores.mAP


def test_score_takes_the_metric_from_its_settings():
    arguments = random_case(6)
    assert score(*arguments, EvaluateSettings("market1501", 100, 0)).mAP == evaluate(*arguments).mAP
    assert score(*arguments, CUHK03).mAP == cuhk03_metric(*arguments, CUHK03).mAP


def test_percentages():
    curve = np.array([1 / 3, 0.5, 0.5, 0.5, 0.75, 1])
    scores = Scores(curve, 2 / 3, np.array([2 / 3]), 1, 0, 1 / 6, np.array([0.0]))
    assert percentages(scores) == {
        "rank1": 33.3333,
        "rank5": 75.0,
        "rank10": 100.0,
        "rank20": 100.0,
        "mAP": 66.6667,
        "mINP": 16.6667,
    }


def test_memory_mapped_and_read_only(tmp_path):
    distances, *sides = random_case(7)
    np.save(tmp_path / "global.npy", distances)
    mapped = np.load(tmp_path / "global.npy", mmap_mode="r")
    for side in sides:
        for array in side:
            array.setflags(write=False)
    for metric in (evaluate, cuhk03):
        assert metric(mapped, *sides).mAP == metric(distances, *sides).mAP


def cuhk03(*arguments):
    return cuhk03_metric(*arguments, CUHK03)


@pytest.mark.parametrize("metric", [evaluate, cuhk03])
class TestNobody:
    """Negative pids are nobody's: junk in the gallery, no query."""

    def test_by_hand(self, metric):
        scores = metric(*case([[1, 2, 3]], [7], [-1, 7, 3], [0], [1, 1, 1]))
        assert scores.mAP == 1
        np.testing.assert_array_equal(scores.cmc, [1, 1])

    def test_a_query_of_nobody_has_no_match(self, metric):
        nobody, gallery = [-1, 7, -5], [-1, 7, 3, -5]
        scores = metric(*case([[1, 2, 3, 4]] * 3, nobody, gallery, [0] * 3, [1] * 4))
        assert (scores.queries, scores.queries_without_match) == (3, 2)
        np.testing.assert_array_equal(scores.average_precisions, [np.nan, 1, np.nan])

    def test_images_of_nobody_change_nothing(self, metric):
        distances, queries, gallery = random_case(11)
        at = np.sort(np.random.default_rng(0).integers(0, 200, 40))
        crowded = Identities(*(np.insert(side, at, -1 - at % 3) for side in gallery))
        scores = metric(np.insert(distances, at, 0, axis=1), queries, crowded)
        alone = metric(distances, queries, gallery)
        np.testing.assert_array_equal(scores.average_precisions, alone.average_precisions)
        np.testing.assert_array_equal(scores.cmc, alone.cmc)

    def test_a_gallery_of_nobody(self, metric):
        with pytest.raises(InputError, match="whose pids begin nowhere: all are negative"):
            metric(*case([[1, 2]], [-1], [-1, -1], [0], [1, 1]))

    def test_nan_at_nobody_is_named_by_its_place_in_the_gallery(self, metric):
        with pytest.raises(InputError, match="query 0 hold NaN at gallery image 2"):
            metric(*case([[1, 2, np.nan]], [7], [-1, 7, -1], [0], [1, 1, 1]))


def test_draws_that_memory_cannot_hold_are_refused(monkeypatch):
    monkeypatch.setattr(resources, "available_memory", lambda: 10**6)
    settings = EvaluateSettings("cuhk03", 100_000, 0)
    with pytest.raises(InputError, match=r"100,000 draws of 12 people needs .* GB of"):
        cuhk03_metric(*random_case(0), settings)


@pytest.mark.parametrize("metric", [evaluate, cuhk03])
class TestBadInput:
    def test_people_that_are_not_in_the_gallery(self, metric):
        with pytest.raises(
            InputError, match=r"none of the 4 queries .* begin 8.*\(1, 0\), \(2, 0\), \(3, 0\)\."
        ):
            metric(*case(np.ones((4, 2)), [1, 2, 3, 4], [8, 9], [0] * 4, [1, 1]))

    def test_cameras_that_are_all_the_same(self, metric):
        with pytest.raises(
            InputError, match=r"none of the 1 queries .*only as seen by the query's camera"
        ):
            metric(*case(np.ones((1, 2)), [1], [1, 2], [0], [0, 0]))

    @pytest.mark.parametrize(("queries", "gallery"), [(0, 3), (3, 0), (0, 0)])
    def test_nothing_there(self, metric, queries, gallery):
        sides = [Identities(*np.ones((2, size), np.int64)) for size in (queries, gallery)]
        with pytest.raises(InputError, match=f"got {queries} queries and {gallery} gallery images"):
            metric(np.ones((queries, gallery), np.float32), *sides)

    def test_nan(self, metric):
        distances, *sides = random_case(8)
        distances[3, 5] = np.nan
        with pytest.raises(InputError, match="query 3 hold NaN at gallery image 5"):
            metric(distances, *sides)

    def test_labels_that_are_too_many(self, metric):
        distances, *sides = random_case(9)
        with pytest.raises(
            InputError, match=r"\(30, 199\) do not fit .* got 30 query pids, 200 gallery pids"
        ):
            metric(distances[:, 1:], *sides)


@pytest.mark.parametrize(
    ("metric", "draws", "named"), [("market", 100, "metric"), ("cuhk03", 0, "draws")]
)
def test_settings_out_of_range(metric, draws, named):
    with pytest.raises(InputError, match=f"evaluate.{named}"):
        make_settings(EvaluateSettings, "evaluate", metric, draws, 0)
