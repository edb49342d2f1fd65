"""Which parts the error of bf16 or fp16 has: a model of the rounding of direct convolution, not the kernels.

    python test/reference/rounding_error.py [--format bf16] [--models A0 A2 B1g4] [--seed 0]

Prints, for seeded full-size networks on four photographs, the relative L2 error of the logits against float64 when only
weights, only activations or only normalised pixels are rounded to the format, and when all are, as before and after
engine/kernel_rounding.h and cpu/bf16_input.h. Sums are in float32.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from calibration import calibrate, synthetic_images
from full_size import photographs
from preprocessing import decode, preprocess
from repvgg_torch import ARCHITECTURES, RepVGG, normalised


FORMATS = {'fp16': torch.float16, 'bf16': torch.bfloat16}


def nearest(x: Tensor, kind: torch.dtype) -> Tensor:
    return x.float().to(kind).to(x.dtype)


def keeping_sums(weight: Tensor, kind: torch.dtype) -> Tensor:
    """RoundKernel of engine/kernel_rounding.h, for all kernels at once."""
    kernels = weight.flatten(2).double()
    order = kernels.abs().argsort(dim=2, descending=True, stable=True)
    rest = torch.zeros(kernels.shape[:2], dtype=torch.float64)
    rounded = torch.empty_like(kernels)
    for i in range(9):
        tap = order[:, :, i : i + 1]
        value = kernels.gather(2, tap)[:, :, 0]
        became = nearest(value + rest / (9 - i), kind)
        rounded.scatter_(2, tap, became[:, :, None])
        rest += value - became
    return rounded.view_as(weight)


def logits(model: RepVGG, x: Tensor, weights=None, maps=None, kind=torch.float32) -> Tensor:
    x = x.to(kind)
    for block in model.blocks():
        weight, bias = (t.float() for t in block.fused())
        if weights:
            weight = weights(weight)
        conv = block.rbr_dense.conv
        x = F.conv2d(x, weight.to(kind), bias.to(kind), conv.stride, 1, groups=conv.groups)
        if hasattr(block, 'se'):
            x = block.se.to(kind)(maps(x) if maps else x)
        x = maps(x.relu()) if maps else x.relu()
    return F.linear(x.double().mean((2, 3)), model.linear.weight.double(), model.linear.bias.double())


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--format', choices=FORMATS, default='bf16')
    parser.add_argument('--models', nargs='+', default=['A0', 'A2', 'B1g4'])
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args()
    to_nearest = partial(nearest, kind=FORMATS[options.format])
    with_sums = partial(keeping_sums, kind=FORMATS[options.format])
    with tempfile.TemporaryDirectory() as folder:
        photos = [preprocess(decode(photo), 256, 224, 'bilinear') for photo in photographs(Path(folder))]
    x = torch.cat([normalised(pixels, dtype=torch.float64) for pixels in photos])
    for name in options.models:
        model = RepVGG(ARCHITECTURES[f'RepVGG-{name}'])
        calibrate(model, options.seed, synthetic_images(24, seed=7, size=224))
        expected = logits(model, x, kind=torch.float64)
        for what, pixels, weights, maps in (
            ('weights to nearest', x, to_nearest, None),
            ('weights, sums kept', x, with_sums, None),
            ('pixels', to_nearest(x), None, None),
            ('activations', x, None, to_nearest),
            ('all to nearest', to_nearest(x), to_nearest, to_nearest),
            ('activations, and weights with sums kept', x, with_sums, to_nearest),
        ):
            error = logits(model, pixels, weights, maps) - expected
            print(f'{name}, {what}: {float(error.norm() / expected.norm()):.1e}', flush=True)


if __name__ == '__main__':
    main()
