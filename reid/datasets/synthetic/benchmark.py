"""The built-in benchmark: people under six cameras, in Market-1501's folders and file names.

Every image is seeded by (seed, pid, camera, index) alone, so neither the order nor the number of
processes matters. What Market-1501 (Zheng et al., ICCV 2015) has, it has too: junk (-1),
distractors (0000), boxes off their person.
"""

from typing import Annotated, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from reid.datasets.filenames import SUBFOLDERS
from reid.datasets.records import SourceSettings
from reid.datasets.synthetic.cameras import CAMERAS
from reid.runtime.settings import Fraction, settings_class

FOLDERS = tuple(SUBFOLDERS.values())  # of train, query and gallery
JUNK, DISTRACTOR = -1, 0
People = Annotated[int, Field(ge=1, le=9999)]  # a pid has four digits
Images = Annotated[int, Field(ge=0, le=39_999)]


@settings_class
class SyntheticSettings(SourceSettings):
    """Size and difficulty of the built-in benchmark; the last four are in [0, 1], 0 is easiest.

    `images_per_camera` is the mean for one person under one camera (test people have at least two:
    query and gallery). `misalignment`: how far boxes are off; `occlusion`: how much stands in the
    way; `lookalikes`: the share of people who share clothes' colours with others; `camera_shift`:
    how much cameras differ in colour, blur and noise.
    """

    seed: Annotated[int, Field(ge=0, le=2**63)]
    train_people: People
    test_people: People
    images_per_camera: Annotated[float, Field(ge=1, le=1000)]
    distractors: Images
    junk: Images
    height: Annotated[int, Field(ge=32, le=1024)]
    width: Annotated[int, Field(ge=16, le=1024)]
    misalignment: Fraction
    occlusion: Fraction
    lookalikes: Fraction
    camera_shift: Fraction

    @model_validator(mode="after")
    def _check_people(self) -> Self:
        people = self.train_people + self.test_people
        if people > 9999:
            raise ValueError(
                f"train_people and test_people are {people} together, wanted at most 9999, because "
                "a pid has four digits"
            )
        return self


class Shot(NamedTuple):
    """One image to draw: whose, by which camera, its number among those, and its path below the
    data set's folder.
    """

    pid: int
    camid: int
    index: int
    path: str


def list_shots(settings: SyntheticSettings) -> list[Shot]:
    """List every image of the benchmark, sorted by person."""
    people = settings.train_people + settings.test_people
    pids = np.random.default_rng([settings.seed, 0]).permutation(people) + 1
    training = {int(pid) for pid in pids[: settings.train_people]}
    shots = []
    for pid in range(1, people + 1):
        shots += _shots_of_person(settings, pid, pid in training)
    for pid, count in ((JUNK, settings.junk), (DISTRACTOR, settings.distractors)):
        shots += [_shot_of_nobody(settings, pid, index) for index in range(count)]
    return shots


def _shots_of_person(settings: SyntheticSettings, pid: int, training: bool) -> list[Shot]:
    """One person's images, seen by three to six cameras; a test person's first under each camera
    is the query.
    """
    generator = np.random.default_rng([settings.seed, 4, pid])
    seen_by = sorted(
        generator.choice(len(CAMERAS), generator.integers(3, len(CAMERAS) + 1), replace=False) + 1
    )
    train, query, gallery = FOLDERS
    shots = []
    for camid in map(int, seen_by):
        drawn = 1 + int(generator.poisson(settings.images_per_camera - 1))
        for index in range(max(drawn, 1 if training else 2)):
            test = query if index == 0 else gallery
            name = _name(generator, pid, camid, index)
            shots.append(Shot(pid, camid, index, f"{train if training else test}/{name}"))
    return shots


def _shot_of_nobody(settings: SyntheticSettings, pid: int, index: int) -> Shot:
    """A junk or distractor image of the gallery, under any camera."""
    generator = generator_of(settings, pid, 0, index)
    camid = int(generator.integers(1, len(CAMERAS) + 1))
    return Shot(pid, camid, index, f"{FOLDERS[2]}/{_name(generator, pid, camid, index)}")


def _name(generator: np.random.Generator, pid: int, camid: int, index: int) -> str:
    """Market-1501's name; the frame grows with the index, so no two are equal."""
    frame = 25 * index + int(generator.integers(25))
    who = "-1" if pid == JUNK else f"{pid:04d}"
    return f"{who}_c{camid}s{1 + index % 6}_{frame:06d}_{int(generator.integers(1, 6)):02d}.jpg"


def generator_of(
    settings: SyntheticSettings, pid: int, camid: int, index: int
) -> np.random.Generator:
    """The random numbers of one image, which are those of no other."""
    return np.random.default_rng([settings.seed, 5, pid + 1, camid, index])
