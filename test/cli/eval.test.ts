import {copyFile, mkdir, readdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {digits} from '../../ts/digits.ts';
import {RepVGG} from '../../ts/model.ts';
import {jsonLines, repvgg, temporaryFolder} from './run.ts';

const network = ['--checkpoint', 'digits'];

/** The embedded images in class folders, as `val` of a folder. */
async function imageFolder(t: ExecutionContext, every = 1): Promise<string> {
  const folder = await temporaryFolder(t);
  for (const [i, name] of (await readdir(digits.images)).sort().entries()) {
    if (i % every !== 0) continue;
    const label = name.slice(5, 6);
    await mkdir(join(folder, 'val', label), {recursive: true});
    await copyFile(join(digits.images, name), join(folder, 'val', label, name));
  }
  return folder;
}

test("the lines are the official script's, and 357 of 360 are right", async t => {
  const {code, stdout, stderr} = await repvgg([
    'eval',
    await imageFolder(t),
    ...network,
    '-b',
    '20',
    '--form',
    'train',
  ]);
  t.is(code, 0);
  t.is(stderr, '');
  const lines = stdout.split('\n');
  t.is(lines.length, 4);
  for (const [i, line] of lines.slice(0, 2).entries())
    t.regex(
      line,
      new RegExp(
        `^Test: \\[${i === 0 ? ' 0' : '10'}/18\\]\\tTime [ \\d]\\d\\.\\d{3} \\([ \\d]\\d\\.\\d{3}\\)\\tLoss \\d\\.\\d{4}e[-+]\\d\\d \\(\\d\\.\\d{4}e[-+]\\d\\d\\)` +
          '\\tAcc@1 [ \\d]{3}\\.\\d\\d \\([ \\d]{3}\\.\\d\\d\\)\\tAcc@5 100\\.00 \\(100\\.00\\)$',
      ),
    );
  t.is(lines[2], ' * Acc@1 99.167 Acc@5 100.000');
});

test('--json has the numbers, --confusion a picture', async t => {
  const picture = join(await temporaryFolder(t), 'confusion.svg');
  const output = await repvgg(['eval', 'digits', ...network, '--json', '--confusion', picture]);
  t.is(output.code, 0);
  const [result] = jsonLines<Record<string, unknown>>(output);
  t.like(result, {
    form: 'deploy',
    precision: 'fp32',
    images: 360,
    top1: (100 * 357) / 360,
    top5: 100,
    failed: [],
  });
  t.deepEqual(result!.confused, [
    {truth: 3, predicted: 5, count: 1},
    {truth: 5, predicted: 9, count: 1},
    {truth: 9, predicted: 3, count: 1},
  ]);
  t.true(Math.abs((result!.loss as number) - 0.06817) < 1e-4);
  t.true((result!.seconds as number) > 0 && (result!.seconds as number) < 60);
  t.true((await readFile(picture, 'utf8')).includes('>digits on digits: 99.167 % of 360 images<'));
});

/** [image][class], in the order of the embedded images, and their classes. */
async function logitsOfDigits(): Promise<{logits: Float32Array[]; targets: number[]}> {
  const names = (await readdir(digits.images)).sort();
  await using model = await RepVGG.load('digits');
  const logits = await model.logits(names.map(name => join(digits.images, name)));
  return {logits, targets: names.map(name => Number(name.slice(5, 6)))};
}

test('with --valid-labels only the logits of these classes count, as in timm', async t => {
  const list = join(await temporaryFolder(t), 'classes.txt');
  await writeFile(list, '9\n3\n8\n5\n1\n7\n');
  const valid = [9, 3, 8, 5, 1, 7];
  const output = await repvgg(['eval', 'digits', ...network, '--valid-labels', list, '--json']);
  t.is(output.code, 0);
  const [result] = jsonLines<Record<string, unknown>>(output);
  const {logits, targets} = await logitsOfDigits();
  // output[:, valid_labels] in validate.py.
  const counted = targets.flatMap((target, i) =>
    valid.includes(target) ? [{own: logits[i]![target]!, among: valid.map(index => logits[i]![index]!)}] : [],
  );
  const within = (k: number): number =>
    (100 * counted.filter(({own, among}) => among.filter(value => value > own).length < k).length) /
    counted.length;
  const loss = counted.reduce(
    (sum, {own, among}) => sum + Math.log(among.reduce((total, value) => total + Math.exp(value), 0)) - own,
    0,
  );
  t.like(result, {images: counted.length, top1: within(1), top5: within(5)});
  t.true(Math.abs((result!.loss as number) - loss / counted.length) < 1e-5);
  t.true(counted.length < 250 && within(1) < 100);
});

test('--real-labels adds the accuracy by all classes that are right', async t => {
  const folder = await temporaryFolder(t);
  const names = (await readdir(digits.images)).sort();
  for (const [i, name] of names.entries()) {
    const label = name.slice(5, 6);
    await mkdir(join(folder, 'val', label), {recursive: true});
    const number = String(i + 1).padStart(8, '0');
    await copyFile(join(digits.images, name), join(folder, 'val', label, `ILSVRC2012_val_${number}.png`));
  }
  const {logits, targets} = await logitsOfDigits();
  // Every third image has no class, and those of the others are the second and the sixth likeliest.
  const ranked = logits.map(row => [...row.keys()].sort((a, b) => row[b]! - row[a]!));
  const real = ranked.map((order, i) => [[], [order[5]], [order[1], targets[i]]][i % 3]);
  const [list, broken] = [join(folder, 'real.json'), join(folder, 'broken.json')];
  await writeFile(list, JSON.stringify(real));
  const output = await repvgg(['eval', folder, ...network, '--real-labels', list, '--json']);
  const right = targets.filter((target, i) => i % 3 === 2 && ranked[i]![0] === target).length;
  t.like(jsonLines<object>(output)[0], {
    top1: (100 * 357) / 360,
    real: {images: 240, top1: (100 * right) / 240, top5: 50},
  });
  const {stdout} = await repvgg(['eval', folder, ...network, '--real-labels', list]);
  t.regex(
    stdout,
    / \* Acc@1 99\.167 Acc@5 100\.000\n \* ReaL Acc@1 \d\d\.\d{3} Acc@5 50\.000 \(240 images\)\n$/,
  );

  for (const [text, message] of [
    ['[[0], [1]', 'it is no JSON'],
    ['{}', 'expected an array with the classes of each image'],
    ['[[0], [10]]', 'expected an array of class numbers below 10 for image 2'],
    ['[[0], [1]]', 'it has nothing about'],
  ] as const) {
    await writeFile(broken, text);
    const {code, stderr} = await repvgg(['eval', folder, ...network, '--real-labels', broken]);
    t.is(code, 3);
    t.true(stderr.startsWith(`repvgg: Cannot read real labels ${broken}: ${message}`), stderr);
  }
});

test('--per-class prints the classes that occur', async t => {
  const folder = await temporaryFolder(t);
  for (const name of await readdir(digits.images)) {
    const label = name.slice(5, 6);
    if (!'35'.includes(label)) continue;
    await mkdir(join(folder, label), {recursive: true});
    await copyFile(join(digits.images, name), join(folder, label, name));
  }
  const {code, stdout} = await repvgg(['eval', folder, ...network, '--per-class']);
  t.is(code, 0);
  const [title, ...rows] = stdout.trimEnd().split('\n').slice(-5);
  t.regex(title!, /^class +images +precision +recall +F1$/);
  t.deepEqual(
    rows.map(row => row.split(/ +/)),
    [
      ['3', '36', '100.000', '97.222', '98.592'],
      ['5', '36', '97.222', '97.222', '97.222'],
      ['9', '0', '0.000', '0.000', '0.000'],
      ['mean', '65.741', '64.815', '65.271'],
    ],
  );
});

test('an image that cannot be read does not count, and the exit code is 1', async t => {
  const folder = await imageFolder(t, 7);
  await writeFile(join(folder, 'val', '3', 'broken.png'), 'text');
  const {code, stdout, stderr} = await repvgg(['eval', folder, ...network]);
  t.is(code, 1);
  t.regex(stdout, /\n \* Acc@1 96\.154 Acc@5 100\.000\n$/);
  t.regex(stderr, /^repvgg: .*broken\.png: Cannot decode .* \(ERR_IMAGE_DECODE\)\n$/);
  const {code: jsonCode, ...json} = await repvgg(['eval', folder, ...network, '--json']);
  t.is(jsonCode, 1);
  t.like(jsonLines<{images: number; failed: object[]}>({code: 1, ...json})[0], {images: 52});
});

test('a table with labels', async t => {
  const folder = await temporaryFolder(t);
  const rows = (await readdir(digits.images))
    .slice(0, 10)
    .map(name => ({path: join(digits.images, name), label: Number(name.slice(5, 6))}));
  await writeFile(join(folder, 'list.ndjson'), rows.map(row => `${JSON.stringify(row)}\n`).join(''));
  const {code, stdout} = await repvgg(['eval', join(folder, 'list.ndjson'), ...network, '-b', '4']);
  t.is(code, 0);
  t.regex(stdout, /^Test: \[0\/\?\]\t/);
  t.regex(stdout, /\n \* Acc@1 100\.000 Acc@5 100\.000\n$/);
});

test('images of which none counts are an error rather than an accuracy of zero, and not one for each', async t => {
  const folder = await temporaryFolder(t);
  const rows = (await readdir(digits.images)).slice(0, 3).map(name => `${join(digits.images, name)},three\n`);
  await writeFile(join(folder, 'list.csv'), `path,label\n${rows.join('')}`);
  for (const compare of [[], ['--compare']]) {
    const {code, stderr} = await repvgg(['eval', join(folder, 'list.csv'), ...network, ...compare]);
    t.is(code, 3);
    t.regex(
      stderr,
      /^repvgg: Cannot evaluate: none of 3 images counts\. The first is .*\.png: .* label "three" is none of the 10 classes .*\(ERR_DATASET\)\n$/,
    );
  }
});

test('--compare runs both forms in one pass, the first being what the others are compared with', async t => {
  const output = await repvgg([
    'eval',
    await imageFolder(t, 4),
    ...network,
    '--compare',
    '--json',
    '--device',
    'cpu',
  ]);
  t.is(output.code, 0);
  const [{images, runs}] = jsonLines<{images: number; runs: Record<string, number | string>[]}>(output) as [
    {images: number; runs: Record<string, number | string>[]},
  ];
  t.is(images, 90);
  t.deepEqual(
    runs.slice(0, 2).map(({form, precision}) => `${form} ${precision}`),
    ['train fp32', 'deploy fp32'],
  );
  const [train, deploy] = runs;
  t.like(train, {agreement: 100, largestLogitDifference: 0});
  t.like(deploy, {agreement: 100, top1: train!.top1, top5: 100});
  t.true((deploy!.largestLogitDifference as number) > 0 && (deploy!.largestLogitDifference as number) < 1e-4);
  t.true(runs.every(({imagesPerSecond}) => (imagesPerSecond as number) > 0));
  const table = await repvgg(['eval', 'digits', ...network, '--compare']);
  t.regex(
    table.stdout,
    /^360 images on \S+; the other rows .*\n\nform +precision +Acc@1 .*\ntrain +fp32 +99\.167 +100\.000 +\d/,
  );
  t.regex(table.stdout, /\ndeploy +fp32 +99\.167 +100\.000 +100\.00 % +\d\.\de-\d +\d/);
});

test('a fused checkpoint is compared with itself in half precision', async t => {
  const deploy = join(await temporaryFolder(t), 'deploy.pth');
  t.is((await repvgg(['convert', 'digits', deploy])).code, 0);
  const settings = ['--crop', '32', '--mean', '0.5,0.5,0.5', '--std', '0.5,0.5,0.5'];
  const output = await repvgg(['eval', 'digits', '-c', deploy, ...settings, '--compare', '--json']);
  const [{runs}] = jsonLines<{runs: {form: string; top1: number}[]}>(output) as [
    {runs: {form: string; top1: number}[]},
  ];
  t.true(runs.every(({form}) => form === 'deploy'));
  t.is(runs[0]!.top1, (100 * 357) / 360);
});

for (const [what, args, code, message] of [
  ['no checkpoint', ['digits'], 2, /^repvgg: Required option '-c, --checkpoint <file>' not specified/],
  [
    '--compare with a form',
    ['digits', ...network, '--compare', '--form', 'train'],
    2,
    /'--compare' cannot be used with option '--form <form>'/,
  ],
  [
    'a format for images whose names tell the classes',
    ['digits', ...network, '--format', 'csv'],
    2,
    /Expected no value, because its names tell the classes, for format of digits but received "csv"/,
  ],
  [
    'calibration in fp32',
    ['digits', ...network, '--calibration', 'digits'],
    2,
    /Expected no images, .* for calibration but received "digits"/,
  ],
  ['data that is not there', ['nowhere', ...network], 3, /nowhere.*\(ERR_FILE_NOT_FOUND\)/],
  [
    'a folder of other things',
    [digits.images, ...network],
    3,
    /Expected 10 class folders in .* but found none \(and 360 images\)\. \(ERR_DATASET\)/,
  ],
] as const) {
  test(`${what} is an error`, async t => {
    const output = await repvgg(['eval', ...args]);
    t.is(output.code, code);
    t.regex(output.stderr, message);
  });
}

test('--confusion: a place that cannot be written is said at once, and a full disk takes no numbers along', async t => {
  const folder = await temporaryFolder(t);
  const evaluate = (file: string, settings = {}) =>
    repvgg(['eval', 'digits', ...network, '--confusion', file], {cwd: folder, ...settings});
  const nowhere = await evaluate('nowhere/a.svg');
  t.like(nowhere, {code: 3, stdout: ''});
  t.regex(nowhere.stderr, /there is no folder nowhere/);
  t.like(await evaluate('digits.pth'), {code: 2, stdout: ''});
  const full = await evaluate('a.svg', {maxFileKib: 1});
  t.is(full.code, 3);
  t.regex(full.stdout, /\n \* Acc@1 99\.167 Acc@5 100\.000\n$/);
  t.regex(full.stderr, /ERR_FILE_WRITE/);
});
