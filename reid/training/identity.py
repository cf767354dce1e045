"""Everything that determines the result of a training, and the file for its checkpoint.

The file's name is the digest of that, so that no other run ever takes the checkpoint up. It lies
outside DVC's outputs, which DVC deletes before it runs a stage; `DVC_ROOT` names the main
repository from queued and temporary runs too.
"""

import hashlib
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision

from reid.prepared import Split
from reid.runtime import made_by
from reid.training import provenance
from reid.training.settings import CellSettings

FOLDER = "unfinished"


def describe(
    split: Split, settings: CellSettings, device: torch.device, world_size: int
) -> dict[str, Any]:
    """Return what determines a training's bytes: settings, with the digest of a file of weights,
    data, code and machine, as plain values.
    """
    return {
        **asdict(settings),
        "data": provenance.fingerprint(split),
        "code": made_by.code_digest("stages.train"),
        "machine": machine(device, world_size),
    }


def checkpoint_path(identity: dict[str, Any]) -> Path:
    """Return the checkpoint's path in the main repository for a run that is determined by
    `identity`, plain values.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    return Path(os.environ.get("DVC_ROOT", ".")) / FOLDER / f"{digest}.pt"


def machine(device: torch.device, world_size: int) -> dict[str, Any]:
    """Return what bytes depend on besides settings, data and code: versions, processor, device,
    threads and processes.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    versions = [torch.__version__, torchvision.__version__, np.__version__, PIL.__version__]
    return {
        "device": name,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "versions": versions,
        "threads": torch.get_num_threads(),
        "processes": world_size,
    }
