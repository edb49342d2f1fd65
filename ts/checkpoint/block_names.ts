/** The names of a network's tensors, under whichever dialect they are. */
import {RepVGGError} from '../errors.ts';
import type {Checkpoint, TensorInfo} from './checkpoint.ts';
import {type Dialect, dialects} from './dialects.ts';
import {printable} from './file.ts';

export interface BatchNormNames {
  gamma: string;
  beta: string;
  mean: string;
  variance: string;
}

export interface LayerNames {
  weight: string;
  bias: string;
}

/** The names of all tensors that a block can have, in any form. */
export interface BlockNames {
  fused: LayerNames;
  dense: LayerNames & {batchNorm: BatchNormNames | null};
  pointwise: LayerNames & {batchNorm: BatchNormNames | null};
  identity: BatchNormNames | null;
  sum: BatchNormNames | null;
  squeezeExcite: {down: LayerNames; up: LayerNames};
}

/** The names of a convolution's or linear layer's tensors. */
export function layerNames(module: string): LayerNames {
  return {weight: `${module}.weight`, bias: `${module}.bias`};
}

function blockNames(dialect: Dialect, block: string): BlockNames {
  const {dense, pointwise, identity, fused, sum, squeezeExcite, batchNorm} = dialect;
  const layer = (module: string): LayerNames => layerNames(`${block}.${module}`);
  const norm = (module: string | null): BatchNormNames | null =>
    module === null
      ? null
      : {
          gamma: `${block}.${module}.${batchNorm.gamma}`,
          beta: `${block}.${module}.${batchNorm.beta}`,
          mean: `${block}.${module}.${batchNorm.mean}`,
          variance: `${block}.${module}.${batchNorm.variance}`,
        };
  return {
    fused: layer(fused),
    dense: {...layer(dense.convolution), batchNorm: norm(dense.batchNorm)},
    pointwise: {...layer(pointwise.convolution), batchNorm: norm(pointwise.batchNorm)},
    identity: norm(identity),
    sum: norm(sum),
    squeezeExcite: {down: layer(squeezeExcite.down), up: layer(squeezeExcite.up)},
  };
}

/** A checkpoint's dialect, and the names of its blocks: stage by stage, block by block. */
export interface NamedBlocks {
  dialect: Dialect;
  stages: readonly (readonly BlockNames[])[];
}

/** Modules that a network may be within: a script's own class, a trainer's, a wrapper's. */
const maxWrappers = 4;

const patterns = new Map(dialects.map(dialect => [dialect, blockTensorPattern(dialect)]));

/** What to show people who have something else: the names of the projects that most checkpoints are from. */
const examples = ['official', 'timm', 'mmpretrain'];

/**
 * Finds out whose names a checkpoint uses, from the names alone: file names and metadata often lie. It is the dialect
 * that knows the most of its tensors, so a checkpoint that lacks some is still recognised and can be told what it lacks.
 *
 * @returns also the tensors, without the names of modules that all of them are within
 * @throws {RepVGGError} ERR_CHECKPOINT_UNSUPPORTED when no dialect knows a block of it
 */
export function recogniseBlocks({
  path,
  tensors,
}: Checkpoint): NamedBlocks & {tensors: ReadonlyMap<string, TensorInfo>} {
  let best: {dialect: Dialect; prefix: string; known: number; counts: Map<string, number>} | undefined;
  for (const prefix of sharedPrefixes([...tensors.keys()])) {
    const names = Array.from(tensors.keys(), name => name.slice(prefix.length));
    for (const [dialect, pattern] of patterns) {
      const {known, counts} = knownTensors(names, dialect, pattern);
      if (known > (best?.known ?? 0)) best = {dialect, prefix, known, counts};
    }
  }
  if (!best) {
    refuseCompany(path, [...tensors.keys()]);
    const [first] = tensors.keys();
    const received =
      first === undefined ? 'no tensor' : `${tensors.size} tensors such as "${printable(first)}"`;
    const names = dialects
      .filter(({name}) => examples.includes(name))
      .map(dialect => `"${blockNames(dialect, dialect.stem).dense.weight}" (${dialect.name})`);
    throw new RepVGGError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `Expected the tensors of a RepVGG network in ${path}, such as ${names.join(', ')}, but received ${received}.`,
    );
  }
  const {dialect, prefix, counts} = best;
  const stages = dialect.stages.map(modules =>
    modules.flatMap(module =>
      Array.from({length: counts.get(module) ?? 0}, (_, n) => blockNames(dialect, `${module}.${n}`)),
    ),
  );
  return {
    dialect,
    stages: [[blockNames(dialect, dialect.stem)], ...stages],
    tensors: prefix === '' ? tensors : withoutPrefix(tensors, prefix),
  };
}

/** The first tensors of networks within modules, beside which others are: a loss, a metric, a second network. */
function refuseCompany(path: string, names: readonly string[]): void {
  const stems = dialects.flatMap(dialect => {
    const {dense, fused} = blockNames(dialect, dialect.stem);
    return [`.${dense.weight}`, `.${fused.weight}`];
  });
  const prefixes = new Set(
    names.flatMap(name => {
      const stem = stems.find(stem => name.endsWith(stem));
      return stem === undefined ? [] : [name.slice(0, 1 - stem.length)];
    }),
  );
  const [prefix] = prefixes;
  if (prefix === undefined) return;
  const other = names.find(name => !name.startsWith(prefix))!;
  const shown = JSON.stringify(printable(prefix));
  throw new RepVGGError(
    'ERR_CHECKPOINT_EXTRA_TENSOR',
    `Expected the tensors of one network in ${path} but beside those of ${shown} received also "${printable(other)}"; ` +
      `save its own alone, {k.removeprefix(${shown}): v for k, v in state_dict.items() if k.startswith(${shown})}.`,
  );
}

/** What all names begin with, module by module: "", "model.", "model.net.". */
function sharedPrefixes(names: readonly string[]): string[] {
  const prefixes = [''];
  for (const module of names[0]?.split('.', maxWrappers) ?? []) {
    const prefix = `${prefixes.at(-1)}${module}.`;
    if (!names.every(name => name.startsWith(prefix))) break;
    prefixes.push(prefix);
  }
  return prefixes;
}

function withoutPrefix(tensors: ReadonlyMap<string, TensorInfo>, prefix: string): Map<string, TensorInfo> {
  return new Map(
    Array.from(tensors, ([key, tensor]) => {
      const name = key.slice(prefix.length);
      return [name, {...tensor, name}];
    }),
  );
}

/**
 * How many of the tensors a dialect knows, and how many blocks each of its modules has: by the highest number in use, so
 * that a gap shows up as a missing tensor. The classifier only counts beside blocks: other networks have one as well.
 */
function knownTensors(
  names: Iterable<string>,
  dialect: Dialect,
  pattern: RegExp,
): {known: number; counts: Map<string, number>} {
  const classifier = Object.values(layerNames(dialect.linear));
  const counts = new Map<string, number>();
  let [inBlocks, inClassifier] = [0, 0];
  for (const name of names) {
    if (classifier.includes(name)) inClassifier++;
    const groups = pattern.exec(name)?.groups;
    if (!groups) continue;
    inBlocks++;
    if (groups.module !== undefined) {
      counts.set(groups.module, Math.max(counts.get(groups.module) ?? 0, Number(groups.position) + 1));
    }
  }
  return {known: inBlocks > 0 ? inBlocks + inClassifier : 0, counts};
}

/** Matches the name of any tensor of any block; `module` and `position` are those of the blocks behind the stem. */
function blockTensorPattern(dialect: Dialect): RegExp {
  const escaped = (text: string): string => text.replaceAll('.', '\\.');
  const modules = dialect.stages.flat().map(escaped).join('|');
  const list = dialect.groupList === null ? '' : `(?:\\.${dialect.groupList}\\.\\d{1,2})?`;
  const tensors = leaves(blockNames(dialect, ''))
    .map(leaf => escaped(leaf).replace(/(?=\\\.(weight|bias)$)/, () => list))
    .join('|');
  return new RegExp(
    `^(?:${escaped(dialect.stem)}|(?<module>${modules})\\.(?<position>0|[1-9]\\d{0,2}))(?:${tensors})$`,
  );
}

function leaves(names: object): string[] {
  return Object.values(names).flatMap(value => (typeof value === 'string' ? [value] : leaves(value ?? {})));
}
