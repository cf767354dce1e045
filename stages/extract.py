"""Extract features: a prepared dataset and a trained model -> a folder of arrays for each split."""

import argparse
from pathlib import Path

from reid import model, prepared
from reid.arrays import features
from reid.arrays.names import SPLITS
from reid.extraction import ExtractSettings, extract
from reid.runtime import config, distributed, made_by
from reid.runtime.device import choose_device, describe_device


def main() -> None:
    """Describe every image of query, query_partial and gallery."""
    parser = argparse.ArgumentParser(prog="python -m stages.extract", description=__doc__)
    parser.add_argument("data", type=Path, help="folder that the prepare stage wrote")
    parser.add_argument("model", type=Path, help="model.safetensors that the train stage wrote")
    parser.add_argument("out", help="folder to write query, query_partial and gallery to")
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()

    settings = config.load(ExtractSettings, config.read(args.params), "extract")
    device = choose_device(settings.device)
    network = model.load(args.model)
    made_by.check_content(args.model)
    inputs = {split: made_by.of_file(args.data / split / "manifest.csv") for split in SPLITS}
    inputs["model"] = made_by.of_file(args.model)
    with distributed.shared_output(args.out) as out:
        distributed.create_shared_folder(out)
        for split in SPLITS:
            extract(network, prepared.read(args.data / split), out / split, settings.batch, device)
        distributed.barrier()  # the content is that of all processes
        document = made_by.document("stages.extract", settings, inputs, describe_device(device))
        made_by.write(out, {**document, "content": features.digest(out)})


if __name__ == "__main__":
    distributed.run(main)
