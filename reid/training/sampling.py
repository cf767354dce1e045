"""PK batches: P people x K images (Hermans et al., arXiv 1703.07737, section 2)."""

import numpy as np

from reid.runtime.errors import InputError

FEWEST_STEPS = 5


def steps_per_epoch(people: int, people_each: int) -> int:
    """Count the batches in one epoch, in which every person comes once at most.

    Raises InputError when there are fewer than five: a batch that large leaves too little to learn
    from.
    """
    steps = people // people_each
    if steps < FEWEST_STEPS:
        raise InputError(
            f"train.people = {people_each} leaves {steps} steps an epoch of {people} training "
            f"people; wanted at least {FEWEST_STEPS}. Set train.people to at most "
            f"{max(people // FEWEST_STEPS, 1)}, or take more people."
        )
    return steps


def epoch_batches(
    labels: np.ndarray, people: int, images_each: int, rng: np.random.Generator
) -> np.ndarray:
    """Labels [N] -> the epoch's batches, indices [steps, people * images_each] int64, each
    person's images in a row.

    Every person comes once in a random order (the last, smaller batch is dropped), with K
    different images, or with repetition where there are fewer than K.
    """
    by_label = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[by_label], np.unique(labels))
    groups = np.split(by_label, starts[1:])
    steps = steps_per_epoch(len(groups), people)
    chosen = [
        rng.choice(groups[person], images_each, replace=len(groups[person]) < images_each)
        for person in rng.permutation(len(groups))[: steps * people]
    ]
    return np.concatenate(chosen).reshape(steps, people * images_each)
