"""What an estimate counts, and what is refused."""

import numpy as np
import pytest
import torch

from reid.arrays.features import Features
from reid.distances import resources, tile
from reid.distances.compare import Comparison, compare_within, row_panel
from reid.distances.settings import DistanceSettings
from reid.runtime.errors import InputError
from reid.runtime.resources import available_memory, check_memory, free_disk
from tests.conftest import run_stage

SETTINGS = DistanceSettings(
    neighbours=100, tile_rows=128, tile_columns=256, precision="fp32", device="cpu"
)


def features(images, stripes=8, channels=2048):
    """Features of any size that take no memory."""
    labels = np.broadcast_to(np.int64(0), images)
    number = np.float32(0)
    shapes = (images, channels), (images, stripes, channels)
    return Features(*(np.broadcast_to(number, shape) for shape in shapes), labels, labels)


def test_market1501():
    estimated = resources.estimate(features(15_913), [features(3_368)], SETTINGS)
    pairs, images = 15_913 * 3_368, 15_913 + 3_368
    assert images * images / 2 < estimated.pairs < 1.02 * images * images / 2
    assert estimated.disk == 4 * 3 * pairs + 12 * 3 * 100 * images
    assert 0.5e9 < estimated.memory < 2e9
    assert str(estimated).startswith("distances of 187,")


def test_memory_grows_with_the_lists_only():
    market, many = (
        resources.estimate(features(gallery), [features(3_368)], SETTINGS)
        for gallery in (15_913, 515_913)
    )
    assert many.panels == market.panels
    assert many.lists > 20 * market.lists


def test_two_protocols_share_the_gallery():
    gallery, queries = features(900), features(100)
    single, both = (resources.estimate(gallery, [queries] * count, SETTINGS) for count in (1, 2))
    assert both.disk == 2 * single.disk
    assert both.pairs < 1.5 * single.pairs
    assert both.memory == single.memory


def test_one_query_and_a_gallery_of_one():
    estimated = resources.estimate(features(1), [features(1)], SETTINGS)
    assert estimated.pairs == 3  # each with itself, and with each other


@pytest.mark.parametrize(
    ("memory", "disk", "message"),
    [
        (100e6, 1e15, r"0\.1 GB of memory are available: close other programs"),
        (
            1.5e9,
            1e15,
            r"1\.5 GB of memory are available: set distances\.neighbours to \d\d or less",
        ),
        (1e12, 1e9, r"GB on disk, but 1\.0 GB are free where out is to be: free some"),
    ],
)
def test_what_does_not_fit_is_refused(memory, disk, message, monkeypatch):
    monkeypatch.setattr(resources, "available_memory", lambda: int(memory))
    monkeypatch.setattr(resources, "free_disk", lambda output: int(disk))
    estimated = resources.estimate(features(82_161), [features(11_659)], SETTINGS)
    with pytest.raises(InputError, match=message):
        resources.check(estimated, SETTINGS, "out")


def test_large_tiles_and_panels_are_counted_as_far_as_there_are_images():
    tiles = ((900, 128), (900, 900), (16_384, 16_384), (128, 900))
    narrow, wide, huge, low = (
        resources.estimate(
            features(900), [features(100)], DistanceSettings(9, *tile, "fp32", "cpu")
        )
        for tile in tiles
    )
    cells = torch.get_num_threads() * 8 * 8 * 4
    assert wide.panels - narrow.panels == cells * 900 * (900 - 128)
    assert wide.panels == huge.panels
    assert low.panels < wide.panels / 3  # a panel of 256 images


def test_what_is_estimated_is_allocated(monkeypatch):
    """Tiles larger than there are images: the cells of all images, and no more."""
    taken = []

    def empty(shape, kind, device):
        taken.append(int(np.prod(shape)) * kind.itemsize)
        return torch.empty(shape, dtype=kind, device=device)

    monkeypatch.setattr(tile, "empty", empty)
    rng, labels = np.random.default_rng(0), np.zeros(20, np.int64)
    arrays = (rng.random(shape).astype(np.float32) for shape in ((20, 6), (20, 8, 16)))
    images = Features(*arrays, labels, labels)
    settings = DistanceSettings(5, 16_384, 16_384, "fp32", "cpu")
    comparison = Comparison(settings, torch.device("cpu"))
    panel = row_panel(images, slice(0, 20), comparison)
    compare_within(panel, images, comparison, lambda pairs: None)
    sides = 2 * 20 * 8 * 16 * 4
    assert sum(taken) == sides + 20 * 20 * 8 * 8 * 4


def test_this_machine_has_memory_and_disk(tmp_path):
    assert available_memory() > 1e6
    assert free_disk(tmp_path / "not" / "there" / "yet") > 1e6
    check_memory(10**6, "a small thing", "buy more")
    with pytest.raises(
        InputError,
        match=r"a thing needs 1,000,000\.0 GB of memory, but .* GB are available: buy more\.",
    ):
        check_memory(10**15, "a thing", "buy more")


def test_the_stage_prints_its_estimate_and_stops_before_it_writes(
    copied, params_file, monkeypatch, capsys
):
    monkeypatch.setattr(resources, "free_disk", lambda output: 1000)
    code = run_stage("distances", copied / "features", copied / "out", "--params", params_file)
    assert "0.0 GB are free" in code
    assert capsys.readouterr().out.startswith("distances of ")
    assert not list(copied.glob("*out*"))
