"""What a precision does to the scores: all seven columns of one set of images, in memory."""

import numpy as np
import torch

from reid.arrays.features import Features, Identities
from reid.arrays.names import DISTANCES
from reid.distances import all_pairs
from reid.distances.compare import Comparison
from reid.distances.settings import DistanceSettings
from reid.reranking.pair_distances import pair_distances
from reid.reranking.rerank import RerankSettings, rerank
from reid.results.metrics import evaluate, percentages


def of_people(images: Features, people: int) -> Features:
    """The images of the first people, and a quarter as many distractors where there are any."""
    theirs = np.flatnonzero((images.pids > 0) & (images.pids <= people))
    distractors = np.flatnonzero(images.pids == 0)[: len(theirs) // 4]
    rows = np.concatenate([theirs, distractors])
    return Features(*(array[rows] for array in vars(images).values()))


def scores(
    queries: Features, gallery: Features, settings: DistanceSettings, reranking: RerankSettings
) -> dict[str, dict[str, float]]:
    """Rank-1 and mAP in percent of every column."""
    comparison = Comparison(settings, torch.device("cpu"))
    columns = {name: np.empty((len(queries), len(gallery)), np.float32) for name in DISTANCES}
    within = all_pairs.gallery_lists(gallery, comparison, lambda pairs: None)
    lists = all_pairs.query_distances(
        queries, gallery, within, comparison, columns, lambda pairs: None
    )
    columns["global_dmli"] = columns["global"] + columns["dmli"]
    for name, nearest in lists.items():
        pairs = pair_distances(name, queries, gallery)
        columns[f"{name}_rk"] = rerank(columns[name], nearest, pairs, reranking)
    sides = [Identities(side.pids, side.camids) for side in (queries, gallery)]
    percent = {name: percentages(evaluate(matrix, *sides)) for name, matrix in columns.items()}
    return {name: {key: percent[name][key] for key in ("rank1", "mAP")} for name in percent}
