"""What stands between a camera of the built-in benchmark and its people."""

import numpy as np
from PIL import ImageDraw

from reid.datasets.synthetic.canvas import Canvas
from reid.datasets.synthetic.scenery import bicycle, tint


def occlude(canvas: Canvas, generator: np.random.Generator, floor: float, scale: float) -> None:
    """Put something before the person: a post, a bicycle, a bench, a hedge, a sign, an umbrella or
    a car's bonnet.
    """
    x, near = canvas.colour.width * generator.uniform(0.1, 0.9), floor + 0.04 * scale
    obstacle = (_post, _parked, _bench, _bush, _sign, _umbrella, _bonnet)[generator.integers(7)]
    obstacle(canvas, generator, (x, near), scale)


def _post(
    canvas: Canvas, generator: np.random.Generator, foot: tuple[float, float], scale: float
) -> None:
    colour = tint(generator, (96, 98, 100), 30)
    canvas.limb(((foot[0], -9, 0), (foot[0], foot[1], 0)), (0.035 * scale,) * 2, colour, 0.5)


def _parked(
    canvas: Canvas, generator: np.random.Generator, foot: tuple[float, float], scale: float
) -> None:
    bicycle(
        ImageDraw.Draw(canvas.colour), *foot, 0.38 * scale, tint(generator, (110, 100, 100), 45)
    )


def _bench(
    canvas: Canvas, generator: np.random.Generator, foot: tuple[float, float], scale: float
) -> None:
    colour = tint(generator, (110, 84, 60), 12)
    for y in (0.18, 0.25, 0.33):
        ends = [(-5, foot[1] - y * scale), (canvas.colour.width + 5, foot[1] - (y + 0.02) * scale)]
        canvas.line(ends, 0.04 * scale, colour, 120)
    canvas.line(
        [foot, (foot[0] + 0.02 * scale, foot[1] - 0.35 * scale)], 0.04 * scale, (52, 50, 48), 110
    )


def _bush(
    canvas: Canvas, generator: np.random.Generator, foot: tuple[float, float], scale: float
) -> None:
    width, height = canvas.colour.size
    top = min(foot[1] - generator.uniform(0.12, 0.4) * scale, height)
    canvas.polygon(
        [(0, top + 9), (width, top + 9), (width, height), (0, height)], (46, 66, 38), 110
    )
    for radius in np.linspace(0.04, 0.012, 120) * scale:
        x, y = generator.uniform(-10, width + 10), generator.uniform(top, height + 10)
        canvas.disc(
            x,
            y + radius,
            (radius, radius),
            tint(generator, (60, 86, 48), 15),
            int(generator.integers(100, 136)),
        )


def _sign(
    canvas: Canvas, generator: np.random.Generator, foot: tuple[float, float], scale: float
) -> None:
    (x, near), colour = foot, tint(generator, (104, 104, 108), 36)
    left, top = x - 0.12 * scale, near - generator.uniform(0.3, 0.6) * scale
    right = left + 0.26 * scale
    canvas.polygon([(left, top), (right, top), (right + 2, near), (left, near)], colour, 118)
    inner = [(left + 6, top + 8), (right - 6, top + 8), (right - 6, top + 26), (left + 6, top + 26)]
    canvas.polygon(inner, (214, 206, 190))


def _bonnet(
    canvas: Canvas, generator: np.random.Generator, foot: tuple[float, float], scale: float
) -> None:
    middle, colour = canvas.colour.width / 2, tint(generator, (120, 116, 120), 50)
    sign, near, top = 1 if foot[0] > middle else -1, foot[1] + 40, foot[1] - 0.3 * scale
    edge = middle + sign * 0.1 * scale
    roof = [
        (edge + sign * 8, top + 14),
        (edge + sign * 0.2 * scale, top),
        (edge + sign * 2 * scale, top - 20),
    ]
    canvas.polygon([(edge, near), *roof, (edge + sign * 2 * scale, near)], colour, 116)
    canvas.disc(
        edge + sign * 0.08 * scale, top + 0.1 * scale, (0.05 * scale, 0.03 * scale), (226, 222, 200)
    )


def _umbrella(
    canvas: Canvas, generator: np.random.Generator, foot: tuple[float, float], scale: float
) -> None:
    colour, y = tint(generator, (110, 70, 90), 60), foot[1] - 1.01 * scale
    x = 0.4 * canvas.colour.width / 2 + 0.6 * foot[0]
    canvas.line([(x, y), (x + 0.03 * scale, y + 0.5 * scale)], 0.012 * scale, (50, 50, 52))
    angles = np.linspace(np.pi, 2 * np.pi, 9)
    points = [
        (x + 0.3 * scale * np.cos(angle), y + 0.08 * scale + 0.16 * scale * np.sin(angle))
        for angle in angles
    ]
    canvas.polygon(points, colour, 120)
    for point in points[1:-1:2]:
        canvas.line([point, (x, y - 0.08 * scale)], 2, None, 100)
