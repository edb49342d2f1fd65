/**
 * One network under the names and in the files of every project: each file gives the logits of the official one. The
 * tables of docs/checkpoints.md come from here; `REPVGG_UPDATE_DOCS=1 npx ava test/checkpoint/projects.test.ts` writes them.
 */

import {readFileSync} from 'node:fs';
import {readFile, writeFile} from 'node:fs/promises';
import {basename} from 'node:path';
import {fileURLToPath} from 'node:url';
import test from 'ava';
import {dialects} from '../../ts/checkpoint/dialects.ts';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {checkpointStructure} from '../../ts/checkpoint/structure.ts';
import type {Form} from '../../ts/network.ts';
import {networkFromCheckpoint} from '../checkpoints.ts';
import {forward64, relativeL2} from '../reference64.ts';

interface Manifest {
  networks: Record<string, {file: string; logits: number[]}>;
  files: {file: string; network: string; dialect: string; madeBy: string; backbone?: true}[];
}

const folder = new URL('../fixtures/dialects/', import.meta.url);
const manifest = JSON.parse(readFileSync(new URL('manifest.json', folder), 'utf8')) as Manifest;
/** Of those that test/reference/make_fixtures.py and make_container_fixtures.py make, one of each container. */
const files: Manifest['files'] = [
  ...manifest.files,
  ...[
    {file: 'narrow.official.legacy.pth', dialect: 'official', madeBy: 'torch.save'},
    {file: 'narrow.official.safetensors', dialect: 'official', madeBy: 'safetensors'},
    {file: 'sharded/model.safetensors.index.json', dialect: 'timm', madeBy: 'safetensors'},
    {file: 'narrow.deploy.onnx', dialect: 'official', madeBy: 'torch.onnx'},
    {file: 'narrow.branches.onnx', dialect: 'official', madeBy: 'torch.onnx, not folded'},
    {file: 'narrow.folded.onnx', dialect: 'official', madeBy: 'torch.onnx'},
    {file: 'narrow.dynamo.onnx', dialect: 'official', madeBy: 'torch.onnx, dynamo'},
  ].map(fixture => ({...fixture, file: `../checkpoints/${fixture.file}`, network: 'narrow'})),
];
const officialFiles: Record<string, string> = {
  ...Object.fromEntries(Object.entries(manifest.networks).map(([name, {file}]) => [name, file])),
  narrow: '../checkpoints/narrow.official.zip.pth',
};
const size = 32;
/** The numbers that test/reference/make_dialect_fixtures.py makes. */
const input = Float64Array.from(
  {length: 3 * size * size},
  (_, i) => ((i * 2654435761) % 2 ** 32) / 2 ** 31 - 1,
);
const tolerance = 1e-6;

interface Outputs {
  format: string;
  dialect: string;
  form: Form;
  classes: number;
  /** In the form that is stored, and fused. */
  stored: {embedding: Float64Array; logits: Float64Array | null};
  fused: {embedding: Float64Array; logits: Float64Array | null};
}

const known = new Map<string, Promise<Outputs>>();

function outputs(file: string): Promise<Outputs> {
  const found = known.get(file) ?? run(file);
  known.set(file, found);
  return found;
}

async function run(file: string): Promise<Outputs> {
  await using checkpoint = await openCheckpoint(fileURLToPath(new URL(file, folder)));
  const {dialect, form} = checkpointStructure(checkpoint);
  const network = networkFromCheckpoint(checkpoint);
  const {squeezeExcite, numClasses} = network.architecture;
  const options = {height: size, width: size, position: squeezeExcite?.position};
  const linear = await network.linear();
  return {
    format: checkpoint.format,
    dialect: dialect.name,
    form,
    classes: numClasses,
    stored: await forward64(network.blocks(form), linear, input, options),
    fused: await forward64(network.blocks('deploy'), linear, input, options),
  };
}

/** How far a file's outputs are from those of the official file of its network: of both forms, the larger. */
async function difference({file, network, backbone}: Manifest['files'][number]): Promise<number> {
  const [actual, expected] = [await outputs(file), await outputs(officialFiles[network]!)];
  const output = backbone ? 'embedding' : 'logits';
  return Math.max(
    relativeL2(actual.stored[output]!, expected.stored[output]!),
    relativeL2(actual.fused[output]!, expected.fused[output]!),
  );
}

for (const fixture of files) {
  test(`${basename(fixture.file)} gives the outputs of the official file`, async t => {
    const {dialect, classes} = await outputs(fixture.file);
    t.is(dialect, fixture.dialect);
    t.is(classes > 0, !fixture.backbone);
    const relative = await difference(fixture);
    t.true(relative <= tolerance, `${relative}`);
  });
}

for (const [name, {file, logits}] of Object.entries(manifest.networks)) {
  test(`the official file of ${name} gives the logits of PyTorch in float64`, async t => {
    const {stored, fused} = await outputs(file);
    const expected = Float64Array.from(logits);
    t.true(relativeL2(stored.logits!, expected) <= tolerance);
    t.true(relativeL2(fused.logits!, expected) <= tolerance);
  });
}

test('every dialect has a file', t => {
  const tried = new Set(manifest.files.map(({dialect}) => dialect));
  t.deepEqual(
    dialects.map(({name}) => name).filter(name => !tried.has(name)),
    [],
  );
});

const docs = new URL('../../docs/checkpoints.md', import.meta.url);

test('docs/checkpoints.md has the tables of this run', async t => {
  const tables = {
    names: table([
      ['names', 'as trained', 'fused', 'classifier', 'from', 'what differs'],
      ...dialects.map(({name, stem, dense, batchNorm, fused, linear, source, quirks}) => [
        name,
        `\`${stem}.${dense.batchNorm}.${batchNorm.mean}\``,
        `\`${stem}.${fused}\``,
        `\`${linear}\``,
        source,
        quirks,
      ]),
    ]),
    files: table([
      ['file', 'names', 'container', 'form', 'made by', 'logits'],
      ...(await Promise.all(
        files.map(async fixture => {
          const {dialect, format, form} = await outputs(fixture.file);
          const relative = await difference(fixture);
          const equal =
            relative === 0 ? 'equal, bit for bit' : relative <= tolerance ? 'equal to 1e-6' : 'DIFFERENT';
          return [`\`${basename(fixture.file)}\``, dialect, format, form, fixture.madeBy, equal];
        }),
      )),
    ]),
  };
  const text = await readFile(docs, 'utf8');
  const written = Object.entries(tables).reduce(
    (result, [name, rows]) => result.replace(section(name), (_, begin, __, end) => `${begin}${rows}${end}`),
    text,
  );
  for (const name of Object.keys(tables)) t.regex(text, section(name));
  if (process.env.REPVGG_UPDATE_DOCS) await writeFile(docs, written);
  else t.is(text, written, 'REPVGG_UPDATE_DOCS=1 npx ava test/checkpoint/projects.test.ts writes it');
});

function section(name: string): RegExp {
  return new RegExp(`(<!-- begin ${name} -->\\n)(.*?)(<!-- end ${name} -->)`, 's');
}

function table([head, ...rows]: string[][]): string {
  return [head!, head!.map(() => '---'), ...rows].map(cells => `| ${cells.join(' | ')} |\n`).join('');
}
