"""Pictures of every mode and format: packed as they are, decoded as what they show, or refused."""

import io
import struct
import zlib

import numpy as np
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from reid import images, prepared
from tests.soak import raw
from tests.soak.kinds import REFUSED, RIGHT, tries
from tests.soak.outcomes import call

FORMATS = {
    "RGB": ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"),
    "L": ("PNG", "JPEG", "BMP", "TIFF", "PPM"),
    "LA": ("PNG", "TIFF"),
    "P": ("PNG", "GIF", "BMP", "TIFF"),
    "RGBA": ("PNG", "TIFF", "WEBP"),
    "CMYK": ("JPEG", "TIFF"),
    "1": ("PNG", "BMP", "TIFF", "PPM"),
    "I;16": ("PNG", "TIFF"),
    "F": ("TIFF",),
    "YCbCr": ("JPEG",),
    "LAB": ("TIFF",),
    "HSV": ("TIFF",),
}
CASES = sorted((mode, kind) for mode, kinds in FORMATS.items() for kind in kinds)
FINE = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}
COARSE = {"CMYK": 25, "LAB": 25}  # largest differences in levels; 2 elsewhere, 16 in JPEG
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 60))
HEIGHT, WIDTH = 32, 16


def encoded(mode, kind, shown, orientation):
    """The array [H, W, 3] uint8 as the bytes of a picture file; None where PIL writes none."""
    rgb, exif = Image.fromarray(shown), Image.Exif()
    if mode == "I;16":  # the full range of a camera's 16 bits
        picture = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    elif mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(rgb, *profiles, outputMode="LAB")
    elif mode in ("LA", "RGBA"):
        picture = rgb.convert(mode)  # opaque
    else:
        picture = rgb.convert(mode)
    named, out = dict(FINE.get(kind, {})), io.BytesIO()
    if orientation > 1 and kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        exif[0x0112] = orientation
        named["exif"] = exif
    try:
        picture.save(out, kind, **named)
    except (OSError, KeyError, ValueError):
        return None
    return out.getvalue()


def in_mode(shown, mode):
    """What is left of an array [H, W, 3] in a mode: grey, few colours, two levels with a dither."""
    picture = Image.fromarray(shown)
    if mode in ("L", "LA", "I;16", "F"):
        picture = picture.convert("L")
    elif mode in ("1", "P"):
        picture = picture.convert(mode)
    return np.asarray(picture.convert("RGB"))


def difference(decoded, view):
    """How far a decoded picture is from a view [H, W, 3] of what it shows, resized, in levels."""
    wanted = Image.fromarray(view).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    return np.abs(decoded.astype(int) - np.asarray(wanted).astype(int)).max()


def packed_and_decoded(folder, role):
    """What prepare packed of the picture in `role`, and the network's view of it."""
    split = prepared.read(folder / "out" / role)
    outcome = call(images.decode, split, HEIGHT, WIDTH)
    assert not outcome.is_refused, f"prepared, and then refused: {outcome.text}"
    return split.content(0), outcome.value[0]


def try_picture(folder, content, suffix, role):
    """Prepare a dataset in which one picture has these bytes -> Outcome."""
    rows = [(name, pid, camid, split) for name, pid, camid, split in raw.ROWS]
    at = next(number for number, row in enumerate(rows) if row[3] == role)
    rows[at] = (f"{role}/the_one.{suffix}", *rows[at][1:])
    mine = folder / "raw" / "mine"
    raw.write_pictures(mine)
    (mine / rows[at][0]).write_bytes(content)
    (mine / "images.csv").write_text(raw.csv_text(rows), encoding="utf-8")
    outcome = raw.prepare(folder)
    assert not outcome.is_refused or "the_one" in outcome.text, outcome.text
    return outcome


@tries(
    "pictures of any mode, format, size and orientation",
    *(25, 2500),
    case=st.sampled_from(CASES),
    size=SIZES,
    orientation=st.integers(1, 8),
    role=st.sampled_from(raw.SPLITS),
)
def test_a_picture_is_seen_as_it_is_or_refused(fresh, case, size, orientation, role):
    folder, (mode, kind) = fresh(), case
    shown = raw.gradient(*size)
    content = encoded(mode, kind, shown, orientation)
    if content is None:
        return REFUSED  # by PIL, which writes no such file
    outcome = try_picture(folder, content, kind.lower(), role)
    if outcome.is_refused:
        assert mode in ("I;16", "F", "LAB", "HSV"), outcome.text
        return REFUSED
    packed, decoded = packed_and_decoded(folder, role)
    assert packed == content
    coarse = COARSE.get(mode, 16 if kind == "JPEG" else 2)
    seen = in_mode(shown, mode)
    views = [seen, np.asarray(ImageOps.exif_transpose(with_orientation(seen, orientation)))]
    off = [difference(decoded, view) for view in views]
    assert min(off) <= coarse, f"{mode} in {kind} is off by {min(off)} levels"
    if role == "query":
        check_partial(folder, views, off, size)
    return RIGHT


def with_orientation(shown, orientation):
    """A picture whose EXIF says how it is to be turned."""
    picture = Image.fromarray(shown)
    picture.getexif()[0x0112] = orientation
    return picture


def check_partial(folder, views, off, size):
    """Assert that the partial query was cut from the view that the network sees."""
    split = prepared.read(folder / "out" / "query_partial")
    with Image.open(io.BytesIO(split.content(0))) as partial:
        seen = views[int(np.argmin(off))]
        is_either = abs(off[0] - off[1]) < 1 or size[0] == size[1]
        assert is_either or partial.size == seen.shape[1::-1], "the two views differ"


@tries(
    "pictures cut short, changed or of another content",
    *(15, 1500),
    case=st.sampled_from([case for case in CASES if case[0] in ("RGB", "L", "P", "RGBA")]),
    size=SIZES,
    damage=st.sampled_from(["cut", "flip", "zeros", "html", "empty", "bomb", "animation"]),
    share=st.floats(0, 1),
    role=st.sampled_from(raw.SPLITS),
)
def test_a_damaged_picture_is_refused_or_decodes(fresh, case, size, damage, share, role):
    folder, (mode, kind) = fresh(), case
    content = bytearray(encoded(mode, kind, raw.gradient(*size), 1))
    at = min(int(share * len(content)), len(content) - 1)
    if damage == "cut":
        del content[at:]
    elif damage == "flip":
        content[at] ^= 0x41
    elif damage == "zeros":
        content[at:] = bytes(len(content) - at)
    else:
        content = {"html": HTML, "empty": b"", "bomb": bomb(), "animation": animation()}[damage]
    outcome = try_picture(folder, content, kind.lower(), role)
    if outcome.is_refused:
        assert damage != "animation", outcome.text
        return REFUSED
    assert damage not in ("html", "empty", "bomb"), f"{damage} was accepted"
    packed, _ = packed_and_decoded(folder, role)
    assert packed == content
    return RIGHT


HTML = b"<!DOCTYPE html><html><body>404 not found</body></html>"


def bomb():
    """A PNG of some bytes that says it has 2,500,000,000 pixels."""

    def chunk(name, data):
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def animation():
    """A GIF of two frames."""
    frames = [Image.fromarray(raw.gradient(8, 9, seed)) for seed in (0, 1)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    return out.getvalue()
