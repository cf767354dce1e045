"""Compute distances: features -> global, local and DMLI between queries and gallery, and each image's neighbours."""

import argparse
from pathlib import Path

from tqdm import tqdm

from reid import command, config, distances, features, matrices, neighbours
from reid.device import choose_device
from reid.distances import DistanceSettings
from reid.matrices import PROTOCOLS


def main() -> None:
    """Compute both protocols' distances, gallery with gallery once."""
    parser = argparse.ArgumentParser(prog="python -m stages.distances", description=__doc__)
    parser.add_argument("features", type=Path, help="folder with gallery, query and, if there is one, query_partial")
    parser.add_argument("out", help="folder to write full and partial to")
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()

    settings = config.settings(DistanceSettings, config.section(config.read(args.params), "distances"), "distances")
    device = choose_device(settings.device)
    gallery = distances.unit_images(features.read(args.features / "gallery"), device)
    queries = {
        protocol: distances.unit_images(features.read(args.features / split), device)
        for protocol, split in PROTOCOLS.items()
        if split == "query" or (args.features / split).exists()
    }
    total = distances.pairs_to_compute(len(gallery), [len(images) for images in queries.values()], settings)
    with command.whole(args.out) as out, tqdm(total=total, desc="distances", unit="pair", unit_scale=True) as bar:
        within = distances.gallery_lists(gallery, settings, bar.update)
        for protocol, images in queries.items():
            folder = out / protocol
            written = matrices.create(folder, distances.NAMES, (len(images), len(gallery)))
            found = distances.query_distances(images, gallery, within, settings, written, bar.update)
            neighbours.write(folder / "neighbours.npz", found)


if __name__ == "__main__":
    command.run(main)
