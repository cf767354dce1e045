"""Which GPU a process takes, tried with lock files alone."""

import pytest
import torch

from reid import device
from reid.errors import InputError


def test_each_takes_another_gpu_most_free_memory_first(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "_held", [])
    assert [device.free_gpu([5, 9, 7], tmp_path) for _ in range(4)] == [1, 2, 0, 1]  # the fourth has to share
    device._held[1].release()  # as the system does when the process ends
    assert device.free_gpu([5, 9, 7], tmp_path) == 2


def test_automatic_without_a_gpu_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose_device("auto").type == "cpu"


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="got process 3 of this machine, which has 2 GPUs"):
        device.choose_device("auto")


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(InputError, match="device 'quantum' cannot be used"):
        device.choose_device("quantum")
    assert device.choose_device("cpu").type == "cpu"
