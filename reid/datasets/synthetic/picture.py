"""One image of the built-in benchmark: a person before a scene, and what stands in the way."""

import functools

import numpy as np
from PIL import Image

from reid.datasets.synthetic.benchmark import (
    DISTRACTOR,
    JUNK,
    Shot,
    SyntheticSettings,
    generator_of,
)
from reid.datasets.synthetic.bodies import draw_person
from reid.datasets.synthetic.cameras import CAMERAS, Camera, photograph
from reid.datasets.synthetic.canvas import Canvas
from reid.datasets.synthetic.obstacles import occlude
from reid.datasets.synthetic.people import Person, dress
from reid.datasets.synthetic.poses import Place, Pose
from reid.datasets.synthetic.scenery import SCENE_BODY, SCENE_HEIGHT, SCENE_WIDTH, scene

_OVERSIZE = 2  # drawn at twice the size, then averaged
_STRANGERS = 1_000_000  # numbers of people who have no pid start here
_PASSERS_BY = 100


def draw_shot(settings: SyntheticSettings, shot: Shot, person: Person | None) -> Image.Image:
    """Draw one image [height, width] of `person`, who is ignored for junk (anybody) and
    distractors (a stranger).

    What stands in the way and what the camera does have random numbers apart: a knob
    changes what it names.
    """
    generator = generator_of(settings, shot.pid, shot.camid, shot.index)
    generator, obstacles, optics = generator.spawn(3)
    size = settings.width * _OVERSIZE, settings.height * _OVERSIZE
    is_empty = shot.pid == DISTRACTOR and generator.random() < 0.3
    if shot.pid == DISTRACTOR:
        person = _stranger(settings.seed, _PASSERS_BY + shot.index)
    elif shot.pid == JUNK:
        anybody = int(generator.integers(1, 1 + settings.train_people + settings.test_people))
        person = dress(settings.seed, anybody, settings.lookalikes)
    place = _box(settings, generator, size, badly=shot.pid <= 0)
    canvas = Canvas(_background(settings, shot.camid, generator, place, size))
    if obstacles.random() < 0.25 * settings.occlusion:
        _passer_by(settings, canvas, obstacles, shot.camid, _beside(obstacles, place, before=False))
    if not is_empty:
        _shadow(canvas, CAMERAS[shot.camid - 1], place, generator)
        draw_person(canvas, person, _pose(generator, shot.camid), place)
    if obstacles.random() < 0.35 * settings.occlusion:
        if obstacles.random() < 0.3:
            _passer_by(
                settings, canvas, obstacles, shot.camid, _beside(obstacles, place, before=True)
            )
        else:
            occlude(canvas, obstacles, place.floor, place.scale)
    return photograph(canvas, shot.camid, settings.camera_shift, optics)


def _box(
    settings: SyntheticSettings, generator: np.random.Generator, size: tuple[int, int], badly: bool
) -> Place:
    """Where a detector's box puts the person: off by up to a quarter of the height, too large,
    cutting feet or head.
    """
    amount = max(settings.misalignment, 0.5) * 2.2 if badly else settings.misalignment
    share = 0.91 * np.exp(amount * generator.uniform(-0.32, 0.16))
    down = amount * generator.choice([0.06, 0.25]) * generator.uniform(-1, 1)
    aside = 2 * (0.08 * amount + 0.02) * np.clip(generator.normal(), -2, 2)
    floor = 0.505 + 0.5 * share + down
    return Place(float(size[0] * (0.5 + aside)), float(size[1] * floor), float(size[1] * share))


def _pose(generator: np.random.Generator, camid: int) -> Pose:
    """A walking or standing pose; most people go one of the camera's two ways."""
    camera = CAMERAS[camid - 1]
    yaw = camera.heading + np.pi * generator.integers(2) + generator.normal(0, 0.5)
    if generator.random() < 0.35:
        yaw = generator.uniform(0, 2 * np.pi)
    hangs = generator.random(2) < 0.75
    bends = np.where(hangs, generator.uniform(0.1, 0.5, 2), generator.uniform(1.2, 2.2, 2))
    return Pose(
        yaw=float(yaw),
        phase=float(generator.uniform(0, 2 * np.pi)),
        stride=float(generator.uniform(0.15, 0.55) if generator.random() < 0.8 else 0.05),
        bends=(float(bends[0]), float(bends[1])),
        tilt=float(camera.tilt + generator.normal(0, 0.04)),
        lean=float(generator.normal(0, 0.025)),
        side=float(np.clip(camera.side + generator.normal(0, 0.3), -1, 1)),
        folds=int(generator.integers(8)),
    )


def _background(
    settings: SyntheticSettings,
    camid: int,
    generator: np.random.Generator,
    place: Place,
    size: tuple[int, int],
) -> Image.Image:
    """The part of the camera's scene behind a person whose feet are somewhere on its ground."""
    step = min(SCENE_BODY / place.scale, SCENE_HEIGHT / size[1], SCENE_WIDTH / size[0])
    wide, tall, feet = size[0] * step, size[1] * step, place.floor * step
    top = generator.uniform(min(max(230, feet), SCENE_HEIGHT - 20), SCENE_HEIGHT - 20) - feet
    top = min(max(top, 0), SCENE_HEIGHT - tall)
    left = generator.uniform(0, SCENE_WIDTH - wide)
    box = (left, top, left + wide, top + tall)
    return scene(settings.seed, camid).resize(size, Image.Resampling.NEAREST, box=box)


def _shadow(canvas: Canvas, camera: Camera, place: Place, generator: np.random.Generator) -> None:
    reach, length = place.scale, generator.uniform(0.3, 0.6)
    canvas.disc(place.x, place.floor, (0.13 * reach, 0.03 * reach), None, 84)
    if camera.sun > 0.3:
        away = place.x - float(np.sign(camera.side)) * length * reach, place.floor - 0.06 * reach
        canvas.line([(place.x, place.floor), away], 0.09 * reach, None, int(128 - 60 * camera.sun))


@functools.lru_cache(maxsize=2 * _PASSERS_BY)
def _stranger(seed: int, number: int) -> Person:
    return dress(seed, _STRANGERS + number, 0.0)


def _beside(generator: np.random.Generator, place: Place, before: bool) -> Place:
    """Half in the way of the person at `place`, or a step behind."""
    aside = (-1) ** int(generator.integers(2)) * generator.uniform(0.17, 0.3) * place.scale
    scale = place.scale * (
        generator.uniform(1.02, 1.15) if before else generator.uniform(0.7, 0.95)
    )
    return Place(
        float(place.x + aside), float(place.floor + (scale - place.scale) * 0.5), float(scale)
    )


def _passer_by(
    settings: SyntheticSettings,
    canvas: Canvas,
    generator: np.random.Generator,
    camid: int,
    place: Place,
) -> None:
    stranger = _stranger(settings.seed, int(generator.integers(_PASSERS_BY)))
    draw_person(canvas, stranger, _pose(generator, camid), place)
