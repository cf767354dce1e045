"""Features of a split: model + images -> arrays on disk, a batch of decoded images at a time."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from numpy import ndarray
from torch import Tensor, nn
from tqdm import tqdm

from reid import images
from reid.arrays import features
from reid.arrays.npy import ArrayFile
from reid.cpu.threads import on_all_cores, one_by_one
from reid.model import Network
from reid.prepared import Split
from reid.runtime import distributed
from reid.runtime.errors import InputError
from reid.runtime.resources import available_memory, gigabytes
from reid.runtime.settings import Count, Device, settings_class
from reid.trunk.torchvision_model import make_trunk


@settings_class
class ExtractSettings:
    """`extract` in params.yaml: images in a batch, and the device (auto, cpu or cuda)."""

    batch: Count
    device: Device


def extract(network: Network, split: Split, folder: Path, batch: int, device: torch.device) -> None:
    """Write the global features [N, D] and test stripes [N, S, C] of a split's images to `folder`.

    The bytes are the same for any number of processes, which share the batches, and of cores, each
    of which has a batch of its own. Raises InputError for an empty split and for a corrupt image.
    """
    if not len(split):
        raise InputError(
            f"split {split.name} holds no image: wanted at least one. Look at the dataset's "
            "statistics.json."
        )
    check_memory(network, len(split), batch, device)
    stripes = (network.settings.stripes, network.channels)
    distributed.create_shared_folder(
        folder, lambda: features.create(folder, split.pids, split.camids, network.channels, stripes)
    )
    global_file = ArrayFile(folder / "global_features.npy", (len(split), network.channels))
    stripes_file = ArrayFile(folder / "stripes.npy", (len(split), *stripes))
    batches = distributed.shard(
        [slice(at, min(at + batch, len(split))) for at in range(0, len(split), batch)]
    )
    total = sum(rows.stop - rows.start for rows in batches)
    with tqdm(
        total=total,
        desc=f"extracting {split.name}",
        unit="image",
        delay=1,
        disable=distributed.rank() > 0,
    ) as bar:

        def write(rows: slice, global_features: Tensor, stripes: Tensor) -> None:
            global_file[rows], stripes_file[rows] = global_features.numpy(), stripes.numpy()
            bar.update(rows.stop - rows.start)

        def decode(rows: slice) -> ndarray:
            size = network.settings.height, network.settings.width
            return images.decode(split, *size, range(rows.start, rows.stop))

        describe(network, decode, batches, device, write)


def describe(
    network: Network,
    decode: Callable[[slice], ndarray],
    batches: Sequence[slice],
    device: torch.device,
    take: Callable[[slice, Tensor, Tensor], None],
) -> None:
    """Call `take` on each batch of rows, in order, with its global features [B, D] and stripes
    [B, S, C] in the CPU's memory.

    `decode` turns rows into RGB [B, H, W, 3] uint8 of the network's size, in several threads at
    once on a CPU: each core has a batch of its own there.
    """
    network = network.to(device, memory_format=torch.channels_last).eval()

    @torch.no_grad()  # here, because it holds for a thread
    def describe_batch(rows: slice) -> tuple[slice, Tensor, Tensor]:
        batch = images.normalise(torch.from_numpy(decode(rows)).to(device))
        global_features, stripes = network.describe(batch)
        return rows, global_features.cpu(), stripes.cpu()

    each = on_all_cores if device.type == "cpu" else one_by_one
    each(describe_batch, batches, lambda described: take(*described))


def check_memory(network: Network, images: int, batch: int, device: torch.device) -> None:
    """Raise InputError, with what would help, where batches of so many images take more memory than
    there is.

    On a CPU each core has a batch of its own.
    """
    at_once, available = 1, available_memory()
    if device.type == "cuda":
        available = torch.cuda.mem_get_info(device)[0]
    else:
        at_once = torch.get_num_threads() * distributed.local_world_size()
    needed = min(at_once * batch, images) * bytes_of_image(network)
    if needed > available:
        fitting = max(1, batch * available // needed)
        raise InputError(
            f"extracting features takes at least {gigabytes(needed)} of memory, but "
            f"{gigabytes(available)} are available: set `extract.batch` to {fitting} or less; it "
            f"is {batch}, of which up to {at_once} are in memory at once."
        )


def bytes_of_image(network: Network) -> int:
    """Bytes that an image needs at least while it is described: what goes in and out of the layer
    with the largest maps.
    """
    settings, sizes = network.settings, []

    def measure(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        is_inplace = getattr(layer, "inplace", False)
        sizes.append(output.nbytes + (0 if is_inplace else inputs[0].nbytes))

    with torch.device("meta"), torch.no_grad():
        trunk = make_trunk(settings).eval()
        for layer in trunk.modules():
            if not list(layer.children()):
                layer.register_forward_hook(measure)
        trunk(torch.zeros(1, 3, settings.height, settings.width))
    return max(sizes)
