"""Images as Pillow opens them: animations, and conversion of modes."""

from PIL import Image


def is_animated(image: Image.Image) -> bool:
    """Return whether the image moves.

    A phone's JPEG may hold several pictures (MPO), such as a depth map: the first is the photo.
    """
    return image.format != "MPO" and getattr(image, "n_frames", 1) > 1


def in_full_colour(image: Image.Image) -> Image.Image:
    """Return the image in RGBA (CMYK stays CMYK): images with a palette do not scale smoothly.

    Grey images of 16 bits lose the level that is marked transparent, if there is one.
    """
    if image.mode == "CMYK":
        return image
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips 16-bit values at 255
        image.info.pop("transparency", None)
        image = image.point(lambda level: level * (1 / 257)).convert("L")
    return image.convert("RGBA")
