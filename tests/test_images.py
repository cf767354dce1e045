"""Decoding against PIL one by one, every kind of picture to RGB or refused, normalising by hand."""

import io
import struct
import subprocess
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

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
    counted = lambda *args, **options: opened.append(1) or real(*args, **options)  # noqa: E731
    monkeypatch.setattr(Image, "open", counted)
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
    with pytest.raises(InputError, match=r"image 1.jpg of split query cannot be decoded"):
        images.decode(pack(tmp_path, [good, broken, good]), 16, 8)


# From an image file's bytes to RGB


def pixels(content):
    return np.asarray(prepared.decode_rgb(content))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_eight_bits_are_as_pillow_converts_them(form, mode):
    content = encode(random_image(np.random.default_rng(0), 20, 10).convert(mode), form)
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(pixels(content), np.asarray(image.convert("RGB")))


LEVELS = np.array([[0, 128, 129, 257, 32_768, 65_535]], np.uint16)
SCALED = [0, 0, 1, 1, 128, 255]  # 128 / 257 = 0.498, 129 / 257 = 0.502, 32768 / 257 = 127.502


@pytest.mark.parametrize(
    "content",
    [
        encode(Image.fromarray(LEVELS), "PNG"),
        encode(Image.fromarray(LEVELS), "TIFF"),
        encode(Image.fromarray(LEVELS.astype(np.int32)), "TIFF"),
        encode(Image.frombytes("I;16B", (6, 1), LEVELS.astype(">u2").tobytes()), "TIFF"),
        b"P5 6 1 65535\n" + LEVELS.astype(">u2").tobytes(),
    ],
    ids=["png", "tiff", "32-bit tiff", "big-endian tiff", "pgm"],
)
def test_sixteen_bits_are_scaled(content):
    assert pixels(content).tolist() == [[[level] * 3 for level in SCALED]]


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.full((2, 2), 0.5, np.float32), "floating-point numbers"),
        (np.full((2, 2), 65_536, np.int32), "more than 16 bits"),
        (np.full((2, 2), -1, np.int32), "more than 16 bits"),
        (np.full((2, 2), 255, np.int32), "its levels end at 255"),
        (np.full((2, 2), 255, np.uint16), "its levels end at 255"),
    ],
)
def test_levels_that_nobody_can_scale_are_refused(tmp_path, array, told):
    content = encode(Image.fromarray(array), "TIFF")
    with pytest.raises(
        InputError, match=rf"image 0.jpg of split query cannot be decoded: .*{told}"
    ):
        images.decode(pack(tmp_path, [content]), 16, 8)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_rotated_picture_is_upright(orientation, form):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    random_image(np.random.default_rng(0), 20, 10).save(file, form, exif=exif)
    with Image.open(file) as image:
        upright = ImageOps.exif_transpose(image)
    assert upright.size == ((20, 10) if orientation in (5, 6, 7, 8) else (10, 20))
    assert np.array_equal(pixels(file.getvalue()), np.asarray(upright.convert("RGB")))


def test_a_damaged_exif_header_is_no_orientation():
    image, file = random_image(np.random.default_rng(0), 20, 10), io.BytesIO()
    image.save(file, "JPEG", exif=b"Exif\0\0not a TIFF header")
    assert pixels(file.getvalue()).shape == (20, 10, 3)


RED, BLUE = (200, 10, 20), (10, 20, 200)


def test_transparency_is_ignored():
    seen = Image.new("RGBA", (2, 2), (*RED, 255))
    hidden = Image.new("RGBA", (2, 2), (*RED, 0))
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([*BLUE, *RED])
    file = io.BytesIO()
    palette.save(file, "PNG", transparency=bytes([255, 128]))
    for content in (encode(seen, "PNG"), encode(hidden, "PNG"), file.getvalue()):
        assert (pixels(content) == RED).all()
    gray = Image.merge("LA", [Image.new("L", (2, 2), level) for level in (77, 0)])
    assert (pixels(encode(gray, "PNG")) == 77).all()


def test_one_bit_is_black_or_white():
    bits = np.array([[True, False], [False, False]])
    assert np.array_equal(pixels(encode(Image.fromarray(bits), "PNG"))[:, :, 1], bits * 255)


def test_cmyk_is_ink():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan: red
    for form in ("TIFF", "JPEG"):
        assert np.abs(pixels(encode(image, form)).astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("form", ["GIF", "TIFF", "PNG", "WEBP"])
def test_of_several_frames_it_is_the_first(form):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE))
    file = io.BytesIO()
    lossless = {"lossless": True} if form == "WEBP" else {}
    first.save(file, form, save_all=True, append_images=[second], **lossless)
    assert (pixels(file.getvalue()) == RED).all()


def tiny_png(width, height):
    """A PNG whose header alone says how large it is."""

    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (tiny_png(10_000, 10_000), "10,000 x 10,000 pixels, wanted 1 to 89,478,485"),
        (tiny_png(100_000, 100_000), "decompression bomb"),
        (tiny_png(0, 5), "0 x 5 pixels|none of"),
        (tiny_png(50, 50), "truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "none of JPEG, PNG"),
        (b"", "none of JPEG"),
        (b"P5 3 3 255\n123", "truncated|not enough"),
    ],
)
def test_bombs_and_damage_are_refused(tmp_path, content, told):
    with pytest.raises(InputError, match=rf"image 0.jpg of split query cannot .*({told})"):
        images.decode(pack(tmp_path, [content]), 16, 8)


@pytest.mark.filterwarnings("ignore:::PIL")
def test_any_damage_is_a_value_error():
    """Broken headers and bodies end in a picture or a ValueError."""
    rng = np.random.default_rng(0)
    image = random_image(rng, 20, 10)
    for form in prepared.FORMATS:
        whole = np.frombuffer(encode(image, form), np.uint8)
        for _ in range(150):
            broken = whole[: rng.integers(1, len(whole) + 1)].copy()
            broken[rng.integers(0, len(broken), 3)] = rng.integers(0, 256, 3)
            with suppress(ValueError):
                assert prepared.decode_rgb(broken.tobytes()).mode == "RGB"


FLOOD = """
import sys
from reid import prepared
from reid.runtime import cli

def main():
    try:
        prepared.decode_rgb(bytes.fromhex(sys.argv[1]))
    except ValueError as error:
        print(error)

cli.call(main)
"""


def test_warnings_of_pillow_are_not_shown():
    command = [sys.executable, "-c", FLOOD, tiny_png(10_000, 10_000).hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout[:7], done.stderr) == ("it has ", "")


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
