import {execFile, spawnSync} from 'node:child_process';
import {writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {promisify} from 'node:util';
import test from 'ava';
import {completionScript} from '../../ts/cli/completion.ts';
import {createProgram} from '../../ts/cli/program.ts';
import {testWhere} from '../where.ts';
import {repvgg, temporaryFolder} from './run.ts';

const program = createProgram();

/** What bash offers behind these words. */
async function completions(...words: string[]): Promise<string[]> {
  const script = `${completionScript(program, 'bash')}
    COMP_WORDS=(repvgg "$@"); COMP_CWORD=$#
    _repvgg; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const {stdout} = await promisify(execFile)('bash', ['-c', script, 'bash', ...words]);
  return stdout.split('\n').filter(Boolean);
}

test('bash completes commands, options, and the values of options', async t => {
  t.deepEqual(await completions('cl'), ['classify']);
  const all = await completions('');
  for (const {name} of program.commands.map(command => ({name: command.name()}))) t.true(all.includes(name));
  t.deepEqual(await completions('classify', '--check'), ['--checkpoint']);
  t.deepEqual(await completions('--debug', 'classify', '--form', ''), ['deploy', 'train']);
  t.deepEqual(await completions('classify', '--form', '='), ['deploy', 'train']);
  t.deepEqual(await completions('classify', '--form', '=', 't'), ['train']);
  t.deepEqual(await completions('convert', 'a.pth', 'b.pth', '--form', 't'), ['train']);
  t.deepEqual(await completions('classify', '-c', 'x'), []); // bash completes files itself
  t.deepEqual(await completions('completion', ''), ['bash', 'zsh', 'fish']);
});

for (const shell of ['bash', 'zsh', 'fish']) {
  test(`the script for ${shell} has every command and option`, async t => {
    const {stdout, code} = await repvgg(['completion', shell]);
    t.is(code, 0);
    t.is(stdout, `${completionScript(program, shell)}\n`);
    for (const command of program.commands) {
      t.true(stdout.includes(command.name()));
      for (const {long, short} of command.options) {
        t.true(
          stdout.includes(shell === 'fish' ? `-l ${long!.slice(2)}` : long!),
          `${command.name()} ${long}`,
        );
        if (short) t.true(stdout.includes(shell === 'fish' ? `-s ${short.slice(1)}` : short));
      }
    }
  });

  const installed = spawnSync(shell, ['-c', 'exit']).error === undefined;
  testWhere(installed, `${shell} is not installed`)(`${shell} reads its script`, async t => {
    const file = join(await temporaryFolder(t), 'script');
    await writeFile(file, completionScript(program, shell));
    await t.notThrowsAsync(promisify(execFile)(shell, ['-n', file]));
  });
}

test('another shell is wrong usage', async t => {
  const {code, stderr} = await repvgg(['completion', 'tcsh']);
  t.is(code, 2);
  t.regex(stderr, /Allowed choices are bash, zsh, fish/);
});
