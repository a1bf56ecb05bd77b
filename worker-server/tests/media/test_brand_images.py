"""Images of brands have the colours and the picture that a viewer shows."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from worker_server.media.branding.normalize import normalize_image

RED = (220, 30, 30)


def normalized(content: bytes, folder: Path) -> Image.Image:
    path, output = folder / "image", folder / "image.png"
    path.write_bytes(content)
    normalize_image(path, output, None)
    with Image.open(output) as opened:
        picture: Image.Image = opened.convert("RGBA")
    return picture


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def profile_with_red_and_blue_exchanged() -> bytes:
    """Return an ICC profile of RGB in which the first channel is blue's."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"....").replace(b"bXYZ", b"rXYZ").replace(b"....", b"bXYZ")


def stripes(mode: str) -> Image.Image:
    """Return columns of black and white, too fine for 1920 pixels: seen from afar it is grey."""
    columns = np.tile(np.array([0, 255], np.uint8), (40, 1920))
    return Image.fromarray(columns).convert(mode)


GREY_OF_16_BITS = Image.fromarray(np.full((36, 64), 100 * 257, np.uint16))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(GREY_OF_16_BITS), (100, 100, 100)),
        (encoded(stripes("P")), (127, 127, 127)),
        (encoded(stripes("1")), (127, 127, 127)),
        (encoded(Image.new("CMYK", (64, 36), (255, 0, 0, 0)), "JPEG"), (0, 255, 255)),
        (
            encoded(
                Image.new("RGB", (64, 36), (200, 40, 0)),
                icc_profile=profile_with_red_and_blue_exchanged(),
            ),
            (0, 40, 200),
        ),
        (encoded(Image.new("RGB", (64, 36), RED), icc_profile=b"no profile"), RED),
    ],
    ids=["16 bits", "palette", "1 bit", "cmyk", "icc", "broken icc"],
)
def test_picture_has_the_colours_that_a_viewer_shows(
    content: bytes, expected: tuple[int, int, int], tmp_path: Path
) -> None:
    picture = normalized(content, tmp_path)
    middle = picture.getpixel((picture.width // 2, picture.height // 2))
    assert np.abs(np.array(middle) - (*expected, 255)).max() <= 2


def test_first_picture_of_a_phones_jpeg_is_taken(tmp_path: Path) -> None:
    depths = Image.new("L", (32, 18), 50)
    photo = Image.new("RGB", (64, 36), RED)
    content = encoded(photo, "MPO", save_all=True, append_images=[depths])
    assert normalized(content, tmp_path).size == (64, 36)
