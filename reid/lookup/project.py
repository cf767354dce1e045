"""What the project around a model knows: the headline's model, and a run's thresholds.

A model of the project lies at models/<dataset>/<loss>/<seed>/model.safetensors, and the scores of
its run at metrics/runs/<dataset>/<loss>/<seed>.json.
"""

import json
from pathlib import Path
from typing import Any

from reid.lookup.settings import PARAMS, read_params
from reid.runtime.errors import InputError


def default_model() -> Path:
    """Return the path of the model of ./params.yaml's headline. Raises InputError where there is
    none.
    """
    params = read_params()
    try:
        seed = params["tables"]["seeds"][0]
        path = Path(f"models/{params['dataset']}/{params['loss']}/{seed}/model.safetensors")
    except (KeyError, IndexError, TypeError):
        raise InputError(
            f"no --model was given, and there is no {PARAMS} of the project here to say which: "
            "type `--model FILE`, or go to the project's folder."
        ) from None
    if not path.is_file():
        raise InputError(
            f"no --model was given, and the headline's {path} is not there: type `make repro`, "
            "which trains it, or `--model FILE`."
        )
    return path


def threshold(model: Path, column: str, far: float) -> tuple[float | None, str]:
    """Return the distance at which a share `far` of the other people's pairs would be accepted, as
    the model's run measured it by a column, or None and why it is not known.
    """
    if column.endswith("_rk"):
        return None, f"{column} depends on the whole gallery, so that no threshold carries over"
    model = model.absolute()
    is_of_project = model.parts[-5:-4] == ("models",)
    run_name = "/".join(model.parts[-4:-1])
    file = model.parents[4] / f"metrics/runs/{run_name}.json" if is_of_project else None
    if file is None or not file.is_file():
        return None, "no run of the model was evaluated in a project around it"
    try:
        run = json.loads(file.read_bytes())
        training = json.loads(model.with_name("training.json").read_bytes())
        if not is_of_training(run, training):
            return None, f"{file} is of another training than the model"
        rates = run["verification"]["full"]["columns"][column]["at"]
        thresholds = {float(at["false_accept_rate"]): float(at["threshold"]) for at in rates}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None, f"{file} has none for {column}: evaluate the run anew"
    if far not in thresholds:
        known = ", ".join(f"{rate:g}" for rate in thresholds)
        return None, f"{file} has none for --far {far:g}, but for {known}"
    return thresholds[far], ""


def is_of_training(run: dict[str, Any], training: dict[str, Any]) -> bool:
    """Whether a run's JSON was made of the model beside this training.json."""
    return run["provenance"]["training"] == training
