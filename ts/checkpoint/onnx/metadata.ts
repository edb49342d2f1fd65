import {RepVGGError} from '../../errors.ts';
import {checkPreprocessing, type PreprocessingOptions} from '../../preprocessing.ts';
import type {CheckpointFile} from '../file.ts';
import {type ProtobufBytes, ProtobufReader} from './protobuf.ts';

/** The metadata key under which {@link exportOnnx} stores the preprocessing, as JSON. */
export const preprocessingKey = 'repvgg.preprocessing';

// Field numbers: onnx/onnx.proto in github.com/onnx/onnx.
const metadataField = 14;
const entryField = {key: 1, value: 2} as const;
/** Longer entries, from other programs, are skipped. */
const mostBytes = 1024;

/**
 * The preprocessing of an ONNX model, if its metadata states it, as in this package's exports.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT
 */
export async function readOnnxPreprocessing(file: CheckpointFile): Promise<PreprocessingOptions | undefined> {
  const reader = new ProtobufReader(file, 'its metadata');
  for await (const field of reader.messages(file.size, metadataField, 'its metadata')) {
    if (field.end - field.start > mostBytes) continue;
    const [key, value] = await readEntry(reader, field);
    if (key === preprocessingKey) return parse(value, file);
  }
  return undefined;
}

/** Reads a StringStringEntryProto, which ONNX uses in several places. */
export async function readEntry(
  reader: ProtobufReader,
  {end}: ProtobufBytes,
): Promise<[key: string, value: string]> {
  let [key, value] = ['', ''];
  for await (const part of reader.fields(end, 'an entry')) {
    if (part.kind !== 'bytes') continue;
    if (part.number === entryField.key) key = await reader.text(part);
    if (part.number === entryField.value) value = await reader.text(part);
  }
  return [key, value];
}

function parse(text: string, file: CheckpointFile): PreprocessingOptions {
  try {
    const options = JSON.parse(text) as PreprocessingOptions;
    checkPreprocessing(options);
    return options;
  } catch (cause) {
    if (!(cause instanceof SyntaxError || cause instanceof RepVGGError)) throw cause;
    throw file.fail('ERR_CHECKPOINT_CORRUPT', `its metadata ${preprocessingKey} is no preprocessing`, cause);
  }
}
