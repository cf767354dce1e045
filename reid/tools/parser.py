"""How every sub-command of `reid` describes its arguments."""

import argparse


def make(name: str, description: str, example: str) -> argparse.ArgumentParser:
    """Return the parser of `reid NAME`, with an example at the end of its help."""
    return argparse.ArgumentParser(
        prog=f"reid {name}",
        description=" ".join(description.split()),
        epilog=f"example: reid {name} {example}",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=100),
    )


def count(text: str) -> int:
    """Return a number of pictures, 1 to 1,000."""
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"got {text}, wanted a whole number, 1 to 1000")
    return int(text)
