"""The command `reid`: one sub-command for each thing to ask a model, each imported when it is used.

`reid NAME ...` is `python -m` of the module that NAMES has.
"""

import argparse
import importlib
import sys

from reid.runtime import cli

NAMES = {
    "search": ("search", "who in a folder is on some pictures"),
    "compare-images": (
        "compare_images",
        "how far apart two pictures are, and how aligned",
    ),
    "extract": ("extract_folder", "features of a folder of pictures, for the stages"),
    "evaluate": ("evaluate_features", "ranks and mAP of features by all seven columns"),
    "sweep": ("sweep_reranking", "ranks and mAP for several k1, k2 and lambda"),
    "show": ("show", "a ranked list or an alignment of a run, as PNG"),
    "compare": ("compare", "two runs, or two columns, side by side"),
    "convert": ("convert_checkpoint", "a checkpoint of other code to a model"),
    "export": ("export", "a model to ONNX"),
}


def dispatch() -> None:
    """Call the sub-command that the first argument names with the arguments behind it."""
    if len(sys.argv) > 1 and sys.argv[1] in NAMES:
        name = sys.argv[1]
        sys.argv = [f"reid {name}", *sys.argv[2:]]
        importlib.import_module(f"reid.tools.{NAMES[name][0]}").main()
        return
    listed = "\n".join(f"  {name:16}{text}" for name, (_, text) in NAMES.items())
    parser = argparse.ArgumentParser(
        prog="reid",
        usage="reid COMMAND ...",
        description="The model on one's own pictures.",
        epilog=f"commands:\n{listed}\n\n`reid COMMAND --help` says more. Example:\n"
        "  reid search query.jpg --gallery FOLDER",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=NAMES, metavar="COMMAND", help="one of those below")
    parser.parse_args(sys.argv[1:2])


def main() -> None:
    """Start the command, and end it with 0, 1 (a user's mistake), 2 (usage) or 130."""
    cli.run(dispatch)


if __name__ == "__main__":
    main()
