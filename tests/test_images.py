"""Decoding against PIL one by one, normalising by hand."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from reid import images, prepared
from reid.runtime.errors import InputError


def encode(image, form="JPEG"):
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def random_image(rng, height, width):
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def pack(folder, contents):
    prepared.write(
        folder / "market1501",
        {"query": [(f"{i}.jpg", i, 1, content) for i, content in enumerate(contents)]},
    )
    return prepared.read(folder / "market1501" / "query")


def test_decode_is_pil_bilinear_in_order(tmp_path):
    rng = np.random.default_rng(0)
    contents = [
        encode(random_image(rng, *size)) for size in ((128, 64), (20, 10), (301, 99), (1, 1)) * 8
    ]
    decoded = images.decode(pack(tmp_path, contents), 32, 16)
    assert decoded.shape == (32, 32, 16, 3)
    assert decoded.dtype == np.uint8
    for got, content in zip(decoded, contents, strict=True):
        wanted = Image.open(io.BytesIO(content)).resize((16, 32), Image.Resampling.BILINEAR)
        assert np.array_equal(got, np.asarray(wanted))


def test_decode_of_some_images(tmp_path):
    rng = np.random.default_rng(0)
    split = pack(tmp_path, [encode(random_image(rng, 20, 10)) for _ in range(7)])
    decoded = images.decode(split, 16, 8)
    assert np.array_equal(images.decode(split, 16, 8, range(2, 5)), decoded[2:5])
    assert np.array_equal(images.decode(split, 16, 8, [6, 0, 0]), decoded[[6, 0, 0]])
    assert images.decode(split, 16, 8, []).shape == (0, 16, 8, 3)


def test_several_sizes_come_of_one_decoding(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    split = pack(tmp_path, [encode(random_image(rng, 40, 20)) for _ in range(5)])
    sizes = [(16, 8), (18, 9), (64, 40)]
    expected = [images.decode(split, *size) for size in sizes]
    opened, real = [], Image.open
    monkeypatch.setattr(images.Image, "open", lambda *args: opened.append(1) or real(*args))
    for got, wanted in zip(images.decode_sizes(split, sizes), expected, strict=True):
        assert np.array_equal(got, wanted)
    assert len(opened) == 5
    assert [part.shape for part in images.decode_sizes(split, sizes[:2], [3])] == [
        (1, 16, 8, 3),
        (1, 18, 9, 3),
    ]


def test_decode_makes_rgb_of_any_mode(tmp_path):
    gray = Image.new("L", (8, 16), 77)
    forms = [
        encode(gray),
        encode(gray, "PNG"),
        encode(Image.new("RGBA", (8, 16), (77, 77, 77, 0)), "PNG"),
    ]
    forms.append(encode(Image.new("P", (8, 16)), "GIF"))
    decoded = images.decode(pack(tmp_path, forms), 16, 8)
    assert (decoded[:3] == 77).all()
    assert decoded.shape == (4, 16, 8, 3)


def test_decode_of_nothing(tmp_path):
    assert images.decode(pack(tmp_path, []), 4, 2).shape == (0, 4, 2, 3)


@pytest.mark.parametrize("broken", [b"", b"text", None])
def test_a_corrupt_image_is_named(tmp_path, broken):
    good = encode(random_image(np.random.default_rng(0), 128, 64))
    broken = good[: len(good) // 2] if broken is None else broken
    with pytest.raises(InputError, match=r"image 1.jpg of split query is corrupt"):
        images.decode(pack(tmp_path, [good, broken, good]), 16, 8)


def test_normalise_by_hand():
    batch = torch.zeros(2, 4, 3, 3, dtype=torch.uint8)
    batch[1, 2, 1] = torch.tensor([255, 51, 102])
    normal = images.normalise(batch)
    assert normal.shape == (2, 3, 4, 3)
    assert normal.dtype == torch.float32
    assert normal.is_contiguous(memory_format=torch.channels_last)
    black = torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    torch.testing.assert_close(normal[0, :, 3, 2], black)
    colour = torch.tensor([(1.0 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0.4 - 0.406) / 0.225])
    torch.testing.assert_close(normal[1, :, 2, 1], colour)
