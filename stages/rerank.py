"""Re-rank: distances, neighbours and features -> k-reciprocal re-ranked global, dmli and
global_dmli distances.
"""

import argparse
import platform
from pathlib import Path

from reid.arrays import features, matrices, neighbours
from reid.arrays.names import PROTOCOLS, RERANKED
from reid.reranking.pair_distances import pair_distances
from reid.reranking.rerank import RerankSettings, rerank
from reid.runtime import cli, config, made_by


def main() -> None:
    """Re-rank each protocol's three distances."""
    parser = argparse.ArgumentParser(prog="python -m stages.rerank", description=__doc__)
    parser.add_argument(
        "features", type=Path, help="the folder that the distances were computed from"
    )
    parser.add_argument("distances", type=Path, help="folder that the distances stage wrote")
    parser.add_argument("out", help="folder to write full and partial to")
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()

    settings = config.load(RerankSettings, config.read(args.params), "rerank")
    made_by.check_input(args.distances, "features", args.features, features.made_by_of)
    gallery = features.read(args.features / "gallery")
    with cli.atomic_output(args.out) as out:
        for protocol in matrices.protocols_in(args.distances):
            queries = features.read(args.features / PROTOCOLS[protocol])
            shape = (len(queries), len(gallery))
            distances = matrices.read_all(args.distances / protocol, shape)
            nearest = neighbours.read(args.distances / protocol / "neighbours.npz")
            files = matrices.create(out / protocol, RERANKED, shape)
            for name in RERANKED:
                pairs = pair_distances(name, queries, gallery)
                rerank(distances[name], nearest[name], pairs, settings, files[name])
                matrices.release(distances[name])
        inputs = {
            "features": features.made_by_of(args.features),
            "distances": made_by.read(args.distances),
        }
        machine = platform.machine()
        made_by.write(out, made_by.document("stages.rerank", settings, inputs, machine))


if __name__ == "__main__":
    cli.run(main)
