"""The verification curve: cases solved by hand, a slow twin, and matrices read in chunks."""

import numpy as np
import pytest

from reid.arrays.features import Identities
from reid.arrays.matrices import row_sum
from reid.results import verification


def case(distances, query_pids, gallery_pids, query_camids, gallery_camids):
    labels = query_pids, query_camids, gallery_pids, gallery_camids
    arrays = [np.array(label, np.int64) for label in labels]
    return np.array(distances, np.float32), Identities(*arrays[:2]), Identities(*arrays[2:])


# matches 1 and 4, others 2, 3, 5 and 6; the 0 is junk, of the same camera
BY_HAND = case([[1, 2, 5, 0], [3, 4, 6, 9]], [1, 2], [1, 2, 3, 1], [0, 0], [1, 1, 1, 0])


def test_two_queries_by_hand():
    """The 9 is a pair of person 2 with person 1's junk image: an ordinary non-match."""
    curve = verification.curve(*BY_HAND)
    assert (curve.matches, curve.non_matches) == (2, 5)
    for rate, share in ((0, 1 / 2), (1 / 5, 1 / 2), (2 / 5, 1), (1, 1)):
        assert verification.at_rate(curve, rate)[1] == share
    assert verification.at_rate(curve, 0)[0] == pytest.approx(2, abs=1e-3)
    assert verification.at_rate(curve, 2 / 5)[0] == pytest.approx(5, abs=1e-3)
    # false rejects are 1/2 until the 4 is accepted, when false accepts are 2/5 already
    assert verification.equal_error_rate(curve) == pytest.approx(2 / 5)


@pytest.mark.parametrize(
    ("distances", "expected"),
    [([[1, 2, 3]], 0), ([[3, 1, 2]], 1), ([[5, 5, 5]], 1 / 2), ([[1, 1, 3]], 1 / 3)],
    ids=["all right", "all wrong", "all the same", "one of two the same"],
)
def test_equal_error_rate_by_hand(distances, expected):
    """One match, then two others; tied pairs are accepted together, on a straight line."""
    curve = verification.curve(*case(distances, [1], [1, 2, 3], [0], [1, 1, 1]))
    assert verification.equal_error_rate(curve) == pytest.approx(expected)


def test_people_without_a_match_count_for_false_accepts_only():
    """Person 1 is in the gallery under the query's camera alone, person 7 is not there at all."""
    curve = verification.curve(*case([[1, 2], [1, 2], [1, 2]], [1, 2, 7], [1, 2], [0] * 3, [0, 1]))
    assert (curve.matches, curve.non_matches) == (1, 4)


def test_negative_pids_count_for_nothing():
    distances, queries, gallery = BY_HAND
    wide = np.concatenate([distances, [[0], [7]]], axis=1).astype(np.float32)
    tall = np.concatenate([wide, [[0, 1, 2, 3, 4]]]).astype(np.float32)
    queries = Identities(np.append(queries.pids, -1), np.append(queries.camids, 0))
    gallery = Identities(np.append(gallery.pids, -1), np.append(gallery.camids, 5))
    curve, without = verification.curve(tall, queries, gallery), verification.curve(*BY_HAND)
    np.testing.assert_array_equal(curve.true_accepts, without.true_accepts)
    np.testing.assert_array_equal(curve.false_accepts, without.false_accepts)


def test_nobody_else_in_the_gallery():
    curve = verification.curve(*case([[1, 2]], [1], [1, 1], [0], [1, 2]))
    assert (curve.non_matches, verification.equal_error_rate(curve)) == (0, 0)
    assert verification.at_rate(curve, 1e-4)[1] == 1


def test_infinite_distances_are_the_farthest():
    curve = verification.curve(*case([[1, np.inf, 2]], [1], [1, 1, 2], [0], [1, 1, 1]))
    assert verification.at_rate(curve, 0)[1] == 1 / 2
    assert np.isfinite(curve.thresholds).all()


def random_case(seed, queries=40, gallery=300):
    rng = np.random.default_rng(seed)
    labels = [rng.integers(limit, size=size) for limit in (15, 3) for size in (queries, gallery)]
    distances = rng.integers(100, size=(queries, gallery))
    distances = distances - 30 * (labels[0][:, None] == labels[1])
    return case(distances, labels[0], labels[1], labels[2], labels[3])


def slow(distances, queries, gallery, rate):
    """Walk over all pairs and thresholds: the most true accepts with at most `rate` false ones."""
    matches, others = [], []
    for q in range(len(queries.pids)):
        for g in range(len(gallery.pids)):
            if queries.pids[q] != gallery.pids[g]:
                others.append(distances[q, g])
            elif queries.camids[q] != gallery.camids[g]:
                matches.append(distances[q, g])
    best = 0
    for threshold in [*matches, *others]:
        if np.mean(np.array(others) <= threshold) <= rate:
            best = max(best, np.mean(np.array(matches) <= threshold))
    return best


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [0, 1e-3, 1e-2, 0.3])
def test_agrees_with_the_slow_twin(seed, rate):
    arguments = random_case(seed, queries=12, gallery=60)
    curve = verification.curve(*arguments)
    assert verification.at_rate(curve, rate)[1] == pytest.approx(slow(*arguments, rate))


def test_chunks_and_computed_rows_change_nothing(monkeypatch):
    distances, *sides = random_case(5)
    expected = verification.curve(2 * distances, *sides)
    monkeypatch.setattr(verification, "PAIRS", 700)
    by_rows = verification.curve(row_sum(distances, distances), *sides)
    np.testing.assert_array_equal(by_rows.true_accepts, expected.true_accepts)
    np.testing.assert_array_equal(by_rows.thresholds, expected.thresholds)


def test_summary_by_hand():
    summary = verification.summary(verification.curve(*BY_HAND))
    assert summary["eer"] == 40
    assert [entry["false_accept_rate"] for entry in summary["at"]] == [1e-2, 1e-3, 1e-4]
    assert {entry["true_accept_rate"] for entry in summary["at"]} == {50}
    assert len(summary["curve"]) == len(verification.GRID) == 41
    assert (summary["curve"][0], summary["curve"][-1]) == (50, 100)
