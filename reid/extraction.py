"""Features of a split: model + images -> arrays on disk, a chunk of decoded images at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from reid import features, images, processes
from reid.arrays import ArrayFile
from reid.errors import InputError
from reid.model import Network
from reid.packs import Split

CHUNK = 512  # images decoded at once: 50 MB at 256 x 128


@dataclass(frozen=True)
class ExtractSettings:
    """`extract` in params.yaml: images in a batch, and the device (auto, cpu or cuda)."""

    batch: int
    device: str

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError(f"extract.batch in params.yaml: got {self.batch}, wanted at least 1.")


@torch.no_grad()
def extract(network: Network, split: Split, folder: Path, batch: int, device: torch.device) -> None:
    """Write the global features [N, D] and test stripes [N, S, D] of a split's images to `folder`.

    Several processes do so together, in the batches of one. Raises InputError for an empty split and for a corrupt
    image.
    """
    if not len(split):
        raise InputError(
            f"split {split.name} holds no image: wanted at least one. Look at the dataset's statistics.json."
        )
    settings = network.settings
    network = network.to(device, memory_format=torch.channels_last).eval()
    stripes = (settings.stripes, network.channels)
    processes.made(folder, lambda: features.create(folder, split.pids, split.camids, network.channels, stripes))
    global_file = ArrayFile(folder / "global_features.npy", (len(split), network.channels))
    stripes_file = ArrayFile(folder / "stripes.npy", (len(split), *stripes))
    batches = processes.share([slice(at, min(at + batch, len(split))) for at in range(0, len(split), batch)])
    own = sum(rows.stop - rows.start for rows in batches)
    with tqdm(total=own, desc=f"extracting {split.name}", unit="image", delay=1, disable=processes.rank() > 0) as bar:
        for rows, decoded in _decoded(split, (settings.height, settings.width), batches, max(CHUNK // batch, 1)):
            global_features, stripes = network.describe(images.normalise(decoded.to(device)))
            global_file[rows] = global_features.cpu().numpy()
            stripes_file[rows] = stripes.cpu().numpy()
            bar.update(len(decoded))


def _decoded(
    split: Split, size: tuple[int, int], batches: Sequence[slice], at_once: int
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Batches that follow one another, each with its pixels, uint8 [N, H, W, 3]; several are decoded at once."""
    for first in range(0, len(batches), at_once):
        some = batches[first : first + at_once]
        start = some[0].start
        decoded = torch.from_numpy(images.decode(split, *size, range(start, some[-1].stop)))
        for rows in some:
            yield rows, decoded[rows.start - start : rows.stop - start]
