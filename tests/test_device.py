"""Which GPU a process takes, tried with lock files alone."""

import os
import subprocess
import sys
import tempfile
import types

import pytest
import torch

from reid.runtime import device
from reid.runtime.errors import InputError


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """As in a new process."""
    monkeypatch.setattr(device, "_held", [])
    device._automatic.cache_clear()
    yield
    device._automatic.cache_clear()


def test_each_takes_another_gpu_most_free_memory_first(tmp_path):
    names, free = ("a", "b", "c"), (5, 9, 7)
    assert [device.free_gpu(names, free, tmp_path) for _ in range(4)] == [
        1,
        2,
        0,
        1,
    ]  # the fourth has to share
    device._held[1].release()  # as the system does when the process ends
    assert device.free_gpu(names, free, tmp_path) == 2


def test_the_same_gpu_whatever_its_number_is_taken_once(tmp_path):
    assert device.free_gpu(["a", "b"], [9, 5], tmp_path) == 0
    assert device.free_gpu(["b", "a"], [5, 9], tmp_path) == 0  # another CUDA_VISIBLE_DEVICES


def test_a_user_without_a_name_has_gpus_too(tmp_path, monkeypatch):
    def nameless():
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert device.free_gpu(["a"], [9], tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"reid-{os.getuid()}-a.lock"]


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (10 + gpu, 20))
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda gpu: types.SimpleNamespace(uuid=f"gpu-{gpu}")
    )
    monkeypatch.setattr(torch.cuda, "set_device", lambda gpu: None)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(device.fp32, "check", lambda device: None)


@pytest.mark.usefixtures("two_gpus")
def test_a_process_keeps_the_gpu_that_it_chose():
    assert [device.choose_device(name).index for name in ("auto", "auto", "cuda")] == [1, 1, 1]
    assert len(device._held) == 1


@pytest.mark.usefixtures("two_gpus")
def test_processes_of_one_machine_have_a_gpu_each(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert device.choose_device("cuda").index == 0
    device._automatic.cache_clear()
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="got process 3 of this machine, which has 2 GPUs"):
        device.choose_device("auto")
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    with pytest.raises(InputError, match="device 'cuda:1' is one GPU, for several processes"):
        device.choose_device("cuda:1")


def test_automatic_without_a_gpu_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose_device("auto").type == "cpu"


@pytest.mark.parametrize("name", ["quantum", "meta", "mps", "xpu:0", "cpu:x", "", "q" * 10**5])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(InputError, match=rf"device '{name[:60]}' .*Choose auto, cpu or") as error:
        device.choose_device(name)
    assert len(str(error.value)) < 400
    assert device.choose_device("cpu").type == "cpu"


def as_tf32(function):
    """The same function of numbers rounded to 11 bits."""

    def rounded(*arguments, **options):
        arguments = [
            (side.view(torch.int32) + 0x1000 & ~0x1FFF).view(side.dtype) for side in arguments
        ]
        return function(*arguments, **options)

    return rounded


@pytest.mark.parametrize(
    ("module", "name", "named"),
    [(torch, "mm", "matrix products"), (torch.nn.functional, "conv2d", "convolutions")],
)
def test_float32_that_is_rounded_is_refused(module, name, named, monkeypatch):
    device.fp32.check.cache_clear()
    assert device.choose_device("cpu").type == "cpu"
    monkeypatch.setattr(module, name, as_tf32(getattr(module, name)))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    device.fp32.check.cache_clear()
    with pytest.raises(
        InputError, match=rf"{named} in float32 on cpu are off by 4.9e-04.*Unset NVIDIA_TF32_OVERR"
    ):
        device.choose_device("cpu")


def test_a_gpus_first_product_knows_that_training_will_be_deterministic(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    seen = []

    def product_error(device):
        seen.append(os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
        return 0.0

    monkeypatch.setattr(device.fp32, "_product_error", product_error)
    monkeypatch.setattr(device.fp32, "_convolution_error", lambda device: 0.0)
    device.fp32.check.cache_clear()
    device.fp32.check(torch.device("cuda", 1))
    assert seen == [":4096:8"]
    device.fp32.check.cache_clear()


def test_torch_is_told_to_compute_float32_as_float32():
    torch.set_float32_matmul_precision("medium")
    device.fp32.check.cache_clear()
    device.choose_device("cpu")
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="the CPU has no bf16")
@pytest.mark.parametrize("mode", ["BF16", "ANY"])
def test_a_variable_that_rounds_float32_is_named(mode):
    done = subprocess.run(
        [sys.executable, "-c", "from reid.runtime import device; device.choose_device('cpu')"],
        capture_output=True,
        text=True,
        env={**os.environ, "ONEDNN_DEFAULT_FPMATH_MODE": mode},
    )
    assert "convolutions in float32 on cpu are off by" in done.stderr
    assert "Unset ONEDNN_DEFAULT_FPMATH_MODE, and start again." in done.stderr
