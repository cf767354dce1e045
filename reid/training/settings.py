"""Settings of a training: `train` in params.yaml, and with the model's and the loss's all of a
cell's.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from reid.losses import LossSettings
from reid.runtime.settings import (
    Count,
    Device,
    Fraction,
    NonNegative,
    Seed,
    Whole,
    settings_class,
)
from reid.training.augmentation import Crop
from reid.trunk.settings import ModelSettings

MOST_IMAGES = 65_536  # of a batch


@settings_class
class TrainSettings:
    """`train` in params.yaml, and the seed that the command gives.

    The batch (people x images_each), Adam and its rate per epoch, the hinges' margin, the
    augmentation (`augmentation.draw`), the precision of the trunk, and people held out to measure
    epochs by.
    """

    epochs: Count
    people: Annotated[int, Field(ge=1, le=10_000)]
    images_each: Annotated[int, Field(ge=1, le=1000)]
    learning_rate: Annotated[float, Field(ge=0, le=10)]
    weight_decay: Annotated[float, Field(ge=0, le=10)]
    warmup_epochs: Whole
    decay_epochs: Count
    decay_factor: Fraction
    margin: NonNegative
    crop: Crop
    erasing: Fraction
    held_out: Whole
    evaluate_epochs: Whole
    keep: Literal["last", "best"]
    precision: Literal["fp32", "bf16"]
    compile: bool
    seed: Seed
    device: Device

    @model_validator(mode="after")
    def _check_batch(self) -> Self:
        images = self.people * self.images_each
        if images < 2:
            raise ValueError("a batch of one image has no variance: raise people or images_each")
        if images > MOST_IMAGES:
            raise ValueError(f"people x images_each is {images}, wanted at most {MOST_IMAGES}")
        return self

    @model_validator(mode="after")
    def _check_validation(self) -> Self:
        if self.evaluate_epochs > self.epochs:
            raise ValueError(
                f"evaluate_epochs is {self.evaluate_epochs}, wanted at most the {self.epochs} "
                "epochs that there are"
            )
        if (self.keep == "best" or self.held_out or self.evaluate_epochs) and not (
            self.held_out and self.evaluate_epochs
        ):
            raise ValueError(
                "to measure epochs on held-out people set both held_out (people) and "
                "evaluate_epochs (how often), which keep: best needs; got held_out "
                f"{self.held_out}, evaluate_epochs {self.evaluate_epochs}, keep {self.keep}"
            )
        return self

    def learning_rate_at(self, epoch: int) -> float:
        """The rate of an epoch, counted from 1: rising evenly over the warm-up, then down by a
        factor in steps.
        """
        warmup = min(1.0, epoch / self.warmup_epochs) if self.warmup_epochs else 1.0
        return self.learning_rate * warmup * self.decay_factor ** ((epoch - 1) // self.decay_epochs)


@dataclass(frozen=True)
class CellSettings:
    """`model`, `train` and an entry of `losses` in params.yaml: all settings of one training."""

    model: ModelSettings
    train: TrainSettings
    loss: LossSettings
