"""Decoding against PIL one by one, augmenting against a slow twin on the same draws, normalising by hand."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from reid import images, packs
from reid.errors import InputError


def encode(image, form="JPEG"):
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def random_image(rng, height, width):
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def pack(folder, contents):
    packs.write(folder / "market1501", {"query": [(f"{i}.jpg", i, 1, content) for i, content in enumerate(contents)]})
    return packs.read(folder / "market1501", "query")


def test_decode_is_pil_bilinear_in_order(tmp_path):
    rng = np.random.default_rng(0)
    contents = [encode(random_image(rng, *size)) for size in ((128, 64), (20, 10), (301, 99), (1, 1)) * 8]
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


def test_decode_makes_rgb_of_any_mode(tmp_path):
    gray = Image.new("L", (8, 16), 77)
    forms = [encode(gray), encode(gray, "PNG"), encode(Image.new("RGBA", (8, 16), (77, 77, 77, 0)), "PNG")]
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


@pytest.mark.parametrize(("height", "width", "wanted"), [(256, 128, (288, 144)), (128, 64, (144, 72)), (8, 4, (9, 4))])
def test_enlarged_size(height, width, wanted):
    assert images.enlarged_size(height, width) == wanted


def slow_augment(plain, enlarged, seed):
    """One image after another, by PIL, on the draws that `augment` documents."""
    batch, height, width = plain.shape[:3]
    rng = np.random.default_rng(seed)
    is_plain = rng.integers(2, size=batch)
    tops = rng.integers(enlarged.shape[1] - height + 1, size=batch)
    lefts = rng.integers(enlarged.shape[2] - width + 1, size=batch)
    is_mirrored = rng.integers(2, size=batch)
    result = []
    for i in range(batch):
        image = Image.fromarray(plain[i])
        if not is_plain[i]:
            box = (lefts[i], tops[i], lefts[i] + width, tops[i] + height)
            image = Image.fromarray(enlarged[i]).crop(tuple(map(int, box)))
        if is_mirrored[i]:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        result.append(np.asarray(image))
    return np.stack(result)


DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("batch", "height", "width"), [(32, 16, 8), (7, 9, 5), (1, 64, 32), (5, 2, 1)])
def test_augment_is_its_slow_twin(batch, height, width, device):
    rng = np.random.default_rng(1)
    large = images.enlarged_size(height, width)
    for seed in range(5):
        plain = rng.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
        enlarged = rng.integers(0, 256, (batch, *large, 3), dtype=np.uint8)
        before = plain.copy(), enlarged.copy()
        tensors = torch.from_numpy(plain).to(device), torch.from_numpy(enlarged).to(device)
        result = images.augment(*tensors, np.random.default_rng(seed))
        assert result.dtype == torch.uint8
        assert result.device.type == device
        assert np.array_equal(result.cpu().numpy(), slow_augment(plain, enlarged, seed))
        assert np.array_equal(plain, before[0])
        assert np.array_equal(enlarged, before[1])


def test_augment_draws_every_place_evenly():
    """Pixels that hold their own place: all crops, mirrored or not, come as often as the recipe says."""
    batch, height, width = 20_000, 8, 16
    rows, columns = images.enlarged_size(height, width)
    assert (rows, columns) == (9, 18)
    plain = torch.full((batch, height, width, 3), 200, dtype=torch.uint8)
    plain[:, :, 0] = 201
    place = torch.arange(rows)[:, None, None] * 18 + torch.arange(columns)[None, :, None]
    enlarged = place.to(torch.uint8).expand(rows, columns, 3).expand(batch, -1, -1, -1)
    result = images.augment(plain, enlarged, np.random.default_rng(3))
    corners = list(zip(result[:, 0, 0, 0].tolist(), result[:, 0, -1, 0].tolist(), strict=True))
    shares = {corner: corners.count(corner) / batch for corner in set(corners)}
    crops = [(top * 18 + left, top * 18 + left + 15) for top in (0, 1) for left in (0, 1, 2)]
    wanted = dict.fromkeys([*crops, *[corner[::-1] for corner in crops]], 1 / 2 / 2 / 6)
    wanted |= {(201, 200): 1 / 4, (200, 201): 1 / 4}
    assert shares.keys() == wanted.keys()
    assert all(abs(shares[corner] - wanted[corner]) < 0.015 for corner in wanted)


def test_augment_of_an_empty_batch():
    empty = torch.zeros(0, 8, 4, 3, dtype=torch.uint8), torch.zeros(0, 9, 5, 3, dtype=torch.uint8)
    assert images.augment(*empty, np.random.default_rng(0)).shape == (0, 8, 4, 3)


def test_augment_refuses_enlarged_images_that_are_smaller():
    with pytest.raises(ValueError, match="high"):
        images.augment(torch.zeros(1, 8, 8, 3).byte(), torch.zeros(1, 6, 8, 3).byte(), np.random.default_rng(0))
