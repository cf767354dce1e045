"""Whether float32 is float32 on a device: environment variables have torch's libraries round the
numbers of a product to TF32 or bf16, in silence.
"""

import functools
import os

import torch

from reid.runtime.errors import InputError

VARIABLES = (
    *("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE"),
    *("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"),
)
DETAIL = 1 + 2.0**-12  # TF32 and bf16 round it to 1
LARGEST_ERROR = 2.0**-15  # relative; a sum in float32 is off by 2^-17 at most, one in TF32 by 2^-11


@functools.cache
def check(device: torch.device) -> None:
    """Have torch compute float32 as float32, and try it: a matrix product and a convolution.

    Raises InputError, which names the environment variables that forbid it. It takes milliseconds.
    """
    if device.type == "cuda":  # read at the first product; deterministic ones, in training, need it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    for what, error in (
        ("matrix products", _product_error(device)),
        ("convolutions", _convolution_error(device)),
    ):
        if not error < LARGEST_ERROR:
            raise InputError(
                f"{what} in float32 on {device} are off by {error:.1e}, wanted less than "
                f"{LARGEST_ERROR:.1e}: their numbers are rounded to TF32 or bf16. {_advice()}"
            )


def _product_error(device: torch.device) -> float:
    """The relative error of a matrix product of numbers of 13 bits."""
    side = torch.full((64, 64), DETAIL, device=device)
    return _error(torch.mm(side, side), 64)


def _convolution_error(device: torch.device) -> float:
    """The same of a convolution."""
    image, weights = (torch.full(shape, DETAIL) for shape in ((16, 16, 8, 8), (16, 16, 3, 3)))
    result = torch.nn.functional.conv2d(image.to(device), weights.to(device), stride=2)
    return _error(result, 16 * 9)


def _error(sums: torch.Tensor, terms: int) -> float:
    expected = terms * DETAIL**2
    return float((sums.double() - expected).abs().max()) / expected


def _advice() -> str:
    are_set = [name for name in VARIABLES if name in os.environ]
    if are_set:
        return f"Unset {' and '.join(are_set)}, and start again."
    return f"Unset what asks for it, such as {' or '.join(VARIABLES)}, or choose another device."
