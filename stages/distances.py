"""Compute distances: features -> global, local and DMLI between queries and gallery, and each
image's neighbours.
"""

import argparse
from pathlib import Path

from reid.arrays import features
from reid.distances import all_pairs, resources
from reid.distances.compare import Comparison
from reid.distances.settings import DistanceSettings
from reid.runtime import config, distributed, made_by
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

    settings = config.load(DistanceSettings, config.read(args.params), "distances")
    comparison = Comparison(settings, choose_device(settings.device))
    gallery, queries = features.read_protocols(args.features)
    inputs = {"features": features.made_by_of(args.features)}
    estimated = resources.estimate(gallery, list(queries.values()), settings)
    if distributed.rank() == 0:
        print(estimated)
    resources.check(estimated, settings, args.out)
    with distributed.shared_output(args.out) as out:
        all_pairs.write_distances(gallery, queries, comparison, out)
        document = made_by.document("stages.distances", settings, inputs, comparison.machine())
        made_by.write(out, document)


if __name__ == "__main__":
    distributed.run(main)
