"""How well a distance tells whether two images show the same person: the verification curve.

Ranking finds the nearest person even where the right one is not in the gallery; a threshold on
the distance can say "not in the gallery". All pairs of a query and a gallery image count that are
not junk, with the share of matches below a threshold (true accepts) over that of the others
(false accepts). Junk are the pairs of one person and one camera, and those with a negative pid. So
a query whose person the gallery holds under the query's camera alone, or not at all, has no true
accepts to give, and counts for the false accepts only.

Counted in 65,536 equal bins between the smallest and largest distance, so that memory does not
depend on the gallery: the thresholds are the bins' edges, and distances in one bin count as equal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from reid.arrays.features import Identities
from reid.arrays.matrices import Matrix

BINS = 2**16
PAIRS = 2**20  # of a chunk of rows
RATES = (1e-2, 1e-3, 1e-4)  # of false accepts, at which thresholds are given
GRID = tuple(round(10 ** (-4 + step / 10), 6) for step in range(41))  # of the curve in a run's JSON


@dataclass(frozen=True)
class Curve:
    """Which shares of the non-matches and of the matches lie below each threshold.

    thresholds, false_accepts and true_accepts [T] do not fall; the first threshold accepts no
    pair, the last all. `matches` and `non_matches` count the pairs.
    """

    thresholds: ndarray
    false_accepts: ndarray
    true_accepts: ndarray
    matches: int
    non_matches: int


def curve(distances: Matrix, queries: Identities, gallery: Identities) -> Curve:
    """Distances [Q, G], read by rows, and both sides' pids and camids -> the curve.

    Without a match true accepts are 0, and without others false accepts are.
    """
    low, high = _range(distances)
    counts = np.zeros((2, BINS), np.int64)  # of non-matches and matches
    for rows in _chunks(distances.shape):
        bins = _bins(distances[rows], low, high)
        pids = queries.pids[rows, None]
        is_nobody = (pids < 0) | (gallery.pids < 0)
        same_person = (pids == gallery.pids) & ~is_nobody
        is_match = same_person & (queries.camids[rows, None] != gallery.camids)
        counts[0] += np.bincount(bins.ravel(), minlength=BINS)
        counts[0] -= np.bincount(bins[same_person | is_nobody], minlength=BINS)
        counts[1] += np.bincount(bins[is_match], minlength=BINS)
    accepted = np.concatenate([np.zeros((2, 1), np.int64), np.cumsum(counts, axis=1)], axis=1)
    shares = accepted / np.maximum(accepted[:, -1:], 1)
    thresholds = np.linspace(low, high, BINS + 1)
    non_matches, matches = accepted[:, -1].tolist()
    return Curve(thresholds, *shares, matches=matches, non_matches=non_matches)


def equal_error_rate(curve: Curve) -> float:
    """The share of false accepts at which it equals that of false rejects, between two
    neighbouring points of the curve on a straight line.
    """
    excess = curve.false_accepts + curve.true_accepts - 1  # false accepts - false rejects
    after = max(int(np.searchsorted(excess, 0)), 1)
    before, (low, high) = after - 1, excess[after - 1 : after + 1]
    share = -low / (high - low)
    rates = curve.false_accepts[before : after + 1]
    return float(rates[0] + share * (rates[1] - rates[0]))


def at_rate(curve: Curve, rate: float) -> tuple[float, float]:
    """The largest threshold whose share of false accepts is at most `rate`, and the share of true
    accepts there.
    """
    last = int(np.searchsorted(curve.false_accepts, rate, "right")) - 1
    return float(curve.thresholds[last]), float(curve.true_accepts[last])


def summary(curve: Curve) -> dict[str, Any]:
    """A curve -> {"eer", "at": [{"false_accept_rate", "threshold", "true_accept_rate"}], "curve":
    true accepts at the false-accept rates `GRID`}; eer and true accepts in percent.
    """
    at = []
    for rate in RATES:
        threshold, true_accepts = at_rate(curve, rate)
        numbers = {"threshold": float(f"{threshold:.6g}")}
        numbers["true_accept_rate"] = round(100 * true_accepts, 4)
        at.append({"false_accept_rate": rate, **numbers})
    return {
        "eer": round(100 * equal_error_rate(curve), 4),
        "at": at,
        "curve": [round(100 * at_rate(curve, rate)[1], 2) for rate in GRID],
    }


def _chunks(shape: tuple[int, int]) -> Iterator[slice]:
    """Slices of rows with about `PAIRS` pairs each."""
    step = max(PAIRS // shape[1], 1)
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def _range(distances: Matrix) -> tuple[float, float]:
    """The smallest and the largest finite distance."""
    low, high = np.inf, -np.inf
    for rows in _chunks(distances.shape):
        chunk = distances[rows]
        ends = chunk.min(), chunk.max()
        if not np.isfinite(ends).all():
            chunk = chunk[np.isfinite(chunk)]
            ends = chunk.min(initial=low), chunk.max(initial=high)
        low, high = min(low, float(ends[0])), max(high, float(ends[1]))
    return low, high


def _bins(chunk: ndarray, low: float, high: float) -> ndarray:
    """Distances [R, G] -> the number of each one's bin [R, G]; infinite ones go to the ends."""
    scale = BINS / (high - low) if high > low else 0
    scaled = chunk - np.asarray(low, chunk.dtype)
    np.clip(scaled, 0, high - low, out=scaled)
    scaled *= scale
    return np.minimum(scaled, BINS - 1, out=scaled).astype(np.intp)
