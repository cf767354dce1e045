"""Write a model as ONNX, for programs without torch: images as they are, uint8 RGB, in, features
out.

The file is written only where onnxruntime, which shares no code with torch, finds the same
features.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from reid import images, model
from reid.datasets.synthetic.benchmark import SyntheticSettings, list_shots
from reid.datasets.synthetic.people import dress
from reid.datasets.synthetic.picture import draw_shot
from reid.model import Network
from reid.runtime import cli
from reid.runtime.errors import InputError
from reid.tools.onnx_network import OUTPUTS, package, to_onnx
from reid.tools.parser import make as make_parser

TOLERANCE = 1e-4
BATCHES = (1, 2, 5)
DRAWN = SyntheticSettings("synthetic", 0, 2, 2, 1.0, 0, 0, 128, 64, 0.5, 0.5, 0.5, 0.5)


def export(network: Network, file: Path) -> float:
    """Write a network as ONNX and return by how much onnxruntime's features differ from torch's at
    most, as a share of the largest number.

    Raises InputError without the packages, for a trunk that cannot be exported, and where the
    features differ by more than 1e-4.
    """
    proto = to_onnx(network.eval())
    package("onnx").save(proto, file)
    difference = max(_differences(network, file))
    if not difference <= TOLERANCE:  # NaN too
        raise InputError(
            f"onnxruntime's features of {network.settings.trunk} differ from torch's by "
            f"{difference:.1e} of the largest number, wanted at most {TOLERANCE:.0e}: nothing was "
            "written. Update onnxruntime, or look whether the model's own features are finite."
        )
    return difference


def _differences(network: Network, file: Path) -> list[float]:
    """The largest difference of each output, as a share of the largest number in it, of random and
    of drawn images, at each batch size.
    """
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    height, width = network.settings.height, network.settings.width
    shape = (max(BATCHES), height, width, 3)
    random = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return [
        float(np.abs(got - wanted.numpy()).max() / wanted.abs().max())
        for batch in (random, drawn_images(max(BATCHES), height, width))
        for size in BATCHES
        for got, wanted in zip(
            session.run(OUTPUTS, {"images": batch[:size]}),
            network.describe(images.normalise(torch.from_numpy(batch[:size]))),
            strict=True,
        )
    ]


def drawn_images(count: int, height: int, width: int) -> np.ndarray:
    """Images of the drawn benchmark as the network gets them, [N, H, W, 3] uint8."""
    pictures = [
        draw_shot(DRAWN, shot, dress(DRAWN.seed, shot.pid, DRAWN.lookalikes))
        for shot in list_shots(DRAWN)[:count]
    ]
    size, bilinear = (width, height), Image.Resampling.BILINEAR
    return np.stack([np.asarray(picture.resize(size, bilinear)) for picture in pictures])


def main() -> None:
    """Read a model, write it as ONNX and say how well both agree."""
    example = "models/synthetic/ls/0/model.safetensors model.onnx"
    parser = make_parser("export", __doc__ or "", example)
    parser.add_argument("model", help="model.safetensors, as the train stage writes it")
    parser.add_argument("out", help="file to write, e.g. model.onnx")
    args = parser.parse_args()
    network = model.load(args.model)
    with cli.atomic_output(args.out, is_file=True) as draft:
        difference = export(network, draft)
    settings = network.settings
    print(
        f"{settings.trunk}: images, uint8 RGB [N, {settings.height}, {settings.width}, 3] -> "
        f"global_features [N, {network.channels}], stripes [N, {settings.stripes}, "
        f"{network.channels}]; onnxruntime differs from torch by at most "
        f"{difference:.1e}: {args.out}"
    )


if __name__ == "__main__":
    cli.run(main)
