"""Blocks of image pairs, and their shares: the same blocks for any number of processes."""

from dataclasses import dataclass

PANEL = 4096  # images; two panels are in memory at once
PARTS = 4  # of a small set: two, four or eight processes then have equal shares


@dataclass(frozen=True)
class Block:
    """Images `rows` of a set to compare with images `columns` of it or, `is_across`, of another.

    `pairs` are those to compute: of a block of images with themselves little more than half.
    """

    rows: slice
    columns: slice
    is_across: bool
    pairs: int


def panels(images: int, largest: int, tile: int) -> list[slice]:
    """Cut a set into panels of whole tiles, about PARTS of them, or of at most `largest` images."""
    size = min(largest, -(-images // (PARTS * tile)) * tile)
    return [slice(start, min(start + size, images)) for start in range(0, images, size)]


def within(images: list[slice], tile: int) -> list[Block]:
    """A set's blocks by its panels: each unordered pair of panels once.

    A panel with itself is computed by tiles of rows, each from its first image on.
    """
    blocks = []
    for number, rows in enumerate(images):
        length = _length(rows)
        once = sum(min(tile, length - start) * (length - start) for start in range(0, length, tile))
        blocks.append(Block(rows, rows, False, once))
        blocks += [
            Block(rows, columns, False, length * _length(columns))
            for columns in images[number + 1 :]
        ]
    return blocks


def across(images: list[slice], others: list[slice]) -> list[Block]:
    """The blocks of one set's panels and another's."""
    return [
        Block(rows, columns, True, _length(rows) * _length(columns))
        for rows in images
        for columns in others
    ]


def balanced_share(blocks: list[Block], rank: int, world_size: int) -> list[Block]:
    """The blocks of one process, in the order of rows.

    Load balancing: the largest blocks first, each to the process with the fewest pairs so far.
    """
    loads, share = [0] * world_size, []
    for block in sorted(blocks, key=lambda block: -block.pairs):
        least = loads.index(min(loads))
        loads[least] += block.pairs
        if least == rank:
            share.append(block)
    return sorted(share, key=lambda block: (block.rows.start, block.is_across, block.columns.start))


def _length(images: slice) -> int:
    return images.stop - images.start
