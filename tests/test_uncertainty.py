"""Intervals and paired tests: cases solved by hand, and simulations in which the truth is known."""

import numpy as np
import pytest

from reid.results import uncertainty

SIMULATIONS, PEOPLE, RESAMPLES = 1000, 120, 400


def people(rng):
    """People with 1 to 8 queries each -> pids [Q]."""
    return np.repeat(np.arange(PEOPLE), rng.integers(1, 9, PEOPLE))


def hits(rng, pids):
    """Whether each query's nearest image is a match [Q]: in 2 of 3, a person's queries alike."""
    chances = rng.beta(1, 0.5, size=PEOPLE)
    return (rng.random(len(pids)) < chances[pids]).astype(float)


def as_queries(pids):
    """Each query as a person of its own, which is what the intervals and tests must not do."""
    return np.arange(len(pids))


def clustered(seed):
    rng = np.random.default_rng(seed)
    pids = people(rng)
    return pids, hits(rng, pids)


def test_interval_of_two_people_by_hand():
    """Person 1 has queries of 0 and 1, person 2 one of 1: the draws are 11, 12, 21 and 22, whose
    means are 1/2, 2/3, 2/3 and 1.
    """
    values = np.array([[0, 1, 1, np.nan]])
    pids = np.array([1, 1, 2, 3])
    np.testing.assert_allclose(uncertainty.intervals(values, pids, seed=0), [[1 / 2, 1]])


def test_difference_of_three_people_by_hand():
    """Sums of differences of 2, 1 and 0: of the 8 exchanges, 4 give 3 or -3."""
    first = np.array([[1, 1, 1, 0.5, np.nan]])
    second = np.array([[0, 0, 0, 0.5, np.nan]])
    pids = np.array([4, 4, 2, 3, 9])
    tested = uncertainty.paired_test(first, second, pids, seed=0)
    np.testing.assert_allclose(tested.difference, [3 / 4])
    np.testing.assert_allclose(tested.p, [4 / 8], atol=0.04)  # 3.5 deviations of 2,000 draws
    reverse = uncertainty.paired_test(second, first, pids, seed=0)
    np.testing.assert_allclose(reverse.difference, -tested.difference)
    np.testing.assert_allclose(reverse.interval, -tested.interval[:, ::-1])
    np.testing.assert_array_equal(reverse.p, tested.p)


def test_the_same_system_twice_cannot_be_told_apart():
    pids, values = clustered(0)
    tested = uncertainty.paired_test(values[None], values[None], pids, seed=0)
    assert (tested.difference, tested.p) == (0, 1)
    np.testing.assert_array_equal(tested.interval, [[0, 0]])


def test_a_clear_difference_has_the_smallest_p():
    pids, values = clustered(0)
    tested = uncertainty.paired_test(values[None] + 1, values[None], pids, seed=0)
    assert tested.p == pytest.approx(1 / (1 + uncertainty.RESAMPLES))
    np.testing.assert_allclose(tested.interval, [[1, 1]])


def test_the_order_of_queries_and_the_names_of_people_do_not_matter():
    pids, values = clustered(0)
    order = np.random.default_rng(1).permutation(len(pids))
    first = uncertainty.intervals(values[None], pids, seed=0)
    again = uncertainty.intervals(values[None, order], 5 * pids[order] + 3, seed=0)
    np.testing.assert_allclose(first, again)
    assert (uncertainty.intervals(values[None], pids, seed=1) != first).any()


def coverage(drawn=lambda pids: pids, simulations=SIMULATIONS):
    """In what share of simulations the interval holds the true mean, 2/3."""
    rng, covered = np.random.default_rng(3), 0
    for seed in range(simulations):
        pids = people(rng)
        values = hits(rng, pids)[None]
        low, high = uncertainty.intervals(values, drawn(pids), seed, RESAMPLES)[0]
        covered += low <= 2 / 3 <= high
    return covered / simulations


def test_intervals_cover_the_truth_in_95_of_100():
    assert coverage() == pytest.approx(0.95, abs=0.02)


def test_intervals_that_draw_queries_would_not():
    assert coverage(as_queries, simulations=300) < 0.88


def p_values(drawn=lambda pids: pids, simulations=SIMULATIONS):
    """The p-values of two systems that differ by chance alone, sorted."""
    rng, ps = np.random.default_rng(4), []
    for seed in range(simulations):
        pids = people(rng)
        sides = (hits(rng, pids)[None] + rng.normal(scale=0.1, size=len(pids)) for _ in range(2))
        ps.append(uncertainty.paired_test(*sides, drawn(pids), seed, RESAMPLES).p[0])
    return np.sort(ps)


def test_p_values_are_uniform_when_there_is_no_difference():
    ps = p_values()
    gap = np.abs(ps - (np.arange(len(ps)) + 0.5) / len(ps)).max()
    assert gap < 1.36 / np.sqrt(SIMULATIONS)  # the 5 % level of Kolmogorov and Smirnov's test
    assert np.mean(ps < 0.05) == pytest.approx(0.05, abs=0.02)


def test_p_values_of_a_test_of_queries_would_not_be():
    assert np.mean(p_values(as_queries, simulations=300) < 0.05) > 0.12
