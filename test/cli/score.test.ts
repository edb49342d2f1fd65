import {execFileSync} from 'node:child_process';
import {copyFile, mkdir, open, readdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import {asyncBufferFromFile, parquetReadObjects} from 'hyparquet';
import {digits} from '../../ts/digits.ts';
import {image, photos} from '../fixtures.ts';
import {commandOf, finish, jsonLines, repvgg, start, temporaryFolder} from './run.ts';

const options = ['--checkpoint', 'digits', '--device', 'cpu', '--threads', '1'];

interface Row {
  id: string;
  label?: string;
  fields?: object;
  error?: {code: string};
}

const rowsOf = async (path: string): Promise<Row[]> =>
  (await readFile(path, 'utf8'))
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as Row);

test('a folder to NDJSON: exit code 1 where rows failed, all others written; their number is all that is printed', async t => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'in', 'sky'), {recursive: true});
  await copyFile(photos[0]!, join(folder, 'in', 'a.jpg'));
  await copyFile(image('truncated.jpg'), join(folder, 'in', 'b.jpg'));
  await copyFile(photos[1]!, join(folder, 'in', 'sky', 'c.jpg'));
  const output = await repvgg(['score', 'in', ...options, '--output', 'out.ndjson', '--fields', 'label'], {
    cwd: folder,
  });
  t.deepEqual(output, {code: 1, stdout: '', stderr: 'repvgg: rows with an error in out.ndjson: 1\n'});
  const rows = await rowsOf(join(folder, 'out.ndjson'));
  t.deepEqual(
    rows.map(({id, error, fields}) => [id, error?.code ?? 'ok', fields]),
    [
      ['in/a.jpg', 'ok', {}],
      ['in/b.jpg', 'ERR_IMAGE_DECODE', {}],
      ['in/sky/c.jpg', 'ok', {label: 'sky'}],
    ],
  );
  t.deepEqual((await readdir(folder)).sort(), ['in', 'out.ndjson']);
});

test('standard input to standard output, and --embed to Parquet', async t => {
  const folder = await temporaryFolder(t);
  const child = start(['score', '-', ...options, '--top-k', '1'], {stdin: `${photos[0]}\n${photos[1]}\n`});
  const output = await finish(child);
  t.is(output.code, 0, output.stderr);
  t.deepEqual(
    jsonLines<Row>(output).map(({id}) => id),
    photos.slice(0, 2),
  );
  await writeFile(join(folder, 'list.csv'), `id,path\n1,${photos[0]}\n`);
  const args = ['score', 'list.csv', ...options, '--embed', '--output', 'out.parquet'];
  t.is((await repvgg(args, {cwd: folder})).code, 0);
  const rows = await parquetReadObjects({file: await asyncBufferFromFile(join(folder, 'out.parquet'))});
  t.is((rows[0] as {embedding: number[]}).embedding.length, 128);
});

test('SIGINT and SIGTERM finish the batches under way; --resume goes on', async t => {
  const folder = await temporaryFolder(t);
  const names = (await readdir(digits.images)).slice(0, 30).map(name => join(digits.images, name));
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    const out = join(folder, `${signal}.ndjson`);
    const args = ['score', '-', ...options, '--batch-size', '4', '-o', out, '--resume'];
    const child = start(args, {stdin: 'open'});
    child.stdin!.write(`${names.join('\n')}\n`);
    const done = finish(child);
    while (!(await readFile(`${out}.partial`, 'utf8').catch(() => '')).includes('\n')) {
      await new Promise(resolve => setTimeout(resolve, 50));
    }
    child.kill(signal); // While standard input is silent.
    t.like(await done, {code, stdout: '', stderr: ''});
    const marker = JSON.parse(await readFile(`${out}.partial.json`, 'utf8')) as {rows: number; bytes: number};
    t.is((await readFile(`${out}.partial`)).length, marker.bytes);
    t.true(marker.rows >= 4 && marker.rows <= 30, `${marker.rows}`);
    await t.throwsAsync(readFile(out), {code: 'ENOENT'});
    const resumed = await repvgg(args, {stdin: names.join('\n')});
    t.is(resumed.code, 0, resumed.stderr);
    t.deepEqual(
      (await rowsOf(out)).map(({id}) => id),
      names,
    );
  }
});

test('SIGTERM ends a run whose source is a silent named pipe', async t => {
  const folder = await temporaryFolder(t);
  const names = (await readdir(digits.images)).slice(0, 30).map(name => join(digits.images, name));
  const [pipe, out] = [join(folder, 'pipe'), join(folder, 'out.ndjson')];
  execFileSync('mkfifo', [pipe]);
  const writer = await open(pipe, 'r+'); // So that opening it waits for no reader.
  t.teardown(() => writer.close());
  await writer.write(`${names.join('\n')}\n`);
  const args = ['score', pipe, '--format', 'list', ...options, '--batch-size', '4', '-o', out];
  const child = start(args, {timeout: 20_000});
  const done = finish(child);
  while (!(await readdir(folder)).includes('out.ndjson.partial.json')) {
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  const begin = performance.now();
  child.kill('SIGTERM');
  t.like(await done, {stdout: '', stderr: ''});
  t.is(child.signalCode, 'SIGTERM');
  t.true(performance.now() - begin < 10_000);
  const marker = JSON.parse(await readFile(`${out}.partial.json`, 'utf8')) as {rows: number; bytes: number};
  t.true(marker.rows >= 4);
  t.is((await readFile(`${out}.partial`)).length, marker.bytes);
});

test('failed rows of runs before make the exit code 1, and a complete output is said to be one', async t => {
  const folder = await temporaryFolder(t);
  const names = (await readdir(digits.images)).slice(0, 20).map(name => join(digits.images, name));
  const args = ['score', '-', ...options, '--batch-size', '4', '-o', join(folder, 'out.ndjson'), '--resume'];
  const child = start(args, {stdin: 'open'});
  child.stdin!.write(`none.jpg\n${names.join('\n')}\n`);
  const done = finish(child);
  while (!(await readdir(folder)).includes('out.ndjson.partial.json')) {
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  const second = await repvgg(args, {stdin: ''});
  t.is(second.code, 3);
  t.regex(second.stderr, /another run is writing it\. \(ERR_FILE_WRITE\)/);
  child.kill('SIGTERM');
  t.is((await done).code, 143);
  const resumed = await repvgg(args, {stdin: ['none.jpg', ...names].join('\n')});
  t.is(resumed.code, 1);
  t.regex(resumed.stderr, /^repvgg: rows with an error in .*out\.ndjson: 1\n$/);
  t.is((await rowsOf(join(folder, 'out.ndjson'))).length, 21);
  const again = await repvgg(args, {stdin: ''});
  t.is(again.code, 0);
  t.regex(again.stderr, /out\.ndjson is already complete: nothing was done/);
});

test('an output that would replace the source, a column that is not there', async t => {
  const folder = await temporaryFolder(t);
  const text = `path,sku\n${photos[0]},1\n`;
  await writeFile(join(folder, 'list.csv'), text);
  const run = (...args: string[]) => repvgg(['score', 'list.csv', ...options, ...args], {cwd: folder});
  const same = await run('-o', './list.csv');
  t.is(same.code, 2);
  t.regex(same.stderr, /Cannot write .*list\.csv: it is part of the source/);
  const misspelt = await run('-o', 'out.csv', '--fields', 'skuu');
  t.is(misspelt.code, 3);
  t.regex(misspelt.stderr, /expected a column named skuu but its columns are path, sku/);
  const piped = await repvgg(['score', '-', ...options, '-o', 'list.csv'], {
    cwd: folder,
    stdinFile: join(folder, 'list.csv'),
  });
  t.is(piped.code, 2, piped.stderr);
  t.regex(piped.stderr, /Cannot write .*list\.csv: it is part of the source/);
  t.is(await readFile(join(folder, 'list.csv'), 'utf8'), text);
  t.deepEqual(await readdir(folder), ['list.csv']);
});

test('fields that no record has: refused where they cannot be, else a warning and the rows', async t => {
  const folder = await temporaryFolder(t);
  const run = (source: string, ...args: string[]) =>
    repvgg(['score', source, ...options, '-k', '1', ...args], {cwd: folder});
  const refused = await run(digits.images, '--fields', 'sku', '-o', 'out.csv');
  t.deepEqual([refused.code, refused.stdout], [3, '']);
  t.regex(refused.stderr, /expected a field named sku but a folder has only label\. \(ERR_SOURCE\)/);
  const images = (await readdir(digits.images)).map(name => join(digits.images, name));
  const lines = (many: number, width: string) =>
    Array.from({length: many}, (_, i) => JSON.stringify({id: `${i}`, image: images[i % 360], [width]: 1}));
  await writeFile(join(folder, 'few.ndjson'), lines(3, 'width').join('\n'));
  const few = await run('few.ndjson', '--fields', 'width,heigth');
  t.deepEqual([few.code, few.stderr], [0, 'repvgg: warning: none of the 3 records has a field heigth.\n']);
  t.deepEqual(
    jsonLines<Row>(few).map(({fields}) => fields),
    Array(3).fill({width: 1}),
  );
  await writeFile(join(folder, 'many.ndjson'), [...lines(1100, 'width'), ...lines(1, 'x')].join('\n'));
  const many = await run('many.ndjson', '--fields', 'x', '-o', 'out.ndjson');
  t.deepEqual(
    [many.code, many.stderr],
    [
      1,
      'repvgg: warning: none of the first 1,000 records has a field x.\n' +
        'repvgg: rows with an error in out.ndjson: 1\n',
    ],
  );
});

test('a source without records: no rows, and a warning; a folder without images is an error', async t => {
  const folder = await temporaryFolder(t);
  const run = (...args: string[]) => repvgg(['score', ...args, ...options], {cwd: folder, stdin: ''});
  await writeFile(join(folder, 'empty.txt'), '\n');
  const warning = (source: string): string =>
    `repvgg: warning: ${source} has no records, so the output has no rows.\n`;
  t.deepEqual(await run('empty.txt'), {code: 0, stdout: '', stderr: warning('empty.txt')});
  t.deepEqual(await run('-'), {code: 0, stdout: '', stderr: warning('standard input')});
  const written = await run('empty.txt', '-o', 'out.csv');
  t.deepEqual([written.code, written.stderr], [0, warning('empty.txt')]);
  t.regex(await readFile(join(folder, 'out.csv'), 'utf8'), /^id,.*\r\n$/);
  const again = await run('empty.txt', '-o', 'out.csv', '--resume');
  t.regex(again.stderr, /^repvgg: out\.csv is already complete: .*\n$/);
  await mkdir(join(folder, 'empty'));
  t.is((await run('empty')).code, 3);
});

test('--fields takes each name once, and none that is empty', async t => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'list.csv'), `path,sku\n${photos[0]},1\n`);
  const run = (...args: string[]) => repvgg(['score', 'list.csv', ...args, ...options], {cwd: folder});
  t.is((await run('--fields', 'sku, sku', '-o', 'out.csv')).code, 0);
  t.regex(await readFile(join(folder, 'out.csv'), 'utf8'), /^id,fields\.sku,label,/);
  const empty = await run('--fields', 'sku,');
  t.deepEqual([empty.code, empty.stdout], [2, '']);
  t.regex(empty.stderr, /Expected values separated by commas/);
});

test('a disk that is full: the error says so, what was saved stays, and --resume goes on', async t => {
  const folder = await temporaryFolder(t);
  const names = (await readdir(digits.images)).slice(0, 200).map(name => join(digits.images, name));
  await writeFile(join(folder, 'list.txt'), names.join('\n'));
  const args = ['score', 'list.txt', ...options, '--batch-size', '8', '-o', 'out.ndjson'];
  const full = await repvgg(args, {cwd: folder, maxFileKib: 24});
  t.is(full.code, 3, full.stderr);
  t.regex(
    full.stderr,
    /Cannot write out\.ndjson.*larger than this process or file system allows.*ERR_FILE_WRITE/,
  );
  const resumed = await repvgg([...args, '--resume'], {cwd: folder});
  t.is(resumed.code, 0, resumed.stderr);
  t.deepEqual(
    (await rowsOf(join(folder, 'out.ndjson'))).map(({id}) => id),
    names,
  );
});

test('in a terminal: a line with rates and what there is to come, and a summary at the end', async t => {
  const run = (columns: number, ...args: string[]): string => {
    const command = commandOf(['score', digits.images, ...options, ...args]).join(' ');
    return execFileSync('script', ['-qec', `stty cols ${columns}; ${command}`, '/dev/null'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  };
  const summary = /360 scored, 0 failed in \d+:\d\d: [\d.,]+ images\/s/;
  const out = join(await temporaryFolder(t), 'out.csv');
  const linesOf = (shown: string): string[] => shown.replaceAll('\x1b[K', '').split(/[\r\n]+/);
  for (const [columns, bar] of [
    [120, /^\[#*-*\] \d+ of 360 {2}.* images\/s {2}.*decode \d+% {2}device \d+%$/],
    [60, /^\d+ of 360 {2}.* images\/s/],
  ] as const) {
    const shown = run(columns, '-o', out, '--batch-size', '128');
    t.regex(shown, summary);
    t.true(
      linesOf(shown).some(line => bar.test(line)),
      shown,
    );
    t.true(
      linesOf(shown).every(line => line.length < columns),
      shown,
    );
  }
  const rows = run(120);
  t.regex(rows, summary);
  t.is(linesOf(rows).filter(line => line.startsWith('{"id":')).length, 360);
});

test('what cannot be is refused', async t => {
  const cases: [string[], RegExp][] = [
    [['score', 'x'], /'-c, --checkpoint <file>' not specified/],
    [['score', 'x', '-c', 'digits', '--resume'], /'--resume' needs '-o, --output <file>'/],
    [['score', 'x', '-c', 'digits', '--embed', '--logits'], /cannot be used with/],
    [
      ['score', 'x', '-c', 'digits', '--embed', '-k', '5'],
      /'--embed' cannot be used with option '-k, --top-k <k>'/,
    ],
    [
      ['score', 'x', '-c', 'digits', '--logits', '-k', '3'],
      /'--logits' cannot be used with option '-k, --top-k <k>'/,
    ],
    [['score', 'x', '-c', 'digits', '-o', 'a.xml'], /ends in \.ndjson/],
  ];
  for (const [args, message] of cases) {
    const output = await repvgg(args);
    t.is(output.code, 2, output.stderr);
    t.regex(output.stderr, message);
  }
  const missing = await repvgg(['score', 'no such', ...options]);
  t.is(missing.code, 3);
  t.regex(missing.stderr, /Cannot read source no such: no such file\. \(ERR_FILE_NOT_FOUND\)/);
});
