"""The six cameras of the built-in benchmark: where they look, and what their optics and recorders
do to a picture.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from reid.datasets.synthetic.canvas import MIDDLE, Canvas


@dataclass(frozen=True)
class Camera:
    """One camera: ground and backdrop, its colours, its sharpness, its place (tilt) and the way
    people walk past it.
    """

    ground: str
    backdrop: str
    gains: tuple[float, float, float]
    contrast: float
    saturation: float
    brightness: float
    blur: float
    noise: float
    detail: float  # resolution as a share of the image's
    tilt: float
    side: float  # where the light comes from
    sun: float
    heading: float
    quality: int  # of the recording's JPEG compression


CAMERAS = [
    Camera(
        "slabs", "trees", (1.04, 1.00, 0.92),
        1.10, 1.05, 1.06, 0.3, 3, 0.95, 0.22, 0.8, 0.6, 0.0, 90,
    ),
    Camera(
        "grass", "hedge", (0.95, 1.05, 0.96),
        1.00, 1.10, 1.00, 0.5, 4, 0.80, 0.30, -0.6, 0.4, 1.3, 70,
    ),
    Camera(
        "road", "building", (0.92, 0.99, 1.12),
        0.85, 0.80, 0.92, 0.7, 6, 0.70, 0.36, 0.3, 0.2, 2.6, 42,
    ),
    Camera(
        "tiles", "shop", (1.10, 0.99, 0.84),
        0.95, 0.95, 0.84, 0.6, 6, 0.75, 0.26, -0.3, 0.1, 3.3, 50,
    ),
    Camera(
        "bricks", "wall", (1.02, 0.97, 1.00),
        1.22, 1.00, 0.90, 0.4, 5, 0.85, 0.32, 0.9, 0.8, 4.6, 90,
    ),
    Camera(
        "concrete", "bikes", (0.96, 1.00, 1.04),
        0.76, 0.66, 1.16, 0.9, 5, 0.60, 0.40, -0.9, 0.2, 5.6, 40,
    ),
]  # fmt: skip


def photograph(
    canvas: Canvas, camid: int, shift: float, generator: np.random.Generator
) -> Image.Image:
    """Take the picture, half the canvas's size, as camera `camid` (1-6) does; `shift` in [0, 1]:
    how far from plainly.

    Light, white balance, contrast and saturation come first, then lost detail, blur, noise and
    compression.
    """
    camera, vary = CAMERAS[camid - 1], generator.normal(0, 1, 5)
    level = camera.brightness**shift * (1 + 0.1 * shift * vary[3])
    light = _light(canvas.shade, level, 0.12 * shift * generator.uniform(-1, 1))
    matrix, offset = _colours(camera, shift, vary)
    pixels = (np.asarray(canvas.colour.reduce(2), np.float32) * light[..., None]) @ matrix + offset
    picture = _soften(_picture(pixels), camera, shift, generator)
    size = (picture.height, picture.width, 1)
    noise = generator.standard_normal(size, np.float32) * np.float32(camera.noise * shift)
    picture = _picture(np.asarray(picture, np.float32) + noise)
    return _compress(picture, round(95 - shift * (95 - camera.quality)))


def _light(shade: Image.Image, level: float, slope: float) -> np.ndarray:
    """What each pixel [H, W] of the picture is multiplied by: brighter or darker downwards."""
    shade = shade.reduce(2).filter(ImageFilter.BoxBlur(shade.height / 340))
    rows = np.linspace(-1, 1, shade.height, dtype=np.float32)[:, None]
    ramp = level * (1 + slope * rows)
    return np.asarray(shade, np.float32) * (ramp / MIDDLE).astype(np.float32)


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _colours(camera: Camera, shift: float, vary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Saturation, contrast and white balance as one matrix [3, 3] and offset [3] for rows of
    RGB.
    """
    gains = np.array(camera.gains) ** shift * (1 + 0.02 * shift * vary[:3])
    saturation = camera.saturation**shift
    contrast = camera.contrast**shift * (1 + 0.06 * shift * vary[4])
    grey = np.array([[0.3], [0.59], [0.11]]) @ np.ones((1, 3))
    matrix = contrast * (saturation * np.eye(3) + (1 - saturation) * grey) * gains
    return matrix.astype(np.float32), (118 * (1 - contrast) * gains).astype(np.float32)


def _soften(
    picture: Image.Image, camera: Camera, shift: float, generator: np.random.Generator
) -> Image.Image:
    """Lose detail, as a person far away does, and focus."""
    size, detail = picture.size, 1 - shift * (1 - camera.detail * generator.uniform(0.75, 1.1))
    if detail < 0.95:
        small = (max(8, round(size[0] * detail)), max(8, round(size[1] * detail)))
        picture = picture.resize(small, Image.Resampling.BILINEAR).resize(
            size, Image.Resampling.BICUBIC
        )
    blur = shift * camera.blur * generator.uniform(0.6, 1.4)
    return picture.filter(ImageFilter.BoxBlur(blur)) if blur > 0.25 else picture


def _compress(picture: Image.Image, quality: int) -> Image.Image:
    """What a recorder's compression leaves of the picture."""
    if quality > 85:
        return picture
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
