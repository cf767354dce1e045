"""Runs commands and functions, and says whether they did it, refused in words, or failed."""

import contextlib
import io
import os
import resource
import signal
from typing import NamedTuple

from reid.runtime import cli
from tests.conftest import run_module
from tests.soak.kinds import REFUSED

SECONDS = 120  # no trial here takes a tenth of it
BYTES = 6 << 30  # of address space beyond what there is: a trial may not take the machine down
LONGEST = 2000  # characters of a message
DONE = "done"
LEFTOVERS = ("**/.*.partial", "**/.*.lock", "**/*.tmp")


class Outcome(NamedTuple):
    """DONE or REFUSED, what was said on stderr with the error, and what a function returned."""

    word: str
    text: str
    value: object = None

    @property
    def is_refused(self):
        return self.word == REFUSED


def attempt(module, *arguments, watched):
    """Run a command's module within this process, its outputs and inputs below the folder
    `watched` -> Outcome. When it refuses, `watched` must hold the same files as before.
    """
    before, spoken = listing(watched), io.StringIO()
    with limits(), contextlib.redirect_stderr(spoken), contextlib.redirect_stdout(io.StringIO()):
        code = run_module(module, *arguments)
    said = spoken.getvalue()
    assert "Traceback" not in said, said[-LONGEST:]
    assert leftovers(watched) == []
    if code in (0, None):
        return Outcome(DONE, said)
    assert isinstance(code, str), f"{module} ended with exit code {code}: {said[-LONGEST:]}"
    assert code.startswith("error: "), code[:LONGEST]
    check_words(code.removeprefix("error: "))
    assert listing(watched) == before, "a refused command changed files"
    return Outcome(REFUSED, said + code)


def call(function, *arguments):
    """Call a function that may raise InputError and nothing else -> Outcome, its words those that a
    command would end with.
    """
    try:
        with limits(), cli.exit_codes():
            return Outcome(DONE, "", function(*arguments))
    except SystemExit as stopped:
        message = str(stopped.code).removeprefix("error: ")
    check_words(message)
    return Outcome(REFUSED, message)


def check_words(message):
    """One paragraph that a person can read: some words, no more than a screen of them."""
    assert 20 <= len(message) < LONGEST, f"{len(message)} characters: {message[:300]}"
    assert "\n" not in message, message[:300]
    assert all(character.isprintable() for character in message), repr(message[:300])
    for trace in ("Traceback", ' File "', "<class '", "object at 0x"):
        assert trace not in message, message[:LONGEST]


def listing(folder):
    """All paths below a folder with the sizes of files."""
    found = {}
    for path in folder.rglob("*"):
        is_file = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = path.stat().st_size if is_file else None
    return found


def leftovers(folder):
    """Drafts and locks below a folder."""
    return sorted(str(path) for pattern in LEFTOVERS for path in folder.glob(pattern))


@contextlib.contextmanager
def limits():
    """Let what runs here neither hang nor take all memory."""

    def stop(*_):
        raise AssertionError(f"still running after {SECONDS} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="utf-8") as file:
        held = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (held + BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
