"""Decoding and resizing by Pillow, with the geometry of torchvision's Resize(int) and CenterCrop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def decode(path: Path) -> Image.Image:
    return Image.open(path).convert('RGB')


def preprocess(image: Image.Image, resize: int, crop: int, interpolation: str) -> np.ndarray:
    """uint8 [crop, crop, 3], crop <= resize. The long side is truncated; the crop's offset rounds half to even."""
    short, long = sorted(image.size)
    long = int(resize * long / short)
    if short != resize:
        size = (resize, long) if image.width <= image.height else (long, resize)
        image = image.resize(size, Image.Resampling[interpolation.upper()])
    left, top = round((image.width - crop) / 2), round((image.height - crop) / 2)
    return np.asarray(image.crop((left, top, left + crop, top + crop)))
