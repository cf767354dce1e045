"""params.yaml: one section into the caller's settings dataclass, unknown and missing keys named.

`datasets.<name>.model` and `.train` override keys of the section of the same name, and after them
those of `losses.<name>`: a row of the tables wins over a dataset.
"""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from reid.runtime.errors import InputError

Settings = TypeVar("Settings")
OVERRIDABLE = ("model", "train")


def read(path: str | Path) -> dict[str, Any]:
    """Read params.yaml. Raises InputError when it is missing or no mapping."""
    try:
        params = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing: run from the project's folder, or name the file with --params."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
    return _mapping(params, str(path))


def entry(params: dict[str, Any], group: str, name: str) -> dict[str, Any]:
    """`params[group][name]`, for `losses` (without what it overrides, see `section`) and
    `datasets`.

    Raises InputError with the choices when it is unknown, and when a dataset has another section
    than its source and what it may override.
    """
    found = _whole_entry(params, group, name)
    if group == "losses":
        return {key: value for key, value in found.items() if key not in OVERRIDABLE}
    unknown = sorted(set(map(str, found)) - {"source", *OVERRIDABLE}) if group == "datasets" else []
    if unknown:
        raise InputError(
            f"`datasets.{name}` in params.yaml: unknown: {', '.join(unknown)}; its keys are "
            f"source, {', '.join(OVERRIDABLE)}. Other sections hold for all datasets alike."
        )
    return found


def section(
    params: dict[str, Any], name: str, dataset: str | None = None, loss: str | None = None
) -> dict[str, Any]:
    """The section `name`, with the overrides of `datasets.<dataset>.<name>` and then of
    `losses.<loss>.<name>`.

    Raises InputError for a section, dataset or loss that is not there, and for an override of a
    key that is not.
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


def _overrides(params: dict[str, Any], group: str, chosen: str, name: str) -> dict[str, Any]:
    """What the entry `chosen` of `group` says of the section `name`, all of whose keys that
    section has.
    """
    where, values = f"{group}.{chosen}.{name}", _mapping(params[name], name)
    overrides = _mapping(_whole_entry(params, group, chosen).get(name), where)
    unknown = sorted(map(str, set(overrides) - set(values)))
    if unknown:
        raise InputError(
            f"unknown key in {where} of params.yaml: {', '.join(unknown)}; "
            f"the choices are {', '.join(map(str, values))}."
        )
    return overrides


def _whole_entry(params: dict[str, Any], group: str, name: str) -> dict[str, Any]:
    choices = _mapping(params.get(group), group)
    if name not in choices:
        raise InputError(
            f"unknown {'loss' if group == 'losses' else 'dataset'} '{name}' in params.yaml: choose "
            f"one of {', '.join(sorted(map(str, choices))) or '(none is defined)'}, or add an "
            f"entry under `{group}:`."
        )
    return _mapping(choices[name], f"{group}.{name}")


def settings(cls: type[Settings], values: dict[str, Any], where: str) -> Settings:
    """Make the dataclass `cls` of `values`, the section called `where`.

    Raises InputError by name for unknown, missing and wrongly typed keys.
    """
    hints = typing.get_type_hints(cls)
    choices = [field.name for field in dataclasses.fields(cls)]
    unknown, missing = (
        sorted(map(str, set(values) - set(choices))),
        sorted(set(choices) - set(values)),
    )
    if unknown or missing:
        told = [f"unknown: {', '.join(unknown)}"] * bool(unknown)
        told += [f"missing: {', '.join(missing)}"] * bool(missing)
        raise InputError(
            f"`{where}` in params.yaml: {'; '.join(told)}; its keys are exactly "
            f"{', '.join(choices)}."
        )
    return cls(
        **{key: _typed(value, hints[key], f"{where}.{key}") for key, value in values.items()}
    )


def _mapping(value: Any, where: str) -> dict[Any, Any]:
    """`value` if it is a mapping, {} if it is empty; else InputError."""
    if (value is not None and not isinstance(value, dict)) or (
        value is None and where.endswith((".yaml", ".yml"))
    ):
        raise InputError(f"`{where}`: got {value!r}, wanted a mapping such as `loss: alignedreid`.")
    return value or {}


def _typed(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type of its field. YAML 1.1 reads `1e-4` as text, so floats are also taken
    from text.
    """
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
    names = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
        tuple: "a list",
    }
    wanted = " or ".join(
        names.get(typing.get_origin(option) or option, "a mapping") for option in options
    )
    raise InputError(f"`{where}` in params.yaml: got {value!r}, wanted {wanted}.")
