"""Charts as inline SVG, coloured by the page's style sheet: classes c0 ... c6 are its colours."""

import math
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 270, 205
LEFT, RIGHT, TOP, BOTTOM = 42, 10, 10, 38  # margins of the plot
COLOURS = 7


@dataclass(frozen=True)
class Line:
    """A series: its name, the number of its colour, and points."""

    name: str
    colour: int
    x: list[float]
    y: list[float]


@dataclass(frozen=True)
class Axis:
    """An axis: its title with the unit, its limits, and whether it is logarithmic."""

    title: str
    low: float
    high: float
    is_log: bool = False

    def share(self, value: float) -> float:
        """Where on the axis a value lies, from 0 to 1."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / ((high - low) or 1)

    def ticks(self) -> list[float]:
        """Round values within the limits, about four of them."""
        if self.is_log:
            steps = [digit * 10.0**power for power in range(-6, 7) for digit in (1, 2, 5)]
            found = [step for step in steps if self.low <= step <= self.high * (1 + 1e-9)]
            return found if len(found) < 8 else found[::3]
        step = _round_step((self.high - self.low) / 4)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 10) for number in range(first, last + 1)]


def _round_step(least: float) -> float:
    """The next of 1, 2 or 5 times a power of ten."""
    least = least if least > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= least * (1 - 1e-9))


def limits(values: list[float], title: str) -> Axis:
    """An axis from 0, or the least value where that is below, to a round value past the largest."""
    low, high = min([0.0, *values]), max([*values, 0.0])
    step = _round_step((high - low) / 4)
    return Axis(title, step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9))


def lines(series: list[Line], x: Axis, y: Axis, label: str) -> Markup:
    """A chart of lines. `label` is what a screen reader says."""
    drawn = []
    for line in series:
        points = " ".join(
            f"{_x(x, a):.1f},{_y(y, b):.1f}"
            for a, b in zip(line.x, line.y, strict=True)
            if math.isfinite(b)
        )
        drawn.append(
            f'<polyline class="line c{line.colour % COLOURS}" points="{points}">'
            f"<title>{escape(line.name)}</title></polyline>"
        )
    return _frame(x, y, label, "".join(drawn))


def areas(series: list[Line], x: Axis, y: Axis, label: str) -> Markup:
    """A chart of histograms: `x` of a series are the edges [B + 1], its `y` the heights [B]."""
    drawn = []
    for line in series:
        steps = []
        for left, right, height in zip(line.x, line.x[1:], line.y, strict=False):
            level = _y(y, height)
            steps.append(f"{_x(x, left):.1f},{level:.1f} {_x(x, right):.1f},{level:.1f}")
        base = _y(y, y.low)
        points = f"{_x(x, line.x[0]):.1f},{base} {' '.join(steps)} {_x(x, line.x[-1]):.1f},{base}"
        drawn.append(
            f'<polygon class="area c{line.colour % COLOURS}" points="{points}">'
            f"<title>{escape(line.name)}</title></polygon>"
        )
    return _frame(x, y, label, "".join(drawn))


def _x(axis: Axis, value: float) -> float:
    return LEFT + axis.share(value) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - axis.share(value) * (HEIGHT - TOP - BOTTOM)


def _frame(x: Axis, y: Axis, label: str, inside: str) -> Markup:
    """An SVG with grid, ticks and titles of both axes around what is drawn inside."""
    parts = []
    for tick in y.ticks():
        at = _y(y, tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 3.5}" text-anchor="end">{tick:g}</text>')
    bottom = HEIGHT - BOTTOM
    for tick in x.ticks():
        at = _x(x, tick)
        parts.append(f'<line class="tick" x1="{at}" x2="{at}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{at}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    middle, height = (LEFT + WIDTH - RIGHT) / 2, (TOP + bottom) / 2
    titles = (
        f'<text class="axis" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(x.title)}</text>"
        f'<text class="axis" transform="translate(11 {height}) rotate(-90)" text-anchor="middle">'
        f"{escape(y.title)}</text>"
    )
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}"'
    return Markup(f'<svg class="chart" {box}>{"".join(parts)}{titles}{inside}</svg>')
