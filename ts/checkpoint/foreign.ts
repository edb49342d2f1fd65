/** What people have in the place of a checkpoint that is read here: what it is, and what to do. */

export const toTorchSave: string =
  'so make one file of it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER OUT.pth';

const unpack = 'so unpack it first';
const arrays = 'so save the arrays by torch.save or safetensors, or as a dict by pickle';

/** Files by a few of their first bytes, as latin1, and where these are. */
const files: readonly [mark: string, at: number, problem: string][] = [
  ['version https://git-lfs.', 0, 'it is what Git LFS has in place of the file, so fetch that: git lfs pull'],
  ['\x1f\x8b', 0, `it is compressed by gzip, ${unpack}`],
  ['\x28\xb5\x2f\xfd', 0, `it is compressed by zstd, ${unpack}`],
  ['\xfd7zXZ', 0, `it is compressed by xz, ${unpack}`],
  ['BZh', 0, `it is compressed by bzip2, ${unpack}`],
  ['7z\xbc\xaf', 0, `it is an archive, ${unpack}`],
  ['Rar!', 0, `it is an archive, ${unpack}`],
  ['\x93NUMPY', 0, `it is an array of numpy, ${arrays}`],
  ['\x89HDF', 0, 'it is HDF5, as Keras writes it, so export its network as ONNX'],
  ['TFL3', 4, 'it is a program of TensorFlow Lite, so export the network that it was made of as ONNX'],
];

/** What a file that is not as `expected` is, as far as its first bytes say so. */
export function foreignFile(head: Buffer, expected: string): string {
  const text = head.toString('latin1');
  const known = files.find(([mark, at]) => text.startsWith(mark, at));
  if (known) return known[2];
  if (head.length === 0) return `expected ${expected} but the file is empty`;
  if (/^[\t\n\r\x20-\x7e]*$/.test(text))
    return `expected ${expected} but found text, which is often a download page saved in place of the file`;
  return `expected ${expected} but the file begins with the bytes ${head.toString('hex', 0, 8).replace(/..(?=.)/g, '$& ')}`;
}

/** A zip of something else than torch.save's, by the names in it. */
const zips: readonly [name: RegExp, problem: string][] = [
  [
    /(^|\/)archive_format$/,
    'it is a program of torch.export, so save its weights in Python: torch.save(torch.export.load(path).state_dict, out)',
  ],
  [/\.npy$/, `it has arrays of numpy, ${arrays}`],
  [/\.(pth|pt|tar|bin|ckpt|safetensors|onnx|pdparams)$/, `it is a zip with a checkpoint in it, ${unpack}`],
  [/\.weights\.h5$/, 'it is of Keras, so export its network as ONNX'],
];

/** What a zip that is no checkpoint is, where the names in it say so. */
export function foreignZip(names: readonly string[]): string | undefined {
  return zips.find(([pattern]) => names.some(name => pattern.test(name)))?.[1];
}

/** What a folder of these files is, where it is known and no checkpoint that can be read as it is. */
export function foreignFolder(names: readonly string[]): string | undefined {
  if (names.includes('.metadata') && names.some(name => name.endsWith('.distcp')))
    return `it is a folder of torch.distributed.checkpoint, ${toTorchSave}`;
  if (names.includes('zero_to_fp32.py'))
    return 'it is a folder of DeepSpeed, so make one file of it: python zero_to_fp32.py FOLDER OUT';
  if (names.includes('data.pkl') && names.includes('data'))
    return 'it is the content of a PyTorch file, which a browser or a person has unpacked, so download that again';
  if (names.includes('saved_model.pb')) return 'it is of TensorFlow, so export its network as ONNX';
  return undefined;
}
