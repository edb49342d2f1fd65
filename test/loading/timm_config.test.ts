import {mkdir, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {convertCheckpoint} from '../../ts/convert.ts';
import {exportOnnx} from '../../ts/export.ts';
import type {LoadOptions} from '../../ts/loading/load_network.ts';
import {RepVGG} from '../../ts/model.ts';
import type {PreprocessingOptions} from '../../ts/preprocessing.ts';
import {temporaryFolder} from '../folder.ts';

const imageNet = {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]};

/** The bundled network as timm saves a model: weights, and what its config says. */
async function saved(t: ExecutionContext, config: string, weights = 'model.safetensors'): Promise<string> {
  const folder = await temporaryFolder(t);
  await convertCheckpoint('digits', join(folder, weights));
  await writeFile(join(folder, 'config.json'), config);
  return folder;
}

const configOf = (pretrained: object, others: object = {}): string =>
  JSON.stringify({architecture: 'repvgg_a0', num_classes: 10, ...others, pretrained_cfg: pretrained});

async function use(
  folder: string,
  options: LoadOptions = {},
): Promise<{preprocessing: PreprocessingOptions; labels: string[]}> {
  await using model = await RepVGG.load(folder, {threads: 1, ...options});
  return {preprocessing: {...model.preprocessing}, labels: model.labels.map(({label}) => label)};
}

// What resolve_data_config(use_test_size=True) and create_transform of timm 1.0.29 make of these.
const cases: [name: string, config: object, preprocessing: object][] = [
  [
    'a size, a share, an interpolation and a normalisation of its own',
    {
      input_size: [3, 160, 160],
      crop_pct: 0.9,
      interpolation: 'bicubic',
      mean: [0.5, 0.5, 0.5],
      std: [0.5, 0.4, 0.3],
    },
    {
      resize: 177,
      crop: 160,
      interpolation: 'bicubic',
      squash: false,
      mean: [0.5, 0.5, 0.5],
      std: [0.5, 0.4, 0.3],
    },
  ],
  [
    'squashed',
    {input_size: [3, 128, 128], crop_pct: 1, crop_mode: 'squash', interpolation: 'bilinear'},
    {resize: 128, crop: 128, interpolation: 'bilinear', squash: true, ...imageNet},
  ],
  [
    'tested in another size than trained',
    {
      ...{input_size: [3, 96, 96], test_input_size: [3, 128, 128], crop_pct: 0.8, test_crop_pct: 0.95},
      ...{interpolation: 'bilinear', crop_mode: 'center'},
    },
    {resize: 134, crop: 128, interpolation: 'bilinear', squash: false, ...imageNet},
  ],
  ["timm's own defaults", {}, {resize: 256, crop: 224, interpolation: 'bicubic', squash: false, ...imageNet}],
];

for (const [name, config, preprocessing] of cases) {
  test(`the preprocessing of timm's config.json: ${name}`, async t => {
    const folder = await saved(t, configOf(config));
    t.deepEqual((await use(folder)).preprocessing, {
      autoOrient: false,
      ...preprocessing,
    } as PreprocessingOptions);
  });
}

test('the file of weights in such a folder, and what is exported from it, have its preprocessing; options come first', async t => {
  const folder = await saved(
    t,
    configOf({input_size: [3, 64, 64], crop_pct: 0.5, interpolation: 'bilinear'}),
  );
  const file = join(folder, 'model.safetensors');
  t.like((await use(file, {preprocessing: {resize: 70}})).preprocessing, {resize: 70, crop: 64});
  const onnx = join(folder, 'model.onnx');
  t.like((await exportOnnx(folder, onnx)).preprocessing, {resize: 128, crop: 64});
  t.like((await use(onnx)).preprocessing, {resize: 128, crop: 64});
});

test('labels are descriptions, names, or where a class has none its number', async t => {
  const label_names = [...'abcdefghij'];
  const label_descriptions = {a: 'first', j: 'last'};
  const described = await saved(t, configOf({}, {label_names, label_descriptions}));
  const labels = ['first', ...'bcdefghi', 'last'];
  t.deepEqual((await use(described)).labels, labels);
  t.deepEqual((await use(described, {labels: label_names})).labels, label_names);
  const gaps = await saved(t, configOf({}, {label_names: {0: 'zero', 9: 'nine'}}));
  t.deepEqual((await use(gaps)).labels, ['zero', ...'12345678', 'nine']);

  const few = await saved(t, configOf({}, {label_names: ['a', 'b']}));
  const message = `Expected 10 labels in ${few}/config.json, one for each class, but received 2.`;
  await t.throwsAsync(use(few), {code: 'ERR_LABELS', message});
  t.deepEqual((await use(few, {labels: label_names})).labels, label_names);
  await t.throwsAsync(use(few, {labels: ['a']}), {
    message: /^Expected 10 labels in labels, .* received 1\.$/,
  });
});

test('other files of that name, and those beside weights of other names, say nothing', async t => {
  const published = {resize: 256, crop: 224, interpolation: 'bilinear'} as const;
  for (const config of ['{"model_type": "resnet"}', '[]', 'null', '{"pretrained_cfg": null}'])
    t.like((await use(await saved(t, config, 'pytorch_model.bin'))).preprocessing, published, config);
  const other = await saved(t, configOf({input_size: [3, 64, 64]}), 'digits.pth');
  t.like((await use(other)).preprocessing, published);
  const folder = await saved(t, configOf({}));
  await mkdir(join(folder, 'inner', 'config.json'), {recursive: true});
  await convertCheckpoint('digits', join(folder, 'inner', 'pytorch_model.bin'));
  t.like((await use(join(folder, 'inner'))).preprocessing, published);
});

test('a preprocessing that there is not here is refused, as is what is none; the weights can still be converted to what has no place for it', async t => {
  for (const [config, code, problem] of [
    [
      {crop_mode: 'border'},
      'ERR_CHECKPOINT_UNSUPPORTED',
      'its crop_mode is "border", which is not supported',
    ],
    [{interpolation: 'lanczos'}, 'ERR_CHECKPOINT_UNSUPPORTED', 'its interpolation is "lanczos"'],
    [{input_size: [3, 224, 288]}, 'ERR_CHECKPOINT_UNSUPPORTED', 'its input_size is [3,224,288]'],
    [{input_size: 'large'}, 'ERR_CHECKPOINT_CORRUPT', 'its pretrained_cfg is no preprocessing'],
    [{crop_pct: 0}, 'ERR_CHECKPOINT_CORRUPT', 'its pretrained_cfg is no preprocessing'],
    [{std: [0, 1, 1]}, 'ERR_CHECKPOINT_CORRUPT', 'its pretrained_cfg is no preprocessing'],
  ] as const) {
    const folder = await saved(t, configOf(config));
    const error = await t.throwsAsync(use(folder), {code}, problem);
    const start = `Cannot use ${folder}/model.safetensors as config.json beside it says: ${problem}`;
    t.true(error!.message.startsWith(start), error!.message);
    await t.notThrowsAsync(convertCheckpoint(folder, join(folder, 'converted.pth')));
    await t.throwsAsync(convertCheckpoint(folder, join(folder, 'converted.safetensors')), {code}, problem);
  }
  for (const others of [{global_pool: 'max'}, {model_args: {output_stride: 16}}]) {
    const folder = await saved(t, configOf({}, others));
    const message = /its (global_pool is "max"|output_stride is 16), which is not supported\.$/;
    await t.throwsAsync(use(folder), {code: 'ERR_CHECKPOINT_UNSUPPORTED', message});
  }
  const usual = {global_pool: 'avg', model_args: {output_stride: 32, drop_rate: 0.1}};
  await t.notThrowsAsync(use(await saved(t, configOf({}, usual))));
  // Values without a text, and lists deeper than the stack.
  for (const value of ['{"toString": 1, "valueOf": 1}', `${'['.repeat(1e5)}${']'.repeat(1e5)}`]) {
    for (const [config, code] of [
      [`{"label_names": [${'0,'.repeat(9)}${value}], "pretrained_cfg": {}}`, 'ERR_LABELS'],
      [`{"pretrained_cfg": {"crop_pct": ${value}}}`, 'ERR_CHECKPOINT_CORRUPT'],
      [`{"pretrained_cfg": {"crop_mode": ${value}}}`, 'ERR_CHECKPOINT_UNSUPPORTED'],
      [`{"pretrained_cfg": {"input_size": [3, ${value}, 1]}}`, 'ERR_CHECKPOINT_UNSUPPORTED'],
      [`{"global_pool": ${value}, "pretrained_cfg": {}}`, 'ERR_CHECKPOINT_UNSUPPORTED'],
    ] as const)
      await t.throwsAsync(use(await saved(t, config)), {code}, config.slice(0, 60));
  }
  const broken = await saved(t, '{"pretrained_cfg": {');
  await t.throwsAsync(use(broken), {code: 'ERR_CHECKPOINT_CORRUPT', message: /it is no JSON\.$/});
});
