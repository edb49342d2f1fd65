"""Makes fixtures in other containers than PyTorch's, out of the checkpoints of make_fixtures.py.

    python test/reference/make_container_fixtures.py      (see README.md here for the packages)

Each file is written by the library that such files come from: safetensors by safetensors, ONNX by torch.onnx. They hold the tensors of the
checkpoint that they are named after, so their expected numbers are in `expected.json` already.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from make_fixtures import BACKBONE, CROP, NARROW, PLUS, SQUEEZE_EXCITE
from repvgg_torch import Architecture, RepVGG, load_model, to_deploy

CHECKPOINTS = Path(__file__).resolve().parent.parent / 'fixtures' / 'checkpoints'


def load(name: str) -> OrderedDict[str, Tensor]:
    return torch.load(CHECKPOINTS / name, weights_only=True)


def write_shards(state: OrderedDict[str, Tensor], folder: Path, count: int) -> None:
    """The layout of huggingface_hub: parts of roughly equal numbers of tensors, and an index."""
    folder.mkdir(exist_ok=True)
    keys = list(state)
    weight_map = {}
    for part in range(count):
        name = f'model-{part + 1:05}-of-{count:05}.safetensors'
        tensors = {key: state[key] for key in keys[part * len(keys) // count : (part + 1) * len(keys) // count]}
        save_file(tensors, folder / name, metadata={'format': 'pt'})
        weight_map |= dict.fromkeys(tensors, name)
    total = sum(tensor.nbytes for tensor in state.values())
    index = {'metadata': {'total_size': total}, 'weight_map': weight_map}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index, indent=2) + '\n')


def export(model: RepVGG, name: str, dynamo: bool = False, **options: object) -> None:
    warnings.filterwarnings('ignore')
    image = torch.zeros(1, 3, CROP, CROP)
    torch.onnx.export(model.float().eval(), (image,), CHECKPOINTS / name, dynamo=dynamo, **options)


def export_all() -> None:
    def model(name: str, architecture: Architecture) -> RepVGG:
        return load_model(CHECKPOINTS / name, architecture)

    narrow = model('narrow.official.zip.pth', NARROW)
    # Batch normalisation folded into convolutions, whose tensors have numbers for names.
    export(copy.deepcopy(narrow), 'narrow.folded.onnx')
    export(model('backbone.zip.pth', BACKBONE), 'backbone.folded.onnx')
    export(model('squeeze-excite.zip.pth', SQUEEZE_EXCITE), 'squeeze-excite.folded.onnx')
    export(model('plus.zip.pth', PLUS), 'plus.folded.onnx')
    # The branches as they were trained.
    export(copy.deepcopy(narrow), 'narrow.branches.onnx', do_constant_folding=False)
    export(to_deploy(narrow), 'narrow.deploy.onnx')
    # Folded under the names of the branches, in a second file: narrow.dynamo.onnx.data.
    export(copy.deepcopy(narrow), 'narrow.dynamo.onnx', dynamo=True)


def main() -> None:
    for name in ('narrow.official', 'narrow.half'):
        state = load(f'{name}.zip.pth')
        save_file(state, CHECKPOINTS / f'{name}.safetensors', metadata={'format': 'pt'})
    write_shards(load('narrow.timm.zip.pth'), CHECKPOINTS / 'sharded', count=2)
    export_all()


if __name__ == '__main__':
    main()
