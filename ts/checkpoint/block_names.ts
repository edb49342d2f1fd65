/** Recognises the dialect of a checkpoint and names its tensors. */
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

/** The names of all tensors that a block can have, in either form. */
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

/** A checkpoint's dialect, and the tensor names of its blocks by stage. */
export interface NamedBlocks {
  dialect: Dialect;
  stages: readonly (readonly BlockNames[])[];
}

/** How deep a network may be nested in other modules, such as a trainer's or a wrapper's. */
const maxWrappers = 4;

const patterns = new Map(dialects.map(dialect => [dialect, blockTensorPattern(dialect)]));

/** The dialects that error messages show as examples: the most common ones. */
const examples = ['official', 'timm', 'mmpretrain'];

/**
 * Determines a checkpoint's dialect from its tensor names alone, since file names and metadata are often wrong: the
 * dialect that matches the most names. So a checkpoint that lacks tensors is still recognised, and the missing ones can be
 * reported.
 *
 * @returns also the tensors, with any prefix that all of their names share removed
 * @throws {RepVGGError} ERR_CHECKPOINT_UNSUPPORTED if no dialect matches a tensor of a block
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

/** Refuses a network in a submodule that has siblings (a loss, a metric, a second network), or that is nested too deep. */
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
  const other = names.find(name => !name.startsWith(prefix));
  const shown = JSON.stringify(printable(prefix));
  const [code, received] =
    other === undefined
      ? ([
          'ERR_CHECKPOINT_UNSUPPORTED',
          `received them below ${shown}, deeper than they are looked for`,
        ] as const)
      : ([
          'ERR_CHECKPOINT_EXTRA_TENSOR',
          `beside those of ${shown} received also "${printable(other)}"`,
        ] as const);
  throw new RepVGGError(
    code,
    `Expected the tensors of one network in ${path} but ${received}; ` +
      `save its own alone, {k.removeprefix(${shown}): v for k, v in state_dict.items() if k.startswith(${shown})}.`,
  );
}

/** The prefixes that all names share, module by module: "", "model.", "model.net.". */
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
 * Counts the tensors that a dialect matches, and the blocks of each of its modules: by the highest index, so that a gap
 * shows up as a missing tensor. The classifier counts only if there are blocks, since other networks have one as well.
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

/** Matches the name of any tensor of any block; the groups `module` and `position` are unset for the stem. */
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
