"""The JSON of one run, <dataset>/<loss>/<seed>.json: written by evaluate, read by tables and
report.

It holds dataset, loss, seed, trunk, the scores of every column and protocol, and the provenance:
settings, versions, training. A cell is the runs of a dataset and a loss, one for each seed.
"""

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from reid.arrays.names import COLUMNS, PROTOCOLS
from reid.runtime import config
from reid.runtime.errors import InputError

PACKAGES = ("torch", "torchvision", "numpy", "numba", "scipy", "Pillow")
STAGES = ("extract", "distances", "rerank", "evaluate")  # with one section for all cells
MEASURES = ("rank1", "mAP")  # those that tables and report show
REMEDY = "Make it again with `dvc repro evaluate`."

Run = dict[str, Any]


def describe(
    params: dict[str, Any], dataset: str, loss: str, seed: int, training: dict[str, Any]
) -> Run:
    """The dataset, loss, seed and trunk of a run, and its provenance: settings, versions, and
    `training` of `reid.results.provenance.read`.

    A converted model was not trained by the settings `train`, which are null in its provenance.

    Raises InputError for an unknown dataset or loss, and for another seed than that of `training`.
    """
    _check_seed(dataset, loss, seed, training)
    model, train = (config.section(params, name, dataset, loss) for name in config.OVERRIDABLE)
    identity = {"dataset": dataset, "loss": loss, "seed": seed, "trunk": model.get("trunk")}
    provenance = {
        "source": config.entry(params, "datasets", dataset).get("source"),
        "partial_seed": config.section(params, "prepare").get("partial_seed"),
        "model": model,
        "train": None if "converted_from" in training else train,
        "loss": config.entry(params, "losses", loss),
        **{key: config.section(params, key) for key in STAGES},
        "versions": _versions(),
        "training": training,
    }
    return {**identity, "provenance": provenance}


def _check_seed(dataset: str, loss: str, seed: int, training: dict[str, Any]) -> None:
    """Raise InputError unless the model was trained with `seed`, or is a converted one."""
    is_converted = "converted_from" in training
    if seed < 0 or (not is_converted and training["seed"] != seed):
        raise InputError(
            f"the run {dataset}-{loss}-{seed} cannot be of a model trained with seed "
            f"{training.get('seed')}: wanted the same seed, 0 or more. Give the training.json that "
            f"`dvc repro train@{dataset}-{loss}-{seed}` writes."
        )


def _versions() -> dict[str, str]:
    packages = {package: version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **packages}


def write(file: Path, run: Run) -> None:
    """Write a run as indented JSON."""
    file.write_text(json.dumps(run, indent=2) + "\n")


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
            f"{where} is no evaluated run: `seed` is {run.get('seed')!r}, wanted a whole number, "
            f"0 or more. {REMEDY}"
        )
    if not isinstance(run.get("provenance", {}), dict):
        raise InputError(f"{where}: `provenance` is no mapping. {REMEDY}")
    for protocol in PROTOCOLS:
        for column in COLUMNS:
            for measure in MEASURES:
                _check_percent(run, (protocol, column, measure), where)
    return run


def _check_percent(run: Run, path: tuple[str, ...], where: str) -> None:
    """Raise InputError unless the number at `path` is in [0, 100]; NaN is not."""
    value: Any = run
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise InputError(
            f"{where}: `{'.'.join(path)}` is {'missing' if value is None else repr(value)}, wanted "
            f"a percentage, 0 to 100. Make it again with `dvc repro evaluate@{run_name(run)}`."
        )
