"""docs/reliability.md, of the kinds' JSON files."""

import json
import os
import platform
import re
import time

import torch
from tabulate import tabulate

from tests.soak.kinds import SHARE

HEAD = """# Reliability

What `make soak`, which takes about half an hour, tried. Each kind is a test in `tests/soak/`, of
which `make test` runs a few trials.

- *right*: the result is that of a slow obvious twin, of the undisturbed run, or of what was there
  before the damage.
- *refused*: exit code 1, one paragraph that says what is wrong, and nothing left behind.
- *failed*: anything else, such as a wrong number, a traceback, a hang or a half-written file. A
  kind stops at its first failure.
"""
STARTED = time.time()
LONGEST = 200  # characters of a failure


def forget(folder):
    """Remove the files of an earlier run."""
    for file in folder.glob("*.json"):
        file.unlink()


def row(tally, order, report, raised):
    """One kind as a row: what was tried, how often, and what came of it."""
    failure = ""
    if report.failed:
        failure = _first_sentences(raised.value)
    if report.skipped:
        failure = f"not tried: {report.longrepr[-1].removeprefix('Skipped: ')}"
    return {
        "order": order,
        "kind": tally.what,
        "tried": tally.tried,
        **tally.outcomes,
        "failed": int(report.failed),
        "failure": failure,
        "minutes": tally.seconds / 60,
    }


def write(folder, file):
    """Write the page of all rows in `folder`, in the tests' order."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    if not rows:
        return
    rows.sort(key=lambda row: row["order"])
    columns = ("kind", "tried", "right", "refused", "failed", "minutes")
    cells = [[row[name] for name in columns] for row in rows]
    table = tabulate(cells, columns, "github", floatfmt=".1f", intfmt=",")
    failures = [f"- {row['kind']}: {row['failure']}" for row in rows if row["failure"]]
    open_ends = "\n".join(failures) or "Nothing: no trial failed and none was left out."
    text = f"{HEAD}\n{_machine()}\n\n{table}\n\n## Open\n\n{open_ends}\n"
    file.write_text(text, encoding="utf-8")
    print(f"\n{table}\n{open_ends}")


def _machine():
    """Where and how long: the same text on the same machine, but for the minutes."""
    minutes = (time.time() - STARTED) / 60
    return (
        f"Measured on {os.cpu_count()} cores ({platform.system()}, {platform.machine()}), Python "
        f"{platform.python_version()}, torch {torch.__version__}, in {minutes:.0f} minutes: "
        f"{SHARE:.0%} of the trials of `make soak`."
    )


def _first_sentences(error):
    """What failed, in one line: of several kinds of failure, the first sentence of each."""
    errors = error.exceptions if isinstance(error, BaseExceptionGroup) else [error]
    return "; ".join(f"{type(each).__name__} {_plain(each)}" for each in errors)


def _plain(error):
    """The beginning of a message as Markdown shows it, files without the folders of one machine."""
    text = re.sub(r"(?<!\w)(?:/[^\s/'\"]+)*/(?=[^\s/'\"])", "", " ".join(str(error).split()))
    return re.sub(r"[`|<>\[\]\\]", "'", text[:LONGEST])
