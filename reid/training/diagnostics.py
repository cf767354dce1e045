"""What training says early when it goes wrong: once, as a warning, unless going on is pointless."""

import math
import warnings

import numpy as np

from reid.runtime.errors import InputError

CHANCE_EPOCHS = 10  # after so many epochs a network that learns is well above chance
EXPLODED = 10  # times the smallest loss so far


def check_people(labels: np.ndarray, images_each: int) -> None:
    """Labels [N] of the training images, and images of each person in a batch, for a row with
    TriHard.

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
    """Whether the last of some epochs' losses is far above the smallest, and above the first."""
    return losses[-1] > EXPLODED * min(losses) and losses[-1] > losses[0]


def check_epoch(history: list[dict[str, float]], people: int) -> None:
    """The rows of the epochs so far, of training with that many people; looks at the last.

    Warns when its loss has exploded, or the accuracy is still at chance. Raises InputError when
    the loss is no number.
    """
    row, losses = history[-1], [one["loss"] for one in history]
    epoch = row["epoch"]
    if not math.isfinite(row["loss"]):
        raise InputError(
            f"the loss is {row['loss']} after epoch {epoch}: training has diverged, got {row}. "
            "Lower train.learning_rate, and look for images that are all one colour."
        )
    if has_exploded(losses) and not any(has_exploded(losses[:at]) for at in range(1, len(losses))):
        warnings.warn(
            f"the loss is {row['loss']:.3g} after epoch {epoch} and was {min(losses):.3g} before: "
            "training may be diverging. Lower train.learning_rate if it does not come down again.",
            stacklevel=2,
        )
    if epoch == CHANCE_EPOCHS and row["accuracy"] <= 1.5 / people:
        warnings.warn(
            f"after {epoch} epochs the accuracy is {row['accuracy']:.4f}, no better than chance "
            f"among {people} people: the network does not learn. Look at model.weights, "
            "train.learning_rate and the images.",
            stacklevel=2,
        )
