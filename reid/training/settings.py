"""Settings of a training: `train` in params.yaml, and with the model's and the loss's all of a
cell's.
"""

import math
from dataclasses import dataclass

from reid.losses import LossSettings
from reid.model import ModelSettings
from reid.runtime.errors import InputError
from reid.training.augmentation import AugmentSettings

PRECISIONS = ("fp32", "bf16")
KEPT = ("last", "best")


@dataclass(frozen=True)
class TrainSettings:
    """`train` in params.yaml: the batch (people x images_each), Adam, its rate per epoch, the
    hinges' margin, ...

    ... the augmentation (`augmentation.draw`), the precision of the trunk, and people held out to
    measure epochs by.
    """

    epochs: int
    people: int
    images_each: int
    learning_rate: float
    weight_decay: float
    warmup_epochs: int
    decay_epochs: int
    decay_factor: float
    margin: float
    crop: str
    erasing: float
    held_out: int
    evaluate_epochs: int
    keep: str
    precision: str
    compile: bool
    seed: int
    device: str

    def __post_init__(self) -> None:
        AugmentSettings(self.crop, self.erasing)
        counts = self.epochs, self.people, self.images_each, self.decay_epochs
        amounts = self.learning_rate, self.weight_decay, self.decay_factor, self.margin
        if (
            min(counts) < 1
            or not all(0 <= amount < math.inf for amount in amounts)
            or not 0 <= self.seed < 2**32
        ):
            raise InputError(
                "`train` in params.yaml: epochs, people, images_each and decay_epochs must be at "
                "least 1; learning_rate, weight_decay, decay_factor and margin finite and not "
                f"negative; seed in [0, 2^32); got {self}."
            )
        if self.people * self.images_each < 2:
            raise InputError(
                "`train` in params.yaml: a batch of one image has no variance: raise people or "
                "images_each."
            )
        if min(self.warmup_epochs, self.held_out, self.evaluate_epochs) < 0:
            raise InputError(
                "`train` in params.yaml: warmup_epochs, held_out and evaluate_epochs must be 0 "
                f"(off) or more; got {self}."
            )
        for key, choices in (("precision", PRECISIONS), ("keep", KEPT)):
            if getattr(self, key) not in choices:
                raise InputError(
                    f"train.{key} in params.yaml: got {getattr(self, key)!r}, wanted one of "
                    f"{', '.join(choices)}."
                )
        if self.evaluate_epochs > self.epochs:
            raise InputError(
                f"train.evaluate_epochs in params.yaml: got {self.evaluate_epochs}, wanted at most "
                f"the {self.epochs} epochs that there are."
            )
        if (self.keep == "best" or self.held_out or self.evaluate_epochs) and not (
            self.held_out and self.evaluate_epochs
        ):
            raise InputError(
                "`train` in params.yaml: to measure epochs on held-out people set both held_out "
                "(people) and evaluate_epochs (how often), which keep: best needs; got held_out "
                f"{self.held_out}, evaluate_epochs {self.evaluate_epochs}, keep {self.keep}."
            )

    def learning_rate_at(self, epoch: int) -> float:
        """The rate of an epoch, counted from 1: rising evenly over the warm-up, then down by a
        factor in steps.
        """
        warmth = min(1.0, epoch / self.warmup_epochs) if self.warmup_epochs else 1.0
        return self.learning_rate * warmth * self.decay_factor ** ((epoch - 1) // self.decay_epochs)


@dataclass(frozen=True)
class CellSettings:
    """`model`, `train` and an entry of `losses` in params.yaml: all settings of one training."""

    model: ModelSettings
    train: TrainSettings
    loss: LossSettings


def check_seed(seed: int) -> int:
    """Return the command's seed. Raises InputError unless it is in [0, 2^32)."""
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed: got {seed}, wanted a whole number in [0, 2^32).")
    return seed
