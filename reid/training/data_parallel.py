"""One batch shared out over processes (torch.distributed): what makes their loss and gradients
those of one process.

Each process has some of the batch's people. Batch norms take their mean and variance over all
images; outputs are gathered, so that hardest pairs are mined over the whole batch and each process
has the whole loss; the gradients of the weights, each process's of its own images, are added up.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reid.runtime.errors import InputError


def share(people: int, rank: int, processes: int, images_each: int) -> slice:
    """The images of a batch of people x images_each that are this process's.

    Raises InputError when the people do not divide among the processes.
    """
    if people % processes:
        raise InputError(
            f"train.people = {people} cannot be shared out evenly over {processes} processes: "
            "wanted a multiple."
        )
    each = people // processes * images_each
    return slice(rank * each, (rank + 1) * each)


class _Sum(torch.autograd.Function):
    """The sum over processes; a process's gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(context: object, tensor: Tensor) -> Tensor:
        total = tensor.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


class _Gather(torch.autograd.Function):
    """All processes' rows, by rank. Every process goes on with the same numbers to the same loss,
    so each takes back the gradient of its own rows and nothing is added up.
    """

    @staticmethod
    def forward(context: object, tensor: Tensor) -> Tensor:
        context.rows = slice(dist.get_rank() * len(tensor), (dist.get_rank() + 1) * len(tensor))
        gathered = tensor.new_empty(dist.get_world_size() * len(tensor), *tensor.shape[1:])
        dist.all_gather_into_tensor(gathered, tensor.contiguous())
        return gathered

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return gradient[context.rows]


def gather(tensor: Tensor | None) -> Tensor | None:
    """Rows [N, ...] of each process -> rows of all [processes x N, ...] with gradients; None stays
    None.
    """
    return None if tensor is None else _Gather.apply(tensor)


def add_gradients(parameters: list[nn.Parameter]) -> None:
    """Replace each gradient by the sum of all processes', in one message."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(
        gradients, flat.split([one.numel() for one in gradients]), strict=True
    ):
        gradient.copy_(part.view_as(gradient))


class SharedBatchNorm(_BatchNorm):
    """A batch norm over all processes' images, of which each has as many. torch has one for GPUs
    only.
    """

    def __init__(self, one: _BatchNorm) -> None:
        super().__init__(
            one.num_features, one.eps, one.momentum, one.affine, one.track_running_stats
        )
        self.weight, self.bias = one.weight, one.bias
        self.running_mean, self.running_var = one.running_mean, one.running_var
        self.num_batches_tracked = one.num_batches_tracked

    def _check_input_dim(self, images: Tensor) -> None:
        pass

    def forward(self, images: Tensor) -> Tensor:
        """Activations [N, C] or [N, C, H, W] -> the same, normalised per channel."""
        if not self.training:
            return super().forward(images)
        axes = [axis for axis in range(images.dim()) if axis != 1]
        shape = [1, -1] + [1] * (images.dim() - 2)
        count = images.numel() // images.shape[1] * dist.get_world_size()
        mean = _Sum.apply(images.float().sum(axes)) / count
        centred = images.float() - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(
            images.dtype
        )  # bf16 under autocast


def share_batch_norms(network: nn.Module) -> None:
    """Put batch norms over all processes in place of a network's own; their tensors and their
    names stay.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, SharedBatchNorm):
                on_gpu = child.running_mean.is_cuda
                shared = (
                    nn.SyncBatchNorm.convert_sync_batchnorm(child)
                    if on_gpu
                    else SharedBatchNorm(child)
                )
                setattr(module, name, shared)
