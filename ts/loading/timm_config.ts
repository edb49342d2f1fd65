import {readFile, stat} from 'node:fs/promises';
import {basename, dirname, join} from 'node:path';
import {fileError, RepVGGError} from '../errors.ts';
import {checkPreprocessing, type PreprocessingOptions} from '../preprocessing.ts';
import {shownValue} from '../support/plain_text.ts';
import {configFile, usualWeights} from '../weight_files.ts';

/** How timm would use a model. */
export interface TimmConfig {
  path: string;
  preprocessing: PreprocessingOptions;
  /** One for each class, where the file has them: descriptions before names. */
  labels: string[] | undefined;
}

/** timm's names for what a file may say: timm/models/_hub.py, timm/models/_pretrained.py. */
interface ConfigJson {
  num_classes?: unknown;
  label_names?: unknown;
  label_descriptions?: unknown;
  global_pool?: unknown;
  /** Of `timm.create_model`. */
  model_args?: {readonly output_stride?: unknown} | null;
  pretrained_cfg?: Readonly<Record<string, unknown>> | null;
}

/** That of 22,000 classes with their descriptions has three. */
const mostBytes = 16 * 2 ** 20;
const mostClasses = 1_000_000;

/**
 * Reads timm's config.json beside weights that have the name which libraries give them. Other programs' files of that name
 * are undefined, as is none.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT; ERR_CHECKPOINT_UNSUPPORTED for a network or preprocessing that there is not here; ERR_FILE_READ
 */
export async function readTimmConfig(weights: string): Promise<TimmConfig | undefined> {
  if (usualWeights([basename(weights)]) === undefined) return undefined;
  const path = join(dirname(weights), configFile);
  const file = await stat(path).catch(() => undefined);
  if (!file?.isFile()) return undefined;
  const fail: Fail = (code, problem, cause) =>
    new RepVGGError(code, `Cannot use ${weights} as ${configFile} beside it says: ${problem}.`, {
      cause,
    });
  if (file.size > mostBytes) throw fail('ERR_CHECKPOINT_CORRUPT', `it has ${file.size} bytes`);
  const text = await readFile(path, 'utf8').catch(cause => {
    throw fileError(`read ${path}`, cause);
  });
  let json: ConfigJson | null;
  try {
    json = JSON.parse(text) as ConfigJson | null;
  } catch (cause) {
    throw fail('ERR_CHECKPOINT_CORRUPT', 'it is no JSON', cause);
  }
  const config = json?.pretrained_cfg;
  if (typeof config !== 'object' || config === null) return undefined;
  checkNetwork(json!, fail);
  return {path, preprocessing: configPreprocessing(config, fail), labels: labelsOf(json!)};
}

type Fail = (
  code: 'ERR_CHECKPOINT_CORRUPT' | 'ERR_CHECKPOINT_UNSUPPORTED',
  problem: string,
  cause?: unknown,
) => RepVGGError;

function unsupported(name: string, value: unknown, fail: Fail): RepVGGError {
  return fail('ERR_CHECKPOINT_UNSUPPORTED', `its ${name} is ${shownValue(value)}, which is not supported`);
}

/** What makes another network of the same tensors. The pooling of a backbone without a classifier is "". */
function checkNetwork({global_pool, model_args}: ConfigJson, fail: Fail): void {
  for (const [name, value, known] of [
    ['global_pool', global_pool ?? 'avg', ['avg', 'fast', 'fastavg', '']],
    ['output_stride', model_args?.output_stride ?? 32, [32]],
  ] as const)
    if (!(known as readonly unknown[]).includes(value)) throw unsupported(name, value, fail);
}

/**
 * What timm's validate.py and inference.py would do: the size of testing before that of training, and timm's own defaults
 * (timm/data/config.py), which are not those of RepVGG.
 */
function configPreprocessing(config: Readonly<Record<string, unknown>>, fail: Fail): PreprocessingOptions {
  const size = config.test_input_size ?? config.input_size ?? [3, 224, 224];
  const [, height, width] = Array.isArray(size) ? size : [];
  const share = config.test_crop_pct ?? config.crop_pct ?? 0.875;
  const mode = config.crop_mode ?? 'center';
  const interpolation = config.interpolation ?? 'bicubic';
  if (height !== width) throw unsupported('input_size', size, fail);
  if (mode !== 'center' && mode !== 'squash') throw unsupported('crop_mode', mode, fail);
  if (interpolation !== 'bilinear' && interpolation !== 'bicubic')
    throw unsupported('interpolation', interpolation, fail);
  const options = {
    resize: typeof share === 'number' ? Math.floor(height / share) : Number.NaN,
    crop: height,
    interpolation,
    squash: mode === 'squash',
    mean: config.mean ?? undefined,
    std: config.std ?? undefined,
  } as PreprocessingOptions;
  try {
    checkPreprocessing(options);
  } catch (cause) {
    throw fail('ERR_CHECKPOINT_CORRUPT', 'its pretrained_cfg is no preprocessing', cause);
  }
  return options;
}

/** `label_names` is a list, or where numbers are left out an object from class number to name. */
function labelsOf({num_classes, label_names, label_descriptions}: ConfigJson): string[] | undefined {
  if (typeof label_names !== 'object' || label_names === null) return undefined;
  const names = label_names as Readonly<Record<string, unknown>>;
  const count = Array.isArray(label_names) ? label_names.length : num_classes;
  if (!(typeof count === 'number' && count >= 0 && count <= mostClasses)) return undefined;
  const described = new Map(Object.entries(label_descriptions ?? {}));
  return Array.from({length: count}, (_, index) => {
    const name = textOf(names[index] ?? index);
    return textOf(described.get(name) ?? name);
  });
}

/** Numbers are taken as texts. What is neither is refused when the labels are used. */
function textOf(label: unknown): string {
  return typeof label === 'number' ? String(label) : (label as string);
}
