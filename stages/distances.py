"""Compute distances: features -> global, local and DMLI between queries and gallery, and each
image's neighbours.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from reid.arrays import features, matrices, neighbours
from reid.arrays.matrices import PROTOCOLS
from reid.arrays.npy import ArrayFile
from reid.distances import all_pairs, resources
from reid.distances.all_pairs import NAMES, Comparison, DistanceSettings
from reid.runtime import config, distributed
from reid.runtime.device import choose_device


def main() -> None:
    """Compute both protocols' distances, gallery with gallery once."""
    parser = argparse.ArgumentParser(prog="python -m stages.distances", description=__doc__)
    parser.add_argument(
        "features", type=Path, help="folder with gallery, query and, if there is one, query_partial"
    )
    parser.add_argument("out", help="folder to write full and partial to")
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()

    settings = config.settings(
        DistanceSettings, config.section(config.read(args.params), "distances"), "distances"
    )
    comparison = Comparison(settings, choose_device(settings.device))
    gallery = features.read(args.features / "gallery")
    queries = {
        protocol: features.read(args.features / split)
        for protocol, split in PROTOCOLS.items()
        if split == "query" or (args.features / split).exists()
    }
    for protocol, images in queries.items():
        features.check_alike(images, gallery, args.features / PROTOCOLS[protocol])
    plan = resources.plan(gallery, list(queries.values()), settings)
    first = distributed.rank() == 0
    if first:
        print(plan)
    resources.check(plan, settings, args.out)
    shapes = {protocol: (len(images), len(gallery)) for protocol, images in queries.items()}
    own = all_pairs.pairs_to_compute(
        len(gallery), [len(images) for images in queries.values()], settings, own=True
    )
    bar = tqdm(total=own, desc="distances", unit="pair", unit_scale=True, disable=not first)
    with distributed.shared_output(args.out) as out, bar:
        distributed.create_shared_folder(
            out,
            lambda: [matrices.create(out / name, NAMES, shape) for name, shape in shapes.items()],
        )
        within = all_pairs.gallery_lists(gallery, comparison, bar.update)
        for protocol, images in queries.items():
            written = {
                name: ArrayFile(out / protocol / f"{name}.npy", shapes[protocol]) for name in NAMES
            }
            found = all_pairs.query_distances(
                images, gallery, within, comparison, written, bar.update
            )
            if first:
                neighbours.write(out / protocol / "neighbours.npz", found)


if __name__ == "__main__":
    distributed.run(main)
