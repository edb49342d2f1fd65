"""Asks PyTorch whether a fused checkpoint is the network it was fused from.

    python test/reference/check_deploy.py TRAIN.pth DEPLOY.pth PHOTO... --architecture RepVGG-A2
        [--resize 256] [--crop 224]

DEPLOY.pth must load strictly, as a plain state dict, into the official deploy form. Prints one JSON object that
compares the logits of both files in float64.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from preprocessing import decode, preprocess
from repvgg_torch import ARCHITECTURES, RepVGG, load_model, normalised


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('train', type=Path)
    parser.add_argument('deploy', type=Path)
    parser.add_argument('photos', type=Path, nargs='+')
    parser.add_argument('--architecture', required=True, choices=list(ARCHITECTURES))
    parser.add_argument('--resize', type=int, default=256)
    parser.add_argument('--crop', type=int, default=224)
    options = parser.parse_args()

    architecture = ARCHITECTURES[options.architecture]
    train = load_model(options.train, architecture)
    deploy = RepVGG(architecture, deploy=True).double().eval()
    deploy.load_state_dict(torch.load(options.deploy, weights_only=True), strict=True)

    differences, largest = [], []
    for photo in options.photos:
        x = normalised(
            preprocess(decode(photo), options.resize, options.crop, 'bilinear'), dtype=torch.float64
        )
        expected = train(x)
        differences.append((deploy(x) - expected)[0])
        largest.append(expected.abs().max().item())
    print(
        json.dumps(
            {
                'architecture': options.architecture,
                'photos': [photo.name for photo in options.photos],
                'maxAbsDiff': max(difference.abs().max().item() for difference in differences),
                'sumSquaredDiff': [difference.square().sum().item() for difference in differences],
                'maxAbsLogit': largest,
            }
        )
    )


if __name__ == '__main__':
    main()
