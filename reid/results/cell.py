"""One run evaluated: its JSON, <dataset>/<loss>/<seed>.json, that evaluate writes and tables read.

It holds dataset, loss, seed, trunk, the scores of every column and protocol, and the provenance:
`reid.results.provenance`. A cell is the runs of a dataset and a loss, one for each seed.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from reid.arrays import features, matrices
from reid.arrays.features import Identities
from reid.arrays.matrices import Matrix
from reid.arrays.names import COLUMNS, PROTOCOLS
from reid.results import metrics
from reid.results.metrics import EvaluateSettings, Scores
from reid.runtime.errors import InputError, short

MEASURES = ("rank1", "mAP")  # those that tables and report show
REMEDY = "Make it again with `dvc repro evaluate`."

Run = dict[str, Any]


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
            "gallery": int((gallery.pids >= 0).sum()),
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


def write(file: Path, run: Run) -> None:
    """Write a run as indented JSON."""
    file.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")


def read_cell(folder: str | Path, seeds: Sequence[int]) -> list[Run]:
    """A folder <dataset>/<loss> of <seed>.json -> the runs of `seeds`, in their order.

    Raises InputError when a file is missing, broken, or another run's.
    """
    return [_read_run(Path(os.path.abspath(folder)), seed) for seed in seeds]


def _read_run(folder: Path, seed: int) -> Run:
    dataset, loss, file = folder.parent.name, folder.name, folder / f"{seed}.json"
    command = f"dvc repro evaluate@{dataset}-{loss}-{seed}"
    try:
        run = parse_run(file.read_bytes(), str(file))
    except OSError as error:
        raise InputError(
            f"cannot read {file} ({error.strerror}): it is the run of dataset {dataset}, loss "
            f"{loss} and seed {seed}, all of which must be named under `tables:` in params.yaml. "
            f"Make it with `{command}`."
        ) from None
    if (run["dataset"], run["loss"], run["seed"]) != (dataset, loss, seed):
        raise InputError(
            f"{file} holds the run {run_name(run)}, wanted {dataset}-{loss}-{seed}: was the file "
            f"copied or renamed? Make it again with `{command}`."
        )
    return run


def run_name(run: Run) -> str:
    """<dataset>-<loss>-<seed>, as DVC calls the stages of a run behind the @."""
    return f"{run['dataset']}-{run['loss']}-{run['seed']}"


def parse_run(text: bytes | str, where: str) -> Run:
    """The JSON of one run, called `where` in errors, checked.

    Raises InputError when it is no JSON, or lacks its dataset, loss, seed, trunk, or a column's
    rank-1 or mAP in [0, 100].
    """
    try:
        run = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where} is not valid JSON: {error}. {REMEDY}") from None
    if not isinstance(run, dict):
        raise InputError(f"{where} is no evaluated run: wanted a mapping. {REMEDY}")
    for key in ("dataset", "loss", "trunk"):
        if not isinstance(run.get(key), str):
            raise InputError(f"{where} is no evaluated run: it has no text `{key}`. {REMEDY}")
    if type(run.get("seed")) is not int or run["seed"] < 0:
        raise InputError(
            f"{where} is no evaluated run: `seed` is {short(run.get('seed'))}, wanted a whole "
            f"number, 0 or more. {REMEDY}"
        )
    if not isinstance(run.get("provenance", {}), dict):
        raise InputError(f"{where}: `provenance` is no mapping. {REMEDY}")
    for protocol in PROTOCOLS:
        for column in COLUMNS:
            for measure in MEASURES:
                _check_percent(run, f"{protocol}.{column}.{measure}", where)
    return run


def value_at(values: Any, path: str) -> Any:
    """Return what nested mappings hold at a dotted path, None where there is nothing."""
    for key in path.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _check_percent(run: Run, path: str, where: str) -> None:
    """Raise InputError unless the number at `path` is in [0, 100]; NaN is not."""
    value = value_at(run, path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise InputError(
            f"{where}: `{path}` is {'missing' if value is None else repr(value)}, wanted "
            f"a percentage, 0 to 100. Make it again with `dvc repro evaluate@{run_name(run)}`."
        )
