import {ByteWindow} from './byte_window.ts';
import type {StateDict} from './checkpoint.ts';
import {elementBytes} from './element_types.ts';
import {type CheckpointFile, printable} from './file.ts';
import {foreignZip, toTorchSave} from './foreign.ts';
import {type PickleOptions, unpickle} from './pickle/pickle.ts';
import {type StorageId, torchPickle} from './pickle/torch_pickle.ts';
import {Storage} from './storage.ts';
import {unwrapStateDict} from './unwrap.ts';
import {ZipArchive} from './zip_archive.ts';

/**
 * The pickle of a RepVGG training checkpoint has some hundred kilobytes. A longer one must be stored uncompressed: inflated,
 * it could take a hundred times the size of the file.
 */
const [maxPickleBytes, maxStoredPickleBytes] = [2 ** 23, 2 ** 26];
/** What PyTorch 2.13 reads (caffe2/serialize/versions.h); `torch.save` has always written 3. */
const maxVersion = 10;

/** The first entry of a zip, or the end record of an empty one. "PK" alone may be the header length of a safetensors file, 19280. */
export function isPyTorchZip(head: Buffer): boolean {
  return ['PK\x03\x04', 'PK\x05\x06'].includes(head.toString('latin1', 0, 4));
}

/**
 * Reads the container that `torch.save` has written since PyTorch 1.6: a zip with PREFIX/data.pkl, a pickle; a storage in
 * each PREFIX/data/KEY; PREFIX/version; and, since 2.1, PREFIX/byteorder.
 *
 * @param made values created so far by the pickles of the same checkpoint
 */
export async function readPyTorchZip(
  file: CheckpointFile,
  made: PickleOptions['made'] = {values: 0},
): Promise<StateDict> {
  const zip = await ZipArchive.open(file).catch((cause: unknown) => {
    // A .distcp file is several concatenated zips.
    if (!file.path.endsWith('.distcp')) throw cause;
    const problem = `it is part of a torch.distributed.checkpoint folder, ${toTorchSave}`;
    throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem, cause);
  });
  const prefix = findPrefix(zip, file);
  if (zip.has(`${prefix}constants.pkl`)) {
    throw file.fail(
      'ERR_CHECKPOINT_UNSUPPORTED',
      'it is a TorchScript program, so save its weights in Python: torch.save(torch.jit.load(path).state_dict(), out)',
    );
  }
  await checkVersion(zip, `${prefix}version`, file);
  const littleEndian = await isLittleEndian(zip, `${prefix}byteorder`, file);

  function makeStorage({key, dtype, length}: StorageId): Storage {
    const name = `${prefix}data/${key}`;
    const bytes = length * elementBytes(dtype);
    if (zip.size(name) !== bytes) {
      const problem = `storage ${printable(key)} should have ${bytes} bytes but its zip entry has ${zip.size(name)}`;
      throw file.fail('ERR_CHECKPOINT_CORRUPT', problem);
    }
    return new Storage(dtype, length, littleEndian, zip.source(name), zip.isStored(name));
  }

  const name = `${prefix}data.pkl`;
  const bytes = await zip.read(name, zip.isStored(name) ? maxStoredPickleBytes : maxPickleBytes);
  const pickle = new ByteWindow(bytes, 'its pickle');
  return unwrapStateDict(await unpickle(pickle, {...torchPickle(file, makeStorage), made}), file);
}

/** The prefix is the file name's stem at the time of saving, or "archive". */
function findPrefix(zip: ZipArchive, file: CheckpointFile): string {
  const pickles = zip.names.filter(name => /^[^/]*\/data\.pkl$/.test(name));
  if (pickles.length === 1) return pickles[0]!.slice(0, -'data.pkl'.length);
  const foreign = pickles.length === 0 ? foreignZip(zip.names) : undefined;
  if (foreign !== undefined) throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', foreign);
  const problem = `expected a PyTorch zip, with one entry */data.pkl, but found ${pickles.length || 'none'}`;
  throw file.fail('ERR_CHECKPOINT_FORMAT', problem);
}

async function checkVersion(zip: ZipArchive, name: string, file: CheckpointFile): Promise<void> {
  if (!zip.has(name)) return;
  const version = Number((await zip.read(name, 64)).toString());
  if (version >= 1 && version <= maxVersion) return;
  const problem = `expected a PyTorch zip of version 1 to ${maxVersion} but found version ${version}`;
  throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
}

async function isLittleEndian(zip: ZipArchive, name: string, file: CheckpointFile): Promise<boolean> {
  const order = zip.has(name) ? (await zip.read(name, 64)).toString() : 'little';
  if (order === 'little' || order === 'big') return order === 'little';
  throw file.fail('ERR_CHECKPOINT_CORRUPT', 'its entry byteorder is neither "little" nor "big"');
}
