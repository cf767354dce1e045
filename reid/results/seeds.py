"""Several seeds of one row: which runs they are, that nothing but the seed differs, and their mean
and spread.
"""

from collections.abc import Callable
from statistics import fmean, stdev
from typing import Any

from reid.runtime.errors import InputError

Run = dict[str, Any]
Scores = dict[str, dict[str, Any]]  # {column: {metric: ...}}


def rows_of(runs: list[Run], name: Callable[[str], str]) -> list[list[Run]]:
    """One dataset's runs -> those of each row, in the order of the rows' first: the same trunk,
    and losses of one name.

    Raises InputError, with both cells, when runs of a row differ in a setting other than
    `train.seed`, which is named, in the data that they were trained with, or in nothing.
    """
    rows: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        rows.setdefault((run["trunk"], name(run["loss"])), []).append(run)
    for (_, called), row in rows.items():
        for i, run in enumerate(row):
            for earlier in row[:i]:
                _check(earlier, run, called)
    return list(rows.values())


def seed(run: Run) -> int | None:
    """What `train.seed` a run was made with; None where its provenance does not tell, as of a
    converted model.
    """
    trained = run.get("provenance", {}).get("train")
    return trained.get("seed") if isinstance(trained, dict) else None


def mean_and_deviation(scores: list[Scores]) -> tuple[Scores, Scores]:
    """Two or more seeds' {column: {metric: number}} -> their means and sample standard deviations,
    of like form.

    The deviation is that with n - 1 (not n). Both are rounded to four decimals, as the runs'
    numbers are.
    """
    together = gathered(scores)
    functions = (fmean, stdev)
    means, deviations = (
        {
            column: {metric: round(function(values), 4) for metric, values in metrics.items()}
            for column, metrics in together.items()
        }
        for function in functions
    )
    return means, deviations


def gathered(scores: list[Scores]) -> Scores:
    """Seeds' {column: {metric: number}} -> {column: {metric: [a number a seed]}}."""
    return {
        column: {metric: [one[column][metric] for one in scores] for metric in metrics}
        for column, metrics in scores[0].items()
    }


def _check(one: Run, other: Run, called: str) -> None:
    """Raise InputError unless two runs of a row differ in their seed, and in it alone."""
    cells = [f"{run['dataset']}-{run['loss']}" for run in (one, other)]
    settings, others = _settings(one), _settings(other)
    differing = next(
        (key for key in settings | others if settings.get(key) != others.get(key)), None
    )
    if differing is not None:
        raise InputError(
            f"the cells {cells[0]} and {cells[1]} are both called '{called}', and so one row of "
            f"the table over several seeds, but `{differing}` differs: got "
            f"{settings.get(differing)!r} and {others.get(differing)!r}, wanted the same of "
            "everything but `train.seed`. Give them different names under `tables.names` in "
            "params.yaml."
        )
    if seed(one) == seed(other):
        raise InputError(
            f"the cells {cells[0]} and {cells[1]} are both called '{called}' and have the same "
            f"`train.seed`, {seed(one)}: wanted one each. Set `losses.{other['loss']}.train.seed` "
            "in params.yaml, or give them different names under `tables.names`."
        )


def _settings(run: Run) -> dict[str, Any]:
    """A run's settings, and the data that it was trained with, by dotted name; without its seed."""
    provenance = run.get("provenance", {})
    training = provenance.get("training")
    left = {key: value for key, value in provenance.items() if key not in ("versions", "training")}
    named = _dotted(
        left | {"training": {"data": training.get("data") if isinstance(training, dict) else None}}
    )
    named.pop("train.seed", None)
    return named


def _dotted(values: dict[str, Any]) -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    named = {}
    for key, value in values.items():
        inner = _dotted(value) if isinstance(value, dict) else {"": value}
        named |= {f"{key}.{below}".rstrip("."): deeper for below, deeper in inner.items()}
    return named
