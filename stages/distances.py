"""Compute distances: features -> global, local and DMLI between queries and gallery, and each image's neighbours."""

import argparse
from pathlib import Path

from tqdm import tqdm

from reid import command, config, distances, features, matrices, neighbours, plans, processes
from reid.arrays import ArrayFile
from reid.device import choose_device
from reid.distances import NAMES, Comparison, DistanceSettings
from reid.matrices import PROTOCOLS


def main() -> None:
    """Compute both protocols' distances, gallery with gallery once."""
    parser = argparse.ArgumentParser(prog="python -m stages.distances", description=__doc__)
    parser.add_argument("features", type=Path, help="folder with gallery, query and, if there is one, query_partial")
    parser.add_argument("out", help="folder to write full and partial to")
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()

    settings = config.settings(DistanceSettings, config.section(config.read(args.params), "distances"), "distances")
    comparison = Comparison(settings, choose_device(settings.device))
    gallery = features.read(args.features / "gallery")
    queries = {
        protocol: features.read(args.features / split)
        for protocol, split in PROTOCOLS.items()
        if split == "query" or (args.features / split).exists()
    }
    for protocol, images in queries.items():
        features.check_alike(images, gallery, args.features / PROTOCOLS[protocol])
    plan = plans.plan(gallery, list(queries.values()), settings)
    first = processes.rank() == 0
    if first:
        print(plan)
    plans.check(plan, settings, args.out)
    shapes = {protocol: (len(images), len(gallery)) for protocol, images in queries.items()}
    own = distances.pairs_to_compute(len(gallery), [len(images) for images in queries.values()], settings, own=True)
    bar = tqdm(total=own, desc="distances", unit="pair", unit_scale=True, disable=not first)
    with command.whole(args.out, processes.wait) as out, bar:
        processes.made(out, lambda: [matrices.create(out / name, NAMES, shape) for name, shape in shapes.items()])
        within = distances.gallery_lists(gallery, comparison, bar.update)
        for protocol, images in queries.items():
            written = {name: ArrayFile(out / protocol / f"{name}.npy", shapes[protocol]) for name in NAMES}
            found = distances.query_distances(images, gallery, within, comparison, written, bar.update)
            if first:
                neighbours.write(out / protocol / "neighbours.npz", found)


if __name__ == "__main__":
    command.run(main, processes.group)
