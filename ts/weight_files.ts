/** The names that files of weights have, in a folder and on the hub. What is in a file is never told by its name. */

export const weightFile: RegExp = /^[^/]+\.(safetensors|pth|pt|bin|ckpt)$/;
/** Of a checkpoint in several files. */
export const indexFile: RegExp = /\.(safetensors|bin)\.index\.json$/;
/** Where repositories keep weights, best first. */
const usualFiles = [
  'model.safetensors',
  'model.safetensors.index.json',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
];

export function usualWeights(files: readonly string[]): string | undefined {
  return usualFiles.find(file => files.includes(file));
}

/** The one file of weights among others, where there is no doubt. */
export function chooseWeights(files: readonly string[]): string | undefined {
  const weights = files.filter(file => weightFile.test(file));
  return usualWeights(files) ?? (weights.length === 1 ? weights[0] : undefined);
}
