"""Which images are compared with which at a time, and which process does it: the same blocks for
any number of them.
"""

from dataclasses import dataclass

PARTS = 4  # of a small set: two, four or eight processes then have equal shares


@dataclass(frozen=True)
class Block:
    """Images `rows` of a set to be compared with images `columns` of the same or, `is_across`, of
    another.

    `pairs` is what that takes: of an image block with itself little more than half.
    """

    rows: slice
    columns: slice
    is_across: bool
    pairs: int


def panels(images: int, largest: int, tile: int) -> list[slice]:
    """Cut a set into panels of at most `largest` images, else of whole tiles and about PARTS of
    them.
    """
    size = min(largest, -(-images // (PARTS * tile)) * tile)
    return [slice(start, min(start + size, images)) for start in range(0, images, size)]


def within(images: list[slice], tile: int) -> list[Block]:
    """A set's blocks by its panels, each unordered pair of panels once; a panel with itself by
    tiles of rows.
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


def dealt(blocks: list[Block], rank: int, count: int) -> list[Block]:
    """Process `rank`'s share among `count`, by rows: the largest blocks first, each to whom has
    least so far.
    """
    loads, own = [0] * count, []
    for block in sorted(blocks, key=lambda block: -block.pairs):
        least = loads.index(min(loads))
        loads[least] += block.pairs
        if least == rank:
            own.append(block)
    return sorted(own, key=lambda block: (block.rows.start, block.is_across, block.columns.start))


def _length(images: slice) -> int:
    return images.stop - images.start
