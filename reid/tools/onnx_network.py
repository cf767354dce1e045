"""A network as an ONNX model in memory, in operators that ONNX has."""

import importlib
import json
import warnings
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid import images
from reid.model import Network
from reid.runtime.errors import InputError
from reid.runtime.resources import gigabytes
from reid.trunk.settings import ModelSettings

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OUTPUTS = ("global_features", "stripes")
MOST_BYTES = 2**31 - 2**24  # of weights: protobuf's limit, less room for the operators


class Describer(nn.Module):
    """What is exported: `Network.describe` of images as they are, in operators that ONNX has."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 RGB [N, H, W, 3] -> global features [N, D] and unit stripes [N, S, C]."""
        feature_map = self.network.trunk(images.normalise(batch)).float()
        global_features = self.network.neck(feature_map.mean((2, 3)))
        return global_features, constant_stripes(feature_map, self.network.settings.stripes)


def constant_stripes(feature_map: Tensor, stripes: int) -> Tensor:
    """As `model.test_stripes`, of maps of one height: [N, C, H, W] -> [N, S, C].

    ONNX has no adaptive pooling; its bins are constants here: stripe s has the rows from
    floor(s H / S) to ceil((s + 1) H / S), which overlap where S does not divide H.
    """
    height = feature_map.shape[2]
    bins = [(s * height // stripes, -(-(s + 1) * height // stripes)) for s in range(stripes)]
    pooled = [feature_map[:, :, start:stop].amax((2, 3)) for start, stop in bins]
    return functional.normalize(torch.stack(pooled, 1), dim=-1)


def package(name: str) -> Any:
    """Import a package of the extra `onnx`. Raises InputError, with what to type, without it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"ONNX needs the packages {', '.join(PACKAGES)}, and {name} cannot be imported "
            f"({error}): type `pip install --constraint constraints.txt --editable '.[onnx]'` in "
            "the project's folder."
        ) from None


def to_onnx(network: Network) -> Any:
    """Translate a network to an ONNX model, dynamic in the number of images.

    Raises InputError without the packages, and with the reason for a trunk that has no translation.
    """
    for name in PACKAGES:
        package(name)
    settings = network.settings
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    if size >= MOST_BYTES:
        raise InputError(
            f"the trunk {settings.trunk} has {gigabytes(size)} of weights, and an ONNX file holds "
            "at most 2 GB: choose a smaller trunk."
        )
    proto = _translate(network.eval())
    _strip(proto)
    package("onnx").helper.set_model_props(proto, _properties(settings))
    return proto


def _translate(network: Network) -> Any:
    """Have torch translate a network. Raises InputError with the reason where it cannot."""
    settings = network.settings
    example = torch.zeros(2, settings.height, settings.width, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of deprecations within torch
        try:
            return torch.onnx.export(
                Describer(network).eval(),
                (example,),
                input_names=["images"],
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            ).model_proto
        except Exception as error:  # whatever torch's exporter meets in a trunk
            reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise InputError(
                f"the trunk {settings.trunk} cannot be exported to ONNX: {reason[0][:300]}. "
                "Nothing was written."
            ) from error


def _strip(proto: Any) -> None:
    """Remove what torch notes about the code that a node comes from: paths of this machine."""
    for graph in (proto.graph, *proto.functions):
        for part in (*graph.node, *graph.value_info):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
        graph.ClearField("metadata_props")


def _properties(settings: ModelSettings) -> dict[str, str]:
    """What the file says of itself: the network, and how images are to be prepared."""
    resize = f"RGB, resized to {settings.height} x {settings.width} by Pillow's bilinear filter"
    return {"images": resize, "network": json.dumps(asdict(settings))}
