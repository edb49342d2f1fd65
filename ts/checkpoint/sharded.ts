import type {StateDict, TensorInfo} from './checkpoint.ts';
import {CheckpointFile, printable} from './file.ts';
import {foreignFile} from './foreign.ts';
import {isPyTorchZip, readPyTorchZip} from './pytorch_zip.ts';
import {cursor, isSafetensors, maxHeaderBytes, readSafetensors, tooLong} from './safetensors.ts';
import {checkTensorCount} from './storage.ts';
import {plainName} from './unwrap.ts';

const part = 'a part of a checkpoint, as safetensors or a zip of PyTorch,';

/** Files of one checkpoint. */
const maxShards = 256;

/**
 * Reads a sharded checkpoint: several safetensors files or PyTorch zips, and the index that Hugging Face's libraries write
 * beside them, whose `weight_map` names the file of each tensor.
 */
export async function readSharded(file: CheckpointFile): Promise<StateDict> {
  const fileOf = await readIndex(file);
  const shards = new Map<string, StateDict['tensors']>();
  // The limits of a single file hold for all of them together.
  const [headers, made] = [{bytes: 0}, {values: 0}];
  let count = 0;
  for (const name of new Set(fileOf.values())) {
    const shard = await file.openSibling(name);
    const head = await shard.readHead();
    const isZip = isPyTorchZip(head);
    if (!isZip && !isSafetensors(head)) throw shard.fail('ERR_CHECKPOINT_FORMAT', foreignFile(head, part));
    const {tensors} = isZip ? await readPyTorchZip(shard, made) : await readSafetensors(shard, headers);
    if (headers.bytes > maxHeaderBytes)
      throw tooLong('the headers of its files together have', headers.bytes, file);
    count += tensors.size;
    checkTensorCount(count, file);
    shards.set(name, tensors);
  }
  const tensors = new Map<string, TensorInfo>();
  for (const [given, shard] of fileOf) {
    const name = plainName(given);
    const tensor = shards.get(shard)!.get(name);
    if (!tensor) {
      const problem = `its index has tensor ${printable(given)} in ${printable(shard)}, which has no such tensor`;
      throw file.fail('ERR_CHECKPOINT_CORRUPT', problem);
    }
    if (tensors.has(name))
      throw file.fail('ERR_CHECKPOINT_CORRUPT', `it has two tensors named ${printable(name)}`);
    tensors.set(name, tensor);
  }
  return {tensors};
}

/** The names of the files in an index. */
export async function shardNames(path: string): Promise<string[]> {
  const file = await CheckpointFile.open(path);
  try {
    return [...new Set((await readIndex(file)).values())];
  } finally {
    await file.close();
  }
}

/** Reads an index: the file of each tensor. */
async function readIndex(file: CheckpointFile): Promise<Map<string, string>> {
  if (file.size > maxHeaderBytes) throw tooLong('its index has', file.size, file);
  const fileOf = parseIndex(await file.read(0, file.size, 'its index'), file);
  if (new Set(fileOf.values()).size > maxShards) {
    throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', `its index names more than ${maxShards} files`);
  }
  return fileOf;
}

function parseIndex(bytes: Buffer, file: CheckpointFile): Map<string, string> {
  const fileOf = new Map<string, string>();
  let found = false;
  const json = cursor(bytes, 'index', file);
  json.object(name => {
    if (name !== 'weight_map') return json.skip();
    found = true;
    json.object(tensor => {
      fileOf.set(tensor, json.string());
      checkTensorCount(fileOf.size, file);
    });
  });
  json.end();
  if (found) return fileOf;
  const problem = 'expected the index of a checkpoint in several files, but its JSON has no "weight_map"';
  throw file.fail('ERR_CHECKPOINT_FORMAT', problem);
}
