import {ByteWindow} from '../byte_window.ts';
import type {StateDict} from '../checkpoint.ts';
import type {CheckpointFile} from '../file.ts';
import {unwrapStateDict} from '../unwrap.ts';
import {unpickle} from './pickle.ts';
import {pickleRules} from './torch_pickle.ts';

/**
 * Reads a state dict of numpy arrays in a single pickle, as written by `paddle.save` (.pdparams; paddle/framework/io.py,
 * which adds a table of names under "StructuredToParameterName@@") and by `megengine.save` (.pkl). The arrays stay in the
 * file until they are read.
 */
export async function readPlainPickle(file: CheckpointFile): Promise<StateDict> {
  return unwrapStateDict(await unpickle(new ByteWindow(file, 'its pickle'), pickleRules(file)), file);
}
