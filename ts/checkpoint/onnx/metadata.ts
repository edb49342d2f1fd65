import type {CheckpointFile} from '../file.ts';
import {type ProtobufBytes, ProtobufReader} from '../protobuf.ts';
import {mostMetadataBytes} from '../use_metadata.ts';

// Field numbers: onnx/onnx.proto in github.com/onnx/onnx.
const metadataField = 14;
const entryField = {key: 1, value: 2} as const;
/** With room for a key. */
const mostEntryBytes = mostMetadataBytes + 64;

/** The metadata of an ONNX model, without long entries, which are of other programs. */
export async function readOnnxMetadata(file: CheckpointFile): Promise<Map<string, string>> {
  const reader = new ProtobufReader(file, 'its metadata');
  const metadata = new Map<string, string>();
  for await (const field of reader.messages(file.size, metadataField, 'its metadata')) {
    if (field.end - field.start <= mostEntryBytes)
      metadata.set(...(await readEntry(reader, field, mostEntryBytes)));
  }
  return metadata;
}

/** Reads a StringStringEntryProto, which ONNX uses in several places. */
export async function readEntry(
  reader: ProtobufReader,
  {end}: ProtobufBytes,
  mostBytes?: number,
): Promise<[key: string, value: string]> {
  let [key, value] = ['', ''];
  for await (const part of reader.fields(end, 'an entry')) {
    if (part.kind !== 'bytes') continue;
    if (part.number === entryField.key) key = await reader.text(part, mostBytes);
    if (part.number === entryField.value) value = await reader.text(part, mostBytes);
  }
  return [key, value];
}
