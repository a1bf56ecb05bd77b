"""Images as Pillow opens them: animations, orientation, and conversion of modes."""

from PIL import Image, ImageMath
from PIL.Image import Transpose

# By the value of the EXIF tag "Orientation".
_ORIENTATION = 0x0112
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
# Pillow scales grey samples of these bit depths to 8, but not the level marked as transparent.
_WIDENED = {"1": 255, "L;2": 85, "L;4": 17}


def is_animated(image: Image.Image) -> bool:
    """Return whether the image moves.

    A phone's JPEG may hold several pictures (MPO), such as a depth map: the first is the photo.
    """
    return image.format != "MPO" and getattr(image, "n_frames", 1) > 1


def load(image: Image.Image) -> None:
    """Decode the pixels of an image that was just opened."""
    tiles = getattr(image, "tile", None)
    if image.format == "PNG" and tiles and isinstance(image.info.get("transparency"), int):
        image.info["transparency"] *= _WIDENED.get(tiles[0].args, 1)
    image.load()


def upright(image: Image.Image) -> Image.Image:
    """Return the image turned as its EXIF says.

    Pillow's `exif_transpose` also rewrites the EXIF, and fails where a value is of a wrong type.
    """
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 # Pillow's parser raises anything; viewers ignore bad EXIF
        return image
    return image if turn is None else image.transpose(turn)


def in_full_colour(image: Image.Image) -> Image.Image:
    """Return the image in RGBA (CMYK stays CMYK): images with a palette do not scale smoothly."""
    if image.mode == "CMYK":
        return image
    if image.mode.startswith("I;16"):
        return _of_16_bits(image)
    return image.convert("RGBA")


def _of_16_bits(image: Image.Image) -> Image.Image:
    """Return the grey image in RGBA; Pillow's own conversion clips 16-bit values at 255."""
    clear = image.info.pop("transparency", None)
    shown = image.point(lambda level: level * (1 / 257)).convert("L").convert("RGBA")
    if clear is not None:
        grey = image.convert("I")
        alpha = ImageMath.lambda_eval(lambda images: (images["grey"] != clear) * 255, grey=grey)
        shown.putalpha(alpha.convert("L"))
    return shown
