"""Measure distances, re-ranking and evaluation on random features of a dataset's size, each step
in its own process.

Against (a) the papers' algorithms in plain NumPy and (b) the bare matrix products, in the same
run. Where (a) would take hours it runs on a part and is scaled; the table says of what share.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from benchmarks import clusters, table
from reid.runtime import cli, outputs

STEPS = (
    "features",
    "products",
    "distances",
    "rerank",
    "evaluate",
    "textbook distances",
    "textbook rerank",
    "textbook evaluate",
    "textbook evaluate loop",
    "precisions",
)


def main() -> None:
    """Parse the command line, run all steps, write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--size", choices=clusters.SIZES, default="market1501", help="default: %(default)s"
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="times its people and images (default: %(default)s)",
    )
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "int8"), default="fp32", help="default: %(default)s"
    )
    parser.add_argument(
        "--channels", type=int, default=2048, help="of the features (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="default: all cores, %(default)s"
    )
    parser.add_argument(
        "--textbook", type=int, default=20_000, help="most images for plain NumPy (%(default)s)"
    )
    parser.add_argument(
        "--compared", type=int, default=4_000, help="images to compare precisions on (%(default)s)"
    )
    parser.add_argument(
        "--steps",
        nargs="+",
        choices=STEPS,
        default=STEPS,
        help="only these (later need earlier ones)",
    )
    parser.add_argument(
        "--work", help="folder for features and distances (default: the system's, for the run only)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results"), help="default: %(default)s"
    )
    args = parser.parse_args()

    name = f"{args.size}-{args.scale:g}-{args.precision}"
    for ending in ("json", "md"):
        outputs.resolve(args.out / f"{name}.{ending}", is_file=True)  # told now, not after hours
    size = clusters.SIZES[args.size].scaled(args.scale)
    options = {"size": asdict(size), "repeats": 200} | {
        name: getattr(args, name) for name in ("channels", "textbook", "compared")
    }
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        write_params(Path(folder), args.precision)
        found = {
            step: run(step, folder, options, args.threads)
            for step in tqdm(args.steps, "benchmark", unit="step")
        }
    result = {
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "machine": machine(args.threads),
    }
    result |= {
        "precision": args.precision,
        "size": asdict(size),
        "channels": args.channels,
        "steps": found,
    }
    write(args.out, name, result)


def write_params(folder: Path, precision: str) -> None:
    """The project's settings with this precision, on the CPU."""
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["distances"] |= {"precision": precision, "device": "cpu"}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def run(step: str, folder: str, options: dict[str, Any], threads: int) -> dict[str, Any]:
    """Run one step in a process of its own -> what it found; stops the benchmark with its error
    when it fails.
    """
    command = [sys.executable, "-m", "benchmarks.steps", step, folder, json.dumps(options)]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    if done.returncode:
        sys.exit(
            f"error: the step `{step}` failed with exit code {done.returncode}; what it said is "
            "above."
        )
    return json.loads(done.stdout.splitlines()[-1])


def machine(threads: int) -> dict[str, Any]:
    """What it ran on."""
    info = Path("/proc/cpuinfo")
    names = (
        [
            line.split(":")[1].strip()
            for line in info.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        if (info.exists())
        else []
    )
    return {
        "cpu": names[0] if names else platform.processor(),
        "threads": threads,
        "python": platform.python_version(),
    }


def write(folder: Path, name: str, result: dict[str, Any]) -> None:
    """Write <name>.json and <name>.md, and print the latter."""
    texts = {"json": json.dumps(result, indent=2) + "\n", "md": table.markdown(result)}
    for ending, text in texts.items():
        with cli.atomic_output(folder / f"{name}.{ending}", is_file=True) as draft:
            draft.write_text(text, encoding="utf-8")
    print(texts["md"])


if __name__ == "__main__":
    cli.run(main)
