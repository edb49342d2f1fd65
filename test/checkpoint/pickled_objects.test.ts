/** Whole modules and training checkpoints: objects of unknown classes are data, and what is named is not run. */
import test from 'ava';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {
  concat,
  dict,
  Folder,
  floats,
  int,
  ints,
  list,
  pickle,
  tensor,
  text,
  torchLegacy,
  torchZip,
  tuple,
} from './build.ts';
import {array} from './build_others.ts';
import {refusal} from './refusal.ts';

const folder = new Folder();
test.after.always(() => folder.remove());

async function readAll(object: Buffer): Promise<Record<string, number[]>> {
  const all: Record<string, number[]> = {};
  const path = await folder.write(torchZip(object, {0: floats(1, 2), 1: floats(3)}));
  await using checkpoint = await openCheckpoint(path);
  for (const {name, read} of checkpoint.tensors.values()) all[name] = Array.from(await read());
  return all;
}

const weight = tensor({length: 2, shape: [2]});
const bias = tensor({key: '1', length: 1, shape: [1]});
const parameter = concat('ctorch._utils\n_rebuild_parameter\n', tuple(weight, '\x88', 'N'), 'R');

/** An object with these attributes, as protocol 2 makes it. */
const object = (name: string, attributes: Buffer): Buffer => concat(`c${name}\n)\x81`, attributes, 'b');

interface Module {
  parameters?: Record<string, Buffer>;
  buffers?: Record<string, Buffer>;
  modules?: Record<string, Buffer>;
  others?: Record<string, Buffer | string>;
  /** Its module and its name. */
  of?: string;
}

function torchModule({
  parameters = {},
  buffers = {},
  modules = {},
  others = {},
  of = 'my_project.models\nMyNet',
}: Module): Buffer {
  const members = {_parameters: dict(parameters), _buffers: dict(buffers), _modules: dict(modules)};
  return object(of, dict({training: '\x89', ...members, ...others}));
}

test('the weights of a module are those of its state dict', async t => {
  const inner = torchModule({
    parameters: {weight: parameter},
    buffers: {running_mean: bias, transient: bias},
  });
  const transient = concat('c__builtin__\nset\n](', text('transient'), 'e\x85R');
  const withTransient = torchModule({
    parameters: {weight: parameter, bias: concat('N')},
    buffers: {running_mean: bias, transient: bias},
    others: {_non_persistent_buffers_set: transient},
  });
  t.deepEqual(await readAll(pickle(torchModule({modules: {a: inner, b: withTransient, c: concat('N')}}))), {
    'a.weight': [1, 2],
    'a.running_mean': [3],
    'a.transient': [3],
    'b.weight': [1, 2],
    'b.running_mean': [3],
  });
  // DataParallel around it, and a training script around that.
  const parallel = torchModule({modules: {module: inner}});
  t.deepEqual(Object.keys(await readAll(pickle(dict({ema: concat('N'), model: parallel})))), [
    'weight',
    'running_mean',
    'transient',
  ]);
});

test('a module says what its batch normalisations add to the variance, and whether it is the same for all', async t => {
  const norm = (eps: number): Buffer => {
    const double = Buffer.alloc(8);
    double.writeDoubleBE(eps);
    return torchModule({buffers: {running_var: bias}, others: {eps: concat('G', double)}});
  };
  // A layer normalisation has no variance that is kept.
  const other = torchModule({parameters: {weight: parameter}, others: {eps: int(7)}});
  const open = async (modules: Record<string, Buffer>) =>
    openCheckpoint(
      await folder.write(torchZip(pickle(torchModule({modules})), {0: floats(1, 2), 1: floats(3)})),
    );
  await using checkpoint = await open({other, a: norm(1e-3), b: norm(1e-3)});
  t.is(checkpoint.eps, 1e-3);
  await using without = await open({other});
  t.is(without.eps, undefined);
  await t.throwsAsync(open({a: norm(1e-3), b: norm(1e-5)}), {
    code: 'ERR_CHECKPOINT_UNSUPPORTED',
    message: /its batch normalisations add 0\.001 to the variance, but b adds 0\.00001\.$/,
  });
});

test('a module that computes something else than its tensors look like is refused', async t => {
  const convolution = (dilation: number, padding: string): Buffer =>
    torchModule({
      parameters: {weight: parameter},
      others: {dilation: ints([dilation, dilation]), padding_mode: text(padding)},
    });
  const activation = (name: string): Buffer => torchModule({of: `torch.nn.modules.activation\n${name}`});
  const read = async (module: Buffer): Promise<unknown> =>
    readAll(pickle(torchModule({modules: {plain: convolution(1, 'zeros'), own: module}})));
  for (const name of ['ReLU', 'Sigmoid', 'LogSoftmax']) await t.notThrowsAsync(read(activation(name)));
  const others: [Buffer, RegExp][] = [
    [activation('GELU'), /its module own is GELU, where/],
    [activation('ReLU6'), /its module own is ReLU6, where/],
    [convolution(2, 'zeros'), /its module own has dilation \[2,2\], where/],
    [convolution(1, 'reflect'), /its module own has padding "reflect", where/],
  ];
  for (const [module, message] of others)
    await t.throwsAsync(read(module), {code: 'ERR_CHECKPOINT_UNSUPPORTED', message});
});

test('a setting of a module that would be a text without end is not shown', async t => {
  const endless = concat('N', '2\x86'.repeat(40));
  for (const name of ['dilation', 'padding_mode']) {
    const module = torchModule({parameters: {weight: parameter}, others: {[name]: endless}});
    await t.throwsAsync(readAll(pickle(torchModule({modules: {own: module}}))), {
      code: 'ERR_CHECKPOINT_UNSUPPORTED',
      message: /its module own has (dilation|padding) nested, where/,
    });
  }
});

test('one module under two names has its weights under both', async t => {
  const shared = concat(torchModule({parameters: {weight: parameter}}), 'q\x05');
  t.deepEqual(await readAll(pickle(torchModule({modules: {a: shared, b: concat('h\x05')}}))), {
    'a.weight': [1, 2],
    'b.weight': [1, 2],
  });
});

const settings: [title: string, value: Buffer | string][] = [
  ['argparse.Namespace', object('argparse\nNamespace', dict({lr: concat('G?\xb9\x99\x99\x99\x99\x99\x9a')}))],
  ['a dict of a class', concat('cyacs.config\nCfgNode\n)\x81', text('A'), int(1), 's', dict({x: 'N'}), 'b')],
  ['a list of a class', concat('cmy\nList\n)\x81(', int(1), int(2), 'e', int(3), 'a')],
  ['an object by name and arguments', concat('cmy\nClass\n)}\x92')],
  ['an object with slots', concat('cmy\nClass\n)\x81', tuple('N', dict({x: int(1)})), 'b')],
  [
    'an object of protocol 1',
    concat('ccopy_reg\n_reconstructor\n', tuple('cmy\nClass\n', 'c__builtin__\nobject\n', 'N'), 'R'),
  ],
  ['types.SimpleNamespace', concat('ctypes\nSimpleNamespace\n)R', dict({lr: int(1)}), 'b')],
  // As Python 3 writes them with protocol 2, which is that of torch.save.
  ['a range', concat('c__builtin__\nxrange\n', tuple(int(0), int(3), int(1)), 'R')],
  ['no bytes', concat('c__builtin__\nbytes\n)R')],
  ['a path', concat('cpathlib\nPosixPath\n', tuple(text('/'), text('data')), 'R')],
  [
    'a partial function',
    concat(
      'cfunctools\npartial\n',
      tuple('ctorch.nn\nReLU\n'),
      'R',
      tuple('ctorch.nn\nReLU\n', ')', '}', 'N'),
      'b',
    ),
  ],
  ['a method', concat('c__builtin__\ngetattr\n', tuple('cmmengine\nHistoryBuffer\n', text('mean')), 'R')],
  [
    'a defaultdict',
    concat('ccollections\ndefaultdict\n', tuple('c__builtin__\nlist\n'), 'R', text('a'), int(1), 's'),
  ],
  ['a deque', concat('ccollections\ndeque\n)R(', int(1), 'e')],
  ['a number of numpy', concat('cnumpy.core.multiarray\nscalar\n', tuple('N', 'N'), 'R')],
  ['a random state', tuple(text('MT19937'), array({type: 'u4'}), int(624))],
  // Nothing happens to what is only named, whatever it is.
  ['a function', 'cos\nsystem\n'],
  ['an object of a function', concat('cos\nsystem\n)\x81')],
];
for (const [title, value] of settings) {
  test(`${title} beside the weights`, async t => {
    const state = dict({weight});
    t.deepEqual(await readAll(pickle(dict({config: value, state_dict: state}))), {weight: [1, 2]});
    t.deepEqual(await readAll(pickle(dict({state_dict: state, config: value}))), {weight: [1, 2]});
  });
}

test('a state dict of a class of its own', async t => {
  const state = concat('ceasydict\nEasyDict\n)\x81', text('weight'), weight, 's');
  t.deepEqual(await readAll(pickle(state)), {weight: [1, 2]});
  const wrapped = concat('ceasydict\nEasyDict\n)\x81', text('state_dict'), dict({weight}), 's');
  t.deepEqual(await readAll(pickle(wrapped)), {weight: [1, 2]});
});

test('an array without elements, whose bytes protocol 2 writes as a call', async t => {
  const empty = array({shape: [0], bytes: concat('c__builtin__\nbytes\n)R')});
  t.deepEqual(await readAll(pickle(dict({empty, weight}))), {empty: [], weight: [1, 2]});
});

test("tensors of a TPU are the CPU's, or arrays", async t => {
  const rest = ['ctorch\nfloat32\n', text('xla:0'), '\x89'];
  const rebuilt = (name: string, value: Buffer): Buffer =>
    concat(`ctorch._utils\n_rebuild_${name}\n`, tuple(value, ...rest), 'R');
  const object = dict({
    new: rebuilt('device_tensor_from_cpu_tensor', weight),
    old: rebuilt('device_tensor_from_numpy', array()),
    older: rebuilt('xla_tensor', array()),
  });
  t.deepEqual(await readAll(pickle(object)), {new: [1, 2], old: [1, 2, 3, 4], older: [1, 2, 3, 4]});
});

test("MegEngine's tensors are their arrays", async t => {
  const args = tuple(array(), 'N', text('xpux'));
  const parameters = concat('cmegengine.tensor\nParameter\n', args, '\x81', dict({qdict: '}'}), 'b');
  t.deepEqual(await readAll(pickle(dict({x: parameters}))), {x: [1, 2, 3, 4]});
});

test('a tensor with attributes', async t => {
  const typed = concat(
    'ctorch._tensor\n_rebuild_from_type_v2\n',
    tuple(
      'ctorch._utils\n_rebuild_tensor_v2\n',
      'ctorch.nn.parameter\nParameter\n',
      // The arguments of a tensor without its call.
      concat(weight.subarray('ctorch._utils\n_rebuild_tensor_v2\n'.length, -1)),
      dict({tag: int(1)}),
    ),
    'R',
  );
  t.deepEqual(await readAll(pickle(dict({weight: typed}))), {weight: [1, 2]});
});

test('the classes of a legacy file come with their source code, which is passed over', async t => {
  const source = tuple(text('module'), 'cmy.models\nNet\n', text('my/models.py'), text('import os'));
  const state = {_parameters: dict({weight}), _buffers: '}', _modules: '}'};
  const module = concat(source, 'Q)\x81', dict(state), 'b');
  const path = await folder.write(torchLegacy(pickle(module), {0: {bytes: floats(1, 2), length: 2}}));
  await using checkpoint = await openCheckpoint(path);
  t.deepEqual([...checkpoint.tensors.keys()], ['weight']);
});

test('what torch.compile, FSDP and DataParallel put around modules is no part of their names', async t => {
  const names = {
    'module._orig_mod.a.weight': weight,
    '_orig_mod.b._orig_mod.weight': weight,
    '_fsdp_wrapped_module.c.0._checkpoint_wrapped_module._orig_mod.weight': weight,
    'my_orig_mod.module.weight': weight,
  };
  const kept = ['a.weight', 'b.weight', 'c.0.weight', 'my_orig_mod.module.weight'];
  t.deepEqual(Object.keys(await readAll(pickle(dict(names)))), kept);
});

test('a compiled module is the module', async t => {
  // torch.save(torch.compile(model)) of PyTorch 2.13; other modules may be compiled within it.
  const compiled = (module: Buffer): Buffer => {
    const compiler = object('torch._dynamo.convert_frame\nCatchErrorsWrapper', dict({_hooks: concat('N')}));
    const context = concat('ctorch._dynamo.eval_frame\nOptimizeContext\n', tuple(compiler, '\x89'), 'R');
    return concat('ctorch._dynamo.eval_frame\nOptimizedModule\n', tuple(module, context), 'R');
  };
  const inner = torchModule({parameters: {weight: parameter}});
  const whole = compiled(torchModule({modules: {a: compiled(inner), b: inner}}));
  t.deepEqual(await readAll(pickle(whole)), {'a.weight': [1, 2], 'b.weight': [1, 2]});
});

test('a network under any other name is found beside single tensors and other objects', async t => {
  const module = torchModule({parameters: {weight: parameter}, buffers: {mean: bias}});
  const rows = {weight: [1, 2], mean: [3]};
  for (const network of [module, dict({weight, mean: bias})]) {
    const optimizer = dict({state: dict({}), param_groups: list(dict({lr: int(1)}))});
    t.deepEqual(await readAll(pickle(dict({loss: bias, optimizer, net: network, epoch: int(3)}))), rows);
    const again = concat(network, 'q\x05');
    t.deepEqual(await readAll(pickle(dict({net: again, copy: 'h\x05'}))), rows);
    // What torch.distributed.checkpoint has of an application, as one file.
    t.deepEqual(await readAll(pickle(dict({app: dict({model: network, optim: optimizer})}))), rows);
  }
});

test('a dict of fewer tensors than any network has is none, beside one that may be', async t => {
  const network = dict(Object.fromEntries(Array.from({length: 10}, (_, i) => [`w${i}`, weight])));
  const all = await readAll(pickle(dict({metrics: dict({top1: bias, top5: bias}), net: network})));
  t.deepEqual(Object.keys(all).length, 10);
});

// Modules that are not what they should be.

test(
  'two networks under names of their own',
  refusal,
  () =>
    folder.write(
      torchZip(pickle(dict({student: dict({weight}), teacher: dict({weight, bias})})), {
        0: floats(1, 2),
        1: floats(3),
      }),
    ),
  'ERR_CHECKPOINT_FORMAT',
  /expected one state dict but found 2, under student, teacher, so save the one .*torch\.load\(path\)\["student"\], out\)/,
);

const wrapper = (type: string): Buffer => {
  const layout = concat('ctorch.serialization\n_get_layout\n', tuple(text('torch.strided')), 'R');
  const name = `c${type}\n`;
  const args = tuple(name, 'ctorch\nfloat32\n', tuple(int(2)), tuple(int(1)), int(0), layout);
  const rebuild = 'ctorch._utils\n_rebuild_wrapper_subclass\n';
  const state = dict({inner: weight});
  return concat('ctorch._tensor\n_rebuild_from_type_v2\n', tuple(rebuild, name, args, state), 'R');
};
for (const [type, expected] of [
  [
    'torchao.dtypes.affine\nQuantizedTensor',
    /tensors of the class torchao\.dtypes\.affine\.QuantizedTensor, which/,
  ],
  ['torch.distributed.tensor\nDTensor', /sharded over processes, .*full_state_dict=True/],
  ['torch.distributed._tensor.api\nDTensor', /sharded over processes, .*full_state_dict=True/],
] as const) {
  test(
    `a tensor of the class ${type.replace('\n', '.')}`,
    refusal,
    () => folder.write(torchZip(pickle(dict({weight: wrapper(type)})), {0: floats(1, 2)})),
    'ERR_CHECKPOINT_UNSUPPORTED',
    expected,
  );
}
test(
  'a tensor that a call makes which is not on the list',
  refusal,
  () => {
    const args = tuple('cos\nsystem\n', 'ctorch\nTensor\n', tuple(text('touch x')), '}');
    const made = concat('ctorch._tensor\n_rebuild_from_type_v2\n', args, 'R');
    return folder.write(torchZip(pickle(dict({weight: made})), {}));
  },
  'ERR_CHECKPOINT_UNSAFE',
  /its pickle calls os\.system/,
);
test(
  'the index of a folder of torch.distributed.checkpoint',
  refusal,
  () => folder.write(pickle(object('torch.distributed.checkpoint.metadata\nMetadata', dict({})))),
  'ERR_CHECKPOINT_UNSUPPORTED',
  /torch\.distributed\.checkpoint folder, so convert it to one file: python -m .*dcp_to_torch FOLDER OUT\.pth/,
);
test(
  'many modules of the same parts',
  refusal,
  () => {
    const parts = dict(Object.fromEntries(Array.from({length: 5000}, (_, i) => [`p${i}`, concat('N')])));
    const state = dict({_parameters: parts, _modules: concat('}'), _buffers: concat('}')});
    const first = object('my\nNet', concat(state, 'q\x05'));
    const others = Array.from({length: 200}, (_, i) => [`n${i}`, object('my\nNet', concat('h\x05'))]);
    return folder.write(torchZip(pickle(dict({first, ...Object.fromEntries(others)})), {}));
  },
  'ERR_CHECKPOINT_UNSUPPORTED',
  /a module of more than 20000 parts/,
);

const endless = concat(
  'cmy\nNet\n)\x81q\x01',
  dict({_parameters: '}', _modules: dict({a: concat('h\x01')})}),
  'b',
);
const doubled = Array.from({length: 40}).reduce<Buffer>(
  (inner, _, i) => {
    const memo = concat('q', Buffer.of(i + 1));
    const both = dict({a: concat(inner, memo), b: concat('h', Buffer.of(i + 1))});
    return concat('cmy\nNet\n)\x81', dict({_parameters: '}', _modules: both}), 'b');
  },
  torchModule({parameters: {weight: parameter}}),
);
const inZip = (root: Buffer): Buffer => torchZip(root, {0: floats(1, 2)});
const unsupported = 'ERR_CHECKPOINT_UNSUPPORTED';
const ends = /modules within each other without end/;

test('a module within itself', refusal, () => inZip(pickle(endless)), unsupported, ends);
test('a module of 2^40 modules', refusal, () => inZip(pickle(doubled)), unsupported, ends);
test(
  'a name without end',
  refusal,
  () => inZip(pickle(torchModule({parameters: {['x'.repeat(1000)]: parameter}}))),
  unsupported,
  ends,
);
test(
  'an object that is none of these',
  refusal,
  () => inZip(pickle(object('my.models\nNet', dict({weight})))),
  'ERR_CHECKPOINT_FORMAT',
  /an object of the class my\.models\.Net/,
);
test(
  'an attribute of a number',
  refusal,
  () => inZip(pickle('cbuiltins\ngetattr\n', tuple(int(1), text('x')), 'R')),
  'ERR_CHECKPOINT_CORRUPT',
  /malformed getattr/,
);
const longer = concat('cbuiltins\ngetattr\nh\x01', text('x'.repeat(200)), '\x86Rq\x010');
test(
  'a name that grows without end',
  refusal,
  () => inZip(pickle('cos\npath\nq\x010', ...Array<Buffer>(9).fill(longer), 'N')),
  'ERR_CHECKPOINT_CORRUPT',
  /endless name/,
);
