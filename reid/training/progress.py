"""How far a training run has come: its epoch and step, its history and the best epoch so far."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Progress:
    """Count a run's steps and epochs, and keep the means of each epoch.

    `epoch` is the epoch in training, from 1, and `steps` how many of its steps are done; `totals`
    sums each loss term over them. `history` has a row an epoch. `best` holds the epoch, mAP and
    weights of the highest mAP on held-out people, and is empty before that. `resumed` counts how
    often the run went on from a checkpoint, `seconds` its time up to its
    last step, saves and validation included.
    """

    epoch: int = 1
    steps: int = 0
    totals: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    resumed: int = 0

    def add_step(self, terms: dict[str, Tensor], seconds: float) -> None:
        """Add a step's terms, scalars, to the epoch's totals; `seconds` is the run's time."""
        self.totals = {name: self.totals.get(name, 0) + value for name, value in terms.items()}
        self.steps, self.seconds = self.steps + 1, seconds

    def end_epoch(
        self, batches: tuple[int, int], learning_rate: float, scores: dict[str, float]
    ) -> None:
        """Add a row of means over the epoch's steps to the history, and go on to the next epoch.

        `batches` are the epoch's steps and the images of each.
        """
        steps, images_each_step = batches
        row = {
            "epoch": self.epoch,
            **{name: float(total) / steps for name, total in self.totals.items()},
            "learning_rate": learning_rate,
            "iterations": self.epoch * steps,
            "images": self.epoch * steps * images_each_step,
            **scores,
        }
        self.history.append(row)
        self.epoch, self.steps, self.totals = self.epoch + 1, 0, {}

    def keep_if_best(self, scores: dict[str, float], network: nn.Module) -> None:
        """Copy the network's weights if its mAP on held-out people is the highest so far."""
        mean_ap = scores.get("held_out_mAP", -math.inf)
        if mean_ap > self.best.get("mAP", -math.inf):
            tensors = network.state_dict().items()
            weights = {name: tensor.detach().cpu().clone() for name, tensor in tensors}
            self.best = {"epoch": self.epoch, "mAP": mean_ap, "weights": weights}

    def images_per_second(self) -> float:
        """Divide the images of all epochs so far by the seconds they took."""
        images = self.history[-1]["images"] if self.history else 0
        return images / max(self.seconds, 1e-9)

    def state(self) -> dict[str, Any]:
        """Return the fields, tensors and plain values, for a checkpoint."""
        return dict(vars(self))

    @classmethod
    def resume(cls, state: dict[str, Any], device: torch.device) -> "Progress":
        """Make the progress that `state` was taken of, resumed once more, on the device."""
        progress = cls(**state)
        progress.totals = {name: total.to(device) for name, total in progress.totals.items()}
        progress.resumed += 1
        return progress
