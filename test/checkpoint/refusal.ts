import test, {type Macro} from 'ava';
import type {Checkpoint} from '../../ts/checkpoint/checkpoint.ts';
import {openCheckpoint} from '../../ts/checkpoint/open.ts';
import {RepVGGError, type RepVGGErrorCode} from '../../ts/errors.ts';
import {dict, Folder, floats, pickle, type TensorPickle, tensor, torchLegacy, torchZip} from './build.ts';

export const folder: Folder = new Folder();
test.after.always(() => folder.remove());

export async function openAndReadAll(path: string): Promise<void> {
  await using checkpoint: Checkpoint = await openCheckpoint(path);
  for (const tensor of checkpoint.tensors.values()) await tensor.read();
}

/** The file, or what is at the path, is refused with this code in one sentence that names the file. */
export const refusal: Macro<
  [file: () => Promise<string | Buffer> | string | Buffer, code: RepVGGErrorCode, message: RegExp]
> = test.macro(async (t, file, code, message) => {
  const content = await file();
  const path = typeof content === 'string' ? content : await folder.write(content);
  const error = await t.throwsAsync(openAndReadAll(path), {instanceOf: RepVGGError, code, message});
  t.regex(error.message, /^Cannot read checkpoint [^\n]*[^.]\.$/);
  t.true(error.message.includes(path));
  t.notRegex(error.message.replace(path, ''), /\. /);
});

/** A zip around one tensor `x` with the floats 1 to 4, as it should be but for what is given. */
export function oneTensor(
  options: Partial<TensorPickle>,
  changes: Parameters<typeof torchZip>[2] = {},
): Buffer {
  const object = pickle(dict({x: tensor({length: 4, shape: [4], ...options})}));
  return torchZip(object, {0: floats(1, 2, 3, 4)}, changes);
}

export const legacy = (object: Buffer, length = 4): Buffer =>
  torchLegacy(object, {0: {bytes: floats(1, 2, 3, 4), length}});
export const inZip = (object: Buffer): Buffer => torchZip(object, {0: floats(1, 2, 3, 4)});
