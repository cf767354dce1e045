"""CMC, mean average precision and mINP of a distance matrix: Zheng et al., "Scalable Person
Re-identification", ICCV 2015.

CUHK03's classic metric (one gallery image a person, many draws): Li et al., "DeepReID", CVPR 2014.
Agrees with the code published with AlignedReID++. Departs from it on ties, which never favour a
match, and sorts what is no farther than a query's last match only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy import ndarray

from reid.arrays.features import Identities
from reid.arrays.matrices import Matrix, RowMatrix, rows_without_nan
from reid.runtime.errors import InputError
from reid.runtime.resources import check_memory
from reid.runtime.settings import Count, Seed, settings_class

RANKS = 50  # length of a CMC curve


@settings_class
class EvaluateSettings:
    """Which metric, for `cuhk03` how many galleries to draw, and the seed of all that is drawn."""

    metric: Literal["market1501", "cuhk03"]
    draws: Count
    seed: Seed


@dataclass(frozen=True)
class Scores:
    """CMC and mAP of a distance matrix, as fractions in [0, 1], and counts.

    cmc [R] is over the queries with a match; R is 50, or the number of gallery images (for
    `cuhk03`: people) of pids from 0 on where that is smaller. average_precisions [Q] are NaN for
    queries without a match, those of negative pids among them, which `queries` and
    `queries_without_match` count, and cmc and mAP leave out.
    """

    cmc: ndarray
    mAP: float  # noqa: N815 - the tables' word
    average_precisions: ndarray
    queries: int
    queries_without_match: int
    mINP: float  # noqa: N815 - likewise; with one match a draw (`cuhk03`) the mAP
    first_hits: ndarray  # [Q], 1 where the nearest image is a match (share of draws), NaN likewise


def score(
    distances: Matrix, queries: Identities, gallery: Identities, settings: EvaluateSettings
) -> Scores:
    """The metric that `settings.metric` names; otherwise as `evaluate` and `cuhk03_metric`."""
    if settings.metric == "cuhk03":
        return cuhk03_metric(distances, queries, gallery, settings)
    return evaluate(distances, queries, gallery)


def evaluate(distances: Matrix, queries: Identities, gallery: Identities) -> Scores:
    """Market-1501's metric: distances [Q, G] and both sides' pids and camids -> Scores.

    Junk is left out: gallery images of the query's pid and camid, and all of a negative pid,
    which is nobody's. A query of a negative pid has no match. `distances` may be memory-mapped: it
    is read once, row by row. Raises InputError for NaN, wrong shapes, or no match for any query.
    """
    _check_shapes(distances, queries, gallery)
    distances, gallery = _without_nobody(distances, gallery)
    first_ranks, precisions = np.full((2, len(distances)), np.nan)
    penalties = np.full_like(precisions, np.nan)
    for query, (same_person, is_match) in enumerate(_same_person(queries, gallery)):
        row = rows_without_nan(distances, query)
        if is_match.any():
            ranks = match_ranks(row, same_person, is_match)
            first_ranks[query] = ranks[0]
            precisions[query] = average_precision(ranks)
            penalties[query] = inverse_negative_penalty(ranks)
    _check_any_match(precisions, queries, gallery)
    per_query = precisions, penalties
    return _scores(first_ranks[:, None], per_query, min(RANKS, len(gallery.pids)))


def cuhk03_metric(
    distances: Matrix, queries: Identities, gallery: Identities, settings: EvaluateSettings
) -> Scores:
    """CUHK03's classic metric: distances [Q, G] and both sides' pids and camids -> Scores.

    A draw takes one image of each gallery person, for the query's person one that is no junk, so
    that each query has one match, whose average precision is 1 / rank; CMC and average precision
    are means over `settings.draws`. All queries face the same draws. Junk, ties and errors as in
    `evaluate`, and InputError for more draws than memory holds.
    """
    _check_shapes(distances, queries, gallery)
    distances, gallery = _without_nobody(distances, gallery)
    people, counts = np.unique(gallery.pids, return_counts=True)
    _check_draws(settings.draws, len(people), len(distances))
    chances = np.random.default_rng(settings.seed).random((settings.draws, len(people)))
    by_person = np.argsort(gallery.pids, kind="stable")
    drawn = by_person[(np.cumsum(counts) - counts) + (chances * counts).astype(np.int64)]
    ranks = np.full((len(distances), settings.draws), np.nan)
    for query, (same_person, is_match) in enumerate(_same_person(queries, gallery)):
        row = rows_without_nan(distances, query)
        if is_match.any():
            person = np.searchsorted(people, queries.pids[query])
            matches = same_person[is_match]
            match = row[matches[(chances[:, person] * len(matches)).astype(np.int64)]]
            nearer = row[drawn] <= match[:, None]
            ranks[query] = 1 + nearer.sum(1) - nearer[:, person]
    precisions = np.mean(1 / ranks, axis=1)
    _check_any_match(precisions, queries, gallery)
    return _scores(ranks, (precisions, precisions), min(RANKS, len(people)))


def cmc(first_ranks: ndarray, length: int) -> ndarray:
    """Cumulative matching characteristic: ranks of first matches, from 1, of any shape -> [length].

    Entry r - 1 is the fraction of the ranks that are r or less.
    """
    counts = np.bincount(first_ranks.ravel().clip(max=length + 1), minlength=length + 2)
    return np.cumsum(counts[1 : length + 1]) / first_ranks.size


def match_ranks(row: ndarray, same_person: ndarray, is_match: ndarray) -> ndarray:
    """One query's distances [G], its person's gallery images [n] and which match [n] -> ranks [m].

    The ranks, from 1 and increasing, of its m matches in the gallery without junk. An image that
    is no match counts as before a match at the same distance.
    """
    of_person = row[same_person]
    matches = np.sort(of_person[is_match])
    near = np.sort(row[row <= matches[-1]])  # the farther ones need no order
    no_farther = np.searchsorted(near, matches, "right")
    of_person_no_farther = np.searchsorted(np.sort(of_person), matches, "right")
    return np.arange(1, len(matches) + 1) + no_farther - of_person_no_farther


def average_precision(ranks: ndarray) -> float:
    """Ranks [m] of a query's matches -> the mean of the precision at each, not interpolated."""
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def inverse_negative_penalty(ranks: ndarray) -> float:
    """Ranks [m] of a query's matches -> m over the rank of the last, 1 where nothing is before it.

    Its mean over the queries is mINP: Ye et al., "Deep Learning for Person Re-identification: A
    Survey and Outlook", TPAMI 2021.
    """
    return float(len(ranks) / ranks[-1])


def percentages(scores: Scores) -> dict[str, float]:
    """Scores -> `rank1`, `rank5`, `rank10`, `rank20`, `mAP` and `mINP` in percent, to 4 decimals.

    Past the end of a short curve every query has a match, so the last value holds.
    """
    ranks = {f"rank{rank}": scores.cmc[min(rank, len(scores.cmc)) - 1] for rank in (1, 5, 10, 20)}
    fractions = {**ranks, "mAP": scores.mAP, "mINP": scores.mINP}
    return {name: round(100 * float(value), 4) for name, value in fractions.items()}


def _scores(ranks: ndarray, per_query: tuple[ndarray, ndarray], length: int) -> Scores:
    """Ranks of the first match [Q, draws], and average precisions [Q] and inverse negative
    penalties [Q], NaN where there is no match -> Scores with a CMC of `length` ranks.
    """
    average_precisions, penalties = per_query
    has_match = ~np.isnan(average_precisions)
    return Scores(
        cmc=cmc(ranks[has_match].astype(np.int64), length),
        mAP=float(average_precisions[has_match].mean()),
        average_precisions=average_precisions,
        queries=len(ranks),
        queries_without_match=int((~has_match).sum()),
        mINP=float(penalties[has_match].mean()),
        first_hits=np.where(has_match, (ranks == 1).mean(axis=1), np.nan),
    )


def _without_nobody(distances: Matrix, gallery: Identities) -> tuple[Matrix, Identities]:
    """Leave out the gallery images of negative pids: distances [Q, G] -> [Q, H]."""
    is_somebody = gallery.pids >= 0
    if is_somebody.all():
        return distances, gallery
    kept = np.flatnonzero(is_somebody)
    shape = (len(distances), len(kept))
    somebody = RowMatrix(shape, lambda rows: rows_without_nan(distances, rows)[..., kept])
    return somebody, Identities(gallery.pids[kept], gallery.camids[kept])


def _same_person(queries: Identities, gallery: Identities) -> Iterator[tuple[ndarray, ndarray]]:
    """Yield for each query the gallery images [n] of its person, and which of these are matches
    [n] and not junk.
    """
    by_person = np.argsort(gallery.pids, kind="stable")
    sorted_pids = gallery.pids[by_person]
    starts = np.searchsorted(sorted_pids, queries.pids, "left")
    ends = np.searchsorted(sorted_pids, queries.pids, "right")
    for start, end, camid in zip(starts, ends, queries.camids, strict=True):
        same_person = by_person[start:end]
        yield same_person, gallery.camids[same_person] != camid


def _check_shapes(distances: Matrix, queries: Identities, gallery: Identities) -> None:
    """Raise InputError where pids and camids do not fit distances [Q, G], or a side is empty."""
    sides = (queries, gallery)
    pids, camids = [len(side.pids) for side in sides], [len(side.camids) for side in sides]
    if not tuple(pids) == tuple(camids) == distances.shape:
        raise InputError(
            f"distances {distances.shape} do not fit their labels: got {pids[0]} query pids, "
            f"{pids[1]} gallery pids, {camids[0]} query camids and {camids[1]} gallery camids, "
            "wanted one of each for every row, or column. Do distances and labels come from the "
            "same features?"
        )
    if 0 in distances.shape:
        raise InputError(
            f"nothing to evaluate: got {pids[0]} queries and {pids[1]} gallery images, wanted at "
            "least one of each."
        )


def _check_draws(draws: int, people: int, queries: int) -> None:
    """Raise InputError where memory cannot hold the draws' images and the queries' ranks."""
    check_memory(
        draws * (40 * people + 24 * queries),
        f"cuhk03's metric with {min(draws, 10**18):,} draws of {people} people",
        "set evaluate.draws in params.yaml to fewer",
    )


def _check_any_match(precisions: ndarray, queries: Identities, gallery: Identities) -> None:
    """Raise InputError, with a likely reason, when no query has a match."""
    if not np.isnan(precisions).all():
        return
    if np.isin(queries.pids, gallery.pids).any():
        reason = (
            "their people are in the gallery, but only as seen by the query's camera: are the "
            "camids right?"
        )
    else:
        people = ", ".join(map(str, np.unique(gallery.pids)[:3])) or "nowhere: all are negative"
        reason = (
            f"no person is both a query and in the gallery (whose pids begin {people}): are they "
            "the same split?"
        )
    first = [*zip(queries.pids[:3].tolist(), queries.camids[:3].tolist(), strict=True)]
    raise InputError(
        f"none of the {len(queries.pids)} queries has a match among {len(gallery.pids)} gallery "
        f"images, so there is nothing to score: {reason} Queries begin with (pid, camid) "
        f"{', '.join(map(str, first))}. A match is a gallery image of the query's pid from "
        "another camid."
    )
