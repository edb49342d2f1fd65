import test from 'ava';
import {
  type Architecture,
  architectureByName,
  architectureNames,
  blockName,
  blockShapes,
  defineArchitecture,
  officialVariant,
} from '../ts/architecture.ts';
import {layerTable} from '../ts/statistics.ts';
import {stateDict} from './checkpoints.ts';

/** Counted on the official code's own models; multiplications in units of 1e9 as in tables 4 and 5 of the paper. */
interface Row {
  name: string;
  deployParameters: number;
  trainParameters: number;
  keys: {train: number; deploy: number};
  macs: number;
  flops?: number;
  winograd?: number;
}

const aKeys = {train: 351, deploy: 46};
const bKeys = {train: 453, deploy: 58};

// biome-ignore format: a table
const rows: readonly Row[] = [
  {name: 'RepVGG-A0', deployParameters: 8_309_384, trainParameters: 9_108_968, keys: aKeys, macs: 1_361_451_008, flops: 1.4, winograd: 0.7},
  {name: 'RepVGG-A1', deployParameters: 12_789_864, trainParameters: 14_092_264, keys: aKeys, macs: 2_363_967_488, flops: 2.4, winograd: 1.3},
  {name: 'RepVGG-A2', deployParameters: 25_499_944, trainParameters: 28_210_600, keys: aKeys, macs: 5_116_951_552, flops: 5.1, winograd: 2.7},
  {name: 'RepVGG-B0', deployParameters: 14_339_048, trainParameters: 15_817_960, keys: bKeys, macs: 3_057_600_512, flops: 3.1, winograd: 1.6},
  {name: 'RepVGG-B1', deployParameters: 51_829_480, trainParameters: 57_415_016, keys: bKeys, macs: 11_815_485_440, flops: 11.8, winograd: 5.9},
  {name: 'RepVGG-B1g2', deployParameters: 41_360_104, trainParameters: 45_782_376, keys: bKeys, macs: 8_809_742_336, flops: 8.8, winograd: 4.6},
  {name: 'RepVGG-B1g4', deployParameters: 36_125_416, trainParameters: 39_966_056, keys: bKeys, macs: 7_306_870_784, flops: 7.3, winograd: 3.9},
  {name: 'RepVGG-B2', deployParameters: 80_315_112, trainParameters: 89_022_376, keys: bKeys, macs: 18_376_609_792, flops: 18.4, winograd: 9.1},
  {name: 'RepVGG-B2g2', deployParameters: 63_956_712, trainParameters: 70_846_376, keys: bKeys, macs: 13_680_136_192},
  {name: 'RepVGG-B2g4', deployParameters: 55_777_512, trainParameters: 61_758_376, keys: bKeys, macs: 11_331_899_392, flops: 11.3, winograd: 6.0},
  {name: 'RepVGG-B3', deployParameters: 110_960_872, trainParameters: 123_085_288, keys: bKeys, macs: 26_208_882_688, flops: 26.2, winograd: 12.9},
  {name: 'RepVGG-B3g2', deployParameters: 87_404_776, trainParameters: 96_911_848, keys: bKeys, macs: 19_445_960_704},
  {name: 'RepVGG-B3g4', deployParameters: 75_626_728, trainParameters: 83_825_128, keys: bKeys, macs: 16_064_499_712, flops: 16.1, winograd: 8.4},
  {name: 'RepVGG-D2se', deployParameters: 120_387_572, trainParameters: 133_334_836, keys: {train: 985, deploy: 290}, macs: 32_829_551_104},
  // 146,062,864 while training, with three auxiliary classifiers: a 3x3 convolution, its BN and a linear layer each.
  {name: 'RepVGGplus-L2pse', deployParameters: 127_151_960, trainParameters: 146_062_864 - 391_720 - 1_243_240 - 4_328_680, keys: {train: 1009, deploy: 290}, macs: 32_827_297_792 + 9_013_248},
];

test('the table has the fifteen official variants, in order', t => {
  t.deepEqual(
    architectureNames,
    rows.map(({name}) => name),
  );
});

for (const row of rows) {
  const {name, deployParameters, trainParameters, keys, macs, flops, winograd} = row;
  test(`${name} has the published sizes`, t => {
    const architecture = architectureByName(name);
    const {total, convolutions} = layerTable(architecture, {height: 224, width: 224});
    t.is(total.deployParameters, deployParameters);
    t.is(total.trainParameters, trainParameters);
    t.is(total.macs, macs);
    if (flops !== undefined) t.is((total.macs / 1e9).toFixed(1), flops.toFixed(1));
    if (winograd !== undefined) t.is((convolutions.winogradMultiplies / 1e9).toFixed(1), winograd.toFixed(1));
    const project = name === 'RepVGGplus-L2pse' ? 'plus' : 'official';
    t.is(stateDict(architecture, project, 'train').length, keys.train);
    t.is(stateDict(architecture, project, 'deploy').length, keys.deploy);
  });
}

/** All thirteen A and B variants, from the same definition: table 4 and 5 print ten of them, to one digit. */
test('Winograd multiplications are the recomputed ones', t => {
  const expected = [
    0.746, 1.271, 2.659, 1.579, 5.905, 4.569, 3.901, 9.142, 7.054, 6.011, 12.912, 9.906, 8.403,
  ];
  const actual = architectureNames.slice(0, 13).map(name => {
    const {convolutions} = layerTable(architectureByName(name), {height: 224, width: 224});
    return Number((convolutions.winogradMultiplies / 1e9).toFixed(3));
  });
  t.deepEqual(actual, expected);
});

test('statistics follow the input size, odd and rectangular ones included', t => {
  t.is(layerTable(architectureByName('D2se'), {height: 320, width: 320}).total.macs, 66_994_074_112);
  const {layers, convolutions, total} = layerTable(architectureByName('A0'), {height: 225, width: 97});
  const sizes = layers.filter(({shape}) => shape.position === 0).map(({height, width}) => [height, width]);
  t.deepEqual(sizes, [
    [113, 49],
    [57, 25],
    [29, 13],
    [15, 7],
    [8, 4],
  ]);
  const {macs, winogradMultiplies, activations, name} = layers[2]!;
  t.is(name, 'stage1.1');
  t.is(macs, 9 * 48 * 48 * 57 * 25);
  t.is(winogradMultiplies, 16 * 48 * 48 * 29 * 13);
  t.is(activations, 48 * 57 * 25);
  t.is(layers[1]!.winogradMultiplies, layers[1]!.macs);
  t.is(total.macs - convolutions.macs, 1280 * 1000);
  t.is(total.deployParameters - convolutions.deployParameters, 1280 * 1000 + 1000);
  t.is(total.activations - convolutions.activations, 1000);
});

test('names are found whatever their spelling', t => {
  for (const name of ['a0', 'A0', 'repvgg_a0', 'RepVGG-A0', 'repvgg-a0', 'RepVGG A0']) {
    t.is(architectureByName(name).name, 'RepVGG-A0', name);
  }
  for (const name of ['B1g4', 'repvgg_b1g4', 'REPVGG-B1G4'])
    t.is(architectureByName(name).name, 'RepVGG-B1g4', name);
  for (const name of ['RepVGGplus-L2pse', 'repvggplus_l2pse', 'L2pse']) {
    t.is(architectureByName(name).name, 'RepVGGplus-L2pse', name);
  }
  for (const name of ['', 'A3', 'RepVGG', 'B1g8']) {
    const error = t.throws(() => architectureByName(name), {code: 'ERR_ARCHITECTURE_UNKNOWN'});
    t.true(error.message.includes('RepVGG-A0, RepVGG-A1'), error.message);
  }
});

test('every even block up to 26 is grouped, and no other', t => {
  const expected = ['stage1.1', 'stage1.3', 'stage2.1', 'stage2.3', 'stage2.5'];
  for (const position of [1, 3, 5, 7, 9, 11, 13, 15]) expected.push(`stage3.${position}`);
  for (const [name, groups] of [
    ['B1g2', 2],
    ['B1g4', 4],
    ['B2g2', 2],
    ['B2g4', 4],
    ['B3g2', 2],
    ['B3g4', 4],
  ] as const) {
    const shapes = blockShapes(architectureByName(name));
    const grouped = shapes.filter(shape => shape.groups !== 1);
    t.deepEqual(grouped.map(blockName), expected, name);
    t.true(
      grouped.every(shape => shape.groups === groups),
      name,
    );
  }
  const long = defineArchitecture({numBlocks: [8, 14, 24, 1], widthMultiplier: [1, 1, 1, 1], groups: 2});
  t.deepEqual(
    blockShapes(long)
      .filter(shape => shape.groups === 2)
      .map(({index}) => index),
    [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26],
  );
});

test('the identity branch needs equal channels and stride 1', t => {
  for (const name of architectureNames) {
    for (const {stride, position, identity} of blockShapes(architectureByName(name))) {
      t.is(stride, position === 0 ? 2 : 1);
      t.is(identity, position > 0);
    }
  }
  const [, first] = blockShapes(architectureByName('A0'));
  t.like(first!, {stage: 1, position: 0, inChannels: 48, outChannels: 48, stride: 2, identity: false});
});

test('squeeze-and-excite has the widths of the official networks', t => {
  const widths = (name: string): number[] => {
    const shapes = blockShapes(architectureByName(name)).filter(({position}) => position === 0);
    return shapes.map(({squeezeChannels}) => squeezeChannels);
  };
  t.deepEqual(widths('D2se'), [4, 10, 20, 40, 160]);
  t.deepEqual(widths('L2pse'), [16, 40, 80, 160, 640]);
  t.deepEqual(widths('A0'), [0, 0, 0, 0, 0]);
});

test('an official structure is recognised, with any number of classes', t => {
  for (const name of architectureNames) {
    const {numBlocks, widths, groups, squeezeExcite} = architectureByName(name);
    const bare: Architecture = {name: 'x', numBlocks, widths, groups, squeezeExcite, numClasses: 7};
    t.is(officialVariant(bare)?.name, name);
  }
  const {groups, ...a0} = architectureByName('A0');
  t.is(officialVariant({...a0, groups: groups * 2}), undefined);
});

test('an architecture of one’s own is checked', t => {
  const valid = {numBlocks: [1, 1, 1, 1], widthMultiplier: [1, 1, 1, 1]} as const;
  t.deepEqual(
    defineArchitecture({...valid, widthMultiplier: [0.33, 1.01, 1.01, 1.01]}).widths,
    [21, 21, 129, 258, 517],
  );
  t.is(defineArchitecture({...valid, widthMultiplier: [2, 1, 1, 1]}).widths[0], 64);
  const invalid = [
    [{...valid, numBlocks: [1, 1, 1]}, /numBlocks/],
    [{...valid, numBlocks: [1, 0, 1, 1]}, /numBlocks/],
    [{...valid, numBlocks: [1, 1.5, 1, 1]}, /numBlocks/],
    [{...valid, widthMultiplier: [1, 1, 0, 1]}, /widthMultiplier/],
    [{...valid, widthMultiplier: [1, 1, Number.NaN, 1]}, /widthMultiplier/],
    [{...valid, groups: 0}, /groups/],
    [{...valid, groups: 3}, /128 channels of stage2\.0 for groups/],
    [{...valid, widthMultiplier: [0.001, 1, 1, 1]}, /0 channels of stage0/],
    [{...valid, numClasses: -1}, /numClasses/],
    [{...valid, name: 1}, /a string for name/],
    [{...valid, squeezeExcite: {position: 'before', reduction: 4}}, /for squeezeExcite\.position/],
    [{...valid, squeezeExcite: {position: 'before-relu'}}, /for squeezeExcite\.reduction/],
    [
      {...valid, squeezeExcite: {position: 'before-relu', reduction: 65}},
      /64 channels of stage0 for squeeze/,
    ],
  ] as const;
  for (const [options, message] of invalid) {
    t.throws(() => defineArchitecture(options as never), {code: 'ERR_INVALID_ARGUMENT', message});
  }
});
