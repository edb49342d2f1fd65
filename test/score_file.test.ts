import {readdir, readFile, stat, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import test from 'ava';
import type {RawImage} from '../ts/images.ts';
import {RepVGG} from '../ts/model.ts';
import type {ScoreInput} from '../ts/score.ts';
import {scoreToFile} from '../ts/score_file.ts';
import {temporaryFolder} from './folder.ts';

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
    t.true(first.ok >= 20 && first.ok < 80, `${first.ok}`);
    t.deepEqual(await readdir(folder), [`${name}.partial`, `${name}.partial.json`]);
    await t.throwsAsync(scoreToFile(model, records(100), path), {
      code: 'ERR_RESUME',
      message: /did not finish/,
    });
    const second = await scoreToFile(model, records(100), path, {resume: true});
    t.like(second, {complete: true, skipped: first.ok, ok: 100 - first.ok});
    t.deepEqual(await readdir(folder), [name]);
    t.like(await scoreToFile(model, records(100), path, {resume: true}), {complete: true, ok: 0});
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
    message: /has \d+ bytes, of the \d+ that were written/,
  });
  for (const text of ['', '{}', '{"rows": -1, "bytes": 0, "ok": 0, "failed": 0}']) {
    await writeFile(marker, text);
    await t.throwsAsync(scoreToFile(model, records(40), path, {resume: true}), {
      code: 'ERR_RESUME',
      message: /is not what a run leaves/,
    });
  }
});

test('rows are not added to those of another source, option or model', async t => {
  await using model = await load();
  const path = join(await temporaryFolder(t), 'rows.ndjson');
  const broken = (): never => {
    throw new Error('the source broke');
  };
  await t.throwsAsync(scoreToFile(model, records(30, broken), path, {topK: 2, settings: {source: 'a'}}));
  const resume = {topK: 2, settings: {source: 'a'}, resume: true};
  async function* others(): AsyncGenerator<ScoreInput> {
    yield {id: 'x', image: raw(0)};
    yield* records(40);
  }
  await t.throwsAsync(scoreToFile(model, others(), path, resume), {
    code: 'ERR_RESUME',
    message: /the source has changed, its first 30 ids are others/,
  });
  await t.throwsAsync(scoreToFile(model, records(29), path, resume), {
    code: 'ERR_RESUME',
    message: /it has 29 records and 30 rows were written/,
  });
  await t.throwsAsync(scoreToFile(model, records(40), path, {...resume, topK: 3}), {
    code: 'ERR_RESUME',
    message: /its rows were made with topK 2 and not 3/,
  });
  await t.throwsAsync(scoreToFile(model, records(40), path, {...resume, settings: {source: 'b'}}), {
    message: /made with source "a" and not "b"/,
  });
  await using other = await RepVGG.load('digits', {device: 'cpu', preprocessing: {resize: 40}});
  await t.throwsAsync(scoreToFile(other, records(40), path, resume), {message: /made with preprocessing/});
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

test('an output that cannot be is refused before the work', async t => {
  await using model = await load();
  const folder = await temporaryFolder(t);
  let asked = false;
  async function* source(): AsyncGenerator<ScoreInput> {
    asked = true;
    yield raw(1);
  }
  await t.throwsAsync(scoreToFile(model, source(), join(folder, 'rows.xml')), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /Expected a file that ends in \.ndjson, .* for the output/,
  });
  await t.throwsAsync(scoreToFile(model, source(), join(folder, 'none', 'rows.csv')), {
    code: 'ERR_FILE_WRITE',
    message: /there is no folder/,
  });
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
