"""One run evaluated: its JSON, <dataset>/<loss>/<seed>.json, that evaluate writes and tables read.

It holds dataset, loss, seed, trunk, the scores of every column and protocol with their intervals
and verification curves, the training's curves, and the provenance: `reid.results.provenance`. A
cell is the runs of a dataset and a loss, one for each seed.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy import ndarray
from tqdm import tqdm

from reid.arrays import features, matrices
from reid.arrays.features import Identities
from reid.arrays.matrices import Matrix
from reid.arrays.names import COLUMNS, PROTOCOLS
from reid.results import metrics, uncertainty, verification
from reid.results.metrics import EvaluateSettings, Scores
from reid.runtime.errors import InputError, short

MEASURES = ("rank1", "mAP")  # those that tables and report show
RANKS = 20  # of the CMC curves
REMEDY = "Make it again with `dvc repro evaluate`."

Run = dict[str, Any]


def evaluate(
    features_folder: Path, distances: Path, reranked: Path, settings: EvaluateSettings
) -> dict[str, Any]:
    """Folders of features, distances and re-ranked distances -> {"counts": ..., protocol: {column:
    {"rank1", "rank5", "rank10", "rank20", "mAP", "mINP"}}, "intervals": ..., "differences": ...,
    "cmc": ..., "verification": ...}, in percent; docs/results.md has the last four.

    Raises InputError for files that are missing, broken or of different runs, and when no query
    has a match.
    """
    gallery = features.read_identities(features_folder / "gallery")
    run: dict[str, Any] = {"counts": {}}
    details: dict[str, dict[str, Any]] = {}
    for protocol in matrices.protocols_in(distances):
        queries = features.read_identities(features_folder / PROTOCOLS[protocol])
        shape = len(queries.pids), len(gallery.pids)
        columns = matrices.read_columns(distances / protocol, reranked / protocol, shape)
        scores, curves = _scores_of(columns, (queries, gallery), settings, protocol)
        run[protocol] = {column: metrics.percentages(score) for column, score in scores.items()}
        run["counts"][protocol] = {
            "queries": scores["global"].queries,
            "queries_without_match": scores["global"].queries_without_match,
            "gallery": int((gallery.pids >= 0).sum()),
        }
        for name, values in _details(scores, queries.pids, settings.seed).items():
            details.setdefault(name, {})[protocol] = values
        details.setdefault("verification", {})[protocol] = curves
    return run | details


def _scores_of(
    columns: dict[str, Matrix],
    sides: tuple[Identities, Identities],
    settings: EvaluateSettings,
    protocol: str,
) -> tuple[dict[str, Scores], dict[str, Any]]:
    """{column: distances [Q, G]}, queries and gallery -> {column: scores}, and the verification
    curves for the JSON; each matrix's memory is given back.
    """
    scores, summaries, pairs = {}, {}, {}
    title = f"evaluating {protocol}"
    with tqdm(columns.items(), desc=title, unit="column", delay=1) as progress:
        for column, matrix in progress:
            scores[column] = metrics.score(matrix, *sides, settings)
            curve = verification.curve(matrix, *sides)
            pairs = {"matches": curve.matches, "non_matches": curve.non_matches}
            summaries[column] = verification.summary(curve)
            matrices.release(matrix)
    grid = list(verification.GRID)
    return scores, {"pairs": pairs, "false_accept_rates": grid, "columns": summaries}


def _details(scores: dict[str, Scores], pids: ndarray, seed: int) -> dict[str, Any]:
    """{column: scores} of queries with pids [Q] -> their intervals, differences between columns
    and CMC curves, by protocol in the JSON.
    """
    pairs = uncertainty.comparisons_of(scores)
    return {
        "intervals": uncertainty.intervals_of(scores, pids, seed),
        "differences": uncertainty.differences_of(pairs, pids, seed),
        "cmc": {
            column: (100 * of_column.cmc[:RANKS]).round(4).tolist()
            for column, of_column in scores.items()
        },
    }


def text(run: Run) -> str:
    """Return a run as indented JSON, each list of numbers on one line."""
    indented = json.dumps(run, indent=2) + "\n"
    numbers = r"(?<=\[)\n[\d\s.,eE+-]*(?=\])"
    return re.sub(numbers, lambda found: " ".join(found[0].split()), indented)


def write(file: Path, run: Run) -> None:
    """Write a run as `text` has it."""
    file.write_text(text(run), encoding="utf-8")


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


def parse_run(content: bytes | str, where: str) -> Run:
    """The JSON of one run, called `where` in errors, checked.

    Raises InputError when it is no JSON, or lacks its dataset, loss, seed, trunk, a column's
    rank-1 or mAP in [0, 100], or a test or curve that the tables need.
    """
    try:
        run = json.loads(content)
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
    if not _has_details(run):
        raise InputError(
            f"{where} has not the tests between columns (`differences`), CMC curves (`cmc`) or "
            "training curves (`history`) that the tables need: was it made by an older version? "
            f"Make it again with `dvc repro evaluate@{run_name(run)}`."
        )
    return run


def _has_details(run: Run) -> bool:
    """Whether a run holds what the tables and charts take of it beside its scores."""
    try:
        values = [
            run["differences"][protocol]["-".join(columns)][measure]["p"]
            for protocol in PROTOCOLS
            for columns in uncertainty.COMPARISONS
            for measure in MEASURES
        ]
        curves = [run["cmc"][protocol][column] for protocol in PROTOCOLS for column in COLUMNS]
        curves += [*run.get("history", {}).values()]
        return all(0 <= p <= 1 for p in values) and all(isinstance(curve, list) for curve in curves)
    except (AttributeError, KeyError, TypeError):
        return False


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
