"""Data-parallel training (torch.distributed): the loss and gradients of several processes are those
of one.

Each rank has some of the batch's people. Batch norms take their mean and variance over all images;
outputs are gathered, so that hardest pairs are mined over the full batch and each rank has the
full loss; the gradients of the weights, each rank's of its own images, are added up.

torch's own differentiable collectives are deprecated (torch 2.15), and its gather adds up the
gradients of all ranks, which here are those of one and the same loss: hence the two functions.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reid.runtime.errors import InputError


def rows_of_rank(people: int, images_each: int, rank: int, world_size: int) -> slice:
    """Return which images of a batch of people x images_each are this rank's.

    Raises InputError when the people do not divide among the ranks.
    """
    if people % world_size:
        raise InputError(
            f"train.people = {people} cannot be shared out evenly over {world_size} processes: "
            "wanted a multiple."
        )
    size = people // world_size * images_each
    return slice(rank * size, (rank + 1) * size)


class _Sum(torch.autograd.Function):
    """Add up over ranks; a rank's gradient is the sum of all ranks' gradients."""

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
    """Gather all ranks' rows. Every rank goes on with the same numbers to the same loss, so each
    takes back the gradient of its own rows and nothing is added up.
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
    """Rows [N, ...] of each rank -> all rows [ranks x N, ...], with gradients; None stays None."""
    return None if tensor is None else _Gather.apply(tensor)


def sum_gradients(parameters: list[nn.Parameter]) -> None:
    """Replace each gradient by the sum of all ranks', in one message."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    sums = flat.split([gradient.numel() for gradient in gradients])
    for gradient, total in zip(gradients, sums, strict=True):
        gradient.copy_(total.view_as(gradient))


class CpuSyncBatchNorm(_BatchNorm):
    """Normalise by all ranks' images, of which each has as many, with a batch norm's tensors.
    torch's SyncBatchNorm is for GPUs only.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        )
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked

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
        normalised = centred * scale.view(shape) + self.bias.view(shape)
        return normalised.to(images.dtype)  # bf16 under autocast


def synchronise_batch_norms(network: nn.Module) -> None:
    """Replace a network's batch norms by ones over all ranks; their tensors and names stay."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, CpuSyncBatchNorm):
                setattr(module, name, _synchronised(child))


def _synchronised(norm: _BatchNorm) -> _BatchNorm:
    """Make the batch norm over all ranks that has another's tensors."""
    if norm.running_mean.is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(norm)
    return CpuSyncBatchNorm(norm)
