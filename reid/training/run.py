"""A training run between two steps: all that it is made of, and what one step does to it.

Adam, a rate that falls in steps, and the sum of a row's loss terms (Luo et al., 2019, section
4.1); with `mutual` two networks that learn from each other (Zhang et al., arXiv 1711.08184,
section 3.3).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reid import losses
from reid.losses import LossSettings
from reid.model import ModelSettings, Network, Outputs
from reid.runtime import distributed
from reid.runtime.device import choose_device
from reid.runtime.errors import InputError
from reid.training import data_parallel
from reid.training.augmentation import AugmentSettings

PRECISIONS = ("fp32", "bf16")
KEPT = ("last", "best")
STATE = ("centres", "epoch", "steps", "totals", "history", "best", "seconds", "resumed")


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
    jitter: float
    erasing: float
    held_out: int
    evaluate_epochs: int
    keep: str
    precision: str
    compile: bool
    seed: int
    device: str

    def __post_init__(self) -> None:
        AugmentSettings(self.crop, self.jitter, self.erasing)
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


class Run:
    """Networks, optimiser, centres, history and where in which epoch: `state` and `restore` are
    all of it.
    """

    def __init__(
        self,
        people: int,
        model_settings: ModelSettings,
        loss_settings: LossSettings,
        settings: TrainSettings,
    ) -> None:
        self.loss_settings, self.settings, self.people = loss_settings, settings, people
        self.device = choose_device(settings.device)
        torch.manual_seed(settings.seed)
        self.networks = [
            self._network(model_settings) for _ in range(2 if loss_settings.mutual else 1)
        ]
        self.parameters = [
            p for network in self.networks for p in network.parameters() if p.requires_grad
        ]
        self.optimiser = torch.optim.Adam(
            self.parameters,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.centres = [
            torch.zeros(people, network.channels, device=self.device) for network in self.networks
        ]
        self.epoch, self.steps = 1, 0  # the epoch that is being trained, and its steps so far
        self.totals: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}
        self.seconds, self.resumed = 0.0, 0

    def _network(self, model_settings: ModelSettings) -> Network:
        network = (
            Network(model_settings, self.people)
            .to(self.device, memory_format=torch.channels_last)
            .train()
        )
        if distributed.count() > 1:
            data_parallel.share_batch_norms(network)
        if self.settings.compile:
            if distributed.count() > 1:
                raise InputError(
                    "train.compile in params.yaml: it is for one process; set it to false for "
                    "several."
                )
            network.compile(mode="reduce-overhead" if self.device.type == "cuda" else "default")
        return network

    def step(self, batch: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One step on this process's normalised images [N, 3, H, W] of a batch with labels [P x
        K], all processes'.

        Returns the loss, its terms and the accuracy of the first network, detached.
        """
        outputs = [self._outputs(network, batch) for network in self.networks]
        other_outputs = reversed(outputs) if self.loss_settings.mutual else [None]
        terms = [
            losses.parts(
                own, labels, self.loss_settings, self.settings.margin, losses.Others(centres, other)
            )
            for own, centres, other in zip(outputs, self.centres, other_outputs, strict=True)
        ]
        self.optimiser.zero_grad(set_to_none=True)
        sum(sum(of_one.values()) for of_one in terms).backward()
        if distributed.count() > 1:
            data_parallel.add_gradients(self.parameters)
        self.optimiser.step()
        if self.loss_settings.centre:
            self.centres = [
                losses.move_centres(centres, own.global_features.detach(), labels)
                for centres, own in zip(self.centres, outputs, strict=True)
            ]
        accuracy = (outputs[0].logits.argmax(1) == labels).float().mean()
        found = {"loss": sum(terms[0].values()), **terms[0], "accuracy": accuracy}
        return {name: value.detach() for name, value in found.items()}

    def _outputs(self, network: Network, batch: Tensor) -> Outputs:
        """The whole batch's outputs, of whom this process computes its share."""
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"
        ):
            outputs = network(batch, with_stripes=self.loss_settings.trihard_local)
        return outputs if distributed.count() == 1 else Outputs(*map(data_parallel.gather, outputs))

    def end_epoch(self, batches: tuple[int, int], measured: dict[str, float]) -> None:
        """Add a row of means over the epoch's steps to the history, and go on to the next epoch."""
        steps, size = batches
        self.history.append(
            {
                "epoch": self.epoch,
                **{name: float(total) / steps for name, total in self.totals.items()},
                "learning_rate": self.settings.learning_rate_at(self.epoch),
                "iterations": self.epoch * steps,
                "images": self.epoch * steps * size,
                **measured,
            }
        )
        if measured.get("held_out_mAP", -math.inf) > self.best.get("mAP", -math.inf):
            weights = {
                name: tensor.detach().cpu().clone()
                for name, tensor in self.networks[0].state_dict().items()
            }
            self.best = {"epoch": self.epoch, "mAP": measured["held_out_mAP"], "weights": weights}
        self.epoch, self.steps, self.totals = self.epoch + 1, 0, {}

    def images_per_second(self) -> float:
        """Images in all steps so far over the seconds they took."""
        steps = self.history[-1]["iterations"] if self.history else 0
        return steps * self.settings.people * self.settings.images_each / max(self.seconds, 1e-9)

    def state(self) -> dict[str, Any]:
        """All that the run is made of, tensors and plain values; generators are seeded anew for
        each step.
        """
        return {
            "networks": [network.state_dict() for network in self.networks],
            "optimiser": self.optimiser.state_dict(),
            **{name: getattr(self, name) for name in STATE},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the run that `state` was taken of."""
        for network, tensors in zip(self.networks, state["networks"], strict=True):
            network.load_state_dict(tensors)
        self.optimiser.load_state_dict(state["optimiser"])
        for name in STATE:
            setattr(self, name, state[name])
        self.centres = [centres.to(self.device) for centres in self.centres]
        self.totals = {name: total.to(self.device) for name, total in self.totals.items()}
        self.resumed += 1

    def result(self) -> tuple[Network, int]:
        """The network to keep, and the epoch after which it was so."""
        if self.settings.keep == "best" and self.best:
            self.networks[0].load_state_dict(self.best["weights"])
            return self.networks[0], self.best["epoch"]
        return self.networks[0], self.settings.epochs
