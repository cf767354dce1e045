"""How well a threshold on the distance accepts matches and refuses others: the run's verification
curves.
"""

from typing import Any

from markupsafe import Markup

from reid.arrays.names import COLUMNS
from reid.page import charts
from reid.page.charts import Axis, Line
from reid.results.cell import Run
from reid.results.tables import TITLES


def section(run: Run, titles: dict[str, str]) -> dict[str, Any] | None:
    """A run's JSON and the protocols' titles -> charts, and rows of thresholds with full queries.

    None where the run has no curves, as one that was evaluated before they were computed.
    """
    found = run.get("verification")
    if not found:
        return None
    first = found["full"]["columns"]
    rates = [at["false_accept_rate"] for at in first[COLUMNS[0]]["at"]]
    return {
        "pairs": found["full"]["pairs"],
        "names": [TITLES[column] for column in COLUMNS],
        "figures": [
            {"title": titles[protocol], "chart": chart(values, titles[protocol])}
            for protocol, values in found.items()
        ],
        "rates": [f"{100 * rate:g} %" for rate in rates],
        "rows": [(TITLES[column], *row(first[column])) for column in COLUMNS],
    }


def chart(values: dict[str, Any], title: str) -> Markup:
    """One protocol's curves, a line for each column: true accepts over false accepts."""
    rates = [100 * rate for rate in values["false_accept_rates"]]
    lines = [
        Line(TITLES[column], number, rates, values["columns"][column]["curve"])
        for number, column in enumerate(COLUMNS)
    ]
    x = Axis("others accepted (%)", rates[0], rates[-1], is_log=True)
    y = Axis("matches accepted (%)", 0, 100)
    return charts.lines(lines, x, y, f"Verification curves, {title}")


def row(values: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """A column's equal-error rate, and by rate of false accepts true accepts and threshold."""
    cells = [(f"{at['true_accept_rate']:.1f}", f"{at['threshold']:.3f}") for at in values["at"]]
    return f"{values['eer']:.2f}", cells
