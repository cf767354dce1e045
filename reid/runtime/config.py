"""params.yaml: read it, and turn a section of it into settings.

`datasets.<name>.model`, `.train` and `.evaluate` override keys of the section of the same name, and
after them `losses.<name>.model` and `.train`: a row of the tables wins over a dataset.

As a command, it checks ./params.yaml: in dvc.yaml before each command that has a name from
params.yaml in it, so that no other name reaches a shell.
"""

from pathlib import Path
from typing import Any

from reid.runtime import cli, names, params_file, settings
from reid.runtime.errors import InputError, short
from reid.runtime.settings import Settings

OVERRIDABLE = ("model", "train")  # by a dataset and by a loss
OF_DATASETS = (*OVERRIDABLE, "evaluate")  # by a dataset


def read(path: str | Path) -> dict[str, Any]:
    """Read params.yaml, as DVC does, and check the names in it.

    Raises InputError when it is missing, invalid or no mapping, and for a name that is not allowed.
    """
    params = params_file.read(path)
    names.check(params)
    return params


def load(
    kind: type[Settings],
    params: dict[str, Any],
    name: str,
    dataset: str | None = None,
    loss: str | None = None,
    **given: Any,
) -> Settings:
    """Make a `kind` of the section `name`, overridden by a dataset and then by a loss.

    `given` are keys that the command line gives and params.yaml does not. Raises InputError as
    `section` does, and with all mistakes in the section at once.
    """
    values, places = section(params, name, dataset, loss), {}
    for group, chosen in (("datasets", dataset), ("losses", loss)):
        if chosen is not None:
            overrides = _overrides(params, group, chosen, name)
            places |= {key: f"{group}.{chosen}.{name}.{key}" for key in overrides}
    for key in given:
        if key in values:
            raise InputError(
                f"`{places.get(key, f'{name}.{key}')}` in params.yaml would count for nothing: "
                f"--{key} of the command says it. Remove it there."
            )
        places[key] = f"--{key}"
    return settings.make(kind, {**values, **given}, name, places)


def section(
    params: dict[str, Any], name: str, dataset: str | None = None, loss: str | None = None
) -> dict[str, Any]:
    """Return the section `name` as a mapping, overridden by a dataset's entry and then a loss's.

    Raises InputError for a section, dataset or loss that is not there.
    """
    if name not in params:
        raise InputError(
            f"params.yaml has no section `{name}:`; it has {', '.join(map(str, params))}."
        )
    values = _mapping(params[name], name)
    if dataset is not None:
        entry(params, "datasets", dataset)
        values = {**values, **_overrides(params, "datasets", dataset, name)}
    if loss is not None:
        values = {**values, **_overrides(params, "losses", loss, name)}
    return values


def entry(params: dict[str, Any], group: str, name: str) -> dict[str, Any]:
    """Return `params[group][name]`, of `losses` without what it overrides (see `section`).

    Raises InputError with the choices when it is unknown, and when a dataset has a key
    other than source, model, train and evaluate.
    """
    values = _whole_entry(params, group, name)
    if group == "losses":
        return {key: value for key, value in values.items() if key not in OVERRIDABLE}
    unknown = sorted(set(map(str, values)) - {"source", *OF_DATASETS})
    if unknown:
        raise InputError(
            f"`datasets.{name}` in params.yaml: unknown: {', '.join(unknown)}; its keys are "
            f"source, {', '.join(OF_DATASETS)}. Other sections hold for all datasets alike."
        )
    return values


def _overrides(params: dict[str, Any], group: str, chosen: str, name: str) -> dict[str, Any]:
    """Return what the entry `chosen` of `group` says of the section `name`."""
    return _mapping(_whole_entry(params, group, chosen).get(name), f"{group}.{chosen}.{name}")


def _whole_entry(params: dict[str, Any], group: str, name: str) -> dict[str, Any]:
    choices = _mapping(params.get(group), group)
    if name not in choices:
        kind = "loss" if group == "losses" else "dataset"
        there = ", ".join(sorted(map(str, choices))) or "(none is defined)"
        raise InputError(
            f"unknown {kind} '{name}' in params.yaml: choose one of {there}, or add an entry under "
            f"`{group}:`."
        )
    return _mapping(choices[name], f"{group}.{name}")


def _mapping(value: Any, where: str) -> dict[Any, Any]:
    """Return `value` if it is a mapping, {} if there is none. Raises InputError for the rest."""
    if value is not None and not isinstance(value, dict):
        raise InputError(
            f"`{where}` in params.yaml: got {short(value)}, wanted a mapping such as `key: value`."
        )
    return value or {}


def main() -> None:
    """Check ./params.yaml, and say what is wrong with it."""
    read("params.yaml")


if __name__ == "__main__":
    cli.run(main)
