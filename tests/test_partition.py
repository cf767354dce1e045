"""Blocks cover every pair once, for any number of processes, in even shares."""

import numpy as np
import pytest

from reid.distances import partition
from reid.distances.partition import Block


def test_a_small_set_is_cut_into_parts_and_a_large_one_by_size():
    assert partition.panels(1633, 4096, 128) == [
        slice(0, 512),
        slice(512, 1024),
        slice(1024, 1536),
        slice(1536, 1633),
    ]
    assert partition.panels(5, 2, 128) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert partition.panels(1, 4096, 128) == [slice(0, 1)]
    assert len(partition.panels(515_913, 4096, 128)) == 126


def test_every_pair_is_in_one_block():
    rows, columns = partition.panels(50, 20, 4), partition.panels(30, 20, 4)
    seen = np.zeros((50, 50), int)
    for block in partition.within(rows, 4):
        seen[block.rows, block.columns] += 1
    np.testing.assert_array_equal(np.maximum(seen, seen.T), 1)
    np.testing.assert_array_equal((seen + seen.T)[seen == 0], 1)
    seen = np.zeros((50, 30), int)
    for block in partition.across(rows, columns):
        seen[block.rows, block.columns] += 1
    np.testing.assert_array_equal(seen, 1)


def test_pairs_of_a_panel_with_itself_by_hand():
    """Ten images by tiles of four rows: 4 x 10 + 4 x 6 + 2 x 2."""
    assert partition.within([slice(0, 10)], 4)[0].pairs == 68


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 50])
def test_every_block_is_in_one_share(count):
    shared = partition.within(partition.panels(1633, 4096, 128), 128)
    shares = [partition.balanced_share(shared, rank, count) for rank in range(count)]
    assert sorted(str(block) for share in shares for block in share) == sorted(map(str, shared))


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("images", [15_913, 82_161])
def test_shares_are_even(images, count):
    shared = partition.within(partition.panels(images, 4096, 128), 128)
    shares = [partition.balanced_share(shared, rank, count) for rank in range(count)]
    loads = [sum(block.pairs for block in share) for share in shares]
    assert max(loads) < 1.1 * sum(loads) / count


def test_a_share_is_in_the_order_of_its_rows():
    """So that a panel of rows is read once: the second process has the smaller blocks."""
    sizes = (9, 1, 4, 4)
    one, two, three, four = (
        Block(slice(row, row + 1), slice(0, 1), False, pairs) for row, pairs in enumerate(sizes)
    )
    assert partition.balanced_share([one, two, three, four], 0, 2) == [one]
    assert partition.balanced_share([four, three, two, one], 1, 2) == [two, three, four]
