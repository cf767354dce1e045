"""How sure a number is: bootstrap intervals and paired tests over people.

The queries of a person resemble each other, so people are drawn, not queries: all queries of a
person go together (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993). Both say what
other test people would have given, and nothing about the chance in training: that is the
deviation over seeds.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy import ndarray

from reid.results.metrics import Scores

RESAMPLES = 2000
LEVEL = 0.95  # of the intervals
NOISE = 0.05  # a difference with a p-value of this or more is within noise
COMPARISONS = (  # of a run: what the tables ask of its columns
    ("dmli", "local"),
    ("global_dmli", "global"),
    ("global_rk", "global"),
    ("dmli_rk", "dmli"),
    ("global_dmli_rk", "global_dmli"),
)
PER_QUERY: dict[str, Callable[[Scores], ndarray]] = {  # measure: its values [Q], whose mean it is
    "rank1": lambda scores: scores.first_hits,
    "mAP": lambda scores: scores.average_precisions,
}

Name = TypeVar("Name")


class Difference(NamedTuple):
    """A difference of means [K], its interval [K, 2], and the p-value [K] of there being none."""

    difference: ndarray
    interval: ndarray
    p: ndarray


def intervals(values: ndarray, pids: ndarray, seed: int, resamples: int = RESAMPLES) -> ndarray:
    """Values of K measures for each query [K, Q] and the queries' pids [Q] -> the intervals of
    their means [K, 2], by the percentiles of `resamples` draws of as many people.

    Queries whose values are NaN, which have no match, are left out.
    """
    sums, counts = _sums_of_people(values, pids)
    return _percentiles(sums, counts, np.random.default_rng(seed), resamples)


def paired_test(
    first: ndarray, second: ndarray, pids: ndarray, seed: int, resamples: int = RESAMPLES
) -> Difference:
    """Two systems' values [K, Q] of the same queries and the queries' pids [Q] -> first - second.

    The p-value is that of the permutation test which exchanges the two systems' values for all
    queries of a person at once: the share of `resamples` exchanges, and of the one that was seen,
    whose mean is as far from 0.
    """
    sums, counts = _sums_of_people(first - second, pids)
    rng = np.random.default_rng(seed)
    interval = _percentiles(sums, counts, rng, resamples)
    signs = 2.0 * rng.integers(2, size=(resamples, len(counts))) - 1
    seen = np.abs(sums.sum(1))
    as_far = np.abs(signs @ sums.T) >= seen - 1e-9 * (1 + seen)  # rounding is no difference
    return Difference(
        difference=sums.sum(1) / counts.sum(),
        interval=interval,
        p=(1 + as_far.sum(0)) / (1 + resamples),
    )


def intervals_of(
    scores: dict[str, Scores], pids: ndarray, seed: int
) -> dict[str, dict[str, list[float]]]:
    """{column: scores} and the queries' pids [Q] -> {column: {"rank1": [low, high], "mAP": ...}},
    in percent.
    """
    values = [of_query(score) for score in scores.values() for of_query in PER_QUERY.values()]
    ends = iter(np.round(100 * intervals(np.stack(values), pids, seed), 4).tolist())
    return {column: {measure: next(ends) for measure in PER_QUERY} for column in scores}


def differences_of(
    pairs: dict[Name, tuple[Scores, Scores]], pids: ndarray, seed: int
) -> dict[Name, dict[str, dict[str, Any]]]:
    """Named pairs of scores of the same queries, whose pids are [Q] -> for each {"rank1":
    {"difference", "interval": [low, high], "p"}, "mAP": ...}, first - second in points.
    """
    sides = (
        np.stack([of_query(score) for score in side for of_query in PER_QUERY.values()])
        for side in zip(*pairs.values(), strict=True)
    )
    tested = paired_test(*sides, pids, seed)
    rows = (
        {"difference": round(100 * float(mean), 4), "interval": ends, "p": round(float(p), 4)}
        for mean, ends, p in zip(
            tested.difference, np.round(100 * tested.interval, 4).tolist(), tested.p, strict=True
        )
    )
    return {name: {measure: next(rows) for measure in PER_QUERY} for name in pairs}


def comparisons_of(scores: dict[str, Scores]) -> dict[str, tuple[Scores, Scores]]:
    """{column: scores} -> the pairs of `COMPARISONS` as "first-second", for `differences_of`."""
    return {"-".join(columns): (scores[columns[0]], scores[columns[1]]) for columns in COMPARISONS}


def _sums_of_people(values: ndarray, pids: ndarray) -> tuple[ndarray, ndarray]:
    """Values [K, Q] and pids [Q] -> each person's sums [K, P] and number of queries [P]."""
    has_match = ~np.isnan(values[0])
    _, person = np.unique(pids[has_match], return_inverse=True)
    sums = [np.bincount(person, weights=of_measure[has_match]) for of_measure in values]
    return np.stack(sums), np.bincount(person)


def _percentiles(
    sums: ndarray, counts: ndarray, rng: np.random.Generator, resamples: int
) -> ndarray:
    """Sums [K, P] and numbers of queries [P] -> the ends [K, 2] of the means' intervals."""
    people = len(counts)
    drawn = rng.integers(people, size=(resamples, people))
    drawn += people * np.arange(resamples)[:, None]
    times = np.bincount(drawn.ravel(), minlength=resamples * people).reshape(resamples, people)
    means = (times @ sums.T) / (times @ counts)[:, None]
    return np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0).T
