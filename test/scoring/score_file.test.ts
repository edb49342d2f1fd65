import {execFileSync} from 'node:child_process';
import {readdirSync} from 'node:fs';
import {lstat, mkdir, readdir, readFile, rename, rm, rmdir, stat, symlink, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import type {RawImage} from '../../ts/images/images.ts';
import {RepVGG} from '../../ts/model.ts';
import {type ScoreFileOptions, scoreToFile} from '../../ts/score_file.ts';
import type {ScoreInput} from '../../ts/scoring/score.ts';
import {openSource} from '../../ts/sources/source.ts';
import {temporaryFolder} from '../folder.ts';

const load = (): Promise<RepVGG> => RepVGG.load('digits', {batchSize: 8, device: 'cpu'});

const raw = (n: number): RawImage => ({
  data: Uint8Array.from({length: 64}, (_, i) => (n * 31 + i * 7) % 256),
  width: 8,
  height: 8,
  channels: 1,
});

/** Records, then `end`. */
async function* records(count: number, end: () => void = () => {}): AsyncGenerator<ScoreInput> {
  for (let i = 0; i < count; i++) yield {id: `${i}`, image: raw(i)};
  end();
}

const ids = async (path: string): Promise<string[]> =>
  (await readFile(path, 'utf8'))
    .trimEnd()
    .split('\n')
    .map(line => (JSON.parse(line) as {id: string}).id);

const numbers = (count: number): string[] => Array.from({length: count}, (_, i) => `${i}`);

for (const name of ['rows.ndjson', 'rows.csv', 'rows.parquet', 'rows.arrow']) {
  test(`${name}: a stopped run goes on where it was, and gives the file of one that was not stopped`, async t => {
    await using model = await load();
    const folder = await temporaryFolder(t);
    const path = join(folder, name);
    const stop = new AbortController();
    const onProgress = ({ok}: {ok: number}): void => {
      if (ok === 20) stop.abort();
    };
    const first = await scoreToFile(model, records(100), path, {stop: stop.signal, onProgress});
    t.false(first.complete);
    t.false(first.alreadyComplete);
    t.true(first.ok >= 20 && first.ok < 80, `${first.ok}`);
    t.deepEqual(await readdir(folder), [`${name}.partial`, `${name}.partial.json`]);
    await t.throwsAsync(scoreToFile(model, records(100), path), {
      code: 'ERR_RESUME',
      message: /of an unfinished run/,
    });
    const stopped = {resume: true, stop: AbortSignal.abort()};
    t.like(await scoreToFile(model, records(100), path, stopped), {complete: false, ok: 0});
    const second = await scoreToFile(model, records(100), path, {resume: true});
    t.like(second, {complete: true, skipped: first.ok, ok: 100 - first.ok});
    t.deepEqual(await readdir(folder), [name]);
    t.like(await scoreToFile(model, records(100), path, {resume: true}), {
      complete: true,
      alreadyComplete: true,
      ok: 0,
    });
    const whole = join(await temporaryFolder(t), name);
    await scoreToFile(model, records(100), whole);
    t.deepEqual(await readFile(path), await readFile(whole));
  });
}

test('what was scored before an error of the source or an abort counts', async t => {
  await using model = await load();
  const path = join(await temporaryFolder(t), 'rows.ndjson');
  const broken = (): never => {
    throw new Error('the source broke');
  };
  await t.throwsAsync(scoreToFile(model, records(30, broken), path), {message: 'the source broke'});
  t.deepEqual(await ids(`${path}.partial`), numbers(30));
  const controller = new AbortController();
  const onProgress = ({ok}: {ok: number}): void => {
    if (ok === 20) controller.abort();
  };
  const {signal} = controller;
  await t.throwsAsync(scoreToFile(model, records(100), path, {resume: true, signal, onProgress}), {
    any: true,
    name: 'AbortError',
  });
  t.deepEqual(await ids(`${path}.partial`), numbers(50));
  t.like(await scoreToFile(model, records(60), path, {resume: true}), {skipped: 50, ok: 10, complete: true});
  t.deepEqual(await ids(path), numbers(60));
});

test('an error that comes while rows are being saved leaves what can be resumed', async t => {
  await using model = await load();
  const path = join(await temporaryFolder(t), 'rows.ndjson');
  const broken = (): never => {
    throw new Error('the source broke');
  };
  const onProgress = ({ok}: {ok: number}): void => {
    // It is time to save then, and the error is there already.
    if (ok === 10) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1100);
  };
  await t.throwsAsync(scoreToFile(model, records(10, broken), path, {onProgress}), {
    message: 'the source broke',
  });
  t.like(await scoreToFile(model, records(20), path, {resume: true}), {skipped: 10, ok: 10, complete: true});
  t.deepEqual(await ids(path), numbers(20));
});

test('a save that fails ends the run at once, while the source is silent', async t => {
  t.timeout(30_000); // The source would be waited for without an end.
  await using model = await load();
  const folder = join(await temporaryFolder(t), 'folder');
  await mkdir(folder);
  async function* source(): AsyncGenerator<ScoreInput> {
    yield* records(1);
    await rm(folder, {recursive: true});
    await new Promise(() => {});
  }
  await t.throwsAsync(scoreToFile(model, source(), join(folder, 'rows.ndjson')), {
    code: 'ERR_FILE_WRITE',
    message: /there is no folder/,
  });
});

test('what is behind the marker is cut off; a journal that is too short, and a damaged marker, are refused', async t => {
  await using model = await load();
  const path = join(await temporaryFolder(t), 'rows.ndjson');
  const broken = (): never => {
    throw new Error('the source broke');
  };
  await t.throwsAsync(scoreToFile(model, records(30, broken), path));
  const [journal, marker] = [`${path}.partial`, `${path}.partial.json`];
  const [bytes, state] = [await readFile(journal), await readFile(marker)];
  await writeFile(journal, Buffer.concat([bytes, Buffer.from('{"id":"30","lab')]));
  await t.throwsAsync(scoreToFile(model, records(40, broken), path, {resume: true}));
  t.deepEqual(await ids(journal), numbers(40));
  await writeFile(marker, state);
  await writeFile(journal, bytes.subarray(1));
  await t.throwsAsync(scoreToFile(model, records(40), path, {resume: true}), {
    code: 'ERR_RESUME',
    message: /has only \d+ of the \d+ bytes that were written/,
  });
  const counts = '"rows": 1, "bytes": 1, "ok": 1, "failed": 0';
  for (const text of [
    '',
    '{}',
    `{"settings": {}, ${counts.replace('1', '-1')}}`,
    `{"settings": null, ${counts}}`,
    `{${counts}}`,
  ]) {
    await writeFile(marker, text);
    await t.throwsAsync(scoreToFile(model, records(40), path, {resume: true}), {
      code: 'ERR_RESUME',
      message: /it is damaged; remove it to start over/,
    });
  }
});

test('a source that has become shorter is refused before its end is taken for that of the run', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  const path = join(folder, 'rows.parquet');
  const broken = (): never => {
    throw new Error('the source broke');
  };
  await t.throwsAsync(scoreToFile(model, records(30, broken), path));
  const resume = {resume: true};
  await t.throwsAsync(scoreToFile(model, records(20), path, resume), {
    message: /it has 20 records but 30 rows/,
  });
  t.false((JSON.parse(await readFile(`${path}.partial.json`, 'utf8')) as {complete: boolean}).complete);
  t.like(await scoreToFile(model, records(40), path, resume), {skipped: 30, ok: 10, complete: true});
});

test('what a killed run leaves beside an older output, or where its output was moved away, is not a complete one', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  const path = join(folder, 'rows.csv');
  await scoreToFile(model, records(3), path);
  const marker = {settings: {}, bytes: 0, ok: 3, failed: 0, rows: 3, idDigest: '', complete: true};
  // Killed before its first rows were saved.
  await writeFile(`${path}.partial`, 'id,la');
  t.like(await scoreToFile(model, records(5), path, {resume: true}), {alreadyComplete: false, ok: 5});
  t.deepEqual(await readdir(folder), ['rows.csv']);
  // Killed just after the output took its place.
  await writeFile(`${path}.partial.json`, JSON.stringify(marker));
  t.like(await scoreToFile(model, records(5), path, {resume: true}), {alreadyComplete: true});
  t.deepEqual(await readdir(folder), ['rows.csv']);
  await writeFile(`${path}.partial.json`, JSON.stringify(marker));
  await rename(path, join(folder, 'moved.csv'));
  t.like(await scoreToFile(model, records(5), path, {resume: true}), {alreadyComplete: false, ok: 5});
  t.deepEqual((await readdir(folder)).sort(), ['moved.csv', 'rows.csv']);
});

test('rows are not added to those of another source, option or model', async t => {
  await using model = await load();
  const path = join(await temporaryFolder(t), 'rows.ndjson');
  const broken = (): never => {
    throw new Error('the source broke');
  };
  const settings = {source: 'a', format: 'list'};
  await t.throwsAsync(scoreToFile(model, records(30, broken), path, {topK: 2, settings}));
  const resume = {topK: 2, settings, resume: true};
  async function* others(): AsyncGenerator<ScoreInput> {
    yield {id: 'x', image: raw(0)};
    yield* records(40);
  }
  await t.throwsAsync(scoreToFile(model, others(), path, resume), {
    code: 'ERR_RESUME',
    message: /the source has changed: its first 30 ids are different; remove .*\.partial\.json to start over/,
  });
  await t.throwsAsync(scoreToFile(model, records(29), path, resume), {
    code: 'ERR_RESUME',
    message: /it has 29 records but 30 rows were written/,
  });
  await t.throwsAsync(scoreToFile(model, records(40), path, {...resume, topK: 3}), {
    code: 'ERR_RESUME',
    message: /it was started with topK 2, not with topK 3/,
  });
  for (const [changed, message] of [
    [{source: 'b'}, /started with source "a", not with source "b"; remove .*\.partial\.json to start over/],
    [{format: 'csv'}, /started with format "list", not with format "csv"/],
    [{format: undefined}, /started with format "list", not without format/],
    [{eps: 0.1}, /started without eps, not with eps 0\.1/],
    [{topK: 2}, /started without topK, not with topK 2/], // Also an option of the run.
  ] as const) {
    const options = {...resume, settings: {...settings, ...changed}};
    await t.throwsAsync(scoreToFile(model, records(40), path, options), {code: 'ERR_RESUME', message});
  }
  await using renamed = await RepVGG.load('digits', {device: 'cpu', labels: [...'abcdefghij']});
  await t.throwsAsync(scoreToFile(renamed, records(40), path, resume), {message: /started with labels /});
  await using retrained = await RepVGG.load('digits', {device: 'cpu', eps: 1e-4});
  await t.throwsAsync(scoreToFile(retrained, records(40), path, resume), {message: /started with weights "/});
  await using other = await RepVGG.load('digits', {device: 'cpu', preprocessing: {resize: 40}});
  await t.throwsAsync(scoreToFile(other, records(40), path, resume), {
    message: /started with preprocessing\.\w+ /,
  });
  await using direct = await RepVGG.load('digits', {device: 'cpu', winograd: 'off'});
  await t.throwsAsync(scoreToFile(direct, records(40), path, resume), {
    message: /started with winograd "auto", not with winograd "off"/,
  });
});

test('a field that cannot be written ends the run with the rows before it, by an error with a code', async t => {
  await using model = await load();
  const path = join(await temporaryFolder(t), 'rows.csv');
  const circular: unknown[] = [];
  circular.push(circular);
  async function* source(a: unknown): AsyncGenerator<ScoreInput> {
    yield* records(10);
    yield {id: 'x', image: raw(0), fields: {a}};
  }
  const options = {fields: ['a'], resume: true};
  await t.throwsAsync(scoreToFile(model, source(circular), path, options), {
    code: 'ERR_SOURCE',
    message: /Cannot write the row of "x": Converting circular structure/,
  });
  t.like(await scoreToFile(model, source([]), path, options), {skipped: 10, ok: 1, complete: true});
});

test('an abort ends the making of the file, and the rows are kept', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  for (const name of ['rows.parquet', 'rows.arrow']) {
    const path = join(folder, name);
    const controller = new AbortController();
    const making = setInterval(() => {
      // Everything is scored once the temporary file of the output is there.
      const isMaking = readdirSync(folder).some(
        file => file.startsWith(`.${name}.`) && !file.includes('partial'),
      );
      if (isMaking) controller.abort(new Error('enough'));
    }, 1);
    t.teardown(() => clearInterval(making));
    await t.throwsAsync(scoreToFile(model, records(30_000), path, {signal: controller.signal}), {
      message: 'enough',
    });
    clearInterval(making);
    t.deepEqual(await readdir(folder), [`${name}.partial`, `${name}.partial.json`]);
    t.like(await scoreToFile(model, records(30_000), path, {resume: true}), {
      complete: true,
      skipped: 30_000,
    });
    await rm(path);
  }
});

test('settings that JSON has as texts are the same ones in a run that resumes', async t => {
  await using model = await load();
  const path = join(await temporaryFolder(t), 'rows.ndjson');
  const broken = (): never => {
    throw new Error('the source broke');
  };
  const settings = {since: new Date(0), bucket: new URL('s3://a/b'), seed: 2n ** 60n, none: undefined};
  await t.throwsAsync(scoreToFile(model, records(30, broken), path, {settings}), {message: /broke/});
  const later = {resume: true, settings: {...settings, since: new Date(1)}};
  await t.throwsAsync(scoreToFile(model, records(40), path, later), {
    message: /started with since "1970-01-01T00:00:00\.000Z", not with since "1970-01-01T00:00:00\.001Z"/,
  });
  t.like(await scoreToFile(model, records(40), path, {resume: true, settings}), {skipped: 30, ok: 10});
});

test('an output that is there stays until the new one is complete', async t => {
  await using model = await load();
  const path = join(await temporaryFolder(t), 'rows.csv');
  await writeFile(path, 'old');
  await t.throwsAsync(
    scoreToFile(
      model,
      records(5, () => {
        throw new Error('the source broke');
      }),
      path,
    ),
  );
  t.is(await readFile(path, 'utf8'), 'old');
  await scoreToFile(model, records(5), path, {resume: true});
  t.is((await readFile(path, 'utf8')).split('\r\n').length, 7);
});

test('a run that fails before its first row does not make an older output complete', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  const path = join(folder, 'rows.csv');
  await writeFile(path, 'old');
  const fail = (): never => {
    throw new Error('the source broke');
  };
  for (const resume of [false, true]) {
    await t.throwsAsync(scoreToFile(model, records(0, fail), path, {resume}), {message: /broke/});
    const stopped = await scoreToFile(model, records(5), path, {resume, stop: AbortSignal.abort()});
    t.like(stopped, {complete: false, alreadyComplete: false});
    t.is(await readFile(path, 'utf8'), 'old');
    t.deepEqual(await readdir(folder), ['rows.csv', 'rows.csv.partial']);
    t.is((await stat(`${path}.partial`)).size, 0);
  }
  t.like(await scoreToFile(model, records(5), path, {resume: true}), {alreadyComplete: false, ok: 5});
  t.is((await readFile(path, 'utf8')).split('\r\n').length, 7);
  t.deepEqual(await readdir(folder), ['rows.csv']);
});

test('two runs of the same output: the second is refused, and takes nothing from the first', async t => {
  await using model = await load();
  for (const name of ['rows.ndjson', 'rows.parquet']) {
    const folder = await temporaryFolder(t);
    const path = join(folder, name);
    let release = (): void => {};
    const released = new Promise<void>(resolve => {
      release = resolve;
    });
    async function* slow(): AsyncGenerator<ScoreInput> {
      yield* records(20);
      await released;
    }
    let rows = 0;
    const first = scoreToFile(model, slow(), path, {maxWait: 1, onProgress: () => rows++});
    while (rows < 20) await new Promise(resolve => setTimeout(resolve, 10));
    const isRefused = async (): Promise<void> => {
      for (const options of [{}, {resume: true}, {resume: true, topK: 2}]) {
        await t.throwsAsync(scoreToFile(model, records(30), path, options), {
          code: 'ERR_FILE_WRITE',
          message: `Cannot write ${path}: another run is writing it.`,
        });
      }
    };
    await isRefused();
    while (!(await readdir(folder)).includes(`${name}.partial.json`)) {
      await new Promise(resolve => setTimeout(resolve, 50));
    }
    await isRefused();
    release();
    t.like(await first, {ok: 20, complete: true});
    t.deepEqual(await readdir(folder), [name]);
  }
});

test('failed rows of runs before count, and their messages do not depend on where a run began', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  const path = join(folder, 'rows.ndjson');
  async function* source(fail: boolean): AsyncGenerator<ScoreInput> {
    for (let i = 0; i < 3; i++) {
      yield {id: `bad ${i}`, image: Buffer.from('text')};
      yield Buffer.from('text');
      if (fail && i === 1) throw new Error('the source broke');
    }
    yield {id: 'good', image: raw(1)};
  }
  await t.throwsAsync(scoreToFile(model, source(true), path));
  t.like(await scoreToFile(model, source(false), path, {resume: true}), {
    ok: 1,
    failed: 2,
    skipped: 4,
    failedInFile: 6,
  });
  const whole = join(folder, 'whole.ndjson');
  await scoreToFile(model, source(false), whole);
  t.is(await readFile(path, 'utf8'), await readFile(whole, 'utf8'));
});

test('a run without rows leaves nothing, and what a killed one left of files that it was writing goes', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  const path = join(folder, 'rows.csv');
  await t.throwsAsync(
    scoreToFile(
      model,
      records(0, () => {
        throw new Error('no source');
      }),
      path,
    ),
  );
  for (const wrong of [{topK: 0}, {stop: 5 as unknown as AbortSignal}]) {
    await t.throwsAsync(scoreToFile(model, records(5), path, wrong), {code: 'ERR_INVALID_ARGUMENT'});
  }
  t.deepEqual(await readdir(folder), []);
  const id = '01234567-89ab-cdef-0123-456789abcdef';
  const left = [`.rows.csv.${id}.tmp`, `.rows.csv.partial.json.${id}.tmp`];
  const others = ['.rows.csv.mine.tmp', `.other.csv.${id}.tmp`];
  for (const name of [...left, ...others]) await writeFile(join(folder, name), 'x');
  await scoreToFile(model, records(5), path);
  t.deepEqual(await readdir(folder), [...others.sort(), 'rows.csv']);
});

test('a table without rows has its header once, also where the run before ended just before it was in its place', async t => {
  await using model = await load();
  const output = join(await temporaryFolder(t), 'rows.csv');
  const occupied = async function* (): AsyncGenerator<ScoreInput> {
    await mkdir(output);
    yield* records(0);
  };
  await t.throwsAsync(scoreToFile(model, occupied(), output), {code: 'ERR_FILE_WRITE'});
  await rmdir(output);
  await scoreToFile(model, [], output, {resume: true});
  t.regex(await readFile(output, 'utf8'), /^id,[^\n]*\n$/);
});

test('an output that is a link stays one, and its file keeps its mode', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  const [path, link] = [join(folder, 'rows.csv'), join(folder, 'link.csv')];
  await writeFile(path, 'old', {mode: 0o600});
  await symlink('rows.csv', link);
  await scoreToFile(model, records(5), link);
  t.true((await lstat(link)).isSymbolicLink());
  t.is((await stat(path)).mode & 0o777, 0o600);
  t.is((await readFile(path, 'utf8')).split('\r\n').length, 7);
});

test('an output that cannot be is refused before the work', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  const circular: unknown[] = [];
  circular.push(circular);
  let asked = false;
  async function* source(): AsyncGenerator<ScoreInput> {
    asked = true;
    yield raw(1);
  }
  await t.throwsAsync(scoreToFile(model, source(), join(folder, 'rows.xml')), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /Expected a file that ends in \.ndjson, .* for the output/,
  });
  const wrong = [
    {output: 'label'},
    {fields: 5},
    {fields: 'label'},
    {resume: 'yes'},
    {onProgress: 5},
    {settings: 5},
    {settings: null},
    {settings: {id: [Symbol.iterator, circular]}},
  ] as unknown as ScoreFileOptions[];
  for (const options of wrong) {
    const refused = {code: 'ERR_INVALID_ARGUMENT'} as const;
    await t.throwsAsync(scoreToFile(model, source(), join(folder, 'rows.csv'), options), refused);
  }
  for (const none of [5, 'a.jpg', undefined] as unknown as ScoreInput[][]) {
    const {signal: stop} = new AbortController();
    const refused = {code: 'ERR_INVALID_ARGUMENT', message: /for source/} as const;
    await t.throwsAsync(scoreToFile(model, none, join(folder, 'rows.csv'), {stop}), refused);
  }
  await t.throwsAsync(scoreToFile(model, source(), join(folder, 'none', 'rows.csv')), {
    code: 'ERR_FILE_WRITE',
    message: /there is no folder/,
  });
  await mkdir(join(folder, 'folder.csv'));
  execFileSync('mkfifo', [join(folder, 'pipe.csv')]);
  await writeFile(join(folder, 'list.csv'), 'path\n');
  for (const [name, message] of [
    ['folder.csv', /it is a directory/],
    ['pipe.csv', /it is not a regular file/],
  ] as const) {
    const refused = {code: 'ERR_FILE_WRITE', message} as const;
    await t.throwsAsync(scoreToFile(model, source(), join(folder, name)), refused);
  }
  // FILE.partial.json would be longer than a name can be.
  await t.throwsAsync(scoreToFile(model, source(), join(folder, `${'x'.repeat(240)}.csv`)), {
    code: 'ERR_FILE_WRITE',
    message: /its name is longer than this file system allows/,
  });
  const list = join(folder, 'list.csv');
  await t.throwsAsync(scoreToFile(model, openSource(list), list), {code: 'ERR_INVALID_ARGUMENT'});
  for (const glob of ['*.partial', '*.json']) {
    const matching = openSource(join(folder, glob), {format: 'ndjson'});
    const refused = {
      code: 'ERR_INVALID_ARGUMENT',
      message: /list\.csv\.partial.*: it is part of the source/,
    } as const;
    await t.throwsAsync(scoreToFile(model, matching, list), refused);
  }
  t.is(await readFile(list, 'utf8'), 'path\n');
  t.deepEqual((await readdir(folder)).sort(), ['folder.csv', 'list.csv', 'pipe.csv']);
  t.false(asked);
});

test('a second record with an id is an error row, also where the first was written by the run before', async t => {
  await using model = await load();
  const path = join(await temporaryFolder(t), 'rows.ndjson');
  const broken = (): never => {
    throw new Error('the source broke');
  };
  await t.throwsAsync(scoreToFile(model, records(10, broken), path));
  async function* again(): AsyncGenerator<ScoreInput> {
    yield* records(10);
    yield {id: '3', image: raw(3)};
  }
  t.like(await scoreToFile(model, again(), path, {resume: true}), {skipped: 10, failed: 1, ok: 0});
  t.is((await stat(path)).isFile(), true);
  t.true((await readFile(path, 'utf8')).endsWith('again."}}\n'));
});
