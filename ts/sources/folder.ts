import {readdir} from 'node:fs/promises';
import {extname, join} from 'node:path';
import {RepVGGError} from '../errors.ts';
import {isImageName} from '../images/encoded_image.ts';
import type {SourceFile} from './options.ts';
import type {Records} from './record.ts';
import {checkFields} from './table.ts';
import {walk} from './walk.ts';

/**
 * The images in a folder and its subfolders, hidden files included, sorted by name. The label of an image is the name of the top-level
 * subfolder that contains it, as in torchvision's ImageFolder.
 */
export async function* readFolder(file: SourceFile): Records {
  const {path, signal} = file;
  checkFields(file, 'a folder', ['label']);
  let none = true;
  for await (const record of imagesBelow(path, [], signal)) {
    if (!('error' in record)) none = false;
    yield record;
  }
  if (none) {
    const shard = (await readdir(path)).find(name => /\.(tar|tar\.gz|tgz|parquet)$/i.test(name));
    const hint =
      shard === undefined ? '' : `; '${join(path, `*${extname(shard)}`)}' reads such files as ${shard}`;
    throw new RepVGGError('ERR_SOURCE', `Cannot read source ${path}: there are no images in it${hint}.`);
  }
}

/**
 * The images below a folder, possibly none.
 *
 * @param above names of the parent folders; the first is the label
 */
export async function* imagesBelow(folder: string, above: string[], signal?: AbortSignal): Records {
  for await (const found of walk(folder, {names: above, signal})) {
    if ('error' in found) yield {id: found.path, error: found.error};
    else if (isImageName(found.path)) {
      const {names} = found;
      yield {id: found.path, image: found.path, ...(names.length > 1 && {label: names[0]!})};
    }
  }
}
