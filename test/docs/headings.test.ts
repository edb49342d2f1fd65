import {readFile} from 'node:fs/promises';
import test from 'ava';
import {createProgram} from '../../ts/cli/program.ts';

const read = (path: string): Promise<string> => readFile(new URL(`../../${path}`, import.meta.url), 'utf8');
const matches = (text: string, pattern: RegExp): string[] =>
  Array.from(text.matchAll(pattern), ([, group]) => group!).sort();

test('docs/errors.md has a heading for each code of ts/errors.ts, and for no other', async t => {
  const codes = matches(await read('ts/errors.ts'), /^ {2}\| '(ERR_\w+)'/gm);
  t.true(codes.length > 20);
  const page = await read('docs/errors.md');
  t.deepEqual(matches(page, /^#+ (ERR_\w+)$/gm), codes);
  t.deepEqual(matches(page.split('## Arguments')[0]!, /\[(ERR_\w+)\]\(#/g), codes, 'the list at the top');
});

test('docs/cli.md has a heading for each command', async t => {
  const commands = createProgram().commands.map(command => command.name());
  t.deepEqual(matches(await read('docs/cli.md'), /^## (\w+)$/gm), commands.sort());
});
