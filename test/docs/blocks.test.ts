// Every fenced block of the documentation is run, or checked as far as it can be; the first word of its fence says what it
// is: CONTRIBUTING.md lists the kinds. The package is used as built: "npm run build:ts" after a change. Where an output has
// changed on purpose, put in the new one; where it is another on every machine, mark the block "numbers vary".
import {execFile, spawnSync} from 'node:child_process';
import {cp, mkdir, mkdtemp, rm, symlink, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {parse as parseYaml} from 'yaml';
import {type Block, blocks} from './blocks.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const all = blocks();
const start = promisify(execFile);
const notRun = /^not (run|compiled): \S/;
const kinds = [
  'ts',
  'js',
  'sh',
  'console',
  'text',
  'json',
  'yaml',
  'dockerfile',
  'ini',
  'cmake',
  'cpp',
  'python',
];

/** A folder with what the examples name, in which `repvgg` and `npx repvgg` are those of this checkout. */
async function workshop(): Promise<{folder: string; env: NodeJS.ProcessEnv}> {
  const folder = await mkdtemp(path.join(tmpdir(), 'repvgg-docs-'));
  const at = (name: string): string => path.join(folder, name);
  await mkdir(at('node_modules/@types'), {recursive: true});
  await symlink(root, at('node_modules/repvgg'));
  await symlink(path.join(root, 'node_modules/@types/node'), at('node_modules/@types/node'));
  await symlink(path.join(root, 'node_modules/bullmq'), at('node_modules/bullmq'));
  await cp(path.join(root, 'assets'), at('assets'), {recursive: true});
  // The digits network is in place of every trained one: small, and no example depends on which it is.
  for (const name of ['RepVGG-A0-train.pth', 'RepVGG-A2-train.pth']) {
    await cp(path.join(root, 'assets/digits/digits.pth'), at(name));
  }
  await mkdir(at('photos'));
  for (const [from, to] of [
    ['0003-3.png', 'cat.jpg'],
    ['1575-5.png', 'dog.jpg'],
    ['0003-3.png', 'photos/cat.jpg'],
    ['1575-5.png', 'photos/dog.jpg'],
  ] as const) {
    await cp(path.join(root, 'assets/digits/images', from), at(to));
  }
  await writeFile(at('package.json'), '{"private": true, "type": "module"}');
  await mkdir(at('bin'));
  const command = `exec ${process.execPath} ${path.join(root, 'dist/cli/main.js')} "$@"\n`;
  await writeFile(at('bin/repvgg'), `#!/bin/sh\n${command}`, {mode: 0o755});
  await writeFile(at('bin/npx'), `#!/bin/sh\n[ "$1" = repvgg ] || exit 9\nshift\n${command}`, {mode: 0o755});
  // A block that is meant to run has no use for these, and one that is not says so.
  for (const name of ['npm', 'docker', 'sudo', 'apt-get', 'git']) {
    const refusal = `#!/bin/sh\necho 'mark this block "not run: REASON"'; exit 9\n`;
    await writeFile(at(`bin/${name}`), refusal, {mode: 0o755});
  }
  await start(process.execPath, [
    path.join(root, 'dist/cli/main.js'),
    'convert',
    'digits',
    at('digits-deploy.pth'),
  ]);
  return {
    folder,
    env: {...process.env, HOME: folder, PATH: `${at('bin')}:${process.env.PATH}`, NO_COLOR: '1'},
  };
}

let folder = '';
let env: NodeJS.ProcessEnv = {};
test.before(async () => {
  ({folder, env} = await workshop());
});
test.after.always(() => rm(folder, {recursive: true}));

async function shell(script: string): Promise<string> {
  const {stdout} = await start('bash', ['-c', script], {cwd: folder, env, timeout: 90_000});
  return stdout;
}

test('every block has a kind that is checked', t => {
  t.true(all.length > 40);
  for (const {at, language, note} of all) {
    t.true(kinds.includes(language), `${at}: "${language}" is none of ${kinds.join(', ')}`);
    if (note.startsWith('not')) t.regex(note, notRun, `${at}: say why, as in "not run: needs the network"`);
  }
});

test('TypeScript compiles', async t => {
  const sources = all.filter(({language, note}) => language === 'ts' && !note.startsWith('not compiled:'));
  const files = await Promise.all(
    sources.map(async ({text}, i) => {
      const file = `block${i}.ts`;
      await writeFile(path.join(folder, file), `${text}\nexport {};\n`);
      return file;
    }),
  );
  const compilerOptions = {
    strict: true,
    noEmit: true,
    target: 'es2022',
    lib: ['es2023', 'esnext.disposable'],
    module: 'nodenext',
    preserveSymlinks: true,
    skipLibCheck: true,
    types: ['node'],
  };
  await writeFile(path.join(folder, 'tsconfig.json'), JSON.stringify({compilerOptions, files}));
  const {stdout} = spawnSync(path.join(root, 'node_modules/.bin/tsc'), ['--pretty', 'false', '-p', folder], {
    cwd: folder,
    encoding: 'utf8',
  });
  const problems = stdout.replace(
    /^block(\d+)\.ts\((\d+),\d+\)/gm,
    (_, i, line) => `${sources[i]?.at}, line ${line}`,
  );
  t.is(problems, '');
});

for (const [i, block] of all.entries()) {
  const {at, language, note, text} = block;
  const runs = !notRun.test(note);
  if ((language === 'ts' || language === 'js') && runs) {
    test.serial(`${at} runs`, async t => {
      const file = path.join(folder, `run${i}.${language === 'ts' ? 'mts' : 'mjs'}`);
      await writeFile(file, text);
      const output = await shell(
        `${process.execPath} --import=${path.join(root, 'node_modules/tsx/dist/esm/index.mjs')} ${file}`,
      );
      const next = all[i + 1];
      if (next?.note === 'output') t.is(output, next.text, `what ${at} prints is not what ${next.at} shows`);
      else t.pass();
    });
  }
  if (language === 'sh') {
    test.serial(`${at} ${runs ? 'runs' : 'parses'}`, async t => {
      if (runs) await shell(`set -euo pipefail\n${text}`);
      else t.is(spawnSync('bash', ['-n'], {input: text, encoding: 'utf8'}).stderr, '');
      t.pass();
    });
  }
  // The sessions of docs/cli.md have a test of their own: test/cli/transcripts.test.ts.
  if (language === 'console' && runs && !at.startsWith('docs/cli.md'))
    test.serial(`${at} prints what it shows`, async t => session(t.is, block));
  if (language === 'json') test(`${at} parses`, t => t.notThrows(() => JSON.parse(text)));
  if (language === 'yaml') test(`${at} parses`, t => t.notThrows(() => parseYaml(text)));
  if (language === 'dockerfile') {
    test(`${at} has instructions only`, t => {
      for (const line of text.replace(/\\\n/g, ' ').split('\n').filter(Boolean)) {
        t.regex(line, /^(#|(FROM|RUN|COPY|WORKDIR|USER|ENV|CMD|ENTRYPOINT|HEALTHCHECK|EXPOSE) \S)/);
      }
    });
  }
  if (language === 'ini') {
    test(`${at} has sections and settings only`, t => {
      for (const line of text.split('\n').filter(Boolean)) t.regex(line, /^(#.*|\[\w+\]|\w+=.*)$/);
    });
  }
}

/** Runs the commands of a terminal session one after the other. A line "..." stands for any lines. */
async function session(
  is: (actual: string, expected: string, message: string) => void,
  {at, note, text}: Block,
): Promise<void> {
  const parts = text.split(/^\$ /m).slice(1);
  let status = 0;
  for (const part of parts) {
    const [command = '', ...lines] = part.split('\n');
    const {output, code} = await attempt(command === 'echo $?' ? `echo ${status}` : command);
    status = code;
    const expected = lines.join('\n').trim();
    const pattern = expected
      .split(/^ *\.\.\.$/m)
      .map(piece => quote(piece.trim(), note))
      .join('[\\s\\S]*');
    const matches = new RegExp(`^${pattern}$`).test(output.trim());
    is(
      matches ? expected : output.trim(),
      expected,
      `${at}: ${command} (see "Documentation" in CONTRIBUTING.md)`,
    );
  }
}

async function attempt(command: string): Promise<{output: string; code: number}> {
  try {
    // Both streams, in the order of a terminal.
    return {output: await shell(`exec 2>&1\n${command}`), code: 0};
  } catch (error) {
    const {stdout, code} = error as {stdout: string; code: number};
    return {output: stdout, code};
  }
}

/** A pattern of a text. Where numbers vary, so do the spaces that align them. */
function quote(text: string, note: string): string {
  const quoted = (part: string): string => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  if (note !== 'numbers vary') return quoted(text);
  const parts = text.split(/\d[\d,.]*(?:e[+-]?\d+)?/);
  return parts.map(part => quoted(part).replace(/[ -]{2,}/g, '[ -]+')).join('[\\d.,e+-]+');
}
