"""The algorithms as the papers state them, in plain NumPy, to compare with: each step on its own,
nothing shared.

Distances: Luo et al., "AlignedReID++", 2019, section 3.2, one pass for DMLI and one for the
unaligned distance. Re-ranking: Zhong et al., CVPR 2017, section 3, on N x N matrices. CMC and AP:
Zheng et al., ICCV 2015, by sorting and by a loop.
"""

import numpy as np
from numpy import ndarray


def stripe_costs(a: ndarray, b: ndarray) -> ndarray:
    """Unit stripes [N, S, C] and [M, S, C] -> tanh(d/2) of all stripes of all pairs [N, M, S,
    S].
    """
    products = np.einsum("nsc,mtc->nmst", a, b, optimize=True)
    return np.tanh(np.sqrt(np.maximum(2 - 2 * products, 1e-12)) / 2)


def dmli(a: ndarray, b: ndarray) -> ndarray:
    """Unit stripes [N, S, C] and [M, S, C] -> cheapest paths [N, M], cell by cell."""
    costs = stripe_costs(a, b)
    path = np.full((*costs.shape[:2], costs.shape[2] + 1, costs.shape[3] + 1), np.inf, np.float32)
    path[:, :, 0, 1] = 0
    for i in range(costs.shape[2]):
        for j in range(costs.shape[3]):
            path[:, :, i + 1, j + 1] = costs[:, :, i, j] + np.minimum(
                path[:, :, i, j + 1], path[:, :, i + 1, j]
            )
    return path[:, :, -1, -1]


def unaligned(a: ndarray, b: ndarray) -> ndarray:
    """Unit stripes [N, S, C] and [M, S, C] -> sums of the costs of like stripes [N, M]."""
    return np.trace(stripe_costs(a, b), axis1=2, axis2=3)


def rerank(distances: ndarray, queries: int, k1: int, k2: int, share: float) -> ndarray:
    """Distances of all images [N, N], queries first -> re-ranked [Q, G]; `share` is the paper's
    lambda.
    """
    scaled = distances / distances.max(1, keepdims=True)
    order = np.argsort(scaled, axis=1)
    encoding = np.zeros_like(scaled)
    for image in range(len(scaled)):
        members = _expanded(order, image, k1)
        weights = np.exp(-scaled[image, members])
        encoding[image, members] = weights / weights.sum()
    if k2 > 1:
        original, encoding = encoding, np.empty_like(encoding)
        for image, nearest in enumerate(order[:, :k2]):
            encoding[image] = original[nearest].mean(0)
    gallery = encoding[queries:]
    holders = [np.flatnonzero(column) for column in gallery.T]
    result = np.empty((queries, len(gallery)), np.float32)
    for query in range(queries):
        minima = np.zeros(len(gallery), np.float32)
        for image in np.flatnonzero(encoding[query]):
            rows = holders[image]
            minima[rows] += np.minimum(encoding[query, image], gallery[rows, image])
        result[query] = share * scaled[query, queries:] + (1 - share) * (1 - minima / (2 - minima))
    return result


def _reciprocal(order: ndarray, image: int, k: int) -> ndarray:
    forward = order[image, : k + 1]
    return forward[(order[forward, : k + 1] == image).any(1)]


def _expanded(order: ndarray, image: int, k1: int) -> ndarray:
    members = original = _reciprocal(order, image, k1)
    for candidate in original:
        half = _reciprocal(order, candidate, round(k1 / 2))
        if np.isin(half, original).sum() > 2 / 3 * len(half):
            members = np.concatenate([members, half])
    return np.unique(members)


def evaluate(
    distances: ndarray,
    query_pids: ndarray,
    gallery_pids: ndarray,
    query_camids: ndarray,
    gallery_camids: ndarray,
) -> tuple[float, float]:
    """Distances [Q, G] and the labels of both sides -> rank-1 and mAP, as fractions, by a full
    sort of each row.
    """
    firsts, precisions = [], []
    for row, pid, camid in zip(distances, query_pids, query_camids, strict=True):
        order = np.argsort(row)
        order = order[(gallery_pids[order] != pid) | (gallery_camids[order] != camid)]
        matches = gallery_pids[order] == pid
        if matches.any():
            firsts.append(matches[0])
            precisions.append((np.cumsum(matches) / np.arange(1, len(matches) + 1))[matches].mean())
    return float(np.mean(firsts)), float(np.mean(precisions))


def evaluate_loop(
    distances: ndarray,
    query_pids: ndarray,
    gallery_pids: ndarray,
    query_camids: ndarray,
    gallery_camids: ndarray,
) -> tuple[float, float]:
    """As `evaluate`, in plain Python: down each query's ranking, image by image."""
    firsts, precisions = [], []
    for query, row in enumerate(distances):
        rank = hits = first = 0
        total = 0.0
        for image in np.argsort(row):
            if (
                gallery_pids[image] == query_pids[query]
                and gallery_camids[image] == query_camids[query]
            ):
                continue
            rank += 1
            if gallery_pids[image] == query_pids[query]:
                hits += 1
                total += hits / rank
                first = first or rank
        if hits:
            firsts.append(first == 1)
            precisions.append(total / hits)
    return sum(firsts) / len(firsts), sum(precisions) / len(precisions)
