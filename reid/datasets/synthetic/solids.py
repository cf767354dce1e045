"""Torsos, heads and skirts of the built-in benchmark: bodies of revolution that wear an unrolled
texture (rows: height, columns: azimuth).
"""

import functools
import math

import numpy as np
from PIL import Image

from reid.datasets.synthetic.canvas import MIDDLE, Canvas
from reid.datasets.synthetic.clothing import Surface
from reid.datasets.synthetic.poses import Place, Pose


def revolve(canvas: Canvas, surface: Surface, pose: Pose, place: Place) -> None:
    """Draw a body of revolution: its outline row by row, the side we see of its texture, and the
    light on it.
    """
    rows, height, half, middle = _outline(surface, pose, place, canvas.colour.height)
    if not len(rows):
        return
    left = max(0, int((middle - half).min()))
    right = min(canvas.colour.width, int((middle + half).max()) + 2)
    if right <= left:
        return
    across = (np.arange(left, right, dtype=np.float32) - middle) / half
    angle = np.arcsin(np.clip(across, -1, 1))
    nearer = height + (0.8 * math.sin(pose.tilt) / place.scale) * np.cos(angle) * half
    pixels = surface.look(nearer, angle - pose.yaw)
    inside = np.clip(half - np.abs(across) * half + 0.5, 0, 1) * pixels[..., 3]
    mask, corner = Image.fromarray(inside.astype(np.uint8)), (left, int(rows[0]))
    light = MIDDLE * (0.6 + 0.42 * np.cos(angle - 0.7 * pose.side))
    light *= _folds()[pose.folds, : len(rows), : right - left]
    canvas.colour.paste(Image.fromarray(np.ascontiguousarray(pixels[..., :3])), corner, mask)
    canvas.shade.paste(Image.fromarray(light.astype(np.uint8)), corner, mask)


def _outline(
    surface: Surface, pose: Pose, place: Place, lowest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The canvas's rows [R] that a body of revolution covers, above `lowest`; and [R, 1] of each:
    height on the body, half its width and its middle on the canvas.
    """
    tall = place.scale * math.cos(pose.tilt)
    first = int(place.floor - tall * surface.top) - 1
    last = int(place.floor - tall * surface.bottom) + 8
    rows = np.arange(max(first, 0), min(last, lowest), dtype=np.float32)
    height = ((place.floor - rows) / tall)[:, None]
    sin, cos = math.sin(pose.yaw), math.cos(pose.yaw)
    knots = np.hypot(surface.profile[1] * cos, surface.profile[2] * sin) * place.scale
    half = np.interp(height, surface.profile[0], knots).astype(np.float32)
    middle = place.x + place.scale * (surface.centre * sin + pose.lean * height)
    return rows, height, half, middle


@functools.cache
def _folds() -> np.ndarray:
    """Eight sheets [8, 1024, 512] of soft folds around 1, longer than wide."""
    generator = np.random.default_rng(0)
    sheets = []
    for _ in range(8):
        small = generator.normal(128, 60, (100, 72)).clip(0, 255).astype(np.uint8)
        soft = np.asarray(
            Image.fromarray(small).resize((512, 1024), Image.Resampling.BICUBIC), np.float32
        )
        sheets.append(1 + (soft - 128) / 128 * 0.22)
    return np.stack(sheets)
