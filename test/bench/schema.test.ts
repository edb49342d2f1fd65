import {readdirSync, readFileSync} from 'node:fs';
import {writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {Ajv2020} from 'ajv/dist/2020.js';
import test from 'ava';
import {readReport} from '../../ts/bench/compare.ts';
import type {BenchReport} from '../../ts/bench/results.ts';
import {mismatch, type Schema} from '../../ts/bench/schema.ts';
import {repvgg, temporaryFolder} from '../cli/run.ts';
import {fullReport} from './results.ts';

const at = (name: string): URL => new URL(`../../${name}`, import.meta.url);
const schema = JSON.parse(readFileSync(at('docs/bench-results.schema.json'), 'utf8')) as Schema;
const validate = new Ajv2020().compile(schema);

/** Every copy of a JSON value in which one thing, at any depth, is another or is not there. */
function* damaged(value: unknown): Generator<unknown> {
  for (const other of [null, 'text', -1, 0.5, true, [], {}]) yield other;
  if (typeof value !== 'object' || value === null) return;
  for (const key of Object.keys(value)) {
    if (!Array.isArray(value)) {
      const {[key]: _, ...rest} = value as Record<string, unknown>;
      yield rest;
    }
    for (const item of damaged((value as Record<string, unknown>)[key])) {
      yield Array.isArray(value) ? value.with(Number(key), item) : {...value, [key]: item};
    }
  }
}

const committed = readdirSync(at('bench/results')).map(name => at(`bench/results/${name}`));

test('committed results follow the schema', t => {
  for (const file of committed) t.is(mismatch(JSON.parse(readFileSync(file, 'utf8')), schema), undefined);
  t.true(committed.length > 0);
});

test('what is damaged anywhere is refused where a whole validator refuses it', t => {
  const full = fullReport();
  const {layers} = JSON.parse(readFileSync(at('bench/results/xeon-avx512-amx-fp32-1-thread.json'), 'utf8'));
  const [network] = (layers as BenchReport['layers'])!;
  const small = {
    ...full,
    results: full.results.slice(0, 2),
    layers: [{...network!, layers: network!.layers.slice(0, 1)}],
    skipped: ['one'],
  };
  let refused = 0;
  for (const other of damaged(small)) {
    const valid = validate(other);
    if (!valid) refused++;
    if ((mismatch(other, schema) === undefined) !== valid) t.fail(JSON.stringify([validate.errors, other]));
  }
  t.true(refused > 500, `${refused}`);
});

test('results that are damaged are one sentence that says where', async t => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'damaged.json');
  const report = fullReport();
  delete (report.results[2] as Partial<BenchReport['results'][0]>).imagesPerSecond;
  await writeFile(path, JSON.stringify(report));
  await t.throwsAsync(readReport(path), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /something else at \/results\/2\/imagesPerSecond \(schema: /,
  });
  const {code, stdout, stderr} = await repvgg(['bench', '--compare', path, path]);
  t.is(code, 2);
  t.is(stdout, '');
  t.regex(stderr, /^repvgg: Expected the output of .*\n$/);
});
