/** Recognises files that are not supported checkpoints, to say what they are and what to do. */

export const toTorchSave: string =
  'so convert it to one file: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER OUT.pth';

const unpack = 'so unpack it first';
const arrays = 'so save the arrays with torch.save or safetensors, or a dict of them with pickle';

/** Magic bytes, as Latin-1, and their offset. */
const files: readonly [mark: string, at: number, problem: string][] = [
  [
    'version https://git-lfs.',
    0,
    'it is a Git LFS pointer in place of the file, so fetch that: git lfs pull',
  ],
  ['\x1f\x8b', 0, `it is compressed with gzip, ${unpack}`],
  ['\x28\xb5\x2f\xfd', 0, `it is compressed with zstd, ${unpack}`],
  ['\xfd7zXZ', 0, `it is compressed with xz, ${unpack}`],
  ['BZh', 0, `it is compressed with bzip2, ${unpack}`],
  ['7z\xbc\xaf', 0, `it is an archive, ${unpack}`],
  ['Rar!', 0, `it is an archive, ${unpack}`],
  ['\x93NUMPY', 0, `it is a numpy array, ${arrays}`],
  ['\x89HDF', 0, 'it is an HDF5 file, as Keras writes them, so export the network as ONNX'],
  ['TFL3', 4, 'it is a TensorFlow Lite model, so export the original network as ONNX'],
];

/** Describes a file that is not what was expected, as far as its first bytes tell. */
export function foreignFile(head: Buffer, expected: string): string {
  const text = head.toString('latin1');
  const known = files.find(([mark, at]) => text.startsWith(mark, at));
  if (known) return known[2];
  if (head.length === 0) return `expected ${expected} but the file is empty`;
  if (/^[\t\n\r\x20-\x7e]*$/.test(text))
    return `expected ${expected} but found text, which is often a download page saved in place of the file`;
  return `expected ${expected} but the file begins with the bytes ${head.toString('hex', 0, 8).replace(/..(?=.)/g, '$& ')}`;
}

/** Zips that torch.save did not write, by the names of entries. */
const zips: readonly [name: RegExp, problem: string][] = [
  [
    /(^|\/)archive_format$/,
    'it is a torch.export program, so save its weights in Python: torch.save(torch.export.load(path).state_dict, out)',
  ],
  [/\.npy$/, `it contains numpy arrays, ${arrays}`],
  [/\.(pth|pt|tar|bin|ckpt|safetensors|onnx|pdparams)$/, `it is a zip that contains a checkpoint, ${unpack}`],
  [/\.weights\.h5$/, 'it is a Keras model, so export the network as ONNX'],
];

/** Describes a zip that is not a checkpoint, if the names of its entries tell. */
export function foreignZip(names: readonly string[]): string | undefined {
  return zips.find(([pattern]) => names.some(name => pattern.test(name)))?.[1];
}

/** Describes a folder of another format, if the names of its files tell. */
export function foreignFolder(names: readonly string[]): string | undefined {
  if (names.includes('.metadata') && names.some(name => name.endsWith('.distcp')))
    return `it is a torch.distributed.checkpoint folder, ${toTorchSave}`;
  if (names.includes('zero_to_fp32.py'))
    return 'it is a DeepSpeed folder, so convert it to one file: python zero_to_fp32.py FOLDER OUT';
  if (names.includes('data.pkl') && names.includes('data'))
    return 'it is an unpacked PyTorch file, so download that again without unpacking it';
  if (names.includes('saved_model.pb')) return 'it is a TensorFlow model, so export the network as ONNX';
  return undefined;
}
