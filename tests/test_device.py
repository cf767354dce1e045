"""Which GPU a process takes, tried with lock files alone."""

import os
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


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(InputError, match="device 'quantum' cannot be used"):
        device.choose_device("quantum")
    assert device.choose_device("cpu").type == "cpu"
