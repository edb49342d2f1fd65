import {RepVGGError} from '../errors.ts';
import {checkPreprocessing, type PreprocessingOptions} from '../preprocessing.ts';
import {ByteWindow} from './byte_window.ts';
import type {CheckpointFile} from './file.ts';
import {ProtobufReader} from './protobuf.ts';

/** The key under which {@link exportOnnx} writes how images become the model's input, as JSON. */
export const preprocessingKey = 'repvgg.preprocessing';

// The numbers of fields: github.com/onnx/onnx, onnx/onnx.proto.
const metadataField = 14;
const entryField = {key: 1, value: 2} as const;
/** Entries of other programs may be long; they are stepped over. */
const mostBytes = 4096;

/**
 * How images become the input of an ONNX model, where the file says so: as this package exports it.
 *
 * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT
 */
export async function readOnnxPreprocessing(file: CheckpointFile): Promise<PreprocessingOptions | undefined> {
  const window = new ByteWindow(file, 'its metadata');
  const reader = new ProtobufReader(window, file.fail.bind(file));
  for await (const field of reader.fields(file.size, 'its metadata')) {
    if (field.number !== metadataField || field.kind !== 'bytes') continue;
    if (field.end - field.start > mostBytes) continue;
    let [key, value] = ['', ''];
    for await (const part of reader.fields(field.end, 'its metadata')) {
      if (part.kind !== 'bytes') continue;
      await window.fill(part.end - part.start);
      const text = window.peek(part.end - part.start).toString('utf8');
      if (part.number === entryField.key) key = text;
      if (part.number === entryField.value) value = text;
    }
    if (key === preprocessingKey) return parse(value, file);
  }
  return undefined;
}

function parse(text: string, file: CheckpointFile): PreprocessingOptions {
  try {
    const options = JSON.parse(text) as PreprocessingOptions;
    checkPreprocessing(options);
    return options;
  } catch (cause) {
    if (!(cause instanceof SyntaxError || cause instanceof RepVGGError)) throw cause;
    throw file.fail('ERR_CHECKPOINT_CORRUPT', `its metadata ${preprocessingKey} is no preprocessing`);
  }
}
