"""Names of datasets and losses in params.yaml: they become parts of paths, of DVC's keys and of the
commands in dvc.yaml.

So a name has letters, digits, `_` and `-` only, and is text to every YAML reader: `off`, `1e3` and
`012` are text to some and not to others.
"""

import itertools
import re
from typing import Any

from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.resolver import VersionedResolver

from reid.runtime.errors import InputError, short

GROUPS = ("datasets", "losses")
LONGEST = 64  # characters of a name: file names are made of it
MOST = 1000  # names in a list
HIGHEST_SEED = 2**32 - 1
TEXT = "tag:yaml.org,2002:str"

_RESOLVERS = (VersionedResolver((1, 1)), VersionedResolver((1, 2)))


def check_name(name: str) -> str:
    """Return `name`. Raises ValueError with what is wanted instead, where it cannot be a name."""
    if "." in name and re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ValueError(
            "letters, digits, `_` and `-` only: DVC takes a dot for the border of two keys. Write "
            f"{short(name.strip('.').replace('.', '_'))}"
        )
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
        raise ValueError(
            "letters, digits, `_` and `-` only, and no `-` in front: it becomes part of paths and "
            "commands"
        )
    if len(name) > LONGEST:
        raise ValueError(f"at most {LONGEST} characters: it becomes part of file names")
    if not is_text(name):
        raise ValueError(
            "a name that every YAML reader takes for text; quotes do not help, since tools drop "
            f"them. Choose another one, such as row_{name.replace('-', '_')}"
        )
    return name


def is_text(name: str) -> bool:
    """Whether a name that is not quoted is text, and no number, date, truth value or null, in both
    YAML 1.1 and YAML 1.2.
    """
    return all(
        str(resolver.resolve(ScalarNode, name, (True, False))) == TEXT for resolver in _RESOLVERS
    )


def check(params: dict[str, Any]) -> None:
    """Check all of params.yaml that dvc.yaml puts into paths and commands. Raises InputError.

    What is absent is not missed here. Names that are joined by `-` to one stage's name in two ways
    are refused too: DVC would drop one of the two cells.
    """
    for group in GROUPS:
        entries = params.get(group)
        for name in entries if isinstance(entries, dict) else ():
            check_value(name, f"{group}.{name}")
    for key in ("dataset", "loss"):
        if key in params:
            check_value(params[key], key)
    tables = params.get("tables")
    if isinstance(tables, dict):
        for key in (*GROUPS, "seeds"):
            _check_list(tables, key)
        _check_stages(*(tables.get(group, []) for group in GROUPS))


def check_value(value: Any, where: str) -> None:
    """Raise InputError where `value`, which stands at `where` in params.yaml, cannot be a name."""
    try:
        if not isinstance(value, str):
            raise ValueError("a name, which is text, such as row_1")
        check_name(value)
    except ValueError as wanted:
        raise InputError(
            f"`{where}` in params.yaml: got {short(value)}, wanted {wanted}."
        ) from None


def _check_list(tables: dict[str, Any], key: str) -> None:
    """Check one of the three sides of the matrix in dvc.yaml."""
    values, where = tables.get(key, []), f"tables.{key}"
    if not isinstance(values, list) or len(values) > MOST:
        raise InputError(
            f"`{where}` in params.yaml: got {short(values)}, wanted a list of at most {MOST}."
        )
    for index, value in enumerate(values):
        if key != "seeds":
            check_value(value, f"{where}[{index}]")
        elif type(value) is not int or not 0 <= value <= HIGHEST_SEED:
            raise InputError(
                f"`{where}[{index}]` in params.yaml: got {short(value)}, wanted a whole number "
                f"from 0 to {HIGHEST_SEED}."
            )


def _check_stages(datasets: list[str], losses: list[str]) -> None:
    """Raise InputError when two cells would have the same stages' names, such as train@a-b-c-0."""
    cells: dict[str, tuple[str, str]] = {}
    for cell in itertools.product(dict.fromkeys(datasets), dict.fromkeys(losses)):
        other = cells.setdefault("-".join(cell), cell)
        if other != cell:
            raise InputError(
                f"`tables` in params.yaml: dataset {other[0]} with loss {other[1]} and dataset "
                f"{cell[0]} with loss {cell[1]} are both the stage train@{'-'.join(cell)}, and DVC "
                "would drop one: rename one, with _ in place of -."
            )
