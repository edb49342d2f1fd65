"""Makes test/fixtures: photographs, odd images, narrow checkpoints, and what Pillow and PyTorch make of them.

    python test/reference/make_fixtures.py      (see README.md here for the packages)

Seeds are fixed. Legacy checkpoints hold memory addresses as storage keys, so their bytes change from run to run,
never their values; everything else comes out the same with the same versions.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image, ImageCms, features
from skimage import data
from torch import Tensor

from calibration import calibrate, synthetic_images
from preprocessing import decode, preprocess
from repvgg_torch import Architecture, RepVGG, load_model, normalised, timm_key, to_deploy

FIXTURES = Path(__file__).resolve().parent.parent / 'fixtures'
RESIZE, CROP = 64, 56
CROPS = [(256, 224, 'bilinear'), (320, 320, 'bilinear'), (256, 224, 'bicubic'), (RESIZE, CROP, 'bilinear')]

# Widths 8, 8, 12, 20, 25: an odd one, and multipliers that int() truncates. Even block counts in the first three
# stages, since timm counts the grouped blocks within a stage and the official code over the network.
NARROW = Architecture((2, 4, 2, 1), (0.125, 0.1, 0.08, 0.05), groups=2, num_classes=12)
BACKBONE = Architecture((2, 4, 2, 1), (0.125, 0.1, 0.08, 0.05), groups=2, num_classes=0)
# 39 channels make the truncation of the hidden channels visible: 39 // 16 = 2.
SQUEEZE_EXCITE = Architecture(
    (2, 2, 1, 1), (0.25, 0.125, 0.0625, 0.0765), num_classes=12, squeeze_excite='before-relu'
)
PLUS = Architecture(
    (2, 1, 3, 1), (0.125, 0.0625, 0.0625, 0.0625), num_classes=12, squeeze_excite='after-relu'
)
# The one case where stage 0 is narrower than stage 1.
WIDE_STEM = Architecture((1, 1, 1, 1), (1.0625, 0.0625, 0.03125, 0.03125), num_classes=12)


def sha256(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def make_photographs(folder: Path) -> list[str]:
    for name, box, size in (
        ('astronaut', (0, 0, 512, 386), (341, 257)),
        ('chelsea', (70, 0, 263, 300), (200, 311)),
        ('coffee', (33, 0, 566, 400), (500, 375)),
        ('rocket', (150, 0, 478, 427), (256, 333)),
    ):
        photo = Image.fromarray(getattr(data, name)()).resize(size, Image.Resampling.LANCZOS, box)
        photo.save(folder / f'{name}.jpg', quality=82, subsampling='4:2:0')
    return sorted(path.name for path in folder.glob('*.jpg'))


def make_odd_images(folder: Path) -> dict[str, dict]:
    photo = Image.fromarray(data.coffee()).resize((96, 64), Image.Resampling.LANCZOS)
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1)))
    exif = Image.Exif()
    exif[0x0112] = 6
    with_alpha = photo.copy()
    with_alpha.putalpha(alpha)
    photo.save(folder / 'exif6.jpg', quality=85, exif=exif)
    photo.convert('L').save(folder / 'grey.jpg', quality=85)
    photo.convert('CMYK').save(folder / 'cmyk.jpg', quality=85)
    with_alpha.save(folder / 'rgba.png')
    photo.quantize(64).save(folder / 'palette.png')
    photo.resize((24, 16)).save(folder / 'display-p3.png', icc_profile=display_p3())
    Image.fromarray(np.asarray(photo.convert('L')).astype(np.uint16) * 257).save(folder / 'grey16.png')
    Image.new('RGB', (1, 1), (200, 100, 50)).save(folder / '1x1.png')
    whole = (folder.parent / 'photos' / 'astronaut.jpg').read_bytes()
    (folder / 'truncated.jpg').write_bytes(whole[: len(whole) // 2])
    (folder / 'empty.jpg').write_bytes(b'')
    # No values for 16 bits and CMYK: Pillow clips the one and converts the other without a profile.
    return {
        name: describe(decode(folder / name))
        for name in ('1x1.png', 'display-p3.png', 'exif6.jpg', 'grey.jpg', 'palette.png', 'rgba.png')
    }


def display_p3() -> bytes:
    """sRGB's profile with the primaries of Display P3 (adapted to D50), which convert('RGB') ignores."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
    profile[24:36] = bytes(12)  # The date of making.
    primaries = {
        b'rXYZ': (0.51512, 0.24120, -0.00105),
        b'gXYZ': (0.29198, 0.69225, 0.04189),
        b'bXYZ': (0.15710, 0.06657, 0.78407),
    }
    (count,) = struct.unpack_from('>I', profile, 128)
    for tag, offset, _ in struct.iter_unpack('>4sII', profile[132 : 132 + 12 * count]):
        if tag in primaries:
            struct.pack_into('>3i', profile, offset + 8, *(round(value * 65536) for value in primaries[tag]))
    return bytes(profile)


def describe(image: Image.Image) -> dict:
    return {'width': image.width, 'height': image.height, 'rgbSha256': sha256(np.asarray(image))}


def describe_photograph(path: Path) -> dict:
    image = decode(path)
    crops = [
        {
            'resize': resize,
            'crop': crop,
            'interpolation': kernel,
            'rgbSha256': sha256(preprocess(image, resize, crop, kernel)),
        }
        for resize, crop, kernel in CROPS
    ]
    return {**describe(image), 'crops': crops}


def build(architecture: Architecture, seed: int) -> RepVGG:
    return calibrate(RepVGG(architecture), seed, synthetic_images(64, seed=7, size=CROP))


def converted(state: dict[str, Tensor], dtype: torch.dtype) -> OrderedDict:
    return OrderedDict(
        (key, value.to(dtype) if value.is_floating_point() else value) for key, value in state.items()
    )


def training_checkpoint(model: RepVGG) -> dict:
    """What a training script of PyTorch's ImageNet example saves, under DistributedDataParallel."""
    optimizer = torch.optim.SGD(model.linear.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    model.linear(torch.ones(1, model.linear.in_features)).sum().backward()
    optimizer.step()  # only to give the optimizer a momentum buffer
    state = OrderedDict((f'module.{key}', value) for key, value in model.state_dict().items())
    return {
        'epoch': 120,
        'arch': 'narrow',
        'state_dict': state,
        'best_acc1': 0.5,
        'optimizer': optimizer.state_dict(),
    }


def with_average(model: RepVGG) -> dict:
    """A running checkpoint whose average differs from the model in `linear` alone; all other tensors share storage."""
    state = model.state_dict()
    average = OrderedDict(state)
    average['linear.weight'], average['linear.bias'] = state['linear.weight'] * 0.5, state['linear.bias'] + 1
    return {'model': state, 'model_ema': average, 'epoch': 7, 'args': None}


def make_checkpoints() -> dict[str, tuple[Architecture, object]]:
    narrow = build(NARROW, seed=1)
    state = narrow.state_dict()
    deploy = to_deploy(narrow).state_dict()
    channels_last = OrderedDict(
        (key, value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value)
        for key, value in state.items()
    )
    return {
        'narrow.official.zip.pth': (NARROW, state),
        'narrow.official.legacy.pth': (NARROW, state),
        'narrow.timm.zip.pth': (NARROW, OrderedDict((timm_key(key), value) for key, value in state.items())),
        'narrow.training.zip.pth': (NARROW, training_checkpoint(build(NARROW, seed=1))),
        'narrow.ema.zip.pth': (NARROW, with_average(narrow)),
        'narrow.half.zip.pth': (NARROW, converted(state, torch.float16)),
        'narrow.bfloat16.zip.pth': (NARROW, converted(state, torch.bfloat16)),
        'narrow.float64.legacy.pth': (
            NARROW,
            converted(build(NARROW, seed=2).double().state_dict(), torch.float64),
        ),
        'narrow.channels-last.zip.pth': (NARROW, channels_last),
        'narrow.deploy.zip.pth': (NARROW, deploy),
        'narrow.deploy.legacy.pth': (NARROW, deploy),
        'backbone.zip.pth': (BACKBONE, build(BACKBONE, seed=3).state_dict()),
        'squeeze-excite.zip.pth': (SQUEEZE_EXCITE, build(SQUEEZE_EXCITE, seed=4).state_dict()),
        'squeeze-excite.deploy.zip.pth': (
            SQUEEZE_EXCITE,
            to_deploy(build(SQUEEZE_EXCITE, seed=4)).state_dict(),
        ),
        'plus.zip.pth': (PLUS, build(PLUS, seed=5).state_dict()),
        'wide-stem.half.zip.pth': (
            WIDE_STEM,
            converted(build(WIDE_STEM, seed=6).state_dict(), torch.float16),
        ),
    }


def describe_checkpoint(path: Path, architecture: Architecture, inputs: Tensor) -> dict:
    model = load_model(path, architecture)
    position = architecture.squeeze_excite
    reduction = {'before-relu': 16, 'after-relu': 4}
    with torch.no_grad():
        embeddings = model.embed(inputs)
        logits = model.linear(embeddings).tolist() if architecture.num_classes else None
    return {
        'architecture': {
            'numBlocks': architecture.num_blocks,
            'widthMultiplier': architecture.width_multiplier,
            'groups': architecture.groups,
            'numClasses': architecture.num_classes,
            'squeezeExcite': position and {'position': position, 'reduction': reduction[position]},
        },
        'widths': architecture.widths,
        'form': 'deploy' if hasattr(model.stage0, 'rbr_reparam') else 'train',
        'logits': logits,
        'embeddings': embeddings.tolist(),
    }


class Attack:
    """Unpickles to a call of os.system (which pickle spells posix.system)."""

    def __reduce__(self):
        return os.system, ('touch repvgg-pickle-was-run',)


def write_json(path: Path, value: object) -> None:
    """JSON with lists of numbers on one line; Python prints as many digits as a double needs to read back equal."""
    text = json.dumps(value, indent=2)
    path.write_text(re.sub(r'\[[^\[\]{}]+\]', lambda match: str(json.loads(match[0])), text) + '\n')


def main() -> None:
    folders = {name: FIXTURES / name for name in ('photos', 'images', 'checkpoints', 'hostile')}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    photos = make_photographs(folders['photos'])
    odd = make_odd_images(folders['images'])
    pixels = [preprocess(decode(folders['photos'] / name), RESIZE, CROP, 'bilinear') for name in photos]
    inputs = torch.cat([normalised(rgb, dtype=torch.float64) for rgb in pixels])

    checkpoints = {}
    for name, (architecture, value) in make_checkpoints().items():
        path = folders['checkpoints'] / name
        torch.save(value, path, _use_new_zipfile_serialization='.zip.' in name)
        checkpoints[name] = describe_checkpoint(path, architecture, inputs)
    for name in ('os_system.pth', 'os_system.legacy.pth'):
        hostile = {'state_dict': {'linear.bias': torch.zeros(4)}, 'hook': Attack()}
        torch.save(hostile, folders['hostile'] / name, _use_new_zipfile_serialization='legacy' not in name)

    write_json(
        FIXTURES / 'expected.json',
        {
            'versions': {
                'torch': torch.__version__,
                'pillow': PIL.__version__,
                'libjpegTurbo': features.version('libjpeg_turbo'),
            },
            'preprocessing': {
                'resize': RESIZE,
                'crop': CROP,
                'interpolation': 'bilinear',
                'mean': [0.485, 0.456, 0.406],
                'std': [0.229, 0.224, 0.225],
            },
            'photos': {name: describe_photograph(folders['photos'] / name) for name in photos},
            'images': odd,
            'checkpoints': checkpoints,
        },
    )


if __name__ == '__main__':
    main()
