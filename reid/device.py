"""Where tensors are computed with."""

import torch

from reid.errors import InputError


def choose_device(name: str) -> torch.device:
    """`auto` -> the GPU if there is one, else the CPU; other names are torch's. Raises InputError if it is not."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device '{name}' cannot be used: {str(error).splitlines()[0].rstrip('.')}. Choose auto, cpu or cuda."
        ) from None
    return device
