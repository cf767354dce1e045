"""Where a run's numbers come from: its settings, versions, and training.json, read and checked.

`reid.training.provenance` writes training.json. Of a trained model it holds environment,
data, seed, time and memory; of a converted one environment and the file it was.
"""

import json
import math
import platform
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from reid.runtime import config
from reid.runtime.errors import InputError

PACKAGES = ("torch", "torchvision", "numpy", "numba", "scipy", "Pillow")
STAGES = ("extract", "distances", "rerank", "evaluate")  # with one section for all cells
Check = tuple[Callable[[Any], bool], str]


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= 0
    )


def _is_checksum(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


TEXT: Check = (lambda value: isinstance(value, str) and bool(value), "text")
COUNT: Check = (lambda value: type(value) is int and value >= 1, "a whole number, at least 1")
WHOLE: Check = (lambda value: type(value) is int and value >= 0, "a whole number, at least 0")
NUMBER: Check = (_is_number, "a number, at least 0")
CHECKSUM: Check = (_is_checksum, "a SHA-256")

TRAINED = {
    "environment.versions.torch": TEXT,
    "data.fingerprint": CHECKSUM,
    "data.people": COUNT,
    "data.images": COUNT,
    "seed": WHOLE,
    "seconds": NUMBER,
    "images_per_second": NUMBER,
    "processes": COUNT,
    "resumed": WHOLE,
    "kept_epoch": COUNT,
    "peak_memory_gb": NUMBER,
}
CONVERTED = {"environment.versions.torch": TEXT, "converted_from": TEXT, "sha256": CHECKSUM}
REMEDY = (
    "It lies beside the model: make both again with the train stage, or with `python -m "
    "reid.tools.convert_checkpoint`."
)


def read(file: str | Path) -> dict[str, Any]:
    """Read training.json of a trained model, or of a converted one, which has `converted_from`.

    Raises InputError when the file is missing, no JSON, or lacks something, which is named.
    """
    try:
        content = json.loads(Path(file).read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}. {REMEDY}") from None
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON: {error}. {REMEDY}") from None
    is_converted = isinstance(content, dict) and "converted_from" in content
    for path, (is_valid, wanted) in (CONVERTED if is_converted else TRAINED).items():
        value = content
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if not is_valid(value):
            got = "missing" if value is None else repr(value)
            raise InputError(
                f"{file} is no training.json: `{path}` is {got}, wanted {wanted}. {REMEDY}"
            )
    return content


def describe(
    params: dict[str, Any], dataset: str, loss: str, seed: int, training: dict[str, Any]
) -> dict[str, Any]:
    """The dataset, loss, seed and trunk of a run, and its provenance: settings, versions, and
    `training` as `read` returns it.

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
