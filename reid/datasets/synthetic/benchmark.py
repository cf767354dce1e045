"""The built-in benchmark: drawn people under six cameras, in Market-1501's folders and file names.

Every image is seeded by (seed, pid, camera, index) alone, so neither the order nor the number of
processes matters. Drawn here, from no data set; what Market-1501 (Zheng et al., ICCV 2015) has, it
has too: junk (-1), distractors (0000), boxes off their person.
"""

import functools
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from reid.datasets import filenames, market1501
from reid.datasets.records import Reader, SourceSettings, Splits
from reid.datasets.synthetic.bodies import Place, Pose, draw_person
from reid.datasets.synthetic.cameras import CAMERAS, Camera, photograph
from reid.datasets.synthetic.canvas import Canvas
from reid.datasets.synthetic.people import Person, dress
from reid.datasets.synthetic.scenery import SCENE_BODY, SCENE_HEIGHT, SCENE_WIDTH, occlude, scene
from reid.runtime.errors import InputError

FOLDERS = tuple(filenames.SUBFOLDERS.values())  # of train, query and gallery
JUNK, DISTRACTOR = -1, 0
_OVERSIZE = 2  # drawn at twice the size, then averaged
_STRANGERS = 1_000_000  # numbers of people who have no pid start here
_PASSERS_BY = 100
_RANGES = (
    ("seed", 0, 2**63), ("train_people", 1, 9999), ("test_people", 1, 9999),
    ("images_per_camera", 1, 1000), ("distractors", 0, 39_999), ("junk", 0, 39_999),
    ("height", 32, 1024), ("width", 16, 1024), ("misalignment", 0, 1), ("occlusion", 0, 1),
    ("lookalikes", 0, 1), ("camera_shift", 0, 1),
)  # fmt: skip


@dataclass(frozen=True)
class SyntheticSettings(SourceSettings):
    """Size and difficulty of the built-in benchmark; the last four are in [0, 1], 0 is easiest.

    `images_per_camera` is the mean for one person under one camera (test people have at least two:
    query and gallery). `misalignment`: how far boxes are off; `occlusion`: how much stands in the
    way; `lookalikes`: the share of people who share clothes' colours with others; `camera_shift`:
    how much cameras differ in colour, blur and noise.
    """

    seed: int
    train_people: int
    test_people: int
    images_per_camera: float
    distractors: int
    junk: int
    height: int
    width: int
    misalignment: float
    occlusion: float
    lookalikes: float
    camera_shift: float

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            if not low <= getattr(self, name) <= high:
                got = getattr(self, name)
                raise InputError(
                    f"synthetic.{name} in params.yaml: got {got}, wanted a number from {low} to "
                    f"{high}."
                )
        people = self.train_people + self.test_people
        if people > 9999:
            raise InputError(
                f"synthetic.train_people and synthetic.test_people in params.yaml: got {people} "
                "people together, wanted at most 9999, because a pid has four digits; ask for "
                "fewer."
            )


def read(folder: Path, settings: SyntheticSettings) -> Splits:
    """Records of train, query and gallery of the drawn benchmark, as Market-1501's are read."""
    return filenames.read_subfolders(folder, market1501.PATTERN, market1501.EXAMPLE)


class Shot(NamedTuple):
    """One image to draw: whose, by which camera, its number among those, and its path below the
    data set's folder.
    """

    pid: int
    camid: int
    index: int
    path: str


def draw(settings: SyntheticSettings, folder: str | Path, workers: int | None = None) -> None:
    """Draw the benchmark into `folder`: bounding_box_train/, query/, bounding_box_test/ with
    Market-1501's names.

    `workers` processes (None: one a core) share the work; the bytes are the same for any number.
    Raises InputError when the folder already holds one of the three, or there is no worker.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers: got {workers}, wanted at least 1 process.")
    folder = Path(folder)
    for name in FOLDERS:
        if (folder / name).exists():
            raise InputError(
                f"{folder / name} exists already: draw into an empty folder, or remove it first."
            )
        (folder / name).mkdir(parents=True)
    work = shots(settings)
    chunks = [(settings, folder, work[start : start + 64]) for start in range(0, len(work), 64)]
    with tqdm(total=len(work), desc="drawing", unit="image") as progress:
        if workers == 1:
            for chunk in chunks:
                progress.update(_draw_chunk(chunk))
            return
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            workers, mp_context=spawn, initializer=_leave_interrupts_to_the_parent
        ) as pool:
            try:
                for count in pool.map(_draw_chunk, chunks):
                    progress.update(count)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def shots(settings: SyntheticSettings) -> list[Shot]:
    """List every image of the benchmark, sorted by person."""
    people = settings.train_people + settings.test_people
    pids = np.random.default_rng([settings.seed, 0]).permutation(people) + 1
    training = {int(pid) for pid in pids[: settings.train_people]}
    found = [
        shot for pid in range(1, people + 1) for shot in _shots_of(settings, pid, pid in training)
    ]
    for pid, count in ((JUNK, settings.junk), (DISTRACTOR, settings.distractors)):
        for index in range(count):
            generator = _generator(settings, pid, 0, index)
            camid = int(generator.integers(1, len(CAMERAS) + 1))
            found.append(
                Shot(pid, camid, index, f"{FOLDERS[2]}/{_name(generator, pid, camid, index)}")
            )
    return found


def _shots_of(settings: SyntheticSettings, pid: int, training: bool) -> list[Shot]:
    """One person's images, seen by three to six cameras; a test person's first under each camera
    is the query.
    """
    generator = np.random.default_rng([settings.seed, 4, pid])
    seen_by = sorted(
        generator.choice(len(CAMERAS), generator.integers(3, len(CAMERAS) + 1), replace=False) + 1
    )
    found = []
    for camid in map(int, seen_by):
        count = max(
            1 + int(generator.poisson(settings.images_per_camera - 1)), 1 if training else 2
        )
        for index in range(count):
            folder = FOLDERS[0 if training else 1 if index == 0 else 2]
            found.append(Shot(pid, camid, index, f"{folder}/{_name(generator, pid, camid, index)}"))
    return found


def _name(generator: np.random.Generator, pid: int, camid: int, index: int) -> str:
    """Market-1501's name; the frame grows with the index, so no two are equal."""
    frame = 25 * index + int(generator.integers(25))
    who = "-1" if pid == JUNK else f"{pid:04d}"
    return f"{who}_c{camid}s{1 + index % 6}_{frame:06d}_{int(generator.integers(1, 6)):02d}.jpg"


def _generator(
    settings: SyntheticSettings, pid: int, camid: int, index: int
) -> np.random.Generator:
    return np.random.default_rng([settings.seed, 5, pid + 1, camid, index])


def _draw_chunk(chunk: tuple[SyntheticSettings, Path, list[Shot]]) -> int:
    settings, folder, work = chunk
    owner, person = None, None
    for shot in work:
        if shot.pid > 0 and shot.pid != owner:
            owner, person = shot.pid, dress(settings.seed, shot.pid, settings.lookalikes)
        draw_shot(settings, shot, person).save(folder / shot.path, quality=90)
    return len(work)


def draw_shot(settings: SyntheticSettings, shot: Shot, person: Person | None) -> Image.Image:
    """Draw one image [height, width] of `person`, who is ignored for junk (anybody) and
    distractors (a stranger).

    What stands in the way and what the camera does have random numbers of their own: a knob
    changes what it names.
    """
    generator = _generator(settings, shot.pid, shot.camid, shot.index)
    generator, others, optics = generator.spawn(3)
    size = settings.width * _OVERSIZE, settings.height * _OVERSIZE
    is_empty = shot.pid == DISTRACTOR and generator.random() < 0.3
    if shot.pid == DISTRACTOR:
        person = _stranger(settings.seed, _PASSERS_BY + shot.index)
    elif shot.pid == JUNK:
        anybody = int(generator.integers(1, 1 + settings.train_people + settings.test_people))
        person = dress(settings.seed, anybody, settings.lookalikes)
    place = _box(settings, generator, size, badly=shot.pid <= 0)
    canvas = Canvas(_background(settings, shot.camid, generator, place, size))
    if others.random() < 0.25 * settings.occlusion:
        _passer_by(settings, canvas, others, shot.camid, _beside(others, place, before=False))
    if not is_empty:
        _shadow(canvas, CAMERAS[shot.camid - 1], place, generator)
        draw_person(canvas, person, _pose(generator, shot.camid), place)
    if others.random() < 0.35 * settings.occlusion:
        if others.random() < 0.3:
            _passer_by(settings, canvas, others, shot.camid, _beside(others, place, before=True))
        else:
            occlude(canvas, others, place.floor, place.scale)
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
    other = _stranger(settings.seed, int(generator.integers(_PASSERS_BY)))
    draw_person(canvas, other, _pose(generator, camid), place)


READER = Reader(SyntheticSettings, read, (), draw=draw)
