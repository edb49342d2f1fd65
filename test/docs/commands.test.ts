// What the documentation, the scripts and the workflows tell people and machines to run is there.
import {existsSync, readdirSync, readFileSync} from 'node:fs';
import test from 'ava';
import {parse as parseYaml} from 'yaml';
import {pages, readPage} from './blocks.ts';

interface Job {
  'runs-on': string;
  needs?: string | string[];
  steps: {uses?: string; run?: string; env?: Record<string, string>}[];
}
interface Workflow {
  jobs: Record<string, Job>;
}

const {scripts} = JSON.parse(readPage('package.json')) as {scripts: Record<string, string>};
const folder = '.github/workflows';
const workflows: [string, string][] = readdirSync(new URL(`../../${folder}/`, import.meta.url)).map(name => [
  `${folder}/${name}`,
  readFileSync(new URL(`../../${folder}/${name}`, import.meta.url), 'utf8'),
]);
const texts: [string, string][] = [
  ...[...pages(), 'package.json', '.ci/run'].map((page): [string, string] => [page, readPage(page)]),
  ...workflows,
];

test('every npm script that is named somewhere exists', t => {
  let count = 0;
  for (const [page, text] of texts) {
    for (const [, name] of text.matchAll(/npm run (?:--silent )?([a-z][a-z0-9:]*)/g)) {
      t.true(name! in scripts, `${page}: npm run ${name}`);
      count++;
    }
  }
  t.true(count > 20);
});

test('every script and test file that is named somewhere exists', t => {
  let count = 0;
  for (const [page, text] of texts) {
    for (const [, file] of text.matchAll(/(?:node|ava) ((?:scripts|test)\/[\w/.-]+\.(?:mjs|ts))/g)) {
      t.true(existsSync(new URL(`../../${file}`, import.meta.url)), `${page}: ${file}`);
      count++;
    }
  }
  t.true(count > 10);
});

test('the workflows have jobs that wait for jobs there are, and steps that do one thing', t => {
  for (const [file, text] of workflows) {
    const {jobs} = parseYaml(text) as Workflow;
    for (const [name, {needs, steps, ...job}] of Object.entries(jobs)) {
      t.is(typeof job['runs-on'], 'string', `${file}: ${name}`);
      for (const other of [needs ?? []].flat()) t.true(other in jobs, `${file}: ${name} needs ${other}`);
      for (const {uses, run} of steps)
        t.true((uses === undefined) !== (run === undefined), `${file}: ${name}`);
      for (const {uses} of steps) t.regex(uses ?? 'a/b@v1', /^[\w-]+\/[\w-]+@v\d+$/);
    }
  }
});

test('pull requests are tested by .ci/run, on every Node that a release is tried on', t => {
  const ci = parseYaml(workflows.find(([file]) => file.endsWith('ci.yml'))![1]) as {
    jobs: {test: Job & {strategy: {matrix: {node: number[]}}}};
  };
  t.true(ci.jobs.test.steps.some(({run}) => run === '.ci/run'));
  const tried = /node: \{type: 'string', default: '([\d,]+)'\}/.exec(
    readPage('scripts/test-package.mjs'),
  )![1]!;
  t.deepEqual(ci.jobs.test.strategy.matrix.node.map(Math.floor), tried.split(',').map(Number));
});
