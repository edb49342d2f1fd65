/** The architecture of a checkpoint: inferred from the shapes of its tensors and compared with the expected one. */
import {
  type Architecture,
  architectureByName,
  blockName,
  blockShapes,
  checkArchitecture,
  officialVariant,
  type SqueezeExcite,
} from '../architecture.ts';
import {RepVGGError} from '../errors.ts';
import type {Form} from '../network.ts';
import type {BlockNames, LayerNames, NamedBlocks} from './block_names.ts';
import type {Dialect} from './dialects.ts';
import {missing, type NamedTensors, tensorOf, wrongShape} from './named_tensors.ts';

/**
 * Infers an architecture from the few shapes that determine it: the widths from the first block of each stage, the groups
 * from block 2, the first that may be grouped. All other shapes are checked elsewhere.
 *
 * @param forms form of each block
 */
export function inferArchitecture(
  checkpoint: NamedTensors,
  {dialect, stages}: NamedBlocks,
  forms: readonly Form[],
  linear: LayerNames | null,
): Architecture {
  const names = stages.flat();
  const kernelNames = names.map(({fused, dense}, i) => (forms[i] === 'deploy' ? fused : dense).weight);
  let index = 0;
  const kernels = stages.map((blocks, stage) => {
    if (blocks.length === 0) throw missing(checkpoint, `${dialect.stages[stage - 1]![0]}.0.*`);
    return blocks.map(() => kernelShape(checkpoint, kernelNames[index++]!));
  });
  const [, before, grouped] = kernels.flat();
  const [stem, stage1, stage2, stage3, stage4] = kernels;
  const width = ([first]: (typeof kernels)[number] = []): number => first!.outChannels;
  const architecture: Architecture = {
    name: 'custom',
    numBlocks: [stage1!.length, stage2!.length, stage3!.length, stage4!.length],
    widths: [width(stem), width(stage1), width(stage2), width(stage3), width(stage4)],
    groups: Math.max(1, Math.trunc(before!.outChannels / grouped!.inChannels)),
    numClasses: linear ? (tensorOf(checkpoint, linear.weight).shape[0] ?? 0) : 0,
    squeezeExcite: inferSqueezeExcite(checkpoint, dialect, names, kernels.flat()),
  };
  for (const {index, inChannels, outChannels, groups} of blockShapes(architecture)) {
    if (inChannels % groups === 0 && outChannels % groups === 0) continue;
    const kernel = tensorOf(checkpoint, kernelNames[index]!);
    throw wrongShape(
      checkpoint,
      kernel,
      `of whole groups (block 2 has ${groups}, and so have all even blocks up to 26)`,
    );
  }
  return architecture;
}

/** The output channels of a 3x3 kernel, and its input channels per group. */
function kernelShape(checkpoint: NamedTensors, name: string): {outChannels: number; inChannels: number} {
  const tensor = tensorOf(checkpoint, name);
  const [outChannels, inChannels] = tensor.shape;
  if (!outChannels || !inChannels) throw wrongShape(checkpoint, tensor, '[out, in, 3, 3]');
  return {outChannels, inChannels};
}

/**
 * A network has squeeze-and-excite in all of its blocks or in none: if fewer than half have it, the tensors are stray.
 * Hidden channels are a truncated quotient, so several reductions may fit: the two official ones are preferred.
 */
function inferSqueezeExcite(
  {tensors}: NamedTensors,
  dialect: Dialect,
  blocks: readonly BlockNames[],
  kernels: readonly {outChannels: number}[],
): SqueezeExcite | null {
  const widths = blocks.flatMap(({squeezeExcite}, index) => {
    const hidden = tensors.get(squeezeExcite.down.weight)?.shape[0];
    return hidden ? [{hidden, channels: kernels[index]!.outChannels}] : [];
  });
  const [first] = widths;
  if (!first || widths.length < blocks.length / 2) return null;
  const candidates = [16, 4, Math.floor(first.channels / first.hidden)];
  const reduction =
    candidates.find(r => widths.every(({hidden, channels}) => hidden === Math.trunc(channels / r))) ??
    candidates.at(-1)!;
  return {position: dialect.squeezeExcite.position, reduction};
}

/** Names the inferred architecture, or compares it with the expected one. */
export function settleArchitecture(
  {path}: NamedTensors,
  inferred: Architecture,
  expected: string | Architecture | undefined,
): Architecture {
  const {numClasses} = inferred;
  if (expected === undefined) {
    const official = officialVariant(inferred);
    return official ? {...official, numClasses} : inferred;
  }
  const wanted = typeof expected === 'string' ? {...architectureByName(expected), numClasses} : expected;
  checkArchitecture(wanted);
  const difference = firstDifference(inferred, wanted);
  if (difference) {
    const name = wanted.name === 'custom' ? 'the given architecture' : wanted.name;
    throw new RepVGGError(
      'ERR_ARCHITECTURE_MISMATCH',
      `Expected ${name} in ${path} but ${difference[0]}, ${name} has ${difference[1]}.`,
    );
  }
  return wanted;
}

/** The first difference between two architectures: what one has, as a phrase, and what the other has. */
function firstDifference(found: Architecture, wanted: Architecture): [string, number | string] | undefined {
  for (const [i, count] of found.numBlocks.entries()) {
    const wantedCount = wanted.numBlocks[i]!;
    if (count !== wantedCount)
      return [`stage${i + 1} has ${count} block${count === 1 ? '' : 's'}`, wantedCount];
  }
  const wantedShapes = blockShapes(wanted);
  for (const [i, shape] of blockShapes(found).entries()) {
    const name = blockName(shape);
    const {outChannels, groups, squeezeChannels} = wantedShapes[i]!;
    if (shape.outChannels !== outChannels)
      return [`${name} has ${shape.outChannels} output channels`, outChannels];
    if (shape.groups !== groups) return [`${name} has groups = ${shape.groups}`, groups];
    if (shape.squeezeChannels !== squeezeChannels) {
      return [`${name} has ${shape.squeezeChannels} squeeze-and-excite channels`, squeezeChannels];
    }
  }
  const [position, wantedPosition] = [found.squeezeExcite?.position, wanted.squeezeExcite?.position];
  if (position !== wantedPosition) return [`its squeeze-and-excite is ${position}`, `it ${wantedPosition}`];
  if (found.numClasses !== wanted.numClasses)
    return [`it has ${found.numClasses} classes`, wanted.numClasses];
  return undefined;
}
