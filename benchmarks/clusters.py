"""Clustered random features of a dataset's size: what the benchmarks measure on, as no dataset can
be shipped.

As after a network's ReLU they are non-negative and uneven. People differ in few directions and
their images spread around them, so that a search is neither trivial nor hopeless and lower
precisions have something to get wrong.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid.arrays import features
from reid.arrays.features import Features

DIRECTIONS = 32  # in which images differ, of the global feature and of each stripe
STRIPES = 8
SPREADS = np.array(
    [0.75] + [1.6] * STRIPES, np.float32
)  # of a person's images, where people have 1: global, stripes
IMAGES_AT_ONCE = 1024


@dataclass(frozen=True)
class Size:
    """Numbers of people, cameras, query and gallery images; and how many of the latter show none
    of the people.
    """

    people: int
    cameras: int
    queries: int
    gallery: int
    distractors: int

    def scaled(self, scale: float) -> "Size":
        """So many times the people and images, and the same cameras; at least 2 people with 2
        gallery images each.
        """
        people, queries, distractors = (
            round(scale * count) for count in (self.people, self.queries, self.distractors)
        )
        people = max(people, 2)
        gallery = max(round(scale * self.gallery), distractors + 2 * people)
        return Size(people, self.cameras, max(queries, people), gallery, distractors)


SIZES = {
    "market1501": Size(people=750, cameras=6, queries=3_368, gallery=15_913, distractors=2_793),
    "msmt17": Size(people=3_060, cameras=15, queries=11_659, gallery=82_161, distractors=0),
    "distractors500k": Size(
        people=750, cameras=6, queries=3_368, gallery=515_913, distractors=502_793
    ),
}


def write(folder: Path, size: Size, channels: int) -> None:
    """Write features of a query and a gallery split to `folder`, as the extract stage does."""
    rng = np.random.default_rng(0)
    scale = np.float32(1 / np.sqrt(DIRECTIONS))
    directions = scale * rng.standard_normal((1 + STRIPES, DIRECTIONS, channels), np.float32)
    centres = rng.standard_normal((size.people + 1, 1 + STRIPES, DIRECTIONS), np.float32)
    people = 1 + np.arange(size.gallery - size.distractors) % size.people
    for split, pids in (
        ("query", 1 + np.arange(size.queries) % size.people),
        ("gallery", np.concatenate([people, np.zeros(size.distractors, np.int64)])),
    ):
        camids = rng.integers(1, size.cameras + 1, len(pids))
        written = features.create(folder / split, pids, camids, channels, (STRIPES, channels))
        _fill(written, centres, directions, rng)


def _fill(
    written: Features, centres: np.ndarray, directions: np.ndarray, rng: np.random.Generator
) -> None:
    for start in range(0, len(written), IMAGES_AT_ONCE):
        rows = slice(start, start + IMAGES_AT_ONCE)
        pids = written.pids[rows]
        around = SPREADS[:, None] * rng.standard_normal((len(pids), *centres.shape[1:]), np.float32)
        nobody = rng.standard_normal(around.shape, np.float32)  # a centre for each distractor
        places = around + np.where(pids[:, None, None] == 0, nobody, centres[pids])
        written.global_features[rows] = np.maximum(places[:, 0] @ directions[0], 0)
        for stripe in range(STRIPES):
            written.stripes[rows, stripe] = np.maximum(
                places[:, 1 + stripe] @ directions[1 + stripe], 0
            )
