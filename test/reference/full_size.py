"""Makes full-size seeded checkpoints, photographs and the float64 logits that PyTorch gives for them.

    python test/reference/full_size.py OUT [--models A0 A2 B1g4 D2se] [--seed 0]

Writes OUT/RepVGG-X.legacy.pth and OUT/RepVGG-X.zip.pth (official names), OUT/RepVGG-X.timm.pth (timm's names, where
timm has the variant) and OUT/photos/*.png, and prints one JSON object. `maxAbsDiff` there compares our network in
float64 with itself in float32, with its fused form, and with timm's own implementation.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from calibration import calibrate, synthetic_images
from preprocessing import decode, preprocess
from repvgg_torch import (
    ARCHITECTURES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    RepVGG,
    normalised,
    timm_key,
    to_deploy,
)

# A torchvision built for CUDA imports beside a CPU torch once these two operators have a schema.
if not hasattr(torch.ops.torchvision, 'nms'):
    _schemas = torch.library.Library('torchvision', 'DEF')
    _schemas.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _schemas.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
import timm  # noqa: E402


def photographs(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f'{name}.png' for name in ('astronaut', 'chelsea', 'coffee', 'rocket')]
    for path in paths:
        Image.fromarray(getattr(data, path.stem)()).save(path)
    return paths


def save(state: dict[str, Tensor], path: Path, legacy: bool = False) -> dict[str, str]:
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    with path.open('rb') as file:
        return {'file': path.name, 'sha256': hashlib.file_digest(file, 'sha256').hexdigest()}


@torch.no_grad()
def difference_from_timm(name: str, state: dict[str, Tensor], inputs: Tensor, logits: Tensor) -> float:
    model = timm.create_model(name).double().eval()
    model.load_state_dict(state, strict=True)
    return (model(inputs) - logits).abs().max().item()


@torch.no_grad()
def make(name: str, seed: int, photos: list[Path], out: Path) -> dict:
    squeeze_excite = ARCHITECTURES[name].squeeze_excite
    resize, crop = (320, 320) if squeeze_excite else (256, 224)
    pixels = [preprocess(decode(photo), resize, crop, 'bilinear') for photo in photos]
    inputs = torch.cat([normalised(rgb, dtype=torch.float64) for rgb in pixels])

    model = calibrate(RepVGG(ARCHITECTURES[name]), seed, synthetic_images(24, seed=7, size=224))
    state = model.state_dict()
    timm_name, timm_state = (
        name.lower().replace('-', '_'),
        {timm_key(key): value for key, value in state.items()},
    )
    files = {
        'legacy': save(state, out / f'{name}.legacy.pth', legacy=True),
        'zip': save(state, out / f'{name}.zip.pth'),
    }
    known_to_timm = timm_name in timm.list_models()
    if known_to_timm:
        files['timm'] = save(timm_state, out / f'{name}.timm.pth')

    single = torch.cat([model(x[None]) for x in inputs.float()])
    model.double()
    logits = torch.cat([model(x[None]) for x in inputs])
    result = {
        'architecture': name,
        'files': files,
        'preprocessing': {
            'resize': resize,
            'crop': crop,
            'interpolation': 'bilinear',
            'mean': IMAGENET_MEAN,
            'std': IMAGENET_STD,
        },
        'rgbSha256': [hashlib.sha256(rgb.tobytes()).hexdigest() for rgb in pixels],
        'maxAbsDiff': {
            'float32': (single - logits).abs().max().item(),
            'deploy': (to_deploy(model)(inputs[:1]) - logits[:1]).abs().max().item(),
            'timm': difference_from_timm(timm_name, timm_state, inputs[:1], logits[:1])
            if known_to_timm
            else None,
        },
        'logits': logits.tolist(),
    }
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('out', type=Path)
    parser.add_argument('--models', nargs='+', default=['A0', 'A2', 'B1g4', 'D2se'])
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args()
    photos = photographs(options.out / 'photos')
    models = []
    for model in options.models:
        name = f'RepVGG-{model}' if f'RepVGG-{model}' in ARCHITECTURES else model
        models.append(make(name, options.seed, photos, options.out))
        gc.collect()
    files = [str(photo.relative_to(options.out)) for photo in photos]
    versions = {'torch': torch.__version__, 'timm': timm.__version__, 'numpy': np.__version__}
    print(json.dumps({'versions': versions, 'photos': files, 'models': models}))


if __name__ == '__main__':
    main()
