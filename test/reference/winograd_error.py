"""The error of Winograd's algorithms in 16-bit precisions on whole networks, as the CUDA kernels compute them.

    python test/reference/winograd_error.py [--images 4]

Prints for the embedded digits network (trained) and RepVGG-A0 (seeded, calibrated) the relative L2 error of the logits
against float64 when every stride-1 layer behind the first is direct, F(2x2) or F(4x4): transformed inputs, weights and
products are rounded to the precision, as are maps; the weights of direct layers keep the sum of each kernel; sums and
transforms are in float32. The largest error of a single such layer against float64 of its own inputs and rounded weights
stands beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from calibration import calibrate, synthetic_images
from repvgg_torch import ARCHITECTURES, Architecture, RepVGG, load_model
from rounding_error import FORMATS, keeping_sums

INPUT_SCALE = {2: 1.0, 4: 0.25}  # ChainInputScale of cuda/winograd_chain.h
IMAGES = Path(__file__).parents[2] / 'assets' / 'digits' / 'images'


def matrices(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """A^T, G and B^T of F(side x side, 3x3) by Toom and Cook's method: finite points, then infinity."""
    points = [0.0, 1.0, -1.0] if side == 2 else [0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)]
    n = side + 2
    at, g, bt = np.zeros((side, n)), np.zeros((n, 3)), np.zeros((n, n))
    for j, point in enumerate(points):
        others = [p for p in points if p != point]
        at[:, j] = point ** np.arange(side)
        g[j] = point ** np.arange(3) / np.prod([point - p for p in others])
        bt[j, : n - 1] = np.poly(others)[::-1]
    at[-1, -1] = g[-1, -1] = 1
    bt[-1] = np.poly(points)[::-1]
    return tuple(torch.from_numpy(m) for m in (at, g, bt))


def winograd(x: Tensor, weight: Tensor, bias: Tensor, side: int, kind: torch.dtype) -> Tensor:
    at, g, bt = matrices(side)
    scale, (count, _, height, width) = INPUT_SCALE[side], x.shape
    down, across = -(-height // side), -(-width // side)
    padded = F.pad(x.float(), (1, across * side + 1 - width, 1, down * side + 1 - height))
    tiles = padded.unfold(2, side + 2, side).unfold(3, side + 2, side)  # [N, C, down, across, n, n]
    at, bt = at.float(), bt.float()
    v = ((bt @ tiles @ bt.T) * scale).to(kind).float()
    u = ((g @ weight.double() @ g.T) / scale).float().to(kind).float()
    m = torch.einsum('ncyxij,kcij->nkyxij', v, u).to(kind).float()
    out = (at @ m @ at.T).permute(0, 1, 2, 4, 3, 5).reshape(count, -1, down * side, across * side)
    return out[:, :, :height, :width] + bias[:, None, None]


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got.double() - expected).norm() / expected.norm())


def measure(model: RepVGG, x: Tensor, kind: torch.dtype, side: int) -> tuple[float, float]:
    worst, exact, maps = 0.0, x.double(), x.float()
    for index, block in enumerate(model.blocks()):
        weight, bias = (t.double() for t in block.fused())
        stride = block.rbr_dense.conv.stride[0]
        exact = F.conv2d(exact, weight, bias, stride, 1).relu()
        if index > 0:
            weight = keeping_sums(weight, kind) if side == 0 or stride != 1 else weight
        own = F.conv2d(maps.double(), weight, bias, stride, 1).relu()
        if index > 0 and stride == 1 and side > 0:
            maps = winograd(maps, weight, bias.float(), side, kind).relu()
        else:
            maps = F.conv2d(maps, weight.float(), bias.float(), stride, 1).relu()
        maps = maps.to(kind).float()
        if index > 0 and stride == 1:
            worst = max(worst, relative(maps, own))
    head = (model.linear.weight.double(), model.linear.bias.double())
    logits = F.linear(maps.double().mean((2, 3)), *head)
    return relative(logits, F.linear(exact.mean((2, 3)), *head)), worst


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--images', type=int, default=4)
    count = parser.parse_args().images
    torch.manual_seed(0)
    shape = Architecture((1, 2, 2, 1), (0.25, 0.25, 0.25, 0.25), num_classes=10)
    digits = load_model(IMAGES.parent / 'digits.pth', shape).eval()
    pixels = [np.asarray(Image.open(path).convert('RGB').resize((32, 32))) for path in sorted(IMAGES.glob('*.png'))]
    scans = torch.from_numpy(np.stack(pixels[:count])).permute(0, 3, 1, 2).float() / 127.5 - 1
    a0 = calibrate(RepVGG(ARCHITECTURES['RepVGG-A0']), 0, synthetic_images(4, 0, 224)).eval()
    photos = synthetic_images(count, 1, 224)
    with torch.no_grad():
        for name, model, x in (('digits', digits, scans), ('RepVGG-A0, seeded', a0, photos)):
            for precision, kind in FORMATS.items():
                for side, algorithm in ((0, 'direct'), (2, 'F(2x2)'), (4, 'F(4x4)')):
                    logits, layer = measure(model, x, kind, side)
                    print(f'{name}, {precision}, {algorithm}: logits {logits:.1e}, worst layer {layer:.1e}')


if __name__ == '__main__':
    main()
