"""Products that are wrong on a machine are found before a comparison starts."""

import time

import numpy as np
import pytest
import torch

from reid.alignment import shortest_path, straight
from reid.distances import compare, probe, tile
from reid.distances.compare import Comparison
from reid.distances.settings import DistanceSettings
from reid.runtime import fp32
from reid.runtime.errors import InputError
from tests.twins import all_costs

CPU = torch.device("cpu")
INT_MM = torch._int_mm


def settings(precision):
    return DistanceSettings(5, 8, 8, precision, "cpu")


def saturating(left, right, out):
    """As on a CPU without VNNI: pairs of products, of numbers shifted by 128, in 16 bits."""
    is_odd = left.shape[1] % 2
    shifted = torch.nn.functional.pad(left.int() + 128, (0, is_odd))
    right = torch.nn.functional.pad(right.int(), (0, 0, 0, is_odd))
    products = (shifted[:, :, None] * right).view(len(left), -1, 2, right.shape[1]).sum(2)
    out.copy_(products.clamp(-(2**15), 2**15 - 1).sum(1) - 128 * right.sum(0))


def wrong_by_one(left, right, out):
    INT_MM(left, right, out=out)[-1, -1] += 1


def fused(a, b):
    """What stands for the GPU's kernel: the plain alignment."""
    costs = all_costs(a.transpose(0, 1), b.transpose(0, 1)).float()
    return straight(costs), shortest_path(costs)


def test_int8_that_overflows_is_quantised_to_63(monkeypatch):
    monkeypatch.setattr(torch, "_int_mm", saturating)
    comparison = Comparison(settings("int8"), CPU)
    assert comparison.limit == 63
    monkeypatch.setattr(torch, "_int_mm", INT_MM)
    stripes = np.random.default_rng(0).random((3, 2, 9)).astype(np.float32)
    features = compare.Features(stripes[:, 0], stripes, np.zeros(3), np.zeros(3))
    assert comparison.stripes(features, slice(0, 3)).stripes.abs().max() == 63


def test_int8_that_is_wrong_even_so_is_refused(monkeypatch):
    monkeypatch.setattr(torch, "_int_mm", wrong_by_one)
    with pytest.raises(InputError, match=r"precision in params.yaml is int8, .*set it to fp32"):
        Comparison(settings("int8"), CPU)


def test_all_processes_take_the_least_limit(monkeypatch):
    monkeypatch.setattr(compare.distributed, "all_max", lambda array: np.maximum(array, -63))
    comparison = Comparison(settings("int8"), CPU)
    assert comparison.limit == 63
    assert comparison.machine().endswith(", int8 to 63")
    assert "int8" not in Comparison(settings("bf16"), CPU).machine()


@pytest.mark.parametrize("bits", [7, 12])
def test_bf16_whose_sums_are_rounded_is_refused(bits, monkeypatch):
    """Sums of 7 bits, and a product that is rounded before it is taken from 0.5."""

    def product(left, right, cells):
        rounded = left.float() @ right.float().T
        if bits == 7:
            terms = (left[:, None].float() * right.float()).unbind(-1)
            rounded = torch.zeros_like(terms[0]).bfloat16()
            for term in terms:
                rounded = rounded + term.bfloat16()
        cells.copy_(0.5 - 0.5 * rounded.bfloat16().float())
        return np.float32(0), np.float32(1)

    Comparison(settings("bf16"), CPU)
    monkeypatch.setattr(probe, "product", product)
    with pytest.raises(InputError, match=r"is bf16, whose products on cpu are off by .*to fp32"):
        Comparison(settings("bf16"), CPU)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_gpus_kernel_is_tried_too(precision, monkeypatch):
    monkeypatch.setattr(compare, "fused_distances", lambda device: fused)
    Comparison(settings(precision), CPU)

    def rounded(a, b):
        """Stripes of 11 bits, as one TF32 product takes them, or of 5."""
        if precision == "bf16":
            return fused(*((side.view(torch.int16) & ~0x7).view(side.dtype) for side in (a, b)))
        bits = (side.view(torch.int32) + 0x1000 for side in (a, b))
        return fused(*((side & ~0x1FFF).view(torch.float32) for side in bits))

    monkeypatch.setattr(compare, "fused_distances", lambda device: rounded)
    with pytest.raises(InputError, match=f"is {precision}, whose products on cpu are off by"):
        Comparison(settings(precision), CPU)


def test_nan_is_refused(monkeypatch):
    nan = torch.full((16, 16), torch.nan)
    monkeypatch.setattr(compare, "fused_distances", lambda device: lambda a, b: (nan, nan))
    with pytest.raises(InputError, match="are off by nan"):
        Comparison(settings("fp32"), CPU)


def test_float32_is_tried_where_distances_are_computed(monkeypatch):
    fp32.check.cache_clear()
    monkeypatch.setattr(torch, "mm", lambda a, b: torch.matmul(a.bfloat16(), b.bfloat16()).float())
    with pytest.raises(InputError, match="matrix products in float32 on cpu are off by"):
        Comparison(settings("fp32"), CPU)


@pytest.mark.parametrize("precision", tile.PRODUCTS)
def test_it_takes_milliseconds(precision):
    Comparison(settings(precision), CPU)
    start = time.process_time()
    Comparison(settings(precision), CPU)
    assert time.process_time() - start < 1
