"""params.yaml: one section into the caller's settings dataclass, unknown and missing keys named.

`datasets.<name>.<section>` overrides keys of the section of the same name.
"""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from reid.errors import InputError

Settings = TypeVar("Settings")


def read(path: str | Path) -> dict[str, Any]:
    """Read params.yaml. Raises InputError when it is missing or no mapping."""
    try:
        params = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run from the project's folder, or name the file with --params.") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(params, dict):
        raise InputError(f"{path} holds no sections: got {params!r}, wanted a mapping such as `loss: alignedreid`.")
    return params


def entry(params: dict[str, Any], group: str, name: str) -> dict[str, Any]:
    """`params[group][name]`, for `losses` and `datasets`. Raises InputError with the choices when it is unknown."""
    choices = params.get(group) or {}
    if name not in choices:
        raise InputError(
            f"unknown {group.removesuffix('es' if group == 'losses' else 's')} '{name}' in params.yaml: "
            f"choose one of {', '.join(sorted(choices)) or '(none is defined)'}, or add an entry under `{group}:`."
        )
    return choices[name] or {}


def section(params: dict[str, Any], name: str, dataset: str | None = None) -> dict[str, Any]:
    """The section `name`, with the overrides of `datasets.<dataset>.<name>` where a dataset is given."""
    if not isinstance(params.get(name), dict):
        raise InputError(f"params.yaml has no section `{name}:`; it has {', '.join(map(str, params))}.")
    overrides = entry(params, "datasets", dataset).get(name) if dataset else None
    unknown = sorted(set(overrides or {}) - set(params[name]))
    if unknown:
        raise InputError(
            f"unknown key in datasets.{dataset}.{name} of params.yaml: {', '.join(unknown)}; "
            f"the choices are {', '.join(params[name])}."
        )
    return {**params[name], **(overrides or {})}


def settings(cls: type[Settings], values: dict[str, Any], where: str) -> Settings:
    """Make the dataclass `cls` of `values`, the section called `where`.

    Raises InputError by name for unknown, missing and wrongly typed keys.
    """
    hints = typing.get_type_hints(cls)
    choices = [field.name for field in dataclasses.fields(cls)]
    unknown, missing = sorted(set(values) - set(choices)), sorted(set(choices) - set(values))
    if unknown or missing:
        told = [f"unknown: {', '.join(map(str, unknown))}"] * bool(unknown)
        told += [f"missing: {', '.join(missing)}"] * bool(missing)
        raise InputError(f"`{where}` in params.yaml: {'; '.join(told)}; its keys are exactly {', '.join(choices)}.")
    return cls(**{key: _typed(value, hints[key], f"{where}.{key}") for key, value in values.items()})


def _typed(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type of its field. YAML 1.1 reads `1e-4` as text, so floats are also taken from text."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        origin = typing.get_origin(option) or option
        if origin is float and not isinstance(value, bool):
            try:
                return float(value)
            except (TypeError, ValueError):
                continue
        if origin is tuple and isinstance(value, list):
            inner = typing.get_args(option)[0]
            return tuple(_typed(one, inner, where) for one in value)
        if isinstance(value, origin) and not (origin is int and isinstance(value, bool)):
            return value
    names = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise InputError(f"`{where}` in params.yaml: got {value!r}, wanted {names}.")
