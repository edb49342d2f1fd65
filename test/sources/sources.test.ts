import {execFileSync} from 'node:child_process';
import {mkdir, open, readdir, readFile, readlink, rm, symlink, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {gzipSync} from 'node:zlib';
import test from 'ava';
import {packTar} from 'modern-tar';
import {countRecords} from '../../ts/sources/count.ts';
import {checkNotSource} from '../../ts/sources/overwrite.ts';
import type {SourceRecord} from '../../ts/sources/record.ts';
import {openSource} from '../../ts/sources/source.ts';
import {sniffStdin} from '../../ts/sources/stdin.ts';
import {photos} from '../fixtures.ts';
import {temporaryFolder} from '../folder.ts';
import {all, member} from './outcomes.ts';

test('a folder: its images in the order of their names, labelled by its subfolders', async t => {
  const root = await temporaryFolder(t);
  await mkdir(join(root, 'dog', 'small'), {recursive: true});
  await mkdir(join(root, 'cat'));
  for (const name of ['z.png', 'dog/b.JPG', 'dog/small/a.webp', 'dog/notes.txt', 'cat/10.jpg', 'cat/9.jpg']) {
    await writeFile(join(root, name), '');
  }
  await symlink(join(root, 'z.png'), join(root, 'y.png'));
  await symlink(root, join(root, 'cat', 'loop'));
  await symlink(join(root, 'dog', 'small'), join(root, 'cow'));
  await writeFile(join(root, '.hidden.jfif'), '');
  t.deepEqual(
    await all(root),
    [
      {id: '.hidden.jfif'},
      {id: 'cat/10.jpg', label: 'cat'},
      {id: 'cat/9.jpg', label: 'cat'},
      {id: 'cow/a.webp', label: 'cow'},
      {id: 'dog/b.JPG', label: 'dog'},
      {id: 'dog/small/a.webp', label: 'dog'},
      {id: 'y.png'},
      {id: 'z.png'},
    ].map(({id, ...rest}) => ({id: join(root, id), image: join(root, id), ...rest})),
  );
  await t.throwsAsync(all(join(root, 'no such')), {code: 'ERR_FILE_NOT_FOUND'});
  await mkdir(join(root, 'empty'));
  await t.throwsAsync(all(join(root, 'empty')), {code: 'ERR_SOURCE', message: /no images in it\.$/});
  await writeFile(join(root, 'empty', '0.tar'), '');
  const message = /no images in it; '.*empty\/\*\.tar' reads such files as 0\.tar\.$/;
  await t.throwsAsync(all(join(root, 'empty')), {code: 'ERR_SOURCE', message});
});

test('a glob matches files of any kind, each read as its own', async t => {
  const root = await temporaryFolder(t);
  await mkdir(join(root, 'a'));
  await writeFile(join(root, 'a', '1.jpg'), '');
  await writeFile(join(root, 'a', '2.txt'), 'x.jpg\ny.jpg\n');
  await writeFile(join(root, 'a', '3.md'), '');
  const ids = async (pattern: string): Promise<string[]> =>
    (await all(join(root, pattern))).map(({id}) => id.replace(`${root}/`, ''));
  t.deepEqual(await ids('**/*'), ['a/1.jpg', 'x.jpg', 'y.jpg']);
  t.deepEqual(await ids('a/*.{jpg,png}'), ['a/1.jpg']);
  await mkdir(join(root, '[b]'));
  await writeFile(join(root, '[b]', 'x*.jpg'), '');
  t.deepEqual(await ids('\\[b\\]/*.jpg'), ['[b]/x*.jpg']);
  await mkdir(join(root, '{c,d}'));
  await writeFile(join(root, '{c,d}', 'y{1}.jpg'), '');
  for (const pattern of ['\\{c,d\\}/*', '\\{c,d\\}/y{1}*', '{e,\\{c\\,d\\}}/y\\{1\\}*', '*/*{1}.jpg']) {
    t.deepEqual(await ids(pattern), ['{c,d}/y{1}.jpg'], pattern);
  }
  await t.throwsAsync(ids('a/*.gif'), {code: 'ERR_FILE_NOT_FOUND', message: /no file matches it/});
  await t.throwsAsync(ids('a/*.md'), {
    code: 'ERR_SOURCE',
    message: /none of the files that match it has the extension of an image/,
  });
});

test('a glob looks only into folders that may have matches; one that cannot be read is the error of its own row', async t => {
  for (const [pattern, rest] of [
    ['*.jpg', []],
    ['a*/*.jpg', []],
    ['**/*.jpg', ['b']],
    ['{b/*,*}.jpg', ['b']],
    ['?/*.jpg', ['b']],
  ] as const) {
    const root = await temporaryFolder(t);
    for (const folder of ['a', 'b']) await mkdir(join(root, folder));
    for (const name of ['a.jpg', 'a/1.jpg', 'b/1.jpg']) await writeFile(join(root, name), '');
    const records = openSource(join(root, pattern))[Symbol.asyncIterator]();
    const first = await records.next();
    t.false('error' in first.value);
    await rm(join(root, 'b'), {recursive: true});
    const found: string[] = [];
    for (let next = await records.next(); !next.done; next = await records.next()) {
      if ('error' in next.value) found.push(next.value.id.replace(`${root}/`, ''));
    }
    t.deepEqual(found, [...rest], pattern);
  }
});

test('an output that would take the place of its source is seen', async t => {
  const root = await temporaryFolder(t);
  const list = join(root, 'list.csv');
  await writeFile(list, 'path\n');
  await symlink(list, join(root, 'link.csv'));
  for (const [source, output] of [
    [list, list],
    [join(root, 'link.csv'), list],
    [list, join(root, 'link.csv')],
    [join(root, '*.csv'), join(root, 'new.csv')],
  ] as const) {
    await t.throwsAsync(checkNotSource(output, openSource(source)), {code: 'ERR_INVALID_ARGUMENT'}, source);
  }
  for (const source of [list, root, join(root, '*.txt'), '-']) {
    await t.notThrowsAsync(checkNotSource(join(root, 'new.csv'), openSource(source)));
  }
  await t.notThrowsAsync(checkNotSource(list, ['a.jpg']));
});

test('what standard input looks like', async t => {
  const photo = await readFile(photos[0]!);
  // As of Unix version 7: without "ustar", and so with a smaller sum.
  const oldTar = Buffer.from(await packTar([member('a.jpg', photo)]));
  const mark = oldTar.subarray(257, 265);
  const sum = Number.parseInt(oldTar.toString('latin1', 148, 154), 8) - mark.reduce((a, b) => a + b);
  oldTar.write(sum.toString(8).padStart(6, '0'), 148);
  mark.fill(0);
  for (const [bytes, expected] of [
    [photo, 'image'],
    [Buffer.from('PAR1'.padEnd(600)), 'parquet'],
    [Buffer.from('{"image": "a.jpg"}\n'), 'ndjson'],
    [Buffer.from('a.jpg\n'), 'list'],
    [Buffer.from('a,b.jpg\nid,path\n'), 'list'],
    [Buffer.from('path\na.jpg\n'), 'list'],
    [Buffer.from('\ufeffid,"path"\r\n1,a.jpg\n'), 'csv'],
    [Buffer.from('id\turl\n1\thttp://a/b.jpg\n'), 'tsv'],
    [Buffer.from(''), 'list'],
    [gzipSync('x'), 'tar'],
    [await packTar([member('a.jpg', photo)]), 'tar'],
    [oldTar, 'tar'],
    [Buffer.concat([oldTar.subarray(0, 148), Buffer.from('0000001'), oldTar.subarray(155)]), 'list'],
  ] as const) {
    const {stream, sniffed} = await sniffStdin(Readable.from([bytes]));
    t.is(sniffed, expected);
    t.deepEqual(Buffer.concat(await Readable.from(stream).toArray()), Buffer.from(bytes));
  }
});

test('records are counted where that is cheap, and never taken out of a pipe', async t => {
  const root = await temporaryFolder(t);
  await writeFile(join(root, 'list.csv'), 'path\na.jpg\nb.jpg\n');
  t.is(await countRecords(join(root, 'list.csv')), 2);
  t.is(await countRecords(join(root, 'list.csv'), {format: 'tar'}), undefined);
  const pipe = join(root, 'pipe.txt');
  execFileSync('mkfifo', [pipe]);
  const counted = countRecords(pipe);
  const writer = await open(pipe, 'r+'); // Which does not wait for a reader.
  await writer.write('a.jpg\n');
  t.is(await counted, undefined);
  await writer.close();
});

test('an image is a source of one; what is no source is refused', async t => {
  t.deepEqual(await all(photos[0]!), [{id: photos[0]!, image: photos[0]!}] as SourceRecord[]);
  const odd = join(await temporaryFolder(t), 'odd.xyz');
  await writeFile(odd, '');
  await t.throwsAsync(all(odd), {code: 'ERR_SOURCE', message: /Cannot tell the format of source/});
  for (const url of ['https://example.com/list.csv?a=1', 's3://images/*']) {
    const message = `Cannot read source ${url}: expected a folder, a file or "-"; a list or table may contain URLs of images.`;
    await t.throwsAsync(all(url), {code: 'ERR_SOURCE', message});
  }
  t.throws(() => openSource(''), {code: 'ERR_INVALID_ARGUMENT'});
  t.throws(() => openSource(odd, {format: 'xml' as 'csv'}), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /for format/,
  });
});

test('a source stops where it is told to, and closes its file', async t => {
  const list = join(await temporaryFolder(t), 'list.txt');
  await writeFile(list, 'a.jpg\n'.repeat(200_000));
  const controller = new AbortController();
  await t.throwsAsync(
    async () => {
      for await (const _ of openSource(list, {signal: controller.signal}))
        controller.abort(new Error('enough'));
    },
    {message: 'enough'},
  );
  for await (const _ of openSource(list)) break;
  const tar = join(await temporaryFolder(t), 'a.tar');
  await writeFile(
    tar,
    await packTar(['a.jpg', 'b.jpg', 'c.jpg'].map(name => member(name, 'x'.repeat(2 ** 20)))),
  );
  for await (const _ of openSource(tar)) break;
  t.deepEqual([await openDescriptors(list), await openDescriptors(tar)], [[], []]);
});

async function openDescriptors(path: string): Promise<string[]> {
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map(fd => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  );
  return links.filter(link => link === path);
}
