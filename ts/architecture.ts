import {invalidArgument, RepVGGError} from './errors.ts';
import {checkOptions, type FieldNames} from './support/arguments.ts';

/** The position of a block's squeeze-and-excite: before the ReLU in D2se, after it in RepVGGplus. */
export type SqueezeExcitePosition = 'before-relu' | 'after-relu';

/** Squeeze-and-excite, the channel attention of a network's blocks. */
export interface SqueezeExcite {
  position: SqueezeExcitePosition;
  /** The block's output channels divided by the hidden channels (16 in D2se, 4 in RepVGGplus). */
  reduction: number;
}

/** A RepVGG network: five stages of 3x3 blocks and a linear classifier, as in section 3.4 of the paper. */
export interface Architecture {
  /** An official name such as "RepVGG-A0", or "custom". */
  name: string;
  /** The number of blocks in stages 1 to 4; stage 0 has one. */
  numBlocks: readonly [number, number, number, number];
  /** Output channels of stages 0 to 4. */
  widths: readonly [number, number, number, number, number];
  /** Convolution groups of blocks 2, 4, ... 26, counted over the whole network from stage 0; all others are ungrouped. */
  groups: number;
  /** Classes of the linear layer; 0 for a backbone without one. */
  numClasses: number;
  squeezeExcite: SqueezeExcite | null;
}

/** Options of {@link defineArchitecture}, in the terms of the official code. */
export interface ArchitectureOptions {
  numBlocks: readonly [number, number, number, number];
  widthMultiplier: readonly [number, number, number, number];
  groups?: number | undefined;
  numClasses?: number | undefined;
  squeezeExcite?: SqueezeExcite | null | undefined;
  name?: string | undefined;
}

const optionNames: FieldNames<ArchitectureOptions> = {
  numBlocks: true,
  widthMultiplier: true,
  groups: true,
  numClasses: true,
  squeezeExcite: true,
  name: true,
};

/** The shape of a block: a 3x3 convolution with bias and ReLU once fused, up to three branches before. */
export interface BlockShape {
  /** Index over the whole network; 0 is the stem. */
  index: number;
  stage: number;
  /** Index within the stage. */
  position: number;
  inChannels: number;
  outChannels: number;
  stride: 1 | 2;
  groups: number;
  /** Whether the block has an identity branch, as it changes neither channels nor resolution. */
  identity: boolean;
  /** Hidden channels of squeeze-and-excite; 0 if there is none. */
  squeezeChannels: number;
}

/** The last block that may be grouped: the official `optional_groupwise_layers` are 2, 4, ... 26. */
const lastGroupedBlock = 26;

const beforeRelu: SqueezeExcite = {position: 'before-relu', reduction: 16};
const afterRelu: SqueezeExcite = {position: 'after-relu', reduction: 4};
const a: ArchitectureOptions['numBlocks'] = [2, 4, 14, 1];
const b: ArchitectureOptions['numBlocks'] = [4, 6, 16, 1];
const d: ArchitectureOptions['numBlocks'] = [8, 14, 24, 1];

/** The official variants: table 2 of the paper (arXiv 2101.03697), D2se and RepVGGplus of the official repository. */
const variants: readonly Architecture[] = [
  defineArchitecture({name: 'RepVGG-A0', numBlocks: a, widthMultiplier: [0.75, 0.75, 0.75, 2.5]}),
  defineArchitecture({name: 'RepVGG-A1', numBlocks: a, widthMultiplier: [1, 1, 1, 2.5]}),
  defineArchitecture({name: 'RepVGG-A2', numBlocks: a, widthMultiplier: [1.5, 1.5, 1.5, 2.75]}),
  defineArchitecture({name: 'RepVGG-B0', numBlocks: b, widthMultiplier: [1, 1, 1, 2.5]}),
  defineArchitecture({name: 'RepVGG-B1', numBlocks: b, widthMultiplier: [2, 2, 2, 4]}),
  defineArchitecture({name: 'RepVGG-B1g2', numBlocks: b, widthMultiplier: [2, 2, 2, 4], groups: 2}),
  defineArchitecture({name: 'RepVGG-B1g4', numBlocks: b, widthMultiplier: [2, 2, 2, 4], groups: 4}),
  defineArchitecture({name: 'RepVGG-B2', numBlocks: b, widthMultiplier: [2.5, 2.5, 2.5, 5]}),
  defineArchitecture({name: 'RepVGG-B2g2', numBlocks: b, widthMultiplier: [2.5, 2.5, 2.5, 5], groups: 2}),
  defineArchitecture({name: 'RepVGG-B2g4', numBlocks: b, widthMultiplier: [2.5, 2.5, 2.5, 5], groups: 4}),
  defineArchitecture({name: 'RepVGG-B3', numBlocks: b, widthMultiplier: [3, 3, 3, 5]}),
  defineArchitecture({name: 'RepVGG-B3g2', numBlocks: b, widthMultiplier: [3, 3, 3, 5], groups: 2}),
  defineArchitecture({name: 'RepVGG-B3g4', numBlocks: b, widthMultiplier: [3, 3, 3, 5], groups: 4}),
  defineArchitecture({
    name: 'RepVGG-D2se',
    numBlocks: d,
    widthMultiplier: [2.5, 2.5, 2.5, 5],
    squeezeExcite: beforeRelu,
  }),
  defineArchitecture({
    name: 'RepVGGplus-L2pse',
    numBlocks: d,
    widthMultiplier: [2.5, 2.5, 2.5, 5],
    squeezeExcite: afterRelu,
  }),
];

/** The names of the official variants, in the order of the paper. */
export const architectureNames: readonly string[] = variants.map(({name}) => name);

/**
 * Defines a custom architecture. Stage widths follow the official rule: stage 0 has `min(64, 64 w0)` channels,
 * stages 1 to 4 have `64 w0`, `128 w1`, `256 w2` and `512 w3`, truncated.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT if a field is out of range, channels are not divisible into the groups, or they are
 *   fewer than the reduction of squeeze-and-excite
 */
export function defineArchitecture(options: ArchitectureOptions): Architecture {
  checkOptions(options, optionNames);
  const {
    numBlocks,
    widthMultiplier,
    groups = 1,
    numClasses = 1000,
    squeezeExcite = null,
    name = 'custom',
  } = options;
  checkCommon({name, numBlocks, groups, numClasses, squeezeExcite});
  const isMultiplier = (w: unknown): boolean => typeof w === 'number' && w > 0 && w < 1024;
  checkList(widthMultiplier, 'widthMultiplier', 4, 'numbers between 0 and 1024', isMultiplier);
  const [w0, w1, w2, w3] = widthMultiplier;
  const stage1 = Math.trunc(64 * w0);
  const widths = [
    Math.min(64, stage1),
    stage1,
    Math.trunc(128 * w1),
    Math.trunc(256 * w2),
    Math.trunc(512 * w3),
  ] as const;
  const architecture: Architecture = {name, numBlocks, widths, groups, numClasses, squeezeExcite};
  for (const block of blockShapes(architecture)) {
    const {inChannels, outChannels} = block;
    if (inChannels % block.groups !== 0 || outChannels % block.groups !== 0 || outChannels === 0) {
      const channels = `${inChannels} and ${outChannels} channels`;
      throw invalidArgument('groups', `a divisor of the ${channels} of ${blockName(block)}`, groups);
    }
    if (squeezeExcite && block.squeezeChannels === 0) {
      const most = `at most the ${outChannels} channels of ${blockName(block)}`;
      throw invalidArgument('squeezeExcite.reduction', most, squeezeExcite.reduction);
    }
  }
  return architecture;
}

/**
 * Checks an architecture that a caller supplies.
 *
 * @throws {RepVGGError} ERR_INVALID_ARGUMENT
 */
export function checkArchitecture(architecture: Architecture): void {
  if (typeof architecture !== 'object' || architecture === null || Array.isArray(architecture)) {
    const expected = 'a name or an architecture as defineArchitecture() returns it';
    throw invalidArgument('architecture', expected, architecture);
  }
  checkCommon(architecture, 'architecture.');
  checkList(architecture.widths, 'architecture.widths', 5, 'positive integers', isPositive);
}

/** Checks the fields that {@link Architecture} and {@link ArchitectureOptions} share; `of` is their prefix in messages. */
function checkCommon(fields: Omit<Architecture, 'widths'>, of = ''): void {
  const {name, numBlocks, groups, numClasses, squeezeExcite} = fields;
  if (typeof name !== 'string') throw invalidArgument(`${of}name`, 'a string', name);
  checkList(numBlocks, `${of}numBlocks`, 4, 'positive integers', isPositive);
  if (!isPositive(groups)) throw invalidArgument(`${of}groups`, 'a positive integer', groups);
  if (numClasses !== 0 && !isPositive(numClasses))
    throw invalidArgument(`${of}numClasses`, 'a non-negative integer', numClasses);
  if (squeezeExcite === null) return;
  const {position, reduction} = squeezeExcite ?? {};
  if (position !== 'before-relu' && position !== 'after-relu')
    throw invalidArgument(`${of}squeezeExcite.position`, '"before-relu" or "after-relu"', position);
  if (!isPositive(reduction))
    throw invalidArgument(`${of}squeezeExcite.reduction`, 'a positive integer', reduction);
}

function checkList(
  list: unknown,
  name: string,
  length: number,
  items: string,
  isItem: (value: unknown) => boolean,
): void {
  if (!Array.isArray(list) || list.length !== length)
    throw invalidArgument(name, `an array of ${length} ${items}`, list);
  for (const item of list) if (!isItem(item)) throw invalidArgument(name, items, item);
}

function isPositive(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) > 0;
}

/**
 * Finds an official variant by name. Case, a leading "RepVGG" and separators are ignored: "a0", "repvgg_a0" and
 * "RepVGG-A0" are equivalent.
 *
 * @throws {RepVGGError} ERR_ARCHITECTURE_UNKNOWN with the list of names
 */
export function architectureByName(name: string): Architecture {
  if (typeof name !== 'string') throw invalidArgument('name', 'the name of an architecture', name);
  const found = variantNamed(name);
  if (found) return found;
  throw new RepVGGError(
    'ERR_ARCHITECTURE_UNKNOWN',
    `Unknown architecture ${JSON.stringify(name)}: expected one of ${architectureNames.join(', ')}.`,
  );
}

/** Whether `architectureByName` knows it. */
export function isArchitectureName(name: string): boolean {
  return variantNamed(name) !== undefined;
}

function variantNamed(name: string): Architecture | undefined {
  const key = (text: string): string =>
    text
      .toLowerCase()
      .replace(/[^a-z0-9]/g, '')
      .replace(/^repvgg(plus)?/, '');
  return variants.find(variant => key(variant.name) === key(name));
}

/** The official variant with exactly this structure (any number of classes), or undefined. */
export function officialVariant(architecture: Architecture): Architecture | undefined {
  const signature = ({numBlocks, widths, groups, squeezeExcite}: Architecture): string =>
    JSON.stringify([numBlocks, widths, groups, squeezeExcite?.position, squeezeExcite?.reduction]);
  return variants.find(variant => signature(variant) === signature(architecture));
}

/** A block's name in the official code: "stage0", "stage1.0", "stage1.1" and so on. */
export function blockName({stage, position}: Pick<BlockShape, 'stage' | 'position'>): string {
  return stage === 0 ? 'stage0' : `stage${stage}.${position}`;
}

/** Lists the blocks of a network in execution order. */
export function blockShapes(architecture: Architecture): BlockShape[] {
  const {numBlocks, widths, groups, squeezeExcite} = architecture;
  const shapes: BlockShape[] = [];
  let inChannels = 3;
  for (const [stage, outChannels] of widths.entries()) {
    const count = stage === 0 ? 1 : numBlocks[stage - 1]!;
    for (let position = 0; position < count; position++) {
      const index = shapes.length;
      const stride = position === 0 ? 2 : 1;
      shapes.push({
        index,
        stage,
        position,
        inChannels,
        outChannels,
        stride,
        groups: index > 0 && index % 2 === 0 && index <= lastGroupedBlock ? groups : 1,
        identity: stride === 1 && inChannels === outChannels,
        squeezeChannels: squeezeExcite ? Math.trunc(outChannels / squeezeExcite.reduction) : 0,
      });
      inChannels = outChannels;
    }
  }
  return shapes;
}
