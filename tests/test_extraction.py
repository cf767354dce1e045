"""Model + images -> features, whatever the size of a batch."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from reid import extraction, images, prepared
from reid.arrays import features
from reid.extraction import ExtractSettings, bytes_of_image, extract
from reid.model import Network
from reid.runtime.errors import InputError
from reid.trunk.settings import ModelSettings
from tests.conftest import make_settings

CPU = torch.device("cpu")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network(
        ModelSettings("shufflenet_v2_x0_5", "", 64, 32, 8, "none", "", 2, False), people=3
    )


def png(seed):
    pixels = np.random.default_rng(seed).integers(256, size=(40, 20, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def data(tmp_path):
    prepared.write(
        tmp_path / "data",
        {"query": [(f"{i}.png", i // 2, i % 2 + 1, png(i)) for i in range(7)], "gallery": []},
    )
    return tmp_path / "data"


def test_features_are_the_networks_description_of_each_image(network, data, tmp_path):
    split = prepared.read(data / "query")
    extract(network, split, tmp_path / "out", 3, CPU)
    found = features.read(tmp_path / "out")
    assert found.pids.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert found.camids.tolist() == [1, 2, 1, 2, 1, 2, 1]
    for index in range(7):
        pixels = images.normalise(torch.from_numpy(images.decode(split, 64, 32, [index])))
        global_features, stripes = network.eval().describe(pixels)
        np.testing.assert_allclose(
            found.global_features[index], global_features[0], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(found.stripes[index], stripes[0], rtol=1e-4, atol=1e-5)


def test_cores_change_no_byte(network, data, tmp_path):
    before, found = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        extract(network, prepared.read(data / "query"), tmp_path / str(threads), 2, CPU)
        found.append((tmp_path / str(threads) / "stripes.npy").read_bytes())
    torch.set_num_threads(before)
    assert found[0] == found[1]


def test_an_empty_split_is_refused(network, data, tmp_path):
    with pytest.raises(InputError, match="split gallery holds no image"):
        extract(network, prepared.read(data / "gallery"), tmp_path / "out", 3, CPU)


def test_a_batch_of_none_is_refused():
    with pytest.raises(InputError, match=r"extract\.batch"):
        make_settings(ExtractSettings, "extract", 0, "cpu")


def test_the_layer_with_the_largest_maps_is_counted(network):
    """Of this network: the first BatchNorm, of 24 maps on half the sides, in and out."""
    assert bytes_of_image(network) == 2 * 4 * 24 * 32 * 16


def test_more_memory_than_there_is_is_refused(network, data, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "available_memory", lambda: 500_000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    split = prepared.read(data / "query")
    extract(network, split, tmp_path / "one", 1, CPU)
    message = r"at least 0\.0 GB .*set `extract\.batch` to 2 or less; it is 4"
    with pytest.raises(InputError, match=message):
        extract(network, split, tmp_path / "out", 4, CPU)
    assert not (tmp_path / "out").exists()
