"""Seeded weights of realistic scale for networks that nobody has trained.

Random BatchNorm statistics make activations explode or all images alike. Here the statistics are measured by one
pass over generated images, some channels are nearly dead as in trained networks (only they make the BatchNorm
epsilon visible), and the head is centred, so that a wrong epsilon, swapped colours or a shift by one pixel changes
the logits plainly.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from repvgg_torch import RepVGG, normalised

NEARLY_DEAD = 0.03
LOGIT_STD = 3.0


def synthetic_images(count: int, seed: int, size: int) -> Tensor:
    """Photograph-like inputs, [count, 3, size, size], normalised as for ImageNet."""
    return torch.cat([normalised(pixels) for pixels in synthetic_photos(count, seed, size)])


def synthetic_photos(count: int, seed: int, size: int) -> list[np.ndarray]:
    """uint8 [size, size, 3]: coloured 1/f noise with discs."""
    random = np.random.RandomState(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    frequency[0, 0] = 1 / size
    y, x = np.mgrid[0:size, 0:size] / size
    photos = []
    for _ in range(count):
        spectrum = np.fft.fft2(random.randn(4, size, size)) / frequency ** random.uniform(0.6, 1.6)
        noise = np.fft.ifft2(spectrum).real
        noise /= noise.std((1, 2), keepdims=True)
        picture = 1.2 * noise[:1] + 0.35 * noise[1:]
        for _ in range(random.randint(2, 7)):
            centre_x, centre_y, radius = random.rand(), random.rand(), random.uniform(0.05, 0.35)
            disc = np.hypot(x - centre_x, y - centre_y) < radius
            picture[:, disc] = 0.3 * picture[:, disc] + random.randn(3, 1)
        picture = random.uniform(0.3, 0.6, (3, 1, 1)) + random.uniform(0.12, 0.25) * picture
        pixels = np.rint(255 * picture.clip(0, 1)).astype(np.uint8)
        photos.append(pixels.transpose(1, 2, 0))
    return photos


@torch.no_grad()
def calibrate(model: RepVGG, seed: int, images: Tensor) -> RepVGG:
    """Gives `model`, in training form, seeded weights and the statistics they have on `images`."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Tensor, mean: float, std: float) -> None:
        tensor.normal_(mean, std, generator=generator)

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            normal(module.weight, 0, 1 / math.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                normal(module.bias, 0, 0.1)
    for block in model.blocks():
        for bn, gain, shift in branch_gains(block):
            bn.weight.uniform_(0.5, 1.5, generator=generator).mul_(gain)
            normal(bn.bias, shift, 0.1)
        for gate in (getattr(block, name) for name in ('se', 'post_se') if hasattr(block, name)):
            gate.up.bias.add_(1)

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for bn in norms:
        bn.reset_running_stats()
        bn.momentum = None  # the mean over all batches seen, here one
    model.train()(images)
    model.eval()
    for bn in norms:
        bn.momentum = 0.1
        dead = torch.rand(bn.weight.shape, generator=generator) < NEARLY_DEAD
        bn.running_var[dead] = torch.empty(int(dead.sum())).uniform_(1e-6, 1e-4, generator=generator)
        bn.weight[dead] *= 0.003

    if model.architecture.num_classes:
        model.linear.bias.zero_()
        logits = model(images)
        scale = LOGIT_STD / (logits - logits.mean(0)).std()
        model.linear.weight.mul_(scale)
        normal(model.linear.bias, 0, 0.5)
        model.linear.bias.sub_(logits.mean(0) * scale)
    return model


def branch_gains(block) -> list[tuple[nn.BatchNorm2d, float, float]]:
    """Each branch's BatchNorm with the scale and shift that keep the variance of activations over many blocks."""
    if block.rbr_identity is None:
        return [(block.rbr_dense.bn, 0.85, 0.05), (block.rbr_1x1.bn, 0.5, 0.05)]
    return [
        (block.rbr_dense.bn, 0.55, 0.05),
        (block.rbr_1x1.bn, 0.35, 0.05),
        (block.rbr_identity, 0.75, 0.15),
    ]
