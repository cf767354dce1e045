"""Settings classes: a section of params.yaml as a frozen dataclass, with ranges beside its keys.

Types are strict: `true` is no number, `33.0` no whole number and `'1'` neither. Every number has an
upper bound, generous but such that a slip of the keyboard ends in words and not in a full memory.
"""

import difflib
import unicodedata
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from reid.runtime import names
from reid.runtime.errors import InputError, short

Settings = TypeVar("Settings")

settings_class = dataclass(
    frozen=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
)


def _tuple(value: Any) -> Any:
    """Return a YAML list as a tuple; anything else as it is."""
    return tuple(value) if isinstance(value, list) else value


def _check_text(text: str) -> str:
    """Return `text`. Raises ValueError where it is long or holds what is no part of a line."""
    if len(text) > LONGEST_TEXT or {unicodedata.category(char) for char in text} & NO_TEXT:
        raise ValueError(f"one line of at most {LONGEST_TEXT} characters")
    return text


LONGEST_TEXT = 1000  # characters
MOST_TOLD = 30  # mistakes in one message
NO_TEXT = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's control characters, halves and line ends
Text = Annotated[str, AfterValidator(_check_text)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$")]
NonNegative = Annotated[float, Field(ge=0, le=1000)]
Fraction = Annotated[float, Field(ge=0, le=1)]  # from 0 to 1, both included
Whole = Annotated[int, Field(ge=0, le=100_000)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Seed = Annotated[int, Field(ge=0, le=names.HIGHEST_SEED)]
Name = Annotated[str, AfterValidator(names.check_name)]  # it becomes part of paths and commands
_Several = Field(min_length=1, max_length=names.MOST)
Names = Annotated[tuple[Name, ...], BeforeValidator(_tuple), _Several]
Seeds = Annotated[tuple[Seed, ...], BeforeValidator(_tuple), _Several]

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
    "too_long": "at most {max_length} of them",
    "literal_error": "one of {expected}",
    "string_pattern_mismatch": "auto, cpu, cuda or cuda:N",  # of devices, the only pattern
    "string_unicode": "text of whole characters",
}


def make(
    kind: type[Settings],
    values: Mapping[Any, Any],
    where: str,
    places: Mapping[Any, str] | None = None,
) -> Settings:
    """Make a `kind` of `values`, the section called `where` of params.yaml.

    `places` gives the full name of keys that stand elsewhere: a dataset's overrides, or options of
    the command (`--seed`). Raises InputError with all mistakes at once: each key's full name, what
    was got and what was wanted.
    """
    places = places or {}
    by_name = {str(key): value for key, value in values.items()}
    keys = [field.name for field in fields(kind)]
    unknown = [key for key in by_name if key not in keys]
    mistakes = [_unknown(key, where, places, keys) for key in unknown]
    mistakes[:1] = [
        f"{first}; the keys of `{where}` are {', '.join(keys)}" for first in mistakes[:1]
    ]
    try:
        made = kind(**{key: value for key, value in by_name.items() if key in keys})
    except ValidationError as invalid:
        mistakes += [_mistake(error, where, places) for error in invalid.errors(include_url=False)]
    if mistakes:
        count = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else "a mistake"
        files, more = _files(mistakes), f"and {len(mistakes) - MOST_TOLD} more"
        mistakes = mistakes[:MOST_TOLD] + [more] * (len(mistakes) > MOST_TOLD)
        raise InputError(f"{count} in {files}: {'; '.join(mistakes)}.")
    return made


def _files(mistakes: list[str]) -> str:
    """Say where mistakes stand: in params.yaml, in options (whose names begin with --), or both."""
    in_options = [mistake.startswith("`--") for mistake in mistakes]
    if all(in_options):
        return "the command's options"
    return "params.yaml and the command's options" if any(in_options) else "params.yaml"


def _unknown(key: str, where: str, places: Mapping[Any, str], keys: list[str]) -> str:
    """Describe a key that the section does not have, with the nearest that it has."""
    near = difflib.get_close_matches(key, keys, 1)
    hint = f", maybe `{near[0]}`" if near else ""
    return f"`{places.get(key, f'{where}.{key}')}` is unknown{hint}"


def _mistake(error: Mapping[str, Any], where: str, places: Mapping[Any, str]) -> str:
    """Describe one of pydantic's errors: the key's full name, what was got, what was wanted."""
    if not error["loc"]:  # of a check of several keys, whose message says it all
        return f"`{where}`: {error['ctx']['error']}"
    key, *inner = error["loc"]
    name = places.get(key, f"{where}.{key}")
    name += "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in inner)
    if error["type"] == "missing":
        return f"`{name}` is missing"
    if error["type"] == "value_error":
        return f"`{name}`: got {short(error['input'])}, wanted {error['ctx']['error']}"
    limits = {
        key: int(limit) if isinstance(limit, float) and limit.is_integer() else limit
        for key, limit in error.get("ctx", {}).items()
    }
    wanted = _WANTED.get(error["type"], error["msg"]).format(**limits)
    return f"`{name}`: got {short(error['input'])}, wanted {wanted}"
