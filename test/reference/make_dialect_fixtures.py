"""Makes fixtures/dialects: one tiny network under the names and in the files of every project.

    python test/reference/make_dialect_fixtures.py --official RepVGG --qarepvgg QARepVGG --zcls ZCls

The arguments are clones of DingXiaoH/RepVGG, cxxgtxy/QARepVGG and ZJCV/ZCls, whose own classes make their files, as timm
makes its own. MindSpore, Paddle, MegEngine and mmpretrain are not needed: their files are written here from what their
sources say about names and formats, with the libraries underneath (numpy and pickle, protobuf). `made_by` in
manifest.json says which is which.

Every file holds the same values as the official file of its network, which it has to give the same logits as. The
logits in the manifest are those of the official classes in float64.
"""

from __future__ import annotations

import argparse
import binascii
import copy
import importlib
import io
import json
import pickle
import re
import struct
import sys
import tarfile
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from torch import Tensor, nn

from calibration import calibrate, synthetic_images
from repvgg_torch import Architecture, RepVGG

# A torchvision built for CUDA imports beside a CPU torch once these two operators have a schema.
if not hasattr(torch.ops.torchvision, 'nms'):
    _schemas = torch.library.Library('torchvision', 'DEF')
    _schemas.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _schemas.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')

OUT = Path(__file__).resolve().parent.parent / 'fixtures' / 'dialects'
SIZE = 32
NETWORKS = {
    'plain': Architecture((2, 2, 2, 1), (0.125, 0.0625, 0.0625, 0.03125), groups=2, num_classes=5),
    'se': Architecture((1, 1, 1, 1), (0.25, 0.125, 0.0625, 0.03125), num_classes=5, squeeze_excite='before-relu'),
    'plus': Architecture((1, 1, 2, 1), (0.25, 0.125, 0.0625, 0.03125), num_classes=5, squeeze_excite='after-relu'),
}
State = dict[str, Tensor]
MMPRETRAIN = (
    (r'\.bn\.', '.norm.'),
    (r'rbr_identity', 'branch_norm'),
    (r'rbr_1x1', 'branch_1x1'),
    (r'rbr_dense', 'branch_3x3'),
    (r'^stage0', 'backbone.stem'),
    (r'^stage(\d)', r'backbone.stage_\1'),
    (r'\.se\.', '.se_layer.'),
    (r'\.down\.', '.conv1.conv.'),
    (r'\.up\.', '.conv2.conv.'),
    (r'^linear', 'head.fc'),
)
manifest: dict[str, dict] = {'networks': {}, 'files': []}


def input_image() -> Tensor:
    """The same numbers as the tests make: a multiplicative hash, between -1 and 1."""
    hashed = np.arange(3 * SIZE * SIZE, dtype=np.uint64) * 2654435761 % 2**32
    return torch.from_numpy(hashed / 2**31 - 1).reshape(1, 3, SIZE, SIZE)


@torch.no_grad()
def logits(model: nn.Module) -> list[float]:
    output = model.double().eval()(input_image())
    model.float()
    return (output['main'] if isinstance(output, dict) else output)[0].tolist()


def add_network(name: str, file: str, model: nn.Module) -> None:
    manifest['networks'][name] = {'file': file, 'logits': logits(model)}


def add(file: str, network: str, dialect: str, made_by: str, **more: object) -> Path:
    manifest['files'].append({'file': file, 'network': network, 'dialect': dialect, 'madeBy': made_by, **more})
    return OUT / file


def save(state: object, *args: str, legacy: bool = False, **more: object) -> None:
    torch.save(state, add(*args, **more), _use_new_zipfile_serialization=not legacy)


def renamed(state: State, *rules: tuple[str, str]) -> OrderedDict[str, Tensor]:
    result = OrderedDict()
    for key, value in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        result[key] = value
    return result


def without_counters(state: State) -> OrderedDict[str, Tensor]:
    return OrderedDict((key, value) for key, value in state.items() if 'num_batches' not in key)


def groups_map(architecture: Architecture) -> dict[int, int]:
    return dict.fromkeys(range(2, 27, 2), architecture.groups) if architecture.groups > 1 else {}


def module_of(folder: Path, name: str) -> types.ModuleType:
    """Imports one project's module without leaving it in the way of the next, whose modules have the same names."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    module = importlib.import_module(name)
    sys.path.remove(str(folder))
    for added in set(sys.modules) - before:
        if getattr(sys.modules[added], '__file__', None) and str(folder) in str(sys.modules[added].__file__):
            if added != name:
                del sys.modules[added]
    return module


# PyTorch.


def make_official(folder: Path) -> dict[str, State]:
    repvgg, plus = module_of(folder, 'repvgg'), module_of(folder, 'repvggplus')
    states = {}
    for name, architecture in NETWORKS.items():
        base = calibrate(RepVGG(architecture), 1, synthetic_images(32, seed=7, size=SIZE)).state_dict()
        options = {
            'num_blocks': list(architecture.num_blocks),
            'num_classes': 5,
            'width_multiplier': list(architecture.width_multiplier),
        }
        if name == 'plus':
            model = plus.RepVGGplus(**options, deploy=False, use_post_se=True)
            dialect = 'official RepVGGplus'
        else:
            model = repvgg.RepVGG(**options, override_groups_map=groups_map(architecture), use_se=name == 'se')
            dialect = 'official'
        model.load_state_dict(base)
        add_network(name, f'{name}.official.pth', model)
        states[name] = OrderedDict((key, value.clone()) for key, value in model.state_dict().items())
        save(states[name], f'{name}.official.pth', name, dialect, 'official code')
        if name == 'plain':
            # Weights of 2021: no counters, and the container of before PyTorch 1.6.
            save(without_counters(states[name]), 'plain.2021.pth', name, dialect, 'official code', legacy=True)
            make_containers(states[name], model)
            make_compiled(states[name], model)
            make_partly_fused(model)
            # From float64, so that rounding is all that fusion does.
            deploy = repvgg.repvgg_model_convert(model.double()).float().state_dict()
            save(deploy, 'plain.official-deploy.pth', name, dialect, 'official code')
            fused = repvgg.RepVGG(**options, override_groups_map=groups_map(architecture), deploy=True)
            make_inserted_norm(fused, deploy)
        if name == 'plus':
            model.double().switch_repvggplus_to_deploy()
            save(model.float().state_dict(), 'plus.official-deploy.pth', name, dialect, 'official code')
    return states


def make_containers(state: State, model: nn.Module) -> None:
    """What torch.save and training scripts put around a state dict."""
    torch_save = 'torch.save'
    save(model, 'plain.module.pth', 'plain', 'official', f'{torch_save} of the official model')
    ours = RepVGG(NETWORKS['plain'])
    ours.load_state_dict(state)
    # The legacy container keeps the source code of classes and where it lay; here, no more than that there is some.
    torch.serialization.get_source_lines_and_file = lambda _: (['class: ...'], 1, 'model.py')
    save(ours, 'plain.module.legacy.pth', 'plain', 'official', f'{torch_save} of a model', legacy=True)
    parallel = nn.DataParallel(ours)
    save({'model': parallel, 'ema': None, 'epoch': 3}, 'plain.module-in-dict.pth', 'plain', 'official', torch_save)

    # main.py at the head of the official repository keeps its yacs settings and the average beside the weights.
    settings = type('CfgNode', (dict,), {'__module__': 'yacs.config'})
    sys.modules['yacs'], sys.modules['yacs.config'] = types.ModuleType('yacs'), types.ModuleType('yacs.config')
    sys.modules['yacs.config'].CfgNode = settings
    config = settings(MODEL=settings(ARCH='RepVGG-A0'), DATA=settings(IMG_SIZE=224))
    config.__dict__['__immutable__'] = True
    other = OrderedDict((key, value * 2) for key, value in state.items())
    training = {
        'model': other,
        'ema': state,
        'config': config,
        'args': argparse.Namespace(lr=0.1, data=Path('/data/imagenet'), betas=(0.9, 0.999)),
        'best': np.float64(72.4),
        'rng': np.random.RandomState(0).get_state(),
        'max_accuracy': 72.4,
    }
    save(training, 'plain.training.pth', 'plain', 'official', torch_save)
    del sys.modules['yacs'], sys.modules['yacs.config']

    flat = torch.cat([torch.zeros(3), *(value.flatten() for value in state.values() if value.is_floating_point())])
    views, offset = OrderedDict(), 3
    for key, value in without_counters(state).items():
        views[key] = flat[offset : offset + value.numel()].view(value.shape)
        offset += value.numel()
    save(views, 'plain.one-storage.pth', 'plain', 'official', torch_save)
    channels_last = OrderedDict(
        (key, value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value)
        for key, value in state.items()
    )
    save(channels_last, 'plain.channels-last.legacy.pth', 'plain', 'official', torch_save, legacy=True)
    make_averages(state, other)
    make_epsilon(model)
    write_big_endian(state, add('plain.big-endian.pth', 'plain', 'official', 'torch.save, storages swapped here'))
    write_tar(without_counters(state), add('plain.tar.pth', 'plain', 'official', 'written here, read by torch.load'))


def make_compiled(state: State, model: nn.Module) -> None:
    """What torch.compile makes of a model, whole; and of its stages, whose names it then is in."""
    save(torch.compile(model), 'plain.compiled.pth', 'plain', 'official', 'torch.save of the compiled official model')
    stages = OrderedDict((re.sub(r'^(stage\d)\.', r'\1._orig_mod.', key), value) for key, value in state.items())
    expected = copy.deepcopy(model)
    for name, stage in list(expected.named_children()):
        if name.startswith('stage'):
            setattr(expected, name, torch.compile(stage))
    assert list(expected.state_dict()) == list(stages)
    folder = OUT / 'sharded'
    folder.mkdir(exist_ok=True)
    parts = {f'pytorch_model-{i + 1:05}-of-00002.bin': OrderedDict(list(stages.items())[i::2]) for i in range(2)}
    weight_map = {}
    for name, part in parts.items():
        torch.save(part, folder / name)
        weight_map |= dict.fromkeys(part, name)
    index = {'metadata': {'total_size': sum(value.nbytes for value in state.values())}, 'weight_map': weight_map}
    made_by = 'torch.save, compiled by stages; index written here'
    path = add('sharded/pytorch_model.bin.index.json', 'plain', 'official', made_by)
    path.write_text(json.dumps(index, indent=2) + '\n')


def make_partly_fused(model: nn.Module) -> None:
    """From float64, so that rounding is all that fusion does."""
    partly = copy.deepcopy(model).double()
    for block in (partly.stage0, partly.stage2[1], partly.stage4[0]):
        block.switch_to_deploy()
    save(partly.float().state_dict(), 'plain.partly-fused.pth', 'plain', 'official', 'official code')


def make_averages(state: State, other: State) -> None:
    """The average is what counts: `state`, and not `other` of which it would be one."""
    torch_save = 'torch.save'
    ours = RepVGG(NETWORKS['plain'])
    ours.load_state_dict(state)
    # torchvision's train.py.
    average = torch.optim.swa_utils.AveragedModel(ours)
    save({'model': other, 'model_ema': average.state_dict()}, 'plain.averaged.pth', 'plain', 'official', torch_save)
    # mmengine's EMAHook swaps values before it saves.
    steps = {'steps': torch.tensor(3), **{f'module.{key}': value for key, value in renamed(other, *MMPRETRAIN).items()}}
    wrapped = {'meta': {}, 'state_dict': renamed(state, *MMPRETRAIN), 'ema_state_dict': steps}
    save(wrapped, 'plain.mmengine-average.pth', 'plain', 'mmpretrain', 'written here')
    # Lightning's own part of a checkpoint is settings; the names are those of whoever wrote the LightningModule.
    lightning = {'epoch': 3, 'pytorch-lightning_version': '2.5.0', 'hyper_parameters': {'lr': 0.1}}
    lightning['state_dict'] = OrderedDict((f'model.{key}', value) for key, value in state.items())
    save(lightning, 'plain.lightning.ckpt', 'plain', 'official', torch_save)
    # https://docs.pytorch.org/tutorials/recipes/recipes/saving_and_loading_a_general_checkpoint.html
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1).state_dict()
    tutorial = {'epoch': 5, 'model_state_dict': state, 'optimizer_state_dict': optimizer, 'loss': torch.tensor(0.4)}
    save(tutorial, 'plain.tutorial.pth', 'plain', 'official', torch_save)


@torch.no_grad()
def make_epsilon(model: nn.Module) -> None:
    """A whole module of another epsilon, which it says itself, and of weights with which it is the same network."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            variance = module.running_var.double()
            module.weight.copy_(module.weight * ((variance + 1e-3) / (variance + module.eps)).sqrt())
            module.eps = 1e-3
    save(model, 'plain.module-eps.pth', 'plain', 'official', 'torch.save of the official model')


def write_big_endian(state: State, path: Path) -> None:
    whole = io.BytesIO()
    torch.save(without_counters(state), whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, 'w') as target:
        for info in source.infolist():
            data = source.read(info)
            if '/data/' in info.filename:
                data = np.frombuffer(data, '<f4').astype('>f4').tobytes()
            target.writestr(info.filename, b'big' if info.filename.endswith('/byteorder') else data)
    read_back(torch.load(path), state)


def write_tar(state: State, path: Path) -> None:
    """The container of PyTorch before 0.1.10, by what torch.serialization's `legacy_load` reads."""
    storages, tensors, entries = io.BytesIO(), io.BytesIO(), {}
    pickle.dump(len(state), storages, protocol=2)
    pickle.dump(len(state), tensors, protocol=2)
    for index, (key, value) in enumerate(state.items()):
        storage_key, tensor_key = 1000 + index, 2000 + index
        pickle.dump((storage_key, 'cpu', torch.FloatStorage), storages, protocol=2)
        storages.write(struct.pack('<q', value.numel()) + value.contiguous().numpy().tobytes())
        pickle.dump((tensor_key, storage_key, torch.FloatTensor), tensors, protocol=2)
        numbers = [*value.shape, *value.stride(), 0]
        tensors.write(struct.pack(f'<ii{len(numbers)}q', value.ndim, 0, *numbers))
        entries[key] = tensor_key

    class Reference:
        def __init__(self, key: int):
            self.key = key

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> str | None:
            return str(value.key) if isinstance(value, Reference) else None

    pickle.dump([], storages, protocol=2)
    root = io.BytesIO()
    Pickler(root, protocol=2).dump(OrderedDict((key, Reference(value)) for key, value in entries.items()))
    sys_info = pickle.dumps({'protocol_version': 1000, 'little_endian': True}, protocol=2)
    members = {'sys_info': sys_info, 'pickle': root.getvalue()}
    members |= {'tensors': tensors.getvalue(), 'storages': storages.getvalue()}
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    read_back(torch.load(path, weights_only=False), state)


def read_back(read: State, state: State) -> None:
    for key, value in read.items():
        if not torch.equal(value, state[key]):
            raise ValueError(f'{key} is not what was written')


@torch.no_grad()
def make_inserted_norm(model: nn.Module, deploy: State) -> None:
    """What tools/insert_bn.py makes of a fused network, but with trained statistics: conv without bias, then bn."""
    generator = torch.Generator().manual_seed(3)
    model.load_state_dict(deploy)
    for module in model.modules():
        if not hasattr(module, 'rbr_reparam'):
            continue
        convolution = module.rbr_reparam
        norm = nn.BatchNorm2d(convolution.out_channels)
        norm.weight.uniform_(0.5, 1.5, generator=generator)
        norm.bias.copy_(convolution.bias)
        norm.running_mean.uniform_(-0.2, 0.2, generator=generator)
        norm.running_var.uniform_(0.5, 1.5, generator=generator)
        convolution.register_parameter('bias', None)
        module.rbr_reparam = nn.Sequential(OrderedDict(conv=convolution, bn=norm))
    made_by = 'official classes, norms inserted here'
    save(model.state_dict(), 'inserted-bn.pth', 'inserted-bn', 'official with inserted BN', made_by)
    fused = OrderedDict()
    for key, value in model.state_dict().items():
        if key.endswith('rbr_reparam.conv.weight'):
            norm = model.get_submodule(key.replace('conv.weight', 'bn')).double()
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            fused[key.replace('conv.weight', 'weight')] = (value * scale.view(-1, 1, 1, 1)).float()
            fused[key.replace('conv.weight', 'bias')] = (norm.bias - norm.running_mean * scale).float()
            norm.float()
        elif key.startswith('linear'):
            fused[key] = value
    add_network('inserted-bn', 'inserted-bn.official.pth', model)
    save(fused, 'inserted-bn.official.pth', 'inserted-bn', 'official', 'fused here')


@torch.no_grad()
def make_qarepvgg(folder: Path) -> None:
    sys.modules['utils'] = types.ModuleType('utils')
    sys.modules['utils'].my_scaler = None  # Only the blocks of its experiments use it.
    repvgg = module_of(folder, 'repvgg')
    del sys.modules['utils']
    architecture = NETWORKS['plain']
    for version, dialect in (('V2', 'QARepVGG'), ('V1', 'QARepVGG, first version')):
        torch.manual_seed(5)
        model = repvgg.RepVGG(
            list(architecture.num_blocks),
            num_classes=5,
            width_multiplier=list(architecture.width_multiplier),
            override_groups_map=groups_map(architecture),
            block_cls=getattr(repvgg, f'QARepVGGBlock{version}'),
        )
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.3)
                module.momentum = None
        model.train()(synthetic_images(32, seed=7, size=SIZE))
        name = f'qarepvgg-{version.lower()}'
        add_network(name, f'{name}.official.pth', model)
        save(model.state_dict(), f'{name}.pth', name, dialect, 'its own code')
        for module in model.double().modules():
            if hasattr(module, 'switch_to_deploy'):
                module.switch_to_deploy()
        save(model.float().state_dict(), f'{name}.official.pth', name, 'official', 'its own code')


def make_zcls(folder: Path, states: dict[str, State]) -> None:
    sys.path.insert(0, str(folder))
    backbones = importlib.import_module('zcls.model.backbones.vgg.repvgg_backbone')
    helper = importlib.import_module('zcls.model.conv_helper')
    head = importlib.import_module('zcls.model.heads.general_head_2d')
    for name in ('plain', 'se'):
        architecture = NETWORKS[name]
        widths = architecture.widths
        model = nn.Module()
        model.backbone = backbones.RepVGGBackbone(
            base_channels=widths[0],
            layer_channels=widths[1:],
            layer_blocks=architecture.num_blocks,
            groups=groups_map(architecture),
            with_attention=name == 'se',
            attention_bias=True,
        )
        model.head = head.GeneralHead2D(feature_dims=widths[4], num_classes=5)
        helper.insert_repvgg_block(model)
        rules = (
            (r'^(stage0|stage\d\.\d)\.se\.down', r'backbone.\1.1.excitation.0'),
            (r'^(stage0|stage\d\.\d)\.se\.up', r'backbone.\1.1.excitation.2'),
            (r'^(stage0|stage\d\.\d)\.', r'backbone.\1.0.'),
            (r'^linear', 'head.fc'),
        )
        state = renamed(states[name], *rules)
        shapes = {key: value.shape for key, value in model.state_dict().items()}
        model.load_state_dict({key: value.reshape(shapes[key]) for key, value in state.items()})
        save({'model': model.state_dict()}, f'{name}.zcls.pth', name, 'ZCls', 'its own code')
        if name == 'plain':
            helper.fuse_repvgg_block(model.double())
            save({'model': model.float().state_dict()}, f'{name}.zcls-deploy.pth', name, 'ZCls', 'its own code')
    sys.path.remove(str(folder))


def make_timm(states: dict[str, State]) -> None:
    from timm.models._features import FeatureListNet
    from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg

    for name in ('plain', 'se'):
        architecture = NETWORKS[name]
        blocks = tuple(
            # timm counts grouped blocks within a stage.
            ByoBlockCfg('rep', d=count, c=width, s=2, gs=lambda chs, i: chs // 2 if (i + 1) % 2 == 0 else 0)
            if architecture.groups > 1
            else ByoBlockCfg('rep', d=count, c=width, s=2)
            for count, width in zip(architecture.num_blocks, architecture.widths[1:], strict=True)
        )
        attention = {'attn_layer': 'se', 'attn_kwargs': {'rd_ratio': 0.0625, 'rd_divisor': 1}} if name == 'se' else {}
        config = ByoModelCfg(blocks=blocks, stem_type='rep', stem_chs=architecture.widths[0], **attention)
        model = ByobNet(config, num_classes=5)
        rules = (
            (r'^stage0', 'stem'),
            (r'^stage(\d)', lambda match: f'stages.{int(match[1]) - 1}'),
            (r'rbr_dense', 'conv_kxk'),
            (r'rbr_1x1', 'conv_1x1'),
            (r'rbr_identity', 'identity'),
            (r'se\.down', 'attn.fc1'),
            (r'se\.up', 'attn.fc2'),
            (r'^linear', 'head.fc'),
        )
        model.load_state_dict(renamed(states[name], *rules))
        save(model.state_dict(), f'{name}.timm.pth', name, 'timm', 'its own code')
        if name == 'plain':
            # As create_model(features_only=True) wraps it.
            features = FeatureListNet(copy.deepcopy(model), flatten_sequential=True)
            save(features.state_dict(), 'plain.timm-features.pth', name, 'timm features', 'its own code', backbone=True)
            for module in model.double().modules():
                if hasattr(module, 'reparameterize'):
                    module.reparameterize()
            save(model.float().state_dict(), f'{name}.timm-deploy.pth', name, 'timm', 'its own code')


def make_mmpretrain(states: dict[str, State]) -> None:
    for name in ('plain', 'se'):
        wrapped = {'meta': {'epoch': 120, 'cfg': 'text ' * 2000}, 'state_dict': renamed(states[name], *MMPRETRAIN)}
        save(wrapped, f'{name}.mmpretrain.pth', name, 'mmpretrain', 'written here')
    backbone = renamed(states['plain'], *MMPRETRAIN, (r'^backbone\.', ''))
    backbone = OrderedDict((key, value) for key, value in backbone.items() if not key.startswith('head'))
    save(backbone, 'plain.mmpretrain-backbone.pth', 'plain', 'mmpretrain backbone', 'written here', backbone=True)


# Pickles of numpy's arrays.


def arrays(state: State) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in without_counters(state).items()}


def make_paddle(states: dict[str, State]) -> None:
    rules = ((r'running_mean', '_mean'), (r'running_var', '_variance'))
    for name in ('plain', 'se'):
        state = arrays(renamed(states[name], *rules))
        state['linear.weight'] = np.ascontiguousarray(state['linear.weight'].T)
        names = {'StructuredToParameterName@@': {key: f'{key}_0.w_0' for key in state}}
        path = add(f'{name}.pdparams', name, 'PaddleClas', 'numpy and pickle')
        path.write_bytes(pickle.dumps({**state, **names}, protocol=4))
        if name == 'plain':
            path = add('plain.protocol2.pdparams', name, 'PaddleClas', 'numpy and pickle')
            path.write_bytes(pickle.dumps({**state, **names}, protocol=2))
            pairs = {key: Pair(f'{key}_0.w_0', value) for key, value in state.items()}
            path = add('plain.pairs.pdparams', name, 'PaddleClas', 'numpy and pickle')
            path.write_bytes(pickle.dumps(pairs, protocol=2))
            stale = {f'{block}.rbr_reparam.bias': np.zeros(4, np.float32) for block in ('stage0', 'stage1.0')}
            path = add('plain.evaluated.pdparams', name, 'PaddleClas', 'numpy and pickle')
            path.write_bytes(pickle.dumps({**state, **stale}, protocol=4))
    deploy = arrays(torch.load(OUT / 'plain.official-deploy.pth'))
    deploy['linear.weight'] = np.asfortranarray(deploy['linear.weight'].T)
    path = add('plain.deploy.pdparams', 'plain', 'official', 'numpy and pickle')
    path.write_bytes(pickle.dumps(deploy, protocol=4))


class Pair:
    """How paddle.save reduces a tensor that is not in a state dict: to the pair of its name and its numbers."""

    def __init__(self, *members: object):
        self.members = members

    def __reduce__(self) -> tuple:
        return tuple, (self.members,)


def make_basecls(states: dict[str, State]) -> None:
    rules = ((r'^linear', 'head.fc'), (r'se\.down', 'se.f_ex.0'), (r'se\.up', 'se.f_ex.2'))
    for name in ('plain', 'se'):
        state = {}
        for key, value in arrays(renamed(states[name], *rules)).items():
            if value.ndim == 1 and not key.startswith('head'):
                value = value.reshape(1, -1, 1, 1)
            groups = NETWORKS[name].groups
            if value.ndim == 4 and '.conv.' in key and is_grouped(key) and groups > 1:
                value = value.reshape(groups, value.shape[0] // groups, *value.shape[1:])
            state[key] = value
        path = add(f'{name}.basecls.pkl', name, 'basecls', 'numpy and pickle')
        path.write_bytes(pickle.dumps({'state_dict': state, 'epoch': 99}, protocol=pickle.HIGHEST_PROTOCOL))
        if name == 'plain':
            swapped = {key: value.astype('>f4') for key, value in state.items()}
            path = add('plain.big-endian.pkl', name, 'basecls', 'numpy and pickle')
            path.write_bytes(pickle.dumps(swapped, protocol=2))


def is_grouped(key: str) -> bool:
    """Of stages of two, two, two and one block, the second of each has an even index."""
    return re.match(r'stage\d\.1\.', key) is not None


# MindSpore.


def checkpoint_message() -> type:
    """mindspore/ccsrc/utils/checkpoint.proto."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name='checkpoint.proto', package='mindspore', syntax='proto2')
    for message, fields in {
        'TensorProto': [
            ('dims', 1, field.LABEL_REPEATED, field.TYPE_INT64, ''),
            ('tensor_type', 2, field.LABEL_REQUIRED, field.TYPE_STRING, ''),
            ('tensor_content', 3, field.LABEL_REQUIRED, field.TYPE_BYTES, ''),
        ],
        'Value': [
            ('tag', 1, field.LABEL_REQUIRED, field.TYPE_STRING, ''),
            ('tensor', 2, field.LABEL_OPTIONAL, field.TYPE_MESSAGE, '.mindspore.TensorProto'),
        ],
        'Checkpoint': [('value', 1, field.LABEL_REPEATED, field.TYPE_MESSAGE, '.mindspore.Value')],
    }.items():
        descriptor = file.message_type.add(name=message)
        for name, number, label, kind, type_name in fields:
            descriptor.field.add(name=name, number=number, label=label, type=kind, type_name=type_name or None)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName('mindspore.Checkpoint'))


def mindspore_bytes(state: dict[str, np.ndarray], slices: int = 1, checksum: bool = False) -> bytes:
    """One message after the other, as save_checkpoint writes them; large tensors in slices of the same name."""
    message, written = checkpoint_message(), b''
    types_by_code = {'float32': 'Float32', 'int32': 'Int32'}
    for key, value in state.items():
        content = value.tobytes()
        step = -(-len(content) // slices)
        for start in range(0, len(content), step):
            checkpoint = message()
            entry = checkpoint.value.add(tag=key)
            # Scalars have one dimension, of size 0.
            entry.tensor.dims.extend(value.shape or (0,))
            entry.tensor.tensor_type = types_by_code[str(value.dtype)]
            entry.tensor.tensor_content = content[start : start + step]
            written += checkpoint.SerializeToString()
    return written + (b'crc_num' + binascii.crc32(written).to_bytes(10, 'big') if checksum else b'')


def make_mindspore(states: dict[str, State]) -> None:
    rules = (
        (r'(rbr_\w+)\.conv\.', r'\1.0.'),
        (r'(rbr_\w+)\.bn\.', r'\1.1.'),
        (r'(rbr_(?:dense|1x1)\.1|rbr_identity)\.weight', r'\1.gamma'),
        (r'(rbr_(?:dense|1x1)\.1|rbr_identity)\.bias', r'\1.beta'),
        (r'running_mean', 'moving_mean'),
        (r'running_var', 'moving_variance'),
    )
    for name in ('plain', 'se'):
        state = arrays(renamed(states[name], *rules, (r'se\.down', 'se.conv_reduce'), (r'se\.up', 'se.conv_expand')))
        extra = {f'moments.{key}': value for key, value in list(state.items())[:3]}
        extra |= {'global_step': np.array(7, np.int32), 'learning_rate': np.array(0.1, np.float32)}
        content = mindspore_bytes(state | (extra if name == 'plain' else {}), checksum=name == 'plain')
        add(f'{name}.mindcv.ckpt', name, 'MindCV', 'protobuf').write_bytes(content)
        groups = NETWORKS[name].groups
        split = {}
        for key, value in arrays(renamed(states[name], *rules)).items():
            match = re.fullmatch(r'(.*rbr_(?:dense|1x1)\.0)\.weight', key)
            count = groups if match and is_grouped(key) else 1
            for group, part in enumerate(np.split(value, count)) if match else ():
                split[f'{match[1]}.convs.{group}.weight'] = part
            if not match:
                split[key] = value
        path = add(f'{name}.mindspore-models.ckpt', name, 'MindSpore models', 'protobuf')
        path.write_bytes(mindspore_bytes(split, slices=3 if name == 'plain' else 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for project in ('official', 'qarepvgg', 'zcls'):
        parser.add_argument(f'--{project}', type=Path, required=True)
    args = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    states = make_official(args.official)
    make_timm(states)
    make_mmpretrain(states)
    make_mindspore(states)
    make_paddle(states)
    make_basecls(states)
    make_zcls(args.zcls, states)
    del sys.modules['repvgg']
    make_qarepvgg(args.qarepvgg)
    (OUT / 'manifest.json').write_text(json.dumps(manifest, indent=2) + '\n')


if __name__ == '__main__':
    main()
