"""Distances and re-ranked distances of one run -> the scores of every column and protocol.

Apart from `cell`, so that the tables, which read those scores, load no arrays.
"""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from reid.arrays import features, matrices
from reid.arrays.features import Identities
from reid.arrays.matrices import Matrix
from reid.arrays.names import PROTOCOLS
from reid.results import metrics
from reid.results.metrics import EvaluateSettings, Scores


def evaluate(
    features_folder: Path, distances: Path, reranked: Path, settings: EvaluateSettings
) -> dict[str, Any]:
    """Folders of features, distances and re-ranked distances -> {"counts": ..., protocol: {column:
    {"rank1", "rank5", "rank10", "rank20", "mAP"}}}, in percent.

    Raises InputError for files that are missing, broken or of different runs, and when no query
    has a match.
    """
    gallery = features.read_identities(features_folder / "gallery")
    run: dict[str, Any] = {"counts": {}}
    for protocol in matrices.protocols_in(distances):
        queries = features.read_identities(features_folder / PROTOCOLS[protocol])
        shape = len(queries.pids), len(gallery.pids)
        columns = matrices.read_columns(distances / protocol, reranked / protocol, shape)
        scores = _scores_of(columns, queries, gallery, settings, f"evaluating {protocol}")
        run[protocol] = {column: metrics.percentages(score) for column, score in scores.items()}
        run["counts"][protocol] = {
            "queries": scores["global"].queries,
            "queries_without_match": scores["global"].queries_without_match,
            "gallery": len(gallery.pids),
        }
    return run


def _scores_of(
    columns: dict[str, Matrix],
    queries: Identities,
    gallery: Identities,
    settings: EvaluateSettings,
    title: str,
) -> dict[str, Scores]:
    """{column: distances [Q, G]} -> {column: scores}; each matrix's memory is given back."""
    scores = {}
    with tqdm(columns.items(), desc=title, unit="column", delay=1) as progress:
        for column, matrix in progress:
            scores[column] = metrics.score(matrix, queries, gallery, settings)
            matrices.release(matrix)
    return scores
