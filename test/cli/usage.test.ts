import {spawn} from 'node:child_process';
import {readFileSync} from 'node:fs';
import {copyFile, mkdir, readFile, writeFile} from 'node:fs/promises';
import {basename, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import test from 'ava';
import {packTar} from 'modern-tar';
import {createProgram} from '../../ts/cli/program.ts';
import {digits} from '../../ts/digits.ts';
import {checkpoint, hostile, photo, photos} from '../fixtures.ts';
import {startHub} from '../hub/server.ts';
import {finish, repvgg, temporaryFolder} from './run.ts';
import {writeRandomA0} from './transcripts.ts';

const root = new URL('../../', import.meta.url);
const packageJson = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'));
const bin = fileURLToPath(new URL(packageJson.bin.repvgg, root));
const commands = createProgram().commands.map(command => command.name());

/** What `repvgg NAME --help` prints. */
function helpOf(name: string): string {
  let text = '';
  const writeOut = (part: string): void => {
    text += part;
  };
  const command = createProgram().commands.find(found => found.name() === name)!;
  command.configureOutput({writeOut}).outputHelp();
  return text;
}

// From dist, as users get them: the compiler rewrites imports, and not in every place. "npm test" builds it first.
test('the examples of every --help run as they are printed', async t => {
  t.timeout(300_000);
  const folder = await temporaryFolder(t);
  await writeRandomA0(join(folder, 'RepVGG-A0-train.pth'));
  await mkdir(join(folder, 'photos'));
  for (const path of photos) await copyFile(path, join(folder, 'photos', basename(path)));
  await mkdir(join(folder, 'shards'));
  const body = await readFile(photo('chelsea.jpg'));
  const tar = await packTar([{header: {name: 'cat.jpg', size: body.length}, body}]);
  await writeFile(join(folder, 'shards', '0.tar'), tar);
  await copyFile(photo('chelsea.jpg'), join(folder, 'cat.jpg'));
  await writeFile(join(folder, 'labels.txt'), [...'0123456789'].join('\n'));
  await copyFile(photo('rocket.jpg'), join(folder, 'dog.jpg'));
  const weights = await readFile(digits.checkpoint);
  const files = {'model.safetensors': weights, 'pytorch_model.bin': weights};
  const hub = await startHub({'timm/repvgg_a0.rvgg_in1k': {files}});
  t.teardown(() => hub.close());
  const env = {...process.env, HF_ENDPOINT: hub.endpoint, HF_HOME: folder, HF_TOKEN: ''};
  for (const name of commands) {
    const examples = [...helpOf(name).matchAll(/^ {2}\$ (repvgg .*)$/gm)].map(([, example]) => example!);
    t.true(examples.length >= 2, `${name} has ${examples.length} examples`);
    t.true(examples.every(example => example.startsWith(`repvgg ${name}`)));
    for (const example of examples) {
      const define = `repvgg() { '${process.execPath}' '${bin}' "$@"; }`;
      const shell = spawn('sh', ['-c', `${define}; ${example}`], {cwd: folder, env});
      t.like(await finish(shell), {code: 0, stderr: ''}, example);
    }
  }
});

for (const [what, args, code, message] of [
  ['an unknown command', ['clasify'], 2, /^Unknown command 'clasify' \(Did you mean classify\?\)/],
  [
    'an unknown option',
    ['classify', '--chekpoint', 'digits', 'x.png'],
    2,
    /^Unknown option '--chekpoint' \(Did you mean --checkpoint\?\)/,
  ],
  ['a missing option', ['classify', 'x.png'], 2, /^Required option '-c, --checkpoint <file>'/],
  ['a number out of range', ['classify', '-c', 'digits', '-k', '0', 'x.png'], 2, /positive integer/],
  ['an unknown device', ['demo', '--device', 'gpu'], 2, /^Expected "auto", "cpu", "cuda"/],
  [
    'calibration that nothing needs',
    ['classify', '-c', 'digits', '--calibration', 'digits', 'x.png'],
    2,
    /^Expected no images, which only .* "fp8-simulated" take, for calibration but received "digits"/,
  ],
  [
    'a precision that is calibrated, of another command',
    ['verify', 'digits', '--calibration', 'digits'],
    2,
    /^Expected no images, which only .* "fp8-simulated" take, for calibration/,
  ],
  [
    'an option that an earlier run has decided',
    ['bench', '--check', 'before.json', '--batch', '1'],
    2,
    /^Option '--check <file>' cannot be used with option '--batch <sizes>'/,
  ],
  [
    'an option of measuring where nothing is measured',
    ['bench', '--compare', 'a.json', 'b.json', '--seconds', '1'],
    2,
    /^Option '--compare <files...>' cannot be used with option '--seconds <n>'/,
  ],
  [
    'an option of running where nothing is run',
    ['info', 'digits', '--threads', '1'],
    2,
    /^Option '--threads <n>' needs '--layers'/,
  ],
  ['an unknown architecture', ['info', 'A9'], 2, /^Unknown architecture "A9": expected one of RepVGG-A0/],
  [
    'a missing checkpoint',
    ['classify', '-c', 'no.pth', 'x.png'],
    3,
    /no\.pth: no such file\. \(ERR_FILE_NOT/,
  ],
  ['a hostile checkpoint', ['info', hostile('os_system.pth')], 3, /os\.system.*\(ERR_CHECKPOINT_UNSAFE\)/],
  [
    'another architecture',
    ['verify', checkpoint('narrow.official.zip.pth'), '-a', 'A0'],
    3,
    /^Expected RepVGG-A0 .*\(ERR_ARCHITECTURE_MISMATCH\)/,
  ],
] as const) {
  test(`${what} is one line with a code, and exit code ${code}`, async t => {
    const output = await repvgg(args);
    t.is(output.code, code);
    t.is(output.stdout, '');
    t.regex(output.stderr, /^repvgg: [^\n]+ \(ERR_[A-Z_]+\)\n$/);
    t.regex(output.stderr.replace('repvgg: ', ''), message);
  });
}

test('the stack is printed too with --debug or REPVGG_DEBUG', async t => {
  for (const output of [
    await repvgg(['info', 'no.pth', '--debug']),
    await repvgg(['info', 'no.pth'], {env: {REPVGG_DEBUG: '1'}}),
  ]) {
    t.regex(output.stderr, /^repvgg: [^\n]* \(ERR_FILE_NOT_FOUND\)\n/);
    t.regex(output.stderr, /\n {4}at .*file\.js/);
  }
});

test('no command at all prints the commands and is a usage error', async t => {
  const {code, stdout, stderr} = await repvgg([]);
  t.is(code, 2);
  t.is(stdout, '');
  for (const name of commands) t.true(stderr.includes(`\n  ${name} `));
});

test('--version is the version of the package', async t => {
  t.like(await repvgg(['--version']), {code: 0, stdout: `${packageJson.version}\n`});
});

test('the bin of the package is a script', t => {
  t.true(readFileSync(bin, 'utf8').startsWith('#!/usr/bin/env node\n'));
});

test('names of files drive no terminal', async t => {
  const folder = await temporaryFolder(t);
  const name = 'red\x1b[31m.pth';
  await copyFile(digits.checkpoint, join(folder, name));
  await mkdir(join(folder, 'data', name), {recursive: true});
  const info = await repvgg(['info', name], {cwd: folder});
  t.regex(info.stdout, /^file +red\\u001b\[31m\.pth \(/m);
  const failed = await repvgg(['eval', 'data', '-c', 'digits'], {cwd: folder});
  t.regex(failed.stderr, /but found 1 \(red\\u001b\[31m\.pth\)\. \(ERR_DATASET\)$/m);
});
