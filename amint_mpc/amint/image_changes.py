"""What may happen to an image between its training and an audit: uint8 [n, C, H, W] in, the same out."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class ImageChange:
    """A change by name; `apply` is deterministic."""

    name: str
    title: str
    apply: Callable[[Tensor], Tensor]


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Encoded as JPEG and decoded again, by Pillow. 1 or 3 channels."""
    return torch.stack([_jpeg_again(image.permute(1, 2, 0), quality) for image in images])


def _jpeg_again(pixels: Tensor, quality: int) -> Tensor:
    """uint8 [H, W, C] -> uint8 [C, H, W]."""
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(2).numpy()).save(file, "JPEG", quality=quality)
    with Image.open(file) as coded:
        return torch.from_numpy(np.array(coded)).view(pixels.shape).permute(2, 0, 1)


def shift(images: Tensor, pixels: int) -> Tensor:
    """Moved right and down by so many pixels; what comes in at the border repeats the edge."""
    height, width = images.shape[2:]
    rows, columns = (torch.arange(-pixels, size - pixels).clamp_min(0) for size in (height, width))
    return images[:, :, rows][..., columns]


def flip(images: Tensor) -> Tensor:
    """Mirrored, left to right."""
    return images.flip(3)


def noise(images: Tensor, deviation: float) -> Tensor:
    """Normal noise of this standard deviation, in units of the full range, rounded and clipped; always the same."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(images.shape, generator=generator) * (deviation * 255)
    return (images + drawn).round().clamp(0, 255).to(torch.uint8)


IMAGE_CHANGES: tuple[ImageChange, ...] = (
    *(ImageChange(f"jpeg-{q}", f"JPEG, quality {q}", partial(jpeg, quality=q)) for q in (75, 50, 25)),
    *(ImageChange(f"shift-{n}", f"Shift by {n} px", partial(shift, pixels=n)) for n in (1, 2)),
    ImageChange("flip", "Horizontal flip", flip),
    *(ImageChange(f"noise-{p}", f"Noise, {p} % of the range", partial(noise, deviation=p / 100)) for p in (5, 10)),
)
