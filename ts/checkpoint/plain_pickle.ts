import {ByteWindow} from './byte_window.ts';
import type {StateDict} from './checkpoint.ts';
import type {CheckpointFile} from './file.ts';
import {unpickle} from './pickle.ts';
import {pickleRules} from './torch_pickle.ts';
import {unwrapStateDict} from './unwrap.ts';

/**
 * Reads a state dict of numpy arrays in one pickle: what `paddle.save` writes as .pdparams
 * (paddle/framework/io.py; beside the arrays it has a table of names under "StructuredToParameterName@@") and
 * `megengine.save` as .pkl. The arrays stay in the file until they are read.
 */
export async function readPlainPickle(file: CheckpointFile): Promise<StateDict> {
  return unwrapStateDict(await unpickle(new ByteWindow(file, 'its pickle'), pickleRules(file)), file);
}
