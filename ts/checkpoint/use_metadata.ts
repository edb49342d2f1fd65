import {RepVGGError} from '../errors.ts';
import type {ClassLabel} from '../labels.ts';
import {checkPreprocessing, type Preprocessing, type PreprocessingOptions} from '../preprocessing.ts';
import type {StateDict} from './checkpoint.ts';
import type {CheckpointFile} from './file.ts';

/** The key of the preprocessing, as JSON. */
export const preprocessingKey = 'repvgg.preprocessing';
/** The key of the labels, as a Python dict from class number to name. Ultralytics writes and reads it in ONNX files. */
export const namesKey = 'names';

/** Longer texts, of other programs, are not read. 22,000 classes with their descriptions have some 1.5 MB. */
export const mostMetadataBytes: number = 2 ** 21;

/** How a network is to be used, as metadata for an ONNX or safetensors file: texts by key. */
export function useMetadata(
  preprocessing: Preprocessing,
  labels: readonly ClassLabel[],
): Record<string, string> {
  const metadata = {[preprocessingKey]: JSON.stringify(preprocessing)};
  // Numbers are what a network has without labels.
  if (labels.every(({label}, index) => label === String(index))) return metadata;
  const names = `{${labels.map(({label}, index) => `${index}: ${pythonText(label)}`).join(', ')}}`;
  const bytes = Buffer.byteLength(names);
  if (bytes <= mostMetadataBytes) return {...metadata, [namesKey]: names};
  const message = `Cannot write ${labels.length} labels: they take ${bytes} bytes, where ${mostMetadataBytes} are read.`;
  throw new RepVGGError('ERR_LABELS', message);
}

/**
 * What a file's metadata says about its use.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT for a preprocessing that is none
 */
export function readUse(
  metadata: ReadonlyMap<string, string>,
  file: CheckpointFile,
): Pick<StateDict, 'preprocessing' | 'labels'> {
  const preprocessing = metadata.get(preprocessingKey);
  const names = metadata.get(namesKey);
  return {
    preprocessing: preprocessing === undefined ? undefined : parsePreprocessing(preprocessing, file),
    labels: names === undefined ? undefined : parseNames(names),
  };
}

function parsePreprocessing(text: string, file: CheckpointFile): PreprocessingOptions {
  try {
    const options = JSON.parse(text) as PreprocessingOptions;
    checkPreprocessing(options);
    return options;
  } catch (cause) {
    if (!(cause instanceof SyntaxError || cause instanceof RepVGGError)) throw cause;
    throw file.fail('ERR_CHECKPOINT_CORRUPT', `its metadata ${preprocessingKey} is no preprocessing`, cause);
  }
}

/** As Python's repr() writes a text, but with all characters above ASCII as they are. */
function pythonText(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text
    .replace(/\\/g, '\\\\')
    .replaceAll(quote, `\\${quote}`)
    // Control characters, and halves of surrogate pairs, which UTF-8 cannot have.
    .replace(/[\p{Cc}\p{Cs}]/gu, one => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return quote + escaped + quote;
}

/** A text, after its class number in a dict, and what follows it. In JSON, which is read too, the number is in quotes. */
const namesEntry =
  /\s*(?:["']?(\d{1,7})["']?\s*:\s*)?(?:'([^'\\]*(?:\\.[^'\\]*)*)'|"([^"\\]*(?:\\.[^"\\]*)*)")\s*([,\]}])/suy;

/**
 * The texts of a list, or of a dict from 0, 1, 2 and so on, in Python or JSON. Undefined for anything else, because other programs may
 * mean something else by that key.
 */
export function parseNames(text: string): string[] | undefined {
  const [, open, entries] = /^\s*([[{])(.*)$/su.exec(text) ?? [];
  if (entries === undefined) return undefined;
  const labels: string[] = [];
  for (namesEntry.lastIndex = 0; ; ) {
    const [, index, single, double, next] = namesEntry.exec(entries) ?? [];
    const label = single ?? double;
    if (label === undefined || (open === '{' ? Number(index) !== labels.length : index !== undefined))
      return undefined;
    labels.push(unescaped(label));
    if (next === ',') continue;
    const isEnd = next === (open === '{' ? '}' : ']') && entries.slice(namesEntry.lastIndex).trim() === '';
    return isEnd ? labels : undefined;
  }
}

const letters: Readonly<Record<string, string>> = {n: '\n', r: '\r', t: '\t', b: '\b', f: '\f'};

function unescaped(text: string): string {
  const sequence = /\\(?:x(\p{AHex}{2})|u(\p{AHex}{4})|U(00(?:0\p{AHex}|10)\p{AHex}{4})|(.))/gsu;
  return text.replace(sequence, (_, byte, unit, point, letter: string) =>
    letter === undefined
      ? String.fromCodePoint(Number.parseInt(byte ?? unit ?? point, 16))
      : (letters[letter] ?? letter),
  );
}
