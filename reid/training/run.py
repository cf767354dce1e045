"""A training run between two steps: its networks, optimiser and centres, and what one step does.

Adam, a rate that falls in steps, and the sum of a row's loss terms (Luo et al., 2019, section
4.1); with `mutual` two networks that learn from each other (Zhang et al., arXiv 1711.08184,
section 3.3).
"""

from typing import Any

import torch
from torch import Tensor

from reid import losses
from reid.losses import References
from reid.model import Network, Outputs
from reid.runtime import distributed
from reid.runtime.device import choose_device
from reid.runtime.errors import InputError
from reid.training import data_parallel
from reid.training.progress import Progress
from reid.training.settings import CellSettings


class Run:
    """Train on one batch after another; `state` and `restore` hold all that a run consists of."""

    def __init__(self, people: int, settings: CellSettings) -> None:
        self.people, self.settings = people, settings
        self.device = choose_device(settings.train.device)
        torch.manual_seed(settings.train.seed)
        self.networks = [self._network() for _ in range(2 if settings.loss.mutual else 1)]
        self.parameters = [
            p for network in self.networks for p in network.parameters() if p.requires_grad
        ]
        self.optimiser = torch.optim.Adam(
            self.parameters,
            lr=settings.train.learning_rate,
            weight_decay=settings.train.weight_decay,
            fused=True,
        )
        self.centres = [
            torch.zeros(people, network.channels, device=self.device) for network in self.networks
        ]
        self.progress = Progress()

    def _network(self) -> Network:
        network = Network(self.settings.model, self.people)
        network = network.to(self.device, memory_format=torch.channels_last).train()
        if distributed.world_size() > 1:
            data_parallel.synchronise_batch_norms(network)
        if self.settings.train.compile:
            if distributed.world_size() > 1:
                raise InputError(
                    "train.compile in params.yaml: it is for one process; set it to false for "
                    "several."
                )
            network.compile(mode="reduce-overhead" if self.device.type == "cuda" else "default")
        return network

    def set_learning_rate(self, rate: float) -> None:
        """Set the optimiser's learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def step(self, batch: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Take one step on this rank's normalised images [N, 3, H, W] of a batch with labels [P x
        K], all ranks'.

        Returns the loss, its terms and the accuracy of the first network, detached.
        """
        outputs = [self._outputs(network, batch) for network in self.networks]
        terms = self._terms(outputs, labels)
        self.optimiser.zero_grad(set_to_none=True)
        sum(sum(network_terms.values()) for network_terms in terms).backward()
        if distributed.world_size() > 1:
            data_parallel.sum_gradients(self.parameters)
        self.optimiser.step()
        if self.settings.loss.centre:
            self.centres = [
                losses.move_centres(centres, network_outputs.global_features.detach(), labels)
                for centres, network_outputs in zip(self.centres, outputs, strict=True)
            ]
        accuracy = (outputs[0].logits.argmax(1) == labels).float().mean()
        named = {"loss": sum(terms[0].values()), **terms[0], "accuracy": accuracy}
        return {name: value.detach() for name, value in named.items()}

    def _outputs(self, network: Network, batch: Tensor) -> Outputs:
        """Return the outputs of the full batch, of which this rank computes its shard."""
        is_bf16 = self.settings.train.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_bf16):
            outputs = network(batch, with_stripes=self.settings.loss.trihard_local)
        if distributed.world_size() == 1:
            return outputs
        return Outputs(*map(data_parallel.gather, outputs))

    def _terms(self, outputs: list[Outputs], labels: Tensor) -> list[dict[str, Tensor]]:
        """Outputs of each network and labels [P x K] -> the loss terms of each network."""
        loss, margin = self.settings.loss, self.settings.train.margin
        peer_outputs = reversed(outputs) if loss.mutual else [None]
        return [
            losses.loss_terms(network_outputs, labels, loss, margin, References(centres, peer))
            for network_outputs, centres, peer in zip(
                outputs, self.centres, peer_outputs, strict=True
            )
        ]

    def end_epoch(self, batches: tuple[int, int], scores: dict[str, float]) -> None:
        """End the epoch of `batches`, steps and images of each, with its scores on held-out people,
        if they were measured.
        """
        rate = self.settings.train.learning_rate_at(self.progress.epoch)
        self.progress.keep_if_best(scores, self.networks[0])
        self.progress.end_epoch(batches, rate, scores)

    def state(self) -> dict[str, Any]:
        """Return all that the run consists of, tensors and plain values; generators are seeded anew
        for each step.
        """
        return {
            "networks": [network.state_dict() for network in self.networks],
            "optimiser": self.optimiser.state_dict(),
            "centres": self.centres,
            "progress": self.progress.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the run that `state` was taken of."""
        for network, tensors in zip(self.networks, state["networks"], strict=True):
            network.load_state_dict(tensors)
        self.optimiser.load_state_dict(state["optimiser"])
        self.centres = [centres.to(self.device) for centres in state["centres"]]
        self.progress = Progress.resume(state["progress"], self.device)

    def result(self) -> tuple[Network, int]:
        """Return the network to keep, and the epoch it is from."""
        network, best = self.networks[0], self.progress.best
        if self.settings.train.keep == "best" and best:
            network.load_state_dict(best["weights"])
            return network, best["epoch"]
        return network, self.settings.train.epochs
