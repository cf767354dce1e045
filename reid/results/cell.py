"""One cell of the tables, evaluated: the scores of every column and protocol, counts, and what it
was made with.
"""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from reid.arrays import features, matrices
from reid.arrays.matrices import PROTOCOLS
from reid.results import metrics
from reid.results.metrics import EvaluateSettings
from reid.runtime import config

PACKAGES = ("torch", "torchvision", "numpy", "numba", "scipy", "Pillow")


def evaluate(
    features_of: Path, distances: Path, reranked: Path, settings: EvaluateSettings
) -> dict[str, Any]:
    """Folders of features, distances and re-ranked distances -> {protocol: {column: {rank1, ...,
    mAP}}} and counts.

    Ranks and mAP in percent. Raises InputError for files that are missing, broken or of different
    runs, and when no query has a match.
    """
    gallery = features.read_identities(features_of / "gallery")
    run: dict[str, Any] = {"counts": {}}
    for protocol in matrices.protocols_in(distances):
        queries = features.read_identities(features_of / PROTOCOLS[protocol])
        identities = (queries.pids, gallery.pids, queries.camids, gallery.camids)
        columns = matrices.read_columns(
            distances / protocol, reranked / protocol, (len(queries.pids), len(gallery.pids))
        )
        scores = {}
        with tqdm(columns.items(), desc=f"evaluating {protocol}", unit="column", delay=1) as bar:
            for name, matrix in bar:
                scores[name] = metrics.score(matrix, *identities, settings)
                matrices.release(matrix)
        run[protocol] = {name: metrics.percentages(score) for name, score in scores.items()}
        run["counts"][protocol] = {
            "queries": scores["global"].queries,
            "queries_without_match": scores["global"].queries_without_match,
            "gallery": len(gallery.pids),
        }
    return run


def described(
    params: dict[str, Any], dataset: str, loss: str, training: dict[str, Any]
) -> dict[str, Any]:
    """A cell's dataset, loss and trunk, and its provenance: settings, versions, and `training` of
    `reid.results.provenance.read`.

    A converted model was not trained by the settings `train`, which are null in its provenance.

    Raises InputError for an unknown dataset or loss.
    """
    overridden = {name: config.section(params, name, dataset, loss) for name in config.OVERRIDABLE}
    if "converted_from" in training:
        overridden["train"] = None
    common = {
        name: config.section(params, name)
        for name in ("extract", "distances", "rerank", "evaluate")
    }
    provenance = {
        "source": config.entry(params, "datasets", dataset).get("source"),
        "partial_seed": config.section(params, "prepare").get("partial_seed"),
        **overridden,
        "loss": config.entry(params, "losses", loss),
        **common,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "training": training,
    }
    return {
        "dataset": dataset,
        "loss": loss,
        "trunk": overridden["model"].get("trunk"),
        "provenance": provenance,
    }
