"""The seeds of a cell: a check that its runs differ in nothing else, their means and deviations,
and the headline.
"""

import re
from statistics import fmean, stdev
from typing import Any

from reid.arrays.names import COLUMNS, PROTOCOLS
from reid.results.cell import MEASURES, Run, run_name
from reid.runtime.errors import InputError, short
from reid.runtime.made_by import dotted

# the seed, the checkpoint that a model was converted from, and where and by which packages
MAY_DIFFER = re.compile(
    r"^(train\.settings\.train\.seed|convert_checkpoint\.settings\.(file|sha256))$"
    r"|^(train|convert_checkpoint|extract)\.content$"
    r"|\.(versions|machine)(\.|$)"
)
Columns = dict[str, dict[str, Any]]  # {column: {"rank1": ..., "mAP": ...}}


def headline(runs: list[Run]) -> dict[str, Any]:
    """A cell's runs -> {"dataset", "loss", "seeds", "full": {column: {"rank1", "mAP"}}, "partial":
    ...}, in percent, the means over the seeds.

    Of several seeds, also {"deviations": {"full": ..., "partial": ...}} of like form. Raises
    InputError as `check_alike` does.
    """
    check_alike(runs)
    by_protocol = {protocol: summarize(runs, protocol) for protocol in PROTOCOLS}
    report = {key: runs[0][key] for key in ("dataset", "loss")}
    report["seeds"] = [run["seed"] for run in runs]
    report |= {protocol: summary["columns"] for protocol, summary in by_protocol.items()}
    if len(runs) > 1:
        report["deviations"] = {key: value["deviations"] for key, value in by_protocol.items()}
    return report


def summarize(runs: list[Run], protocol: str) -> dict[str, Any]:
    """A cell's runs -> {"columns": {column: {"rank1", "mAP"}}}, for one run unrounded.

    Of several seeds, "columns" are their means, and "seeds", "deviations" (sample standard
    deviations) and "values" (a list with a number for each seed) join them.
    """
    scores = [_measures(run[protocol]) for run in runs]
    if len(runs) == 1:
        return {"columns": scores[0]}
    means, deviations = mean_and_deviation(scores)
    return {
        "columns": means,
        "seeds": [run["seed"] for run in runs],
        "deviations": deviations,
        "values": values_of_seeds(scores),
    }


def _measures(columns: Columns) -> Columns:
    return {
        column: {measure: columns[column][measure] for measure in MEASURES} for column in COLUMNS
    }


def mean_and_deviation(scores: list[Columns]) -> tuple[Columns, Columns]:
    """The columns of two or more seeds -> their means and sample standard deviations, of like form.

    The deviation is that with n - 1 (not n). Both are rounded to four decimals, as the runs'
    numbers are.
    """
    means: Columns = {}
    deviations: Columns = {}
    for column, measures in values_of_seeds(scores).items():
        means[column] = {key: round(fmean(values), 4) for key, values in measures.items()}
        deviations[column] = {key: round(stdev(values), 4) for key, values in measures.items()}
    return means, deviations


def values_of_seeds(scores: list[Columns]) -> Columns:
    """The columns of some seeds -> {column: {measure: [a number for each seed]}}."""
    return {
        column: {measure: [of_seed[column][measure] for of_seed in scores] for measure in measures}
        for column, measures in scores[0].items()
    }


def check_alike(runs: list[Run]) -> None:
    """Raise InputError unless the runs of a cell differ in their seed, and in it alone.

    The error names the first setting that differs. The data that the models were trained with
    must be the same too; time, machine and versions of packages may differ.
    """
    if not runs:
        raise InputError(
            "a cell needs at least one run: got none. Name its seeds under `tables.seeds` in "
            "params.yaml."
        )
    for run in runs[1:]:
        _check_settings(runs[0], run)
    seeds = [run["seed"] for run in runs]
    if len(set(seeds)) < len(seeds):
        cell = f"{runs[0]['dataset']}-{runs[0]['loss']}"
        raise InputError(f"the cell {cell} has runs of the seeds {seeds}: wanted each seed once.")


def _check_settings(first: Run, second: Run) -> None:
    """Raise InputError, with the name of a setting, unless two runs have the same settings."""
    settings = _settings(first), _settings(second)
    for key in settings[0] | settings[1]:
        got = [of_run.get(key) for of_run in settings]
        if got[0] != got[1]:
            names = run_name(first), run_name(second)
            raise InputError(
                f"the runs {names[0]} and {names[1]} are seeds of one cell, but `{key}` differs: "
                f"got {short(got[0])} and {short(got[1])}, wanted the same of everything but the "
                f"seed. Make both again with `dvc repro evaluate@{names[0]} evaluate@{names[1]}`."
            )


def _settings(run: Run) -> dict[str, Any]:
    """A run's settings, code and data by dotted name, without what may differ between seeds."""
    provenance = run.get("provenance", {})
    training = provenance.get("training")
    data = training.get("data") if isinstance(training, dict) else None
    same = {key: run.get(key) for key in ("trunk", "metric", "counts")}
    values = dotted({**same, **provenance, "training": {"data": data}})
    return {key: value for key, value in values.items() if not MAY_DIFFER.search(key)}
