"""CMC and mean average precision of a distance matrix: Zheng et al., "Scalable Person
Re-identification", ICCV 2015.

CUHK03's classic metric (one gallery image a person, many draws): Li et al., "DeepReID", CVPR 2014.
Agrees with the code published with AlignedReID++. Departs from it on ties, which never favour a
match, and sorts what is no farther than a query's last match only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from reid.runtime.settings import Count, Whole, settings
from reid.runtime.errors import InputError

RANKS = 50  # length of a CMC curve
METRICS = "market1501", "cuhk03"


@settings
class EvaluateSettings:
    """Which metric, and for `cuhk03` how many galleries to draw from which seed."""

    metric: Literal["market1501", "cuhk03"]
    draws: Count
    seed: Whole


class Images(NamedTuple):
    """The labels of both sides: `query_pids [Q]`, `gallery_pids [G]`, `query_camids [Q]`,
    `gallery_camids [G]`.
    """

    query_pids: ndarray
    gallery_pids: ndarray
    query_camids: ndarray
    gallery_camids: ndarray


@dataclass(frozen=True)
class Scores:
    """What a distance matrix is worth, as fractions in [0, 1].

    cmc [R] is over the queries with a match; R is 50, or the gallery's size (for `cuhk03`: its
    people) where that is smaller. average_precisions [Q] and first_ranks [Q] (from 1; for `cuhk03`
    a mean over draws) are NaN for queries without a match, which `queries` counts and cmc and mAP
    leave out.
    """

    cmc: ndarray
    mAP: float  # noqa: N815 - the tables' word
    average_precisions: ndarray
    first_ranks: ndarray
    queries: int
    queries_without_match: int


def evaluate(
    distances: ndarray,
    query_pids: ndarray,
    gallery_pids: ndarray,
    query_camids: ndarray,
    gallery_camids: ndarray,
) -> Scores:
    """Market-1501's metric: distances [Q, G] and pids and camids [Q], [G], [Q], [G] -> Scores.

    Junk (same pid and camid) is left out. Average precision is the mean of the precision at each
    match, not interpolated. An image that is no match counts as before a match at the same
    distance. `distances` may be memory-mapped: it is read once, row by row. Raises InputError for
    NaN, wrong shapes, or no match for any query.
    """
    images = _checked(distances, query_pids, gallery_pids, query_camids, gallery_camids)
    precisions, first_ranks = np.full((2, len(distances)), np.nan)
    for query, (own, is_match) in enumerate(_own_images(images)):
        row = _checked_row(distances, query)
        if not is_match.any():
            continue
        of_own = row[own]
        matches = np.sort(of_own[is_match])
        near = np.sort(row[row <= matches[-1]])  # the farther ones need no order
        others = _counts(near, matches) - _counts(
            np.sort(of_own), matches
        )  # matches and junk are not in the way
        hits = np.arange(1, len(matches) + 1)
        precisions[query] = np.mean(hits / (hits + others))
        first_ranks[query] = 1 + others[0]
    return _scores(first_ranks[:, None], precisions, min(RANKS, len(gallery_pids)), images)


def _counts(values: ndarray, limits: ndarray) -> ndarray:
    """How many of sorted values are no greater than each limit."""
    return np.searchsorted(values, limits, "right")


def cuhk03_metric(
    distances: ndarray,
    query_pids: ndarray,
    gallery_pids: ndarray,
    query_camids: ndarray,
    gallery_camids: ndarray,
    settings: EvaluateSettings,
) -> Scores:
    """CUHK03's classic metric: distances [Q, G] and pids and camids [Q], [G], [Q], [G] -> Scores.

    A draw takes one image of each gallery person, for the query's own person one that is no junk,
    so that each query has one match, whose average precision is 1 / rank; CMC and average
    precision are means over `settings.draws`. All queries face the same draws. Ties as in
    `evaluate`. Raises InputError for NaN, wrong shapes, or no match at all.
    """
    images = _checked(distances, query_pids, gallery_pids, query_camids, gallery_camids)
    people, counts = np.unique(gallery_pids, return_counts=True)
    chances = np.random.default_rng(settings.seed).random((settings.draws, len(people)))
    order = np.argsort(gallery_pids, kind="stable")
    drawn = order[(np.cumsum(counts) - counts) + (chances * counts).astype(np.int64)]
    ranks = np.full((len(distances), settings.draws), np.nan)
    for query, (own, is_match) in enumerate(_own_images(images)):
        row = _checked_row(distances, query)
        if not is_match.any():
            continue
        person = np.searchsorted(people, query_pids[query])
        matches = own[is_match]
        match = row[matches[(chances[:, person] * len(matches)).astype(np.int64)]]
        nearer = row[drawn] <= match[:, None]
        ranks[query] = 1 + nearer.sum(1) - nearer[:, person]
    return _scores(ranks, np.mean(1 / ranks, axis=1), min(RANKS, len(people)), images)


def score(
    distances: ndarray,
    query_pids: ndarray,
    gallery_pids: ndarray,
    query_camids: ndarray,
    gallery_camids: ndarray,
    settings: EvaluateSettings,
) -> Scores:
    """The metric that `settings.metric` names; otherwise as `evaluate` and `cuhk03_metric`."""
    labels = query_pids, gallery_pids, query_camids, gallery_camids
    return (
        cuhk03_metric(distances, *labels, settings)
        if settings.metric == "cuhk03"
        else evaluate(distances, *labels)
    )


def percentages(scores: Scores) -> dict[str, float]:
    """Scores -> `rank1`, `rank5`, `rank10`, `rank20` and `mAP` in percent, to 4 decimals.

    Past the end of a short curve every query has found its match, so the last value holds.
    """
    ranks = {f"rank{rank}": scores.cmc[min(rank, len(scores.cmc)) - 1] for rank in (1, 5, 10, 20)}
    return {
        name: round(100 * float(value), 4) for name, value in {**ranks, "mAP": scores.mAP}.items()
    }


def _checked(distances: ndarray, *labels: ndarray) -> Images:
    """The labels of both sides; raises InputError where they do not fit distances [Q, G] or a side
    is empty.
    """
    images = Images(*labels)
    got = tuple(len(side) for side in images)
    if distances.ndim != 2 or got != distances.shape * 2:
        raise InputError(
            f"distances {distances.shape} do not fit their labels: got {got[0]} query pids, "
            f"{got[1]} gallery pids, {got[2]} query camids and {got[3]} gallery camids, wanted one "
            "of each for every row, or column. Do distances and labels come from the same "
            "features?"
        )
    if 0 in distances.shape:
        raise InputError(
            f"nothing to evaluate: got {got[0]} queries and {got[1]} gallery images, wanted at "
            "least one of each."
        )
    return images


def _checked_row(distances: ndarray, query: int) -> ndarray:
    """The distances [G] of one query; raises InputError where one is NaN."""
    row = np.asarray(distances[query])
    if np.isnan(row.min()):
        raise InputError(
            f"the distances of query {query} hold NaN at gallery image "
            f"{int(np.isnan(row).argmax())}: wanted numbers. Do the features hold NaN (did the "
            "training diverge)?"
        )
    return row


def _own_images(images: Images) -> Iterator[tuple[ndarray, ndarray]]:
    """For each query the gallery images [n] of its person, and which of these are matches [n], not
    junk.
    """
    order = np.argsort(images.gallery_pids, kind="stable")
    sorted_pids = images.gallery_pids[order]
    starts = np.searchsorted(sorted_pids, images.query_pids, "left")
    ends = np.searchsorted(sorted_pids, images.query_pids, "right")
    for start, end, camid in zip(starts, ends, images.query_camids, strict=True):
        own = order[start:end]
        yield own, images.gallery_camids[own] != camid


def _scores(ranks: ndarray, average_precisions: ndarray, longest: int, images: Images) -> Scores:
    """Ranks of the first match [Q, draws] and average precisions [Q], NaN where there is no match
    -> Scores.
    """
    has_match = ~np.isnan(average_precisions)
    if not has_match.any():
        raise InputError(_why_no_match(images))
    counted = ranks[has_match].astype(np.int64)
    at_rank = np.bincount(counted.ravel().clip(max=longest + 1), minlength=longest + 2)[
        1 : longest + 1
    ]
    return Scores(
        cmc=np.cumsum(at_rank) / counted.size,
        mAP=float(average_precisions[has_match].mean()),
        average_precisions=average_precisions,
        first_ranks=ranks.mean(1),
        queries=len(ranks),
        queries_without_match=int((~has_match).sum()),
    )


def _why_no_match(images: Images) -> str:
    """What to say when no query has a match."""
    queries = list(zip(images.query_pids.tolist(), images.query_camids.tolist(), strict=True))
    if np.isin(images.query_pids, images.gallery_pids).any():
        reason = "their people are in the gallery, but only as seen by the query's own camera: are the camids right?"
    else:
        people = ", ".join(map(str, np.unique(images.gallery_pids)[:3]))
        reason = f"no person is both a query and in the gallery (whose pids begin {people}): are they the same split?"
    return (
        f"none of the {len(queries)} queries has a match among {len(images.gallery_pids)} gallery "
        f"images, so there is nothing to score: {reason} Queries begin with (pid, camid) "
        f"{', '.join(map(str, queries[:3]))}. A match is a gallery image of the query's pid from "
        "another camid."
    )
