"""The one exception that stands for a user's mistake, printed by `reid.runtime.cli` without a
traceback; and outside values cut down to what a message can hold.
"""

import re
import reprlib

_LONGEST_VALUE = 120  # characters of a value in a message
_LONGEST_MESSAGE = 4000  # characters of a message: a section's mistakes are told all at once

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _LONGEST_VALUE
_repr.maxlevel = 3


class InputError(Exception):
    """Bad input, described in one paragraph: what, where, got, wanted, and what to do next.

    Whatever it repeats, it stays readable: words such as paths are cut to 240 characters, the
    paragraph to 4,000, both in the middle.
    """

    def __init__(self, message: str = "") -> None:
        words = re.sub(r"\S{241,}", lambda word: _cut(word[0], 2 * _LONGEST_VALUE), message)
        super().__init__(_cut(words, _LONGEST_MESSAGE))


def short(value: object) -> str:
    """Return `repr(value)`, cut in the middle to 120 characters: a value from outside may be of any
    length or depth.
    """
    try:
        text = _repr.repr(value)
    except ValueError:  # Python spells no integer of more than 4,300 digits
        text = "a number of thousands of digits"
    return _cut(text, _LONGEST_VALUE)


def paragraph(error: Exception | str) -> str:
    """Return what an error says as one line: characters that cannot be printed, which paths and
    damaged files have, as Python spells them.
    """
    line = " ".join(str(error).split())
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)


def _cut(text: str, length: int) -> str:
    """Return a text of at most `length` characters: its beginning and its end."""
    half = (length - 3) // 2
    return text if len(text) <= length else f"{text[:half]}...{text[-half:]}"
