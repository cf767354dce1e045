"""One rank's shard of five steps, run by tests/test_data_parallel.py: torchrun -m
tests.shared_step IN OUT.
"""

import sys

import torch

from reid.runtime import distributed
from reid.training import data_parallel
from tests.test_data_parallel import LOSSES, SETTINGS, five_steps


def main() -> None:
    file, out = sys.argv[1:]
    batch, labels = torch.load(file)
    shard = data_parallel.rows_of_rank(
        SETTINGS.people, SETTINGS.images_each, distributed.rank(), distributed.world_size()
    )
    results = {name: five_steps(name, batch[shard], labels) for name in LOSSES}
    if distributed.rank() == 1:  # which has the same as rank 0
        torch.save(results, out)


if __name__ == "__main__":
    with distributed.process_group():
        main()
