"""Image files of any size and colour -> uint8 pixels of an agreed shape.

Every picture is turned upright (EXIF), put on white where it is transparent, converted to grey or RGB, and scaled to
the agreed square as a whole: nothing is cropped, proportions are not kept. Of 16 bits the upper 8 are taken; of
an animation the first frame. Pixels depend on the decoder: another version of Pillow may round otherwise.
"""

from __future__ import annotations

import time
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from amint_mpc.data.files import Listing, instead, left_out
from amint_mpc.errors import DataError
from amint_mpc.events import OnNotice

MAX_PIXELS = 1 << 26  # of one file, unpacked: 200 MB in colour. Cameras stay below, image bombs do not
TELL_EVERY_S = 5.0

# Pillow reads more, but not all of it safely: for EPS it starts Ghostscript on the file.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
_HINT = "Replace or remove it, and take its line out of the list that names it, if there is one."


def read_pictures(listing: Listing, shape: tuple[int, int, int], on_notice: OnNotice) -> tuple[Tensor, Tensor]:
    """Read all files of a listing.

    Args:
        shape: (C, H, W) of every image in the result.
        on_notice: told what was left out, and every few seconds how far it is.

    Returns:
        Images uint8 [N, C, H, W] and labels int64 [N].

    Raises:
        DataError: a file cannot be read; nothing is returned then.
    """
    total = len(listing.paths)
    if passed_over := left_out(listing.passed_over):
        on_notice(f"left out beside the images: {passed_over}")
    try:
        pixels = np.empty((total, *shape), dtype=np.uint8)
    except MemoryError:
        raise DataError(f"{total:,} images of {shape} do not fit into memory", "Lower data.image_size.") from None
    told = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged metadata, which plays no part here
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for row, path in enumerate(listing.paths):
            pixels[row] = read_picture(path, shape)
            if (now := time.monotonic()) - told >= TELL_EVERY_S:
                told = now
                on_notice(f"{row + 1:,} of {total:,} images read")
    return torch.from_numpy(pixels), torch.tensor(listing.labels, dtype=torch.int64)


def read_picture(path: Path, shape: tuple[int, int, int], scale: bool = True) -> NDArray[np.uint8]:
    """One image file, uint8 [C, H, W].

    Args:
        scale: take an image of another size, scaled; else refuse it.

    Raises:
        DataError: no image, a damaged one, one with too many pixels, of another size, or with pixels of an unclear
            range.
    """
    channels, height, width = shape
    try:
        with Image.open(path, formats=_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            image.draft(
                None, (2 * width, 2 * height)
            )  # a large JPEG is unpacked at half, quarter or eighth of its size
            ImageOps.exif_transpose(image, in_place=True)
            flat = _eight_bits(image, path).convert("L" if channels == 1 else "RGB")
        if flat.size != (width, height):
            if not scale:
                raise DataError(
                    f"{path} has {flat.width} x {flat.height} pixels, the images of this data set {width} x {height}",
                    "An image that was scaled is another image.",
                )
            flat = flat.resize((width, height), Image.Resampling.BILINEAR)
        pixels: NDArray[Any] = np.asarray(flat).reshape(height, width, channels).transpose(2, 0, 1)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{path} has more than {MAX_PIXELS:,} pixels", "Scale it down, or remove it.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image that is read here: {instead(path)}", _HINT) from None
    except Exception as error:  # decoders of damaged files raise errors of every kind
        raise DataError(f"{path} cannot be read: {error or type(error).__name__}", _HINT) from None
    return pixels


def _eight_bits(image: ImageFile.ImageFile, path: Path) -> Image.Image:
    """The same image with 8 bits a channel and no transparency. Pillow alone would clip 16 bits to 255."""
    if image.mode.startswith("I;16") or (
        image.mode == "I" and image.format in ("PNG", "PPM")
    ):  # these hold no more than 16
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        numbers = "32-bit whole numbers" if image.mode == "I" else "floating-point numbers"
        raise DataError(f"{path} has {numbers} as pixels, of which none is known as white", "Convert it to 16 bits.")
    if image.has_transparency_data:
        drawn = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn)
    return image


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)
