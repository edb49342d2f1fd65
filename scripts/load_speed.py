"""Times from a training checkpoint to fused weights in PyTorch, for scripts/load_speed.mjs: prints seconds as JSON.

    python scripts/load_speed.py TRAIN.pth TRAIN.safetensors      (official names)
"""

from __future__ import annotations

import json
import sys
import time

import torch
from safetensors.torch import load_file
from torch import Tensor

EPS = 1e-5


def affine(state: dict[str, Tensor], norm: str) -> tuple[Tensor, Tensor]:
    scale = state[f'{norm}.weight'] / torch.sqrt(state[f'{norm}.running_var'] + EPS)
    return scale, state[f'{norm}.bias'] - state[f'{norm}.running_mean'] * scale


@torch.no_grad()
def fuse(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """In float32 and block by block, as the official code does it (arXiv 2101.03697, section 3.3)."""
    fused = {key: value for key, value in state.items() if not ('.rbr_' in key or 'num_batches' in key)}
    for key in state:
        if not key.endswith('.rbr_dense.conv.weight'):
            continue
        block = key.removesuffix('.rbr_dense.conv.weight')
        scale, bias = affine(state, f'{block}.rbr_dense.bn')
        kernel = state[key] * scale.view(-1, 1, 1, 1)
        scale, shift = affine(state, f'{block}.rbr_1x1.bn')
        pointwise = state[f'{block}.rbr_1x1.conv.weight'] * scale.view(-1, 1, 1, 1)
        kernel = kernel + torch.nn.functional.pad(pointwise, [1, 1, 1, 1])
        bias = bias + shift
        if f'{block}.rbr_identity.weight' in state:
            scale, shift = affine(state, f'{block}.rbr_identity')
            channel = torch.arange(len(scale))
            kernel[channel, channel % kernel.shape[1], 1, 1] += scale
            bias = bias + shift
        fused[f'{block}.rbr_reparam.weight'], fused[f'{block}.rbr_reparam.bias'] = kernel, bias
    return fused


def main() -> None:
    pth, safetensors = sys.argv[1:]
    seconds = {}
    for name, load in (
        ('torch.load + fusion', lambda: torch.load(pth, weights_only=True)),
        ('safetensors + fusion in PyTorch', lambda: load_file(safetensors)),
    ):
        start = time.perf_counter()
        state = load()
        loaded = time.perf_counter()
        fuse(state)
        seconds[name] = time.perf_counter() - start
        seconds[f'  {name.split(" +")[0]} alone'] = loaded - start
    print(json.dumps(seconds))


if __name__ == '__main__':
    main()
