"""Features of a split: model + images -> arrays on disk, a chunk of decoded images at a time."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from reid import features, images
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

    Raises InputError for an empty split and for a corrupt image.
    """
    if not len(split):
        raise InputError(
            f"split {split.name} holds no image: wanted at least one. Look at the dataset's statistics.json."
        )
    settings = network.settings
    network = network.to(device, memory_format=torch.channels_last).eval()
    shape = (settings.stripes, network.channels)
    written = features.create(folder, split.pids, split.camids, network.channels, shape)
    with tqdm(total=len(split), desc=f"extracting {split.name}", unit="image", delay=1) as bar:
        for start in range(0, len(split), CHUNK):
            chunk = range(start, min(start + CHUNK, len(split)))
            decoded = torch.from_numpy(images.decode(split, settings.height, settings.width, chunk))
            for first in range(0, len(chunk), batch):
                pixels = images.normalise(decoded[first : first + batch].to(device))
                global_features, stripes = network.describe(pixels)
                rows = slice(start + first, start + first + len(pixels))
                written.global_features[rows] = global_features.cpu().numpy()
                written.stripes[rows] = stripes.cpu().numpy()
                bar.update(len(pixels))
    written.global_features.flush()
    written.stripes.flush()
