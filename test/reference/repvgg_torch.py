"""RepVGG in PyTorch, in training and in deploy form, with the parameter names of the official repository.

The reference that checkpoints and expected numbers of the tests are made with. Structure and names are those of
DingXiaoH/RepVGG (repvgg.py, repvggplus.py, se_block.py; arXiv 2101.03697, section 3); the code is our own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

BN_EPS = 1e-5
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LAST_GROUPED_BLOCK = 26


@dataclass(frozen=True)
class Architecture:
    """A network in the terms of the official constructor; `num_classes` 0 is a backbone without `linear`."""

    num_blocks: tuple[int, int, int, int]
    width_multiplier: tuple[float, float, float, float]
    groups: int = 1
    num_classes: int = 1000
    squeeze_excite: Literal['before-relu', 'after-relu'] | None = None

    @property
    def widths(self) -> tuple[int, int, int, int, int]:
        w0, w1, w2, w3 = self.width_multiplier
        return min(64, int(64 * w0)), int(64 * w0), int(128 * w1), int(256 * w2), int(512 * w3)


_A, _B, _D = (2, 4, 14, 1), (4, 6, 16, 1), (8, 14, 24, 1)
ARCHITECTURES: dict[str, Architecture] = {
    'RepVGG-A0': Architecture(_A, (0.75, 0.75, 0.75, 2.5)),
    'RepVGG-A1': Architecture(_A, (1, 1, 1, 2.5)),
    'RepVGG-A2': Architecture(_A, (1.5, 1.5, 1.5, 2.75)),
    'RepVGG-B0': Architecture(_B, (1, 1, 1, 2.5)),
    **{
        f'RepVGG-{name}{suffix}': Architecture(_B, width, groups)
        for name, width in (('B1', (2, 2, 2, 4)), ('B2', (2.5, 2.5, 2.5, 5)), ('B3', (3, 3, 3, 5)))
        for suffix, groups in (('', 1), ('g2', 2), ('g4', 4))
    },
    'RepVGG-D2se': Architecture(_D, (2.5, 2.5, 2.5, 5), squeeze_excite='before-relu'),
    'RepVGGplus-L2pse': Architecture(_D, (2.5, 2.5, 2.5, 5), squeeze_excite='after-relu'),
}


class ConvBN(nn.Module):
    def __init__(self, cin: int, cout: int, kernel: int, stride: int, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(cout, eps=BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))

    def fused(self) -> tuple[Tensor, Tensor]:
        scale, bias = affine(self.bn)
        return self.conv.weight.double() * scale.view(-1, 1, 1, 1), bias


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.down = nn.Conv2d(channels, hidden, 1)
        self.up = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.up(functional.relu(self.down(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class Block(nn.Module):
    def __init__(
        self, cin: int, cout: int, stride: int, groups: int, squeeze_excite: str | None, deploy: bool
    ):
        super().__init__()
        if squeeze_excite == 'before-relu':
            self.se = SqueezeExcite(cout, cout // 16)
        if squeeze_excite == 'after-relu':
            self.post_se = SqueezeExcite(cout, cout // 4)
        if deploy:
            self.rbr_reparam = nn.Conv2d(cin, cout, 3, stride, 1, groups=groups)
        else:
            identity = cin == cout and stride == 1
            self.rbr_identity = nn.BatchNorm2d(cin, eps=BN_EPS) if identity else None
            self.rbr_dense = ConvBN(cin, cout, 3, stride, groups)
            self.rbr_1x1 = ConvBN(cin, cout, 1, stride, groups)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, 'rbr_reparam'):
            y = self.rbr_reparam(x)
        else:
            y = self.rbr_dense(x) + self.rbr_1x1(x)
            if self.rbr_identity is not None:
                y = y + self.rbr_identity(x)
        y = functional.relu(self.se(y) if hasattr(self, 'se') else y)
        return self.post_se(y) if hasattr(self, 'post_se') else y

    def fused(self) -> tuple[Tensor, Tensor]:
        """The kernel and bias, in float64, of the one 3x3 convolution that equals the three branches."""
        kernel, bias = self.rbr_dense.fused()
        pointwise, pointwise_bias = self.rbr_1x1.fused()
        kernel[:, :, 1, 1] += pointwise[:, :, 0, 0]
        bias = bias + pointwise_bias
        if self.rbr_identity is not None:
            scale, shift = affine(self.rbr_identity)
            channel = torch.arange(len(scale))
            kernel[channel, channel % kernel.shape[1], 1, 1] += scale
            bias = bias + shift
        return kernel, bias


class Stage(nn.Module):
    """A stage of RepVGGplus, whose blocks are one name deeper than RepVGG's."""

    def __init__(self, blocks: list[Block]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)


class RepVGG(nn.Module):
    def __init__(self, architecture: Architecture, deploy: bool = False):
        super().__init__()
        self.architecture = architecture
        widths, se = architecture.widths, architecture.squeeze_excite
        plus = se == 'after-relu'
        self.stage0 = Block(3, widths[0], 2, 1, se, deploy)
        self.stage_names: list[str] = []
        index = 0
        for s, count in enumerate(architecture.num_blocks, start=1):
            blocks = []
            for position in range(count):
                index += 1
                grouped = index % 2 == 0 and index <= LAST_GROUPED_BLOCK
                cin, stride = (widths[s - 1], 2) if position == 0 else (widths[s], 1)
                blocks.append(
                    Block(cin, widths[s], stride, architecture.groups if grouped else 1, se, deploy)
                )
            parts = {f'stage{s}': blocks}
            if plus and s == 3:
                parts = {'stage3_first': blocks[: count // 2], 'stage3_second': blocks[count // 2 :]}
            for name, part in parts.items():
                setattr(self, name, Stage(part) if plus else nn.Sequential(*part))
                self.stage_names.append(name)
        if architecture.num_classes:
            self.linear = nn.Linear(widths[4], architecture.num_classes)
        if plus and not deploy:
            self.stage1_aux = auxiliary_head(widths[1], architecture.num_classes)
            self.stage2_aux = auxiliary_head(widths[2], architecture.num_classes)
            self.stage3_first_aux = auxiliary_head(widths[3], architecture.num_classes)

    def blocks(self) -> Iterator[Block]:
        yield self.stage0
        for name in self.stage_names:
            yield from getattr(self, name)

    def embed(self, x: Tensor) -> Tensor:
        """Pooled features, [N, widths[4]]."""
        for block in self.blocks():
            x = block(x)
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        features = self.embed(x)
        return self.linear(features) if self.architecture.num_classes else features


def auxiliary_head(channels: int, num_classes: int) -> nn.Sequential:
    reduce = nn.Sequential()
    for name, module in (*ConvBN(channels, channels, 3, 2).named_children(), ('relu', nn.ReLU())):
        reduce.add_module(name, module)
    return nn.Sequential(reduce, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


def affine(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    scale = bn.weight.double() / torch.sqrt(bn.running_var.double() + bn.eps)
    return scale, bn.bias.double() - bn.running_mean.double() * scale


@torch.no_grad()
def to_deploy(model: RepVGG) -> RepVGG:
    """A new network of plain 3x3 convolutions, of the same type as `model`."""
    deploy = RepVGG(model.architecture, deploy=True).to(next(model.parameters()).dtype).eval()
    shared = {key: value for key, value in model.state_dict().items() if key in deploy.state_dict()}
    deploy.load_state_dict(shared, strict=False)
    for source, target in zip(model.blocks(), deploy.blocks(), strict=True):
        kernel, bias = source.fused()
        target.rbr_reparam.weight.copy_(kernel)
        target.rbr_reparam.bias.copy_(bias)
    return deploy


_TIMM_NAMES = (
    (r'^stage0\.', 'stem.'),
    (r'^stage(\d)\.', lambda match: f'stages.{int(match[1]) - 1}.'),
    (r'\brbr_dense\b', 'conv_kxk'),
    (r'\brbr_1x1\b', 'conv_1x1'),
    (r'\brbr_identity\b', 'identity'),
    (r'\brbr_reparam\b', 'reparam_conv'),
    (r'\bse\.down\b', 'attn.fc1'),
    (r'\bse\.up\b', 'attn.fc2'),
    (r'^linear\.', 'head.fc.'),
)


def timm_key(key: str) -> str:
    """The name timm (byobnet.py) gives a parameter of the official RepVGG."""
    for pattern, replacement in _TIMM_NAMES:
        key = re.sub(pattern, replacement, key)
    return key


def load_model(path: Path | str, architecture: Architecture) -> RepVGG:
    """The network of a checkpoint with official or timm names, in float64; an average is preferred, as in timm."""
    state = torch.load(path, weights_only=True)
    state = next((state[key] for key in ('model_ema', 'state_dict') if key in state), state)
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    deploy = any('reparam' in key for key in state)
    model = RepVGG(architecture, deploy).double().eval()
    names = {timm_key(key): key for key in model.state_dict()}
    model.load_state_dict({names.get(key, key): value for key, value in state.items()}, strict=True)
    return model


def normalised(rgb: np.ndarray, mean=IMAGENET_MEAN, std=IMAGENET_STD, dtype=torch.float32) -> Tensor:
    """uint8 HWC pixels as one [1, 3, H, W] input, by the steps of torchvision's ToTensor and Normalize."""
    x = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].to(dtype) / 255
    shape = (1, 3, 1, 1)
    return (x - torch.tensor(mean, dtype=dtype).view(shape)) / torch.tensor(std, dtype=dtype).view(shape)
