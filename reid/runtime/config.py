"""params.yaml: read it, and turn a section of it into settings.

`datasets.<name>.model`, `.train` and `.evaluate` override keys of the section of the same name, and
after them `losses.<name>.model` and `.train`: a row of the tables wins over a dataset. Anchors,
merge keys and keys that come twice are refused: DVC would read or rewrite them in its own way.
"""

from pathlib import Path
from typing import Any

import yaml

from reid.runtime import settings
from reid.runtime.errors import InputError
from reid.runtime.settings import Settings

OVERRIDABLE = ("model", "train")  # by a dataset and by a loss
OF_DATASETS = (*OVERRIDABLE, "evaluate")  # by a dataset


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses anchors, merge keys and duplicate keys, with the line."""

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        """Compose a node that has no anchor and is no alias."""
        event = self.peek_event()
        if getattr(event, "anchor", None):
            raise InputError(
                f"line {event.start_mark.line + 1} of {self.name}: got the anchor or alias "
                f"`{event.anchor}`, wanted the values written out: `dvc exp run -S` drops an "
                "override of an anchored map."
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping each of whose keys comes once."""
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise InputError(
                    f"line {key_node.start_mark.line + 1} of {self.name}: got a list or mapping as "
                    "a key, wanted text."
                )
            if key_node.value == "<<" or key_node.value in seen:
                what = "a merge key" if key_node.value == "<<" else f"`{key_node.value}` twice"
                raise InputError(
                    f"line {key_node.start_mark.line + 1} of {self.name}: got {what} in one "
                    "mapping, wanted each key once, written out."
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def read(path: str | Path) -> dict[str, Any]:
    """Read params.yaml. Raises InputError when it is missing, invalid or no mapping."""
    try:
        with open(path, encoding="utf-8") as file:
            params = yaml.load(file, _Loader)
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing: run from the project's folder, or name the file with --params."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(params, dict):
        raise InputError(f"{path}: got {params!r}, wanted a mapping such as `loss: alignedreid`.")
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
    values = {**section(params, name, dataset, loss), **given}
    places = {}
    for group, chosen in (("datasets", dataset), ("losses", loss)):
        if chosen is not None:
            overrides = _overrides(params, group, chosen, name)
            places |= {key: f"{group}.{chosen}.{name}.{key}" for key in overrides}
    return settings.make(kind, values, name, places)


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
            f"`{where}` in params.yaml: got {value!r}, wanted a mapping such as `key: value`."
        )
    return value or {}
