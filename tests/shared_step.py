"""One process's part of a step, run by tests/test_sharing.py: torchrun ... tests/shared_step.py IN OUT."""

import sys

import torch

from reid import processes, sharing
from tests.test_sharing import LOSSES, SETTINGS, five_steps


def main() -> None:
    given, out = sys.argv[1:]
    batch, labels = torch.load(given)
    mine = sharing.share(SETTINGS.people, processes.rank(), processes.count(), SETTINGS.images_each)
    found = {name: five_steps(name, batch[mine], labels) for name in LOSSES}
    if processes.rank() == 1:  # the second has them too
        torch.save(found, out)


if __name__ == "__main__":
    with processes.group():
        main()
