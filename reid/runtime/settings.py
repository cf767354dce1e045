"""Settings classes: a section of params.yaml as a frozen dataclass, with ranges beside its keys.

Types are strict: `true` is no number and `33.0` no whole number. YAML 1.1 reads `1e-4` as text, so
a `Number` is also taken from text that spells one.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from reid.runtime.errors import InputError

Settings = TypeVar("Settings")

settings_class = dataclass(
    frozen=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
)


def _number(value: Any) -> Any:
    """Return the float that a text spells, as YAML 1.1 leaves `1e-4`; anything else as it is."""
    spelt = r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"
    return float(value) if isinstance(value, str) and re.fullmatch(spelt, value) else value


def _tuple(value: Any) -> Any:
    """Return a YAML list as a tuple; anything else as it is."""
    return tuple(value) if isinstance(value, list) else value


Number = Annotated[float, BeforeValidator(_number)]
NonNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]  # from 0 to 1, both included
Whole = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]  # it becomes part of paths and commands
Names = Annotated[tuple[Name, ...], BeforeValidator(_tuple), Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[tuple[Seed, ...], BeforeValidator(_tuple), Field(min_length=1)]

_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "too_short": "at least {min_length} of them",
    "literal_error": "one of {expected}",
    "string_pattern_mismatch": "letters, digits, `_`, `.` and `-` only",
}


def make(
    kind: type[Settings],
    values: Mapping[Any, Any],
    where: str,
    places: Mapping[Any, str] | None = None,
) -> Settings:
    """Make a `kind` of `values`, the section called `where` of params.yaml.

    `places` gives the full name of keys that stand elsewhere, such as a dataset's overrides. Raises
    InputError with all mistakes at once: each key's full name, what was got and what was wanted.
    """
    places = places or {}
    by_name = {str(key): value for key, value in values.items()}
    try:
        return kind(**by_name)
    except ValidationError as invalid:
        keys = [field.name for field in fields(kind)]
        mistakes = [
            _mistake(error, where, places, keys) for error in invalid.errors(include_url=False)
        ]
        count = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else "a mistake"
        raise InputError(f"{count} in params.yaml: {'; '.join(mistakes)}.") from None


def _mistake(
    error: Mapping[str, Any], where: str, places: Mapping[Any, str], keys: list[str]
) -> str:
    """Describe one of pydantic's errors: the key's full name, what was got, what was wanted."""
    if not error["loc"]:  # of a check of several keys, whose message says it all
        return f"`{where}`: {error['ctx']['error']}"
    key, *inner = error["loc"]
    name = places.get(key, f"{where}.{key}")
    name += "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in inner)
    if error["type"] == "missing":
        return f"`{name}` is missing"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        near = difflib.get_close_matches(str(key), keys, 1)
        hint = f", maybe `{near[0]}`" if near else ""
        return f"`{name}` is unknown{hint}; the keys of `{where}` are {', '.join(keys)}"
    if error["type"] == "value_error":
        return f"`{name}`: got {error['input']!r}, wanted {error['ctx']['error']}"
    wanted = _WANTED.get(error["type"], error["msg"]).format(**error.get("ctx", {}))
    return f"`{name}`: got {error['input']!r}, wanted {wanted}"
