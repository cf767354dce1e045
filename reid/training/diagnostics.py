"""Diagnostics: warn once, early, when training goes wrong; stop when going on is pointless."""

import math
import warnings

import numpy as np

from reid.runtime.errors import InputError

CHANCE_EPOCHS = 10  # epochs after which a network that learns is well above chance
EXPLODED = 10  # times the smallest loss so far


def check_people(labels: np.ndarray, images_each: int) -> None:
    """Check labels [N] of the training images, and a batch's images of each person, for TriHard.

    Warns of people with one image, and of batches with one: they have no positive but the image
    itself.
    """
    single = int((np.bincount(labels) == 1).sum())
    if images_each == 1:
        warnings.warn(
            "train.images_each is 1: TriHard has no positives. Set it to 2 or more.", stacklevel=2
        )
    if single:
        people = int(labels.max()) + 1
        warnings.warn(
            f"{single} of {people} training people have one image only: TriHard has no positive "
            "for them but the image itself, repeated in the batch. Leave them out, or take more "
            "images of them.",
            stacklevel=2,
        )


def has_exploded(losses: list[float]) -> bool:
    """Return whether the last epoch's loss is far above the smallest, and above the first."""
    return losses[-1] > EXPLODED * min(losses) and losses[-1] > losses[0]


def check_epoch(history: list[dict[str, float]], people: int) -> None:
    """Check the last row of the history so far, of training with `people` people.

    Warns when its loss has exploded, or the accuracy is still at chance. Raises InputError when
    the loss is no number.
    """
    row = history[-1]
    if not math.isfinite(row["loss"]):
        raise InputError(
            f"the loss is {row['loss']} after epoch {row['epoch']}: training has diverged, got "
            f"{row}. Lower train.learning_rate, and look for images that are all one colour."
        )
    _warn_if_exploded(history)
    _warn_if_at_chance(row, people)


def _warn_if_exploded(history: list[dict[str, float]]) -> None:
    """Warn at the first epoch whose loss has exploded."""
    losses = [row["loss"] for row in history]
    was_said = any(has_exploded(losses[:epoch]) for epoch in range(1, len(losses)))
    if has_exploded(losses) and not was_said:
        warnings.warn(
            f"the loss is {losses[-1]:.3g} after epoch {history[-1]['epoch']} and was "
            f"{min(losses):.3g} before: training may be diverging. Lower train.learning_rate if "
            "it does not come down again.",
            stacklevel=3,
        )


def _warn_if_at_chance(row: dict[str, float], people: int) -> None:
    """Warn once, after ten epochs, when the accuracy is still at chance."""
    if row["epoch"] == CHANCE_EPOCHS and row["accuracy"] <= 1.5 / people:
        warnings.warn(
            f"after {CHANCE_EPOCHS} epochs the accuracy is {row['accuracy']:.4f}, no better than "
            f"chance among {people} people: the network does not learn. Look at model.weights, "
            "train.learning_rate and the images.",
            stacklevel=3,
        )
