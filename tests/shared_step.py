"""One process's part of a step, run by tests/test_sharing.py: torchrun ... tests/shared_step.py IN
OUT.
"""

import sys

import torch

from reid.runtime import distributed
from reid.training import data_parallel
from tests.test_sharing import LOSSES, SETTINGS, five_steps


def main() -> None:
    given, out = sys.argv[1:]
    batch, labels = torch.load(given)
    mine = data_parallel.share(
        SETTINGS.people, distributed.rank(), distributed.world_size(), SETTINGS.images_each
    )
    found = {name: five_steps(name, batch[mine], labels) for name in LOSSES}
    if distributed.rank() == 1:  # the second has them too
        torch.save(found, out)


if __name__ == "__main__":
    with distributed.process_group():
        main()
