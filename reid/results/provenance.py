"""Where a run's numbers come from: the made_by.json of its folders and training.json, checked.

`reid.training.provenance` writes training.json. Of a trained model it holds environment,
data, seed, time and memory; of a converted one environment and the file it was.
"""

import json
import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reid.arrays.features import made_by_of
from reid.runtime import made_by
from reid.runtime.errors import InputError
from reid.runtime.made_by import Document

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


def of_folders(
    features: Path, distances: Path, reranked: Path, evaluate: Document
) -> dict[str, Any]:
    """Return what made a run's folders, and this evaluation, by stage: documents without inputs.

    `prepare` has one for each split; `unknown` lists folders that do not say. Raises InputError for
    folders that were not made of each other.
    """
    made_by.check_input(distances, "features", features, made_by_of)
    made_by.check_input(reranked, "features", features, made_by_of)
    made_by.check_input(reranked, "distances", distances)
    provenance: dict[str, Any] = {"prepare": {}}
    folders = {"features": features, "distances": distances, "reranked": reranked}
    documents = {name: made_by.read(folder) for name, folder in folders.items()}
    for name, document in (*documents.items(), ("run", evaluate)):
        _collect(name, document, provenance)
    unknown = [name for name, document in documents.items() if document is None]
    return provenance | ({"unknown": unknown} if unknown else {})


def _collect(name: str, document: Document | None, provenance: dict[str, Any]) -> None:
    """Put the document of the input `name`, and those of its inputs, into `provenance`."""
    if document is None or document["stage"] == made_by.UNKNOWN:
        return
    stage = document["stage"]
    values = {key: value for key, value in document.items() if key not in ("stage", "inputs")}
    if stage == "prepare":
        provenance["prepare"]["train" if name == "data" else name] = values
    else:
        provenance[stage] = values
    for inner, source in document["inputs"].items():
        _collect(inner, source, provenance)


def of_run(
    identity: tuple[str, str, int], training: Path, features: Path, provenance: dict[str, Any]
) -> dict[str, Any]:
    """(dataset, loss, seed), training.json and what made the folders -> the head of a run's JSON.

    Its trunk is `unknown` where the features do not say. Raises InputError where training.json is
    of another seed, or of another model than the features.
    """
    dataset, loss, seed = identity
    content = read(training)
    _check_seed(dataset, loss, seed, content)
    document = made_by.read(features)
    if document is not None and "model" in document["inputs"]:
        made_by.check_input(features, "model", training.parent, _of_model)
    stage = provenance.get("train") or provenance.get("convert_checkpoint") or {}
    trunk = stage.get("settings", {}).get("model", {}).get("trunk", "unknown")
    head = {"dataset": dataset, "loss": loss, "seed": seed, "trunk": trunk}
    return {**head, "provenance": {**provenance, "training": content}}


def _of_model(folder: Path) -> Document | None:
    """The document of a model's folder; DVC may not have fetched the weights themselves."""
    weights = folder / "model.safetensors"
    return made_by.of_file(weights) if weights.exists() else made_by.read(folder)


def warn_of_metric(provenance: dict[str, Any], metric: str) -> None:
    """Warn where features of CUHK03's classic protocol are scored with another metric than its."""
    gallery = provenance["prepare"].get("gallery", {}).get("settings", {})
    source = gallery.get("source")
    protocol = source.get("protocol") if isinstance(source, dict) else None
    if protocol == "classic" and metric != "cuhk03":
        warnings.warn(
            f"the features are of CUHK03's classic protocol, and the metric is {metric}: name "
            "--dataset, and have `evaluate: {metric: cuhk03}` in its entry in params.yaml, for the "
            "metric that goes with it.",
            stacklevel=2,
        )


def _check_seed(dataset: str, loss: str, seed: int, training: dict[str, Any]) -> None:
    """Raise InputError unless the model was trained with `seed`, or is a converted one."""
    is_converted = "converted_from" in training
    if seed < 0 or (not is_converted and training["seed"] != seed):
        raise InputError(
            f"the run {dataset}-{loss}-{seed} cannot be of a model trained with seed "
            f"{training.get('seed')}: wanted the same seed, 0 or more. Give the training.json that "
            f"`dvc repro train@{dataset}-{loss}-{seed}` writes."
        )
