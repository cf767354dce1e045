"""What the pictures of the built-in benchmark are drawn on: colour and, apart from it, light and
shade.
"""

import math

from PIL import Image, ImageDraw

Point = tuple[float, float, float]  # screen x, screen y, depth towards the camera
MIDDLE = 128  # of the shade layer: leaves a colour as it is


class Canvas:
    """Two layers of one size: `colour` (RGB) and `shade` (L), by which the colour is multiplied in
    the end.
    """

    def __init__(self, background: Image.Image) -> None:
        self.colour, self.shade = background, Image.new("L", background.size, MIDDLE)
        self._pens = ImageDraw.Draw(self.colour), ImageDraw.Draw(self.shade)

    def polygon(
        self, points: list[tuple[float, float]], colour: tuple[int, ...], shade: int = MIDDLE
    ) -> None:
        """Fill the polygon."""
        self._pens[0].polygon(points, fill=colour)
        self._pens[1].polygon(points, fill=shade)

    def disc(
        self,
        x: float,
        y: float,
        radii: tuple[float, float],
        colour: tuple | None,
        shade: int = MIDDLE,
    ) -> None:
        """Fill an upright ellipse; without a colour it is a shadow."""
        box = (x - radii[0], y - radii[1], x + radii[0], y + radii[1])
        if colour is not None:
            self._pens[0].ellipse(box, fill=colour)
        self._pens[1].ellipse(box, fill=shade)

    def line(
        self,
        points: list[tuple[float, float]],
        width: float,
        colour: tuple | None,
        shade: int = MIDDLE,
    ) -> None:
        """Draw a broken line; without a colour it is a fold in the shade alone."""
        if colour is not None:
            self._pens[0].line(points, fill=colour, width=max(1, round(width)), joint="curve")
        self._pens[1].line(points, fill=shade, width=max(1, round(width)))

    def limb(
        self,
        ends: tuple[Point, Point],
        radii: tuple[float, float],
        colour: tuple[int, ...],
        side: float,
    ) -> None:
        """Draw a tapered capsule with dark rims, the darker one away from `side`."""
        (x, y, _), (u, v, _) = ends
        length = max(math.hypot(u - x, v - y), 1e-6)
        across, down = (v - y) / length, (x - u) / length  # to the right of a limb that hangs down
        (r, s) = radii
        right = [(x + r * across, y + r * down), (u + s * across, v + s * down)]
        left = [(x - r * across, y - r * down), (u - s * across, v - s * down)]
        self.polygon(right + left[::-1], colour, 130)
        self._pens[0].ellipse((x - r, y - r, x + r, y + r), fill=colour)
        self._pens[0].ellipse((u - s, v - s, u + s, v + s), fill=colour)
        width = max(1, round(0.55 * r))
        self._pens[1].line(right, fill=92 + int(18 * side), width=width)
        self._pens[1].line(left, fill=92 - int(18 * side), width=width)
