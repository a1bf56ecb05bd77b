"""Images of brands have the colours and the picture that a viewer shows."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from worker_server.media.branding.normalize import BrandFileRefused, normalize_image

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


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def grey_png(bits: int, levels: tuple[int, int], clear: int) -> bytes:
    """Return 16 x 8 pixels of grey, left and right half of a level, one of which is transparent."""
    halves = [format(level, f"0{bits}b") * 8 for level in levels]
    row = int("".join(halves), 2).to_bytes(2 * bits, "big")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 8, bits, 0, 0, 0, 0))
    transparent = chunk(b"tRNS", struct.pack(">H", clear))
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + row) * 8))
    return b"\x89PNG\r\n\x1a\n" + header + transparent + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("bits", "levels", "clear", "shown"),
    [
        (1, (0, 1), 0, 255),
        (1, (1, 0), 1, 0),
        (2, (3, 1), 3, 85),
        (4, (7, 15), 7, 255),
        (8, (200, 100), 200, 100),
        (16, (0xFFFF, 100 * 257), 0xFFFF, 100),
    ],
)
def test_transparent_level_of_grey_is_transparent(
    bits: int, levels: tuple[int, int], clear: int, shown: int, tmp_path: Path
) -> None:
    """PNG 11.3.2.1: as optimizers write a logo of black and white."""
    picture = normalized(grey_png(bits, levels, clear), tmp_path)
    assert picture.getchannel("A").getpixel((3, 3)) == 0
    assert picture.getpixel((12, 3)) == (shown, shown, shown, 255)


def exif(*entries: tuple[int, int, bytes]) -> bytes:
    """Return EXIF with these entries of one value each (tag, type, four bytes), upright by 90°."""
    tags = (*entries, (0x0112, 3, struct.pack("<HH", 6, 0)))
    written = b"".join(struct.pack("<HHI", tag, kind, 1) + value for tag, kind, value in tags)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags)) + written + bytes(4)


MINUS_FIVE = struct.pack("<i", -5)
# Each is wrong, and viewers show the picture.
BAD_METADATA = {
    "signed width": {"exif": exif((0x0100, 9, MINUS_FIVE))},
    "signed ratio": {"exif": exif((0x011A, 10, struct.pack("<I", 10)))},
    "cut off": {"exif": exif()[:18]},
    "no exif": {"exif": b"something else"},
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", BAD_METADATA)
def test_picture_is_accepted_with_bad_metadata(name: str, kind: str, tmp_path: Path) -> None:
    content = encoded(Image.new("RGB", (64, 36), RED), kind, **BAD_METADATA[name])
    size = normalized(content, tmp_path).size
    assert size == ((36, 64) if name.startswith("signed") else (64, 36))


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt"])
def test_png_with_large_metadata_is_taken(kind: bytes, tmp_path: Path) -> None:
    """As of a printer's profile, or what an editor has written of its layers."""
    content = encoded(Image.new("RGB", (64, 36), RED))
    large = chunk(kind, b"name\0\0" + zlib.compress(bytes(3_000_000)))
    assert normalized(content[:33] + large + content[33:], tmp_path).size == (64, 36)


@pytest.mark.parametrize("kind", [b"gAMA", b"cHRM", b"tRNS", b"pHYs", b"acTL", b"IHDR"])
def test_png_with_a_short_chunk_after_the_picture_is_refused(kind: bytes, tmp_path: Path) -> None:
    """For some of them Pillow raises errors of `struct`, which counted as a crash: 500."""
    whole = encoded(Image.new("RGB", (64, 36)))
    end = len(chunk(b"IEND", b""))
    with pytest.raises(BrandFileRefused) as refused:
        normalized(whole[:-end] + chunk(kind, b"\1") + whole[-end:], tmp_path)
    assert refused.value.fault == "brand_file_broken"
