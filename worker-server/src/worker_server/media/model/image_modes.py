"""The modes in which Pillow opens images."""

from PIL import Image


def in_full_colour(image: Image.Image) -> Image.Image:
    """Return the image in RGBA, or in CMYK where it is that: palettes cannot be scaled smoothly.

    Grey images of 16 bits lose their transparent level, if they have one.
    """
    if image.mode == "CMYK":
        return image
    if image.mode.startswith("I;16"):  # Pillow itself would make white of all above 255
        image.info.pop("transparency", None)
        image = image.point(lambda level: level * (1 / 257)).convert("L")
    return image.convert("RGBA")
