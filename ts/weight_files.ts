/** The usual names of weight files, in folders and on the hub. Formats are never determined by file names. */

export const weightFile: RegExp = /^[^/]+\.(safetensors|pth|pt|bin|ckpt)$/;
/** The index of a checkpoint in several files. */
export const indexFile: RegExp = /\.(safetensors|bin)\.index\.json$/;
/** The usual names in repositories, in order of preference. */
const usualFiles = [
  'model.safetensors',
  'model.safetensors.index.json',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
];

/** What lies beside the weights where timm saves a model, in a folder or on the hub. */
export const configFile = 'config.json';

export function usualWeights(files: readonly string[]): string | undefined {
  return usualFiles.find(file => files.includes(file));
}

/** The file of weights among others, if it is unambiguous. */
export function chooseWeights(files: readonly string[]): string | undefined {
  const weights = files.filter(file => weightFile.test(file));
  return usualWeights(files) ?? (weights.length === 1 ? weights[0] : undefined);
}
