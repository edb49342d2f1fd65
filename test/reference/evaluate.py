"""Evaluates networks with PyTorch in float32, as the official test.py counts.

    python test/reference/evaluate.py OUT [--count 200] [--seed 0]

Writes OUT/RepVGG-A0.pth, seeded and of 1000 classes, and COUNT generated photographs of several shapes into class folders,
OUT/val/NNNN/I.png with a folder for each of the 1000 classes. About half of the photographs are in the folder of the
likeliest class, the others in one of the ten likeliest. Prints one JSON object: for these, and for the held-out digits of
assets/digits, the last line of the official script, the mean loss, and the likeliest class of each image.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from calibration import calibrate, synthetic_images, synthetic_photos
from preprocessing import decode, preprocess
from repvgg_torch import ARCHITECTURES, Architecture, RepVGG, load_model, normalised

DIGITS = Path(__file__).resolve().parent.parent.parent / 'assets' / 'digits'
DIGITS_ARCHITECTURE = Architecture((1, 2, 2, 1), (0.25,) * 4, num_classes=10)
BATCH = 40


@torch.no_grad()
def logits_of(model: RepVGG, inputs: list[Tensor]) -> Tensor:
    return torch.cat([model(torch.cat(inputs[i : i + BATCH])) for i in range(0, len(inputs), BATCH)])


def summary(names: list[str], logits: Tensor, targets: Tensor) -> dict:
    top = logits.topk(5).indices
    hits = (top == targets[:, None]).float()
    acc1, acc5 = (100 * hits[:, :k].sum(1).mean().item() for k in (1, 5))
    # How far ahead the likeliest class is: what rounding may turn around.
    best = logits.topk(2).values
    return {
        'line': f' * Acc@1 {acc1:.3f} Acc@5 {acc5:.3f}',
        'loss': functional.cross_entropy(logits, targets).item(),
        'predicted': dict(zip(names, top[:, 0].tolist())),
        'smallestLead': (best[:, 0] - best[:, 1]).min().item(),
    }


def digits() -> dict:
    paths = sorted((DIGITS / 'images').iterdir())
    model = load_model(DIGITS / 'digits.pth', DIGITS_ARCHITECTURE).float().eval()
    inputs = [
        normalised(preprocess(decode(path), 32, 32, 'bilinear'), mean=(0.5,) * 3, std=(0.5,) * 3)
        for path in paths
    ]
    targets = torch.tensor([int(path.stem.split('-')[1]) for path in paths])
    return summary([path.name for path in paths], logits_of(model, inputs), targets)


def photographs(out: Path, count: int, seed: int) -> dict:
    random = np.random.RandomState(seed)
    model = calibrate(RepVGG(ARCHITECTURES['RepVGG-A0']), seed, synthetic_images(24, seed=7, size=224))
    torch.save(model.state_dict(), out / 'RepVGG-A0.pth')
    images = []
    for photo in synthetic_photos(count, seed + 1, 320):
        height, width = random.randint(200, 321, 2)
        images.append(Image.fromarray(photo[:height, :width]))
    inputs = [normalised(preprocess(image, 256, 224, 'bilinear')) for image in images]
    logits = logits_of(model, inputs)
    likeliest = logits.topk(10).indices.tolist()
    targets = [classes[0 if random.rand() < 0.5 else random.randint(10)] for classes in likeliest]
    for index in range(1000):
        (out / 'val' / f'{index:04}').mkdir(parents=True)
    names = []
    for i, (image, target) in enumerate(zip(images, targets)):
        names.append(f'{target:04}/{i:03}.png')
        image.save(out / 'val' / names[-1])
    return summary(names, logits, torch.tensor(targets))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('out', type=Path)
    parser.add_argument('--count', type=int, default=200)
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    result = {'digits': digits(), 'photographs': photographs(options.out, options.count, options.seed)}
    print(json.dumps(result))


if __name__ == '__main__':
    main()
