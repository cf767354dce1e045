"""What the cameras of the built-in benchmark see behind people: ground and backdrop."""

import functools
import itertools

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from reid.datasets.synthetic.cameras import CAMERAS

SCENE_WIDTH, SCENE_HEIGHT, SCENE_BODY = 720, 500, 222  # pixels; a body is SCENE_BODY high
_HORIZON = 190
_GROUNDS = {
    "slabs": (168, 162, 150), "grass": (92, 118, 60), "road": (112, 113, 116),
    "tiles": (176, 160, 138), "bricks": (150, 106, 88), "concrete": (160, 160, 158),
}  # fmt: skip
_PAVING = {
    "slabs": (12, 18, 7, 0),
    "tiles": (18, 26, 8, 0),
    "bricks": (34, 40, 10, 1),
    "concrete": (6, 7, 6, 0),
}
_BACKDROPS = {
    "trees": (148, 158, 160), "hedge": (60, 84, 46), "building": (164, 156, 146),
    "shop": (120, 104, 92), "wall": (146, 120, 104), "bikes": (134, 140, 146),
}  # fmt: skip


@functools.lru_cache(maxsize=12)
def scene(seed: int, camid: int) -> Image.Image:
    """Draw what camera `camid` (1-6) sees when nobody is there; `seed` moves the clutter."""
    generator, camera = np.random.default_rng([seed, 3, camid]), CAMERAS[camid - 1]
    picture = Image.new("RGB", (SCENE_WIDTH, SCENE_HEIGHT), _GROUNDS[camera.ground])
    pen = ImageDraw.Draw(picture)
    _ground(pen, camera.ground, generator)
    _backdrop(pen, camera.backdrop, generator)
    picture = picture.filter(ImageFilter.GaussianBlur(1.2))
    pixels = np.asarray(picture, np.float32)
    depth = np.linspace(0, 1, SCENE_HEIGHT, dtype=np.float32)[:, None, None]
    rough = 16 if camera.ground == "grass" else 7
    grain = generator.normal(0, rough, (SCENE_HEIGHT, SCENE_WIDTH, 1)) * (0.4 + depth)
    pixels = (pixels * _cloudy(generator, 0.09) + grain) * (0.86 + 0.2 * depth)
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return picture.filter(ImageFilter.GaussianBlur(0.8))


def _cloudy(generator: np.random.Generator, strength: float) -> np.ndarray:
    small = Image.fromarray(generator.integers(0, 256, (26, 36), np.uint8))
    soft = np.asarray(
        small.resize((SCENE_WIDTH, SCENE_HEIGHT), Image.Resampling.BICUBIC), np.float32
    )
    return (1 + strength * (soft - 128) / 128)[..., None]


def tint(generator: np.random.Generator, colour: tuple[int, ...], spread: float) -> tuple[int, ...]:
    """A colour near `colour`, lighter or darker above all."""
    shift = generator.normal(0, spread) + generator.normal(0, spread / 3, 3)
    return tuple(int(value) for value in (np.array(colour) + shift).clip(0, 255))


def _ground(pen: ImageDraw.ImageDraw, kind: str, generator: np.random.Generator) -> None:
    """Draw a ground in perspective: what lies on it grows towards the viewer, joints run to a
    vanishing point.
    """
    if kind in _PAVING:
        _paving(pen, _GROUNDS[kind], _PAVING[kind], generator)
    if kind == "grass":
        _grass(pen, generator)
    if kind == "road":
        _road(pen)
    _litter(pen, generator)


def _grass(pen: ImageDraw.ImageDraw, generator: np.random.Generator) -> None:
    """A path, and blades of grass on either side of it."""
    path = [(_across(0.42, _HORIZON), _HORIZON), (_across(0.5, _HORIZON), _HORIZON)]
    pen.polygon([*path, (520, SCENE_HEIGHT), (260, SCENE_HEIGHT)], fill=(172, 160, 138))
    for y in np.sort(_HORIZON + (SCENE_HEIGHT - _HORIZON) * generator.random(2200)):
        x, reach = generator.uniform(0, SCENE_WIDTH), 3 + 8 * (y - _HORIZON) / SCENE_HEIGHT
        if not 330 - 0.4 * (y - _HORIZON) < x < 350 + 0.6 * (y - _HORIZON):
            blade = [x, y, x + generator.normal(0, reach), y - reach]
            pen.line(blade, fill=tint(generator, _GROUNDS["grass"], 22), width=2)


def _road(pen: ImageDraw.ImageDraw) -> None:
    """Lines between lanes, and the kerb."""
    for lane, start in itertools.product((0.18, 0.5, 0.82), np.linspace(0, 0.9, 6)):
        far, near = (
            _HORIZON + (SCENE_HEIGHT - _HORIZON) * (start + step) ** 1.5 for step in (0, 0.09)
        )
        ends = [(_across(lane, far), far), (_across(lane + 0.02, far), far)]
        ends += [(_across(lane + 0.02, near), near), (_across(lane, near), near)]
        pen.polygon(ends, fill=(206, 204, 196))
    pen.polygon([(0, 225), (SCENE_WIDTH, 210), (SCENE_WIDTH, 232), (0, 250)], fill=(150, 148, 142))
    pen.line([(0, 250), (SCENE_WIDTH, 232)], fill=(90, 88, 86), width=4)


def _paving(
    pen: ImageDraw.ImageDraw, base: tuple, layout: tuple, generator: np.random.Generator
) -> None:
    rows, cells, spread, shifted = layout
    joint = tuple(int(0.78 * value) for value in base)
    depths = _HORIZON + (SCENE_HEIGHT - _HORIZON) * np.linspace(0, 1, rows + 1) ** 1.5
    for row, (far, near) in enumerate(itertools.pairwise(depths)):
        for cell in np.arange(-cells, 2 * cells) + 0.5 * (shifted and row % 2):
            sides = cell / cells, (cell + 1) / cells
            corners = [(_across(side, far), far) for side in sides] + [
                (_across(side, near), near) for side in sides[::-1]
            ]
            pen.polygon(corners, fill=tint(generator, base, spread), outline=joint)


def _litter(pen: ImageDraw.ImageDraw, generator: np.random.Generator) -> None:
    """Leaves, stains and covers on the ground."""
    for _ in range(70):
        x, y = generator.uniform(0, SCENE_WIDTH), generator.uniform(_HORIZON + 15, SCENE_HEIGHT)
        size = generator.uniform(1, 3.5)
        pen.ellipse(
            [x - size, y - 0.5 * size, x + size, y + 0.5 * size],
            fill=tint(generator, (104, 92, 66), 34),
        )
    for _ in range(2):
        x, y = generator.uniform(0, SCENE_WIDTH), generator.uniform(_HORIZON + 40, SCENE_HEIGHT)
        pen.ellipse(
            [x - 22, y - 8, x + 22, y + 8], fill=(112, 108, 102), outline=(72, 70, 68), width=2
        )


def _across(share: float, y: float) -> float:
    """Screen x of a line that starts at `share` of the near edge and runs to the vanishing
    point.
    """
    return 0.5 * SCENE_WIDTH + (share - 0.5) * SCENE_WIDTH * (
        0.5 + 0.9 * (y - _HORIZON) / (SCENE_HEIGHT - _HORIZON)
    )


def _backdrop(pen: ImageDraw.ImageDraw, kind: str, generator: np.random.Generator) -> None:
    """Draw what stands above the horizon, and what is parked before it."""
    pen.rectangle([0, 0, SCENE_WIDTH, _HORIZON], fill=_BACKDROPS[kind])
    if kind in ("trees", "hedge"):
        _leaves(pen, kind == "hedge", generator)
    if kind in ("building", "shop"):
        _windows(pen, kind == "shop", generator)
    if kind == "wall":
        _brickwork(pen, generator)
    if kind in ("bikes", "building", "trees"):
        for x in generator.uniform(0, SCENE_WIDTH, 9 if kind == "bikes" else 4):
            bicycle(
                pen, x, _HORIZON + generator.uniform(5, 35), 60, tint(generator, (70, 70, 80), 40)
            )
    if kind in ("building", "bikes"):
        for x in generator.uniform(0, SCENE_WIDTH, 2):
            _car(pen, x, _HORIZON + 16, tint(generator, (150, 140, 140), 60))


def _leaves(pen: ImageDraw.ImageDraw, low: bool, generator: np.random.Generator) -> None:
    for step in range(900):
        x, y, size = (
            generator.uniform(0, SCENE_WIDTH),
            generator.uniform(0, _HORIZON - 8),
            generator.uniform(3, 22 - step / 60),
        )
        pen.ellipse(
            [x - size, y - size, x + size, y + 0.8 * size],
            fill=tint(generator, (56, 80, 44), 14 + step / 90),
        )
    for x in generator.uniform(0, SCENE_WIDTH, 0 if low else 7):
        width = generator.uniform(8, 16)
        pen.rectangle([x, 30, x + width, _HORIZON + 20], fill=(74, 58, 46))
        pen.rectangle([x, 30, x + 0.35 * width, _HORIZON + 20], fill=(98, 80, 64))


def _windows(pen: ImageDraw.ImageDraw, shop: bool, generator: np.random.Generator) -> None:
    step, base = (120, (196, 190, 160)) if shop else (74, (70, 84, 98))
    for x in range(-20, SCENE_WIDTH, step):
        box = [x, 24, x + 0.7 * step, _HORIZON - (10 if shop else 40)]
        pen.rectangle(box, fill=tint(generator, base, 26), outline=(60, 58, 56), width=3)
        pen.polygon(
            [(x + 8, 100), (x + 8, 40), (x + 0.4 * step, 40)], fill=tint(generator, base, 30)
        )
        for _ in range(5 if shop else 1):
            left, top = x + generator.uniform(0, 0.5 * step), generator.uniform(24, 120)
            right, bottom = left + generator.uniform(10, 26), top + generator.uniform(8, 34)
            pen.rectangle([left, top, right, bottom], fill=tint(generator, (150, 110, 100), 60))


def _brickwork(pen: ImageDraw.ImageDraw, generator: np.random.Generator) -> None:
    for row in range(0, _HORIZON, 9):
        for x in range(-20 + 11 * (row // 9 % 2), SCENE_WIDTH, 22):
            pen.rectangle([x, row, x + 20, row + 7], fill=tint(generator, _BACKDROPS["wall"], 11))
    for x in generator.uniform(0, SCENE_WIDTH - 50, 3):
        pen.rectangle(
            [x, 30, x + 52, _HORIZON],
            fill=tint(generator, (76, 84, 92), 20),
            outline=(52, 50, 50),
            width=3,
        )
        pen.ellipse([x + 42, 120, x + 47, 125], fill=(196, 190, 170))


def _car(pen: ImageDraw.ImageDraw, x: float, y: float, colour: tuple[int, ...]) -> None:
    body = [(-80, 0), (-82, -34), (-50, -40), (-30, -66), (38, -66), (60, -38), (86, -30), (86, 0)]
    glass = [(-42, -40), (-26, -60), (34, -60), (50, -40)]
    for outline, fill in ((body, colour), (glass, (48, 56, 64))):
        pen.polygon([(x + u, y + v) for u, v in outline], fill=fill)
    for wheel in (-50, 54):
        pen.ellipse([x + wheel - 15, y - 15, x + wheel + 15, y + 13], fill=(28, 28, 30))


def bicycle(
    pen: ImageDraw.ImageDraw, x: float, y: float, size: float, colour: tuple[int, ...]
) -> None:
    """Draw a bicycle seen from the side, its wheels on `y`, about 2 x `size` wide."""
    width = max(1, round(size / 20))
    for wheel in (-0.55, 0.55):
        box = [x + wheel * size - 0.36 * size, y - 0.72 * size, x + wheel * size + 0.36 * size, y]
        pen.ellipse(box, outline=(36, 36, 38), width=width)
    frame = [(-0.55, -0.36), (-0.2, -0.85), (0.38, -0.85), (0.55, -0.36), (0.38, -0.85)]
    frame += [(-0.05, -0.36), (-0.55, -0.36), (-0.2, -0.85), (-0.05, -0.36)]
    pen.line([(x + size * u, y + size * v) for u, v in frame], fill=colour, width=width)
    pen.line(
        [(x - 0.32 * size, y - 0.98 * size), (x - 0.1 * size, y - 0.98 * size)],
        fill=(30, 30, 30),
        width=3 * width,
    )
    pen.line(
        [(x + 0.3 * size, y - 1.08 * size), (x + 0.46 * size, y - 1.05 * size)],
        fill=(30, 30, 30),
        width=2 * width,
    )
