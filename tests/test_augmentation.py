"""Augmenting against slow twins on the same draws, one image after another, and what is drawn
against the recipes.
"""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from reid import images
from reid.training import augmentation
from reid.training.augmentation import augment, crop, draw

PAPERS = ("enlarge", 0.0)
DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]


def random_batch(rng, batch, height, width):
    plain = rng.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    return plain, rng.integers(
        0, 256, (batch, *augmentation.enlarged_size(height, width), 3), dtype=np.uint8
    )


@pytest.mark.parametrize(
    ("height", "width", "wanted"), [(256, 128, (288, 144)), (128, 64, (144, 72)), (8, 4, (9, 4))]
)
def test_enlarged_size(height, width, wanted):
    assert augmentation.enlarged_size(height, width) == wanted


def slow_crop(plain, enlarged, seed):
    """One image after another, by PIL, on the draws of the paper's recipe in their order."""
    batch, height, width = plain.shape[:3]
    rng = np.random.default_rng(seed)
    is_plain = rng.integers(2, size=batch)
    tops = [round(x) for x in rng.uniform(0, enlarged.shape[1] - height, batch)]
    lefts = [round(x) for x in rng.uniform(0, enlarged.shape[2] - width, batch)]
    is_mirrored = rng.integers(2, size=batch)
    result = []
    for i in range(batch):
        image = Image.fromarray(plain[i])
        if not is_plain[i]:
            box = (lefts[i], tops[i], lefts[i] + width, tops[i] + height)
            image = Image.fromarray(enlarged[i]).crop(tuple(map(int, box)))
        result.append(np.asarray(ImageOps.mirror(image) if is_mirrored[i] else image))
    return np.stack(result)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("batch", "height", "width"), [(32, 16, 8), (7, 9, 5), (1, 64, 32), (5, 2, 1)]
)
def test_the_papers_recipe_is_its_slow_twin(batch, height, width, device):
    rng = np.random.default_rng(1)
    for seed in range(5):
        plain, enlarged = random_batch(rng, batch, height, width)
        before = plain.copy(), enlarged.copy()
        tensors = torch.from_numpy(plain).to(device), torch.from_numpy(enlarged).to(device)
        draws = draw(np.random.default_rng(seed), batch, (height, width), *PAPERS)
        result = crop(*tensors, draws.to(device))
        assert result.dtype == torch.uint8
        wanted = slow_crop(plain, enlarged, seed)
        assert np.array_equal(result.cpu().numpy(), wanted)
        augmented = augment(*tensors, draws)
        assert augmented.device.type == device
        assert augmented.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(augmented.cpu(), images.normalise(torch.from_numpy(wanted)))
        assert np.array_equal(plain, before[0])
        assert np.array_equal(enlarged, before[1])


def test_the_papers_recipe_draws_the_first_and_last_place_half_as_often():
    """Pixels that hold their own place: all crops, mirrored or not, come as often as the published
    code takes them.
    """
    batch, height, width = 20_000, 8, 16
    rows, columns = augmentation.enlarged_size(height, width)
    assert (rows, columns) == (9, 18)
    plain = torch.full((batch, height, width, 3), 200, dtype=torch.uint8)
    plain[:, :, 0] = 201
    place = torch.arange(rows)[:, None, None] * 18 + torch.arange(columns)[None, :, None]
    enlarged = place.to(torch.uint8).expand(rows, columns, 3).expand(batch, -1, -1, -1)
    result = crop(plain, enlarged, draw(np.random.default_rng(3), batch, (height, width), *PAPERS))
    wanted = {}
    for top in (0, 1):
        for left, share in ((0, 1 / 4), (1, 1 / 2), (2, 1 / 4)):
            corners = (top * 18 + left, top * 18 + left + 15)
            wanted |= dict.fromkeys([corners, corners[::-1]], share / 2 / 2 / 2)
    wanted |= {(201, 200): 1 / 4, (200, 201): 1 / 4}
    corners = zip(result[:, 0, 0, 0].tolist(), result[:, 0, -1, 0].tolist(), strict=True)
    assert_shares(corners, wanted, within=0.015)


def assert_shares(outcomes, wanted, within):
    outcomes = list(outcomes)
    shares = {outcome: outcomes.count(outcome) / len(outcomes) for outcome in set(outcomes)}
    assert shares.keys() == wanted.keys()
    assert all(abs(shares[outcome] - wanted[outcome]) < within for outcome in wanted)


def test_padding_is_pils_on_the_same_draws():
    plain, _ = random_batch(np.random.default_rng(0), 40, 32, 16)
    draws = draw(np.random.default_rng(1), 40, (32, 16), "pad", 0.0)
    result = crop(torch.from_numpy(plain), None, draws).numpy()
    for i, (_, top, left, is_mirrored) in enumerate(draws.places.tolist()):
        padded = ImageOps.expand(Image.fromarray(plain[i]), 10, fill=0)
        image = padded.crop((left + 10, top + 10, left + 10 + 16, top + 10 + 32))
        assert np.array_equal(
            result[i], np.asarray(ImageOps.mirror(image) if is_mirrored else image)
        )


def test_padding_draws_every_place_evenly():
    places = draw(np.random.default_rng(0), 20_000, (64, 32), "pad", 0.0).places
    assert not places[:, 0].any()
    for column, choices in ((1, range(-10, 11)), (2, range(-10, 11)), (3, range(2))):
        assert_shares(
            places[:, column].tolist(), dict.fromkeys(choices, 1 / len(choices)), within=0.015
        )


def test_no_crop_mirrors_alone():
    plain, _ = random_batch(np.random.default_rng(0), 50, 8, 4)
    draws = draw(np.random.default_rng(1), 50, (8, 4), "none", 0.0)
    result = crop(torch.from_numpy(plain), None, draws).numpy()
    is_mirrored = draws.places[:, 3].bool().numpy()
    assert 0 < is_mirrored.sum() < 50
    assert np.array_equal(result[~is_mirrored], plain[~is_mirrored])
    assert np.array_equal(result[is_mirrored], plain[is_mirrored][:, :, ::-1])


def slow_box(rng, height, width):
    """Random erasing, algorithm 1, once."""
    while True:
        area, aspect = rng.uniform(0.02, 0.4) * height * width, rng.uniform(0.3, 1 / 0.3)
        top, left = rng.integers(height), rng.integers(width)
        rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if top + rows <= height and left + columns <= width:
            return top, left, top + rows, left + columns


def test_erased_boxes_are_spread_as_those_of_the_slow_twin():
    settings, count = ("none", 1.0), 20_000
    boxes = draw(np.random.default_rng(0), count, (32, 16), *settings).boxes.numpy()
    rng = np.random.default_rng(1)
    slow = np.array([slow_box(rng, 32, 16) for _ in range(count)])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [32, 16]).all()
    for fast_side, slow_side in zip(boxes.T, slow.T, strict=True):
        shares = [np.bincount(side, minlength=33) / count for side in (fast_side, slow_side)]
        assert (
            np.abs(np.cumsum(shares[0]) - np.cumsum(shares[1])).max() < 0.02
        )  # Kolmogorov and Smirnov's, at 0.07 %
    areas = [(b - t) * (r - x) for t, x, b, r in (boxes.T, slow.T)]
    assert areas[0].mean() == pytest.approx(areas[1].mean(), rel=0.03)


def test_erasing_comes_as_often_as_its_probability():
    boxes = draw(np.random.default_rng(0), 20_000, (64, 32), "pad", 0.5).boxes
    assert (boxes != 0).any(1).float().mean().item() == pytest.approx(0.5, abs=0.015)


def test_erasing_fills_with_imagenets_mean():
    plain, _ = random_batch(np.random.default_rng(0), 30, 16, 8)
    draws = draw(np.random.default_rng(1), 30, (16, 8), "none", 0.6)
    result = augment(torch.from_numpy(plain), None, draws)
    assert result.is_contiguous(memory_format=torch.channels_last)
    expected = images.normalise(crop(torch.from_numpy(plain), None, draws))
    for image, (top, left, bottom, right) in zip(expected, draws.boxes.tolist(), strict=True):
        image[:, top:bottom, left:right] = 0  # what the mean becomes
    assert torch.equal(result, expected)
    assert (result == 0).all(1).any()


@pytest.mark.parametrize("settings", [PAPERS, ("pad", 0.5)])
def test_a_rank_may_take_its_shard_of_a_batch(settings):
    plain, enlarged = (
        torch.from_numpy(part) for part in random_batch(np.random.default_rng(0), 12, 16, 8)
    )
    enlarged = enlarged if settings[0] == "enlarge" else None
    draws = draw(np.random.default_rng(1), 12, (16, 8), *settings)
    augmented = augment(plain, enlarged, draws)
    for part in (slice(0, 5), slice(5, 12), torch.tensor([3, 3, 0])):
        alone = augment(
            plain[part], None if enlarged is None else enlarged[part], draws.select(part)
        )
        assert torch.equal(alone, augmented[part])


@pytest.mark.parametrize("settings", [PAPERS, ("pad", 0.5), ("none", 1.0)])
@pytest.mark.parametrize(("batch", "height", "width"), [(0, 8, 4), (1, 1, 1), (3, 40, 2)])
def test_empty_and_tiny_batches(settings, batch, height, width):
    plain, enlarged = (
        torch.from_numpy(part)
        for part in random_batch(np.random.default_rng(0), batch, height, width)
    )
    draws = draw(np.random.default_rng(0), batch, (height, width), *settings)
    result = augment(plain, enlarged if settings[0] == "enlarge" else None, draws)
    assert result.shape == (batch, 3, height, width)


def test_enlarged_images_that_do_not_belong_are_refused():
    plain, enlarged = torch.zeros(1, 8, 8, 3).byte(), torch.zeros(1, 9, 9, 3).byte()
    papers, padded = (
        draw(np.random.default_rng(0), 1, (8, 8), name, 0.0) for name in ("enlarge", "pad")
    )
    for images_, draws in ((enlarged[:, :6], papers), (None, papers), (enlarged, padded)):
        with pytest.raises(ValueError, match="high and wide, wanted"):
            crop(plain, images_, draws)
